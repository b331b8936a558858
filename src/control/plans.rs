//! Plans by digest, read once and kept.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    model::{Digest, TenantId},
    ports::{Store, StoreError},
    runbook::Plan,
};

/// More plans than this are not kept; the cache starts anew.
const KEPT: usize = 1_000;

/// Why a run's plan cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("plan {0} is not in the store")]
    Missing(Digest),
    #[error("plan {0} is not what its digest says: the store is damaged or was tampered with")]
    Damaged(Digest),
    #[error("plan {digest} cannot be read by this version: {why}")]
    Unreadable { digest: Digest, why: String },
}

type Known = HashMap<(TenantId, Digest), Arc<Plan>>;

/// A cache of linked plans. Cheap to clone.
#[derive(Clone)]
pub struct Plans {
    store: Arc<dyn Store>,
    known: Arc<Mutex<Known>>,
}

impl std::fmt::Debug for Plans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plans").finish_non_exhaustive()
    }
}

impl Plans {
    pub fn new(store: Arc<dyn Store>) -> Plans {
        Plans { store, known: Arc::default() }
    }

    pub async fn get(&self, tenant: TenantId, digest: Digest) -> Result<Arc<Plan>, PlanError> {
        if let Some(plan) = self.cached(tenant, digest) {
            return Ok(plan);
        }
        let json = self.store.plan(tenant, digest).await?.ok_or(PlanError::Missing(digest))?;
        if Digest::of(&json) != digest {
            return Err(PlanError::Damaged(digest));
        }
        let plan = Plan::from_json(&json).map_err(|error| PlanError::Unreadable { digest, why: error.to_string() })?;
        let plan = Arc::new(plan);
        self.keep(tenant, digest, plan.clone());
        Ok(plan)
    }

    /// Stores a plan with its source, unless it is known already.
    pub async fn put(&self, tenant: TenantId, plan: &Arc<Plan>, source: &str) -> Result<Digest, StoreError> {
        let json = plan.to_json();
        let digest = Digest::of(&json);
        if self.cached(tenant, digest).is_none() {
            self.store.put_plan(tenant, digest, &json, source).await?;
            self.keep(tenant, digest, plan.clone());
        }
        Ok(digest)
    }

    fn cached(&self, tenant: TenantId, digest: Digest) -> Option<Arc<Plan>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&(tenant, digest)).cloned()
    }

    fn keep(&self, tenant: TenantId, digest: Digest, plan: Arc<Plan>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert((tenant, digest), plan);
    }
}
