//! Answers of writes by their keys.

use async_trait::async_trait;
use sqlx::FromRow;

use super::{
    PgStore,
    arguments::{self, arguments},
    records::decode,
    types::{At, stored},
};
use crate::{
    model::{Digest, Micros, TenantId},
    ports::{IdempotencyStore, IdempotentAnswer, StoreError},
    store::place::Place,
};

#[derive(Debug, FromRow)]
struct AnswerRecord {
    body_digest: Vec<u8>,
    status: i32,
    body: Vec<u8>,
    created_at: At,
}

impl TryFrom<AnswerRecord> for IdempotentAnswer {
    type Error = StoreError;

    fn try_from(record: AnswerRecord) -> Result<IdempotentAnswer, StoreError> {
        let at = Place { table: "idempotency_keys", row: format!("created at {}", record.created_at.0) };
        Ok(IdempotentAnswer {
            request: at.digest("body_digest", record.body_digest)?,
            status: at.number("status", record.status.into())?,
            body: record.body,
            created_at: record.created_at.0,
        })
    }
}

#[async_trait]
impl IdempotencyStore for PgStore {
    async fn idempotent_answer(&self, tenant: TenantId, key: &str) -> Result<Option<IdempotentAnswer>, StoreError> {
        let arguments = arguments!(tenant.0, stored(key).into_owned());
        let rows = self.rows(include_str!("queries/idempotent_answer.sql"), arguments).await?;
        rows.first().map(decode::<AnswerRecord, _>).transpose()
    }

    async fn put_idempotent_answer(
        &self,
        tenant: TenantId,
        key: &str,
        answer: &IdempotentAnswer,
    ) -> Result<(), StoreError> {
        let Digest(request) = answer.request;
        let arguments = arguments!(
            tenant.0,
            stored(key).into_owned(),
            request.to_vec(),
            i32::from(answer.status),
            answer.body.clone(),
            At(answer.created_at)
        );
        self.execute(include_str!("queries/put_idempotent_answer.sql"), arguments).await
    }

    async fn prune_idempotent_answers(&self, before: Micros, limit: usize) -> Result<usize, StoreError> {
        let arguments = arguments!(At(before), arguments::limit(limit));
        let rows = self.rows(include_str!("queries/prune_idempotent_answers.sql"), arguments).await?;
        Ok(rows.len())
    }
}
