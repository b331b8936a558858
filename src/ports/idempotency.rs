//! Answers of writes, kept so that a repeated request gets the first one again.

use async_trait::async_trait;

use super::StoreError;
use crate::model::{Digest, Micros, TenantId};

/// What a write answered, and what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotentAnswer {
    /// Of the method, the path and query, and the body. Another digest under the same key is another request.
    pub request: Digest,
    /// The HTTP status.
    pub status: u16,
    /// The body of the answer, as it was sent.
    pub body: Vec<u8>,
    pub created_at: Micros,
}

/// Answers by tenant and key. Rows are kept until they are pruned, 24 hours at the least.
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// The answer kept under a key.
    async fn idempotent_answer(&self, tenant: TenantId, key: &str) -> Result<Option<IdempotentAnswer>, StoreError>;

    /// Keeps an answer; one that is there already stays.
    async fn put_idempotent_answer(
        &self,
        tenant: TenantId,
        key: &str,
        answer: &IdempotentAnswer,
    ) -> Result<(), StoreError>;

    /// Removes answers that were kept before `before`, at most `limit`; answers how many.
    async fn prune_idempotent_answers(&self, before: Micros, limit: usize) -> Result<usize, StoreError>;
}
