//! Answers of writes by their keys.

use async_trait::async_trait;
use sqlx::FromRow;

use super::{
    SqliteStore,
    arguments::{self, arguments, id},
    rows::decode,
};
use crate::{
    model::{Digest, Micros, TenantId},
    ports::{IdempotencyStore, IdempotentAnswer, StoreError},
    store::place::Place,
};

#[derive(Debug, FromRow)]
struct AnswerRecord {
    body_digest: Vec<u8>,
    status: i64,
    body: Vec<u8>,
    created_at: i64,
}

impl TryFrom<AnswerRecord> for IdempotentAnswer {
    type Error = StoreError;

    fn try_from(record: AnswerRecord) -> Result<IdempotentAnswer, StoreError> {
        let at = Place { table: "idempotency_keys", row: format!("created at {}", Micros(record.created_at)) };
        let digest = record.body_digest.try_into().map_err(|_| at.corrupt("body_digest", "not 32 bytes"))?;
        Ok(IdempotentAnswer {
            request: Digest(digest),
            status: at.number("status", record.status)?,
            body: record.body,
            created_at: Micros(record.created_at),
        })
    }
}

#[async_trait]
impl IdempotencyStore for SqliteStore {
    async fn idempotent_answer(&self, tenant: TenantId, key: &str) -> Result<Option<IdempotentAnswer>, StoreError> {
        let arguments = arguments!(id(tenant.0), key.to_owned());
        let rows = self.read(include_str!("queries/idempotent_answer.sql"), arguments).await?;
        rows.first().map(decode::<AnswerRecord, _>).transpose()
    }

    async fn put_idempotent_answer(
        &self,
        tenant: TenantId,
        key: &str,
        answer: &IdempotentAnswer,
    ) -> Result<(), StoreError> {
        let arguments = arguments!(
            id(tenant.0),
            key.to_owned(),
            answer.request.0.to_vec(),
            i64::from(answer.status),
            answer.body.clone(),
            answer.created_at.0
        );
        self.write(include_str!("queries/put_idempotent_answer.sql"), arguments).await.map(drop)
    }

    async fn prune_idempotent_answers(&self, before: Micros, limit: usize) -> Result<usize, StoreError> {
        let arguments = arguments!(before.0, arguments::limit(limit));
        let rows = self.write(include_str!("queries/prune_idempotent_answers.sql"), arguments).await?;
        Ok(rows.len())
    }
}
