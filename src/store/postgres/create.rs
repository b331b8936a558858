//! Creating runs, once for each key.

use std::collections::BTreeSet;

use sqlx::{Arguments as _, postgres::PgArguments};
use uuid::Uuid;

use super::{
    PgStore,
    arguments::{self, arguments, extend},
    errors::{constraint, store_error},
    inserts::{Events, Labels, column, number, texts},
    records::scalar,
    types::{At, stored},
};
use crate::{
    model::{SessionId, TenantId, WaitingOn},
    ports::{Creation, Idempotency, IdempotencyStore, NewRun, RunBirth, StoreError},
    store::check,
};

/// How often a statement may create nothing although nothing seems to be in its way.
const PATIENCE: usize = 3;

pub(super) async fn runs(
    store: &PgStore,
    runs: &[NewRun],
    idempotency: Option<&Idempotency>,
) -> Result<Creation, StoreError> {
    runs.iter().try_for_each(check::new_run)?;
    let named: BTreeSet<(SessionId, TenantId)> =
        runs.iter().filter_map(|run| run.session.map(|session| (session, run.tenant))).collect();
    let (sql, arguments) = match runs {
        [run] if is_alone(run) && idempotency.is_none() => (include_str!("queries/create_alone.sql"), alone(run)?),
        many => (include_str!("queries/create_runs.sql"), arguments_of(many, &named, idempotency)?),
    };
    for _ in 0..PATIENCE {
        let sent = store.link.send(sql, arguments.clone()).await;
        match sent.rows {
            Ok(rows) if !rows.is_empty() => return Ok(Creation::Created),
            Ok(_) => {}
            // The answer of an earlier try was lost, and these are its runs. Which of their rows the server refuses
            // first is not said anywhere: a label as well as the run.
            Err(error) if sent.uncertain && constraint(&error).is_some() => {
                return if are_there(store, runs).await? { Ok(Creation::Created) } else { Err(store_error(&error)) };
            }
            Err(error) => return Err(store_error(&error)),
        }
        if let Some(answer) = known(store, idempotency, sent.uncertain).await? {
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

/// Nobody else makes runs with these ids, tenants and times: they are the caller's own.
async fn are_there(store: &PgStore, runs: &[NewRun]) -> Result<bool, StoreError> {
    let arguments = arguments!(
        column(runs, |run| run.id.0),
        column(runs, |run| run.tenant.0),
        column(runs, |run| At(run.created_at))
    );
    let rows = store.rows(include_str!("queries/are_there.sql"), arguments).await?;
    let count: i64 = scalar(&rows)?.unwrap_or(0);
    Ok(usize::try_from(count).is_ok_and(|count| count == runs.len()))
}

/// Whether only its own two rows are to be written.
fn is_alone(run: &NewRun) -> bool {
    run.session.is_none() && run.labels.is_empty() && run.opening.is_empty()
}

/// The arguments of `create_alone.sql`, in its order.
fn alone(run: &NewRun) -> Result<PgArguments, StoreError> {
    let birth = run.birth();
    Ok(arguments!(
        run.id.0,
        run.tenant.0,
        run.lane.as_str(),
        run.priority,
        birth.status.as_str(),
        birth.waiting_on.map(WaitingOn::as_str),
        birth.claimable,
        birth.epoch.0,
        run.claimed_by.map(|worker| worker.0),
        run.claimed_by.map(|_| At(run.created_at)),
        At(run.created_at),
        number(birth.sequence_head),
        At(birth.stamp_head),
        birth.started_at.map(At),
        stored(&run.runbook),
        run.plan.0.to_vec(),
        i64::from(run.steps_total),
        stored(&run.trigger.kind),
        stored(&run.trigger.actor),
        arguments::json(&run.labels),
        arguments::json(&run.params),
        run.runbook_version.map(i64::from),
    ))
}

/// The arguments of `create_runs.sql`, in its order.
fn arguments_of(
    runs: &[NewRun],
    named: &BTreeSet<(SessionId, TenantId)>,
    idempotency: Option<&Idempotency>,
) -> Result<PgArguments, StoreError> {
    let births: Vec<RunBirth> = column(runs, NewRun::birth);
    let events = Events::of(runs.iter().map(|run| (run.id, &*run.opening)));
    let labels = Labels::of(runs);
    let mut arguments = arguments!(
        column(runs, |run| run.id.0),
        column(runs, |run| run.tenant.0),
        column(runs, |run| run.lane.as_str()),
        column(runs, |run| run.priority),
        column(&births, |birth| birth.status.as_str()),
        column(&births, |birth| birth.waiting_on.map(WaitingOn::as_str)),
        column(&births, |birth| birth.claimable),
        column(&births, |birth| birth.epoch.0),
        column(runs, |run| run.claimed_by.map(|worker| worker.0)),
        column(runs, |run| run.claimed_by.map(|_| At(run.created_at))),
        column(runs, |run| At(run.created_at)),
        column(&births, |birth| number(birth.sequence_head)),
        column(&births, |birth| At(birth.stamp_head)),
        column(&births, |birth| birth.started_at.map(At)),
        column(runs, |run| run.session.map(|session| session.0)),
    );
    extend!(
        arguments,
        texts(runs, |run| &run.runbook),
        column(runs, |run| run.plan.0.to_vec()),
        column(runs, |run| i64::from(run.steps_total)),
        texts(runs, |run| &run.trigger.kind),
        texts(runs, |run| &run.trigger.actor),
        column(runs, |run| arguments::json(&run.labels)),
        column(runs, |run| arguments::json(&run.params)),
        column(runs, |run| run.runbook_version.map(i64::from)),
        events.runs,
        events.sequences,
        events.prevs,
        events.ats,
        events.categories,
        events.actions,
        events.data,
        labels.tenants,
        labels.names,
        labels.values,
        labels.runs,
        named.iter().map(|(session, _)| session.0).collect::<Vec<Uuid>>(),
        named.iter().map(|(_, tenant)| tenant.0).collect::<Vec<Uuid>>(),
    );
    add_key(&mut arguments, idempotency)?;
    Ok(arguments)
}

/// The columns of `idempotency_keys`: tenant, key, digest, status, body, time; NULL without a key.
fn add_key(arguments: &mut PgArguments, idempotency: Option<&Idempotency>) -> Result<(), StoreError> {
    let answer = idempotency.map(|key| &key.answer);
    let add = |result: Result<(), sqlx::error::BoxDynError>| result.map_err(|why| StoreError::Refused(why.to_string()));
    add(arguments.add(idempotency.map(|key| key.tenant.0)))?;
    add(arguments.add(idempotency.map(|key| stored(&key.key).into_owned())))?;
    add(arguments.add(answer.map(|answer| answer.request.0.to_vec())))?;
    add(arguments.add(answer.map(|answer| i32::from(answer.status))))?;
    add(arguments.add(answer.map(|answer| answer.body.clone())))?;
    add(arguments.add(answer.map(|answer| At(answer.created_at))))
}

/// What a known key answers. After a try of unknown end, the caller's own answer under the key says that it was
/// that try.
async fn known(
    store: &PgStore,
    idempotency: Option<&Idempotency>,
    uncertain: bool,
) -> Result<Option<Creation>, StoreError> {
    let Some(wanted) = idempotency else { return Ok(None) };
    let Some(kept) = store.idempotent_answer(wanted.tenant, &wanted.key).await? else { return Ok(None) };
    Ok(Some(match () {
        () if kept.request != wanted.answer.request => Creation::Mismatched,
        () if uncertain && kept == wanted.answer => Creation::Created,
        () => Creation::Replayed(kept),
    }))
}

/// Why a session takes no runs.
async fn closed(store: &PgStore, tenant: TenantId, session: SessionId) -> Result<Option<Creation>, StoreError> {
    let rows = store.rows(include_str!("queries/session_archived.sql"), arguments!(tenant.0, session.0)).await?;
    let Some(archived) = scalar(&rows)? else { return Ok(Some(Creation::NoSession(session))) };
    Ok(Some(Creation::SessionArchived(session)).filter(|_| archived))
}

fn unsettled() -> StoreError {
    StoreError::Busy("what the request depends on does not come to rest".to_owned())
}
