//! Who watches: in this process, and in others.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use tokio::sync::Notify;

use super::super::ring::lock;
use crate::model::{RunId, TenantId};

/// What is watched in this process.
#[derive(Debug, Default)]
pub(super) struct Watch {
    runs: Arc<Counts<RunId>>,
    tenants: Arc<Counts<TenantId>>,
    /// Somebody has come, or the last one has gone.
    pub changed: Arc<Notify>,
}

type Counts<K> = Mutex<HashMap<K, usize>>;

/// One reader's part in it, until it is dropped.
pub(super) struct Part<K: Eq + Hash> {
    counts: Arc<Counts<K>>,
    key: K,
    changed: Arc<Notify>,
}

impl Watch {
    pub fn run(&self, run: RunId) -> Part<RunId> {
        part(&self.runs, run, &self.changed)
    }

    pub fn tenant(&self, tenant: TenantId) -> Part<TenantId> {
        part(&self.tenants, tenant, &self.changed)
    }

    pub fn runs(&self) -> Vec<RunId> {
        lock(&self.runs).keys().copied().collect()
    }

    pub fn tenants(&self) -> Vec<TenantId> {
        lock(&self.tenants).keys().copied().collect()
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.runs).is_empty() && lock(&self.tenants).is_empty()
    }
}

fn part<K: Eq + Hash + Copy>(counts: &Arc<Counts<K>>, key: K, changed: &Arc<Notify>) -> Part<K> {
    let mut held = lock(counts);
    let count = held.entry(key).or_default();
    *count += 1;
    if *count == 1 {
        changed.notify_one();
    }
    Part { counts: counts.clone(), key, changed: changed.clone() }
}

impl<K: Eq + Hash> Drop for Part<K> {
    fn drop(&mut self) {
        let mut held = lock(&self.counts);
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.key);
                self.changed.notify_one();
            }
        }
    }
}

/// Whether other processes watch all runs of a tenant. Asked on the way of every run: cheap.
#[derive(Debug, Default)]
pub(super) struct Remote {
    tenants: RwLock<HashMap<TenantId, bool>>,
}

impl Remote {
    /// A tenant that was never asked for is taken to be watched until the publisher knows.
    pub fn is_watched(&self, tenant: TenantId) -> bool {
        let known = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).copied();
        known.unwrap_or_else(|| {
            self.set(tenant, true);
            true
        })
    }

    pub fn set(&self, tenant: TenantId, is_watched: bool) {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).insert(tenant, is_watched);
    }

    pub fn tenants(&self) -> Vec<TenantId> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}
