//! Answers of writes by their keys.

use async_trait::async_trait;

use super::MemoryStore;
use crate::{
    model::{Micros, TenantId},
    ports::{IdempotencyStore, IdempotentAnswer, StoreError},
};

#[async_trait]
impl IdempotencyStore for MemoryStore {
    async fn idempotent_answer(&self, tenant: TenantId, key: &str) -> Result<Option<IdempotentAnswer>, StoreError> {
        Ok(self.state().answers.get(&(tenant, key.to_owned())).cloned())
    }

    async fn put_idempotent_answer(
        &self,
        tenant: TenantId,
        key: &str,
        answer: &IdempotentAnswer,
    ) -> Result<(), StoreError> {
        self.state().answers.entry((tenant, key.to_owned())).or_insert_with(|| answer.clone());
        Ok(())
    }

    async fn prune_idempotent_answers(&self, before: Micros, limit: usize) -> Result<usize, StoreError> {
        let mut state = self.state();
        let mut old: Vec<_> = state
            .answers
            .iter()
            .filter(|(_, answer)| answer.created_at < before)
            .map(|(key, answer)| (answer.created_at, key.clone()))
            .collect();
        old.sort_by_key(|(at, _)| *at);
        old.truncate(limit);
        for (_, key) in &old {
            state.answers.remove(key);
        }
        Ok(old.len())
    }
}
