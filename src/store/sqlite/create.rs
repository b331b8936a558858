//! Creating runs and sessions, once for each key.

use std::collections::BTreeSet;

use sqlx::sqlite::SqliteArguments;

use super::{
    SqliteStore,
    arguments::{self, Hex, arguments, id},
    errors::{is_unmatched, store_error},
    inserts, rows,
};
use crate::{
    model::{SessionId, TenantId},
    ports::{Creation, Idempotency, IdempotencyStore, NewRun, SessionRow, StoreError},
};

/// How often a script may not hold although nothing seems to be in its way.
const PATIENCE: usize = 3;

pub(super) async fn runs(
    store: &SqliteStore,
    runs: &[NewRun],
    idempotency: Option<&Idempotency>,
) -> Result<Creation, StoreError> {
    let named: BTreeSet<(SessionId, TenantId)> =
        runs.iter().filter_map(|run| run.session.map(|session| (session, run.tenant))).collect();
    let pairs: Vec<(Hex, Hex)> = named.iter().map(|(session, tenant)| (Hex(session.0), Hex(tenant.0))).collect();
    let key = Columns::of(idempotency);
    let arguments = arguments!(
        inserts::runs_json(runs)?,
        inserts::openings_json(runs),
        inserts::labels_json(runs),
        arguments::json(&pairs),
        key.tenant,
        key.key,
        key.digest,
        key.status,
        key.body,
        key.at,
    );
    for _ in 0..PATIENCE {
        if write(store, include_str!("queries/create_runs.sql"), arguments.clone()).await? {
            return Ok(Creation::Created);
        }
        if let Some(answer) = known(store, idempotency).await? {
            return Ok(answer);
        }
        for (session, tenant) in &named {
            if let Some(answer) = closed(store, *tenant, *session).await? {
                return Ok(answer);
            }
        }
    }
    Err(unsettled())
}

pub(super) async fn session(
    store: &SqliteStore,
    session: &SessionRow,
    idempotency: Option<&Idempotency>,
) -> Result<Creation, StoreError> {
    let key = Columns::of(idempotency);
    let arguments = arguments!(
        id(session.id.0),
        id(session.tenant.0),
        session.name.clone(),
        arguments::json(&session.labels),
        session.created_at.0,
        session.created_by.clone(),
        key.key,
        key.digest,
        key.status,
        key.body,
        key.at,
    );
    for _ in 0..PATIENCE {
        if write(store, include_str!("queries/create_session.sql"), arguments.clone()).await? {
            return Ok(Creation::Created);
        }
        if let Some(answer) = known(store, idempotency).await? {
            return Ok(answer);
        }
    }
    Err(unsettled())
}

/// The columns of `idempotency_keys`, NULL without a key.
#[derive(Default)]
struct Columns {
    tenant: Option<Vec<u8>>,
    key: Option<String>,
    digest: Option<Vec<u8>>,
    status: Option<i64>,
    body: Option<Vec<u8>>,
    at: Option<i64>,
}

impl Columns {
    fn of(idempotency: Option<&Idempotency>) -> Columns {
        let Some(Idempotency { tenant, key, answer }) = idempotency else { return Columns::default() };
        Columns {
            tenant: Some(id(tenant.0)),
            key: Some(key.clone()),
            digest: Some(answer.request.0.to_vec()),
            status: Some(i64::from(answer.status)),
            body: Some(answer.body.clone()),
            at: Some(answer.created_at.0),
        }
    }
}

/// Whether the script was carried out; not if one of its conditions does not hold.
async fn write(store: &SqliteStore, sql: &'static str, arguments: SqliteArguments) -> Result<bool, StoreError> {
    match store.writer.script(sql, arguments).await {
        Ok(_) => Ok(true),
        Err(error) if is_unmatched(&error) => Ok(false),
        Err(error) => Err(store_error(&error)),
    }
}

/// What a known key answers.
async fn known(store: &SqliteStore, idempotency: Option<&Idempotency>) -> Result<Option<Creation>, StoreError> {
    let Some(wanted) = idempotency else { return Ok(None) };
    let stored = store.idempotent_answer(wanted.tenant, &wanted.key).await?;
    Ok(stored.map(|stored| {
        if stored.request == wanted.answer.request { Creation::Replayed(stored) } else { Creation::Mismatched }
    }))
}

/// Why a session takes no runs.
async fn closed(store: &SqliteStore, tenant: TenantId, session: SessionId) -> Result<Option<Creation>, StoreError> {
    let arguments = arguments!(id(tenant.0), id(session.0));
    let rows = store.read(include_str!("queries/session.sql"), arguments).await?;
    Ok(match rows.first() {
        None => Some(Creation::NoSession(session)),
        Some(row) => rows::session(row)?.archived_at.map(|_| Creation::SessionArchived(session)),
    })
}

fn unsettled() -> StoreError {
    StoreError::Busy("what the request depends on does not come to rest".to_owned())
}
