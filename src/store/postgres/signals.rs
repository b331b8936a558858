//! What the outside tells a run.

use sqlx::postgres::PgRow;

use super::{
    PgStore,
    arguments::arguments,
    errors::{is_uncertain, store_error},
    link::Patience,
    reads, rows,
    types::{At, stored_json},
};
use crate::{
    model::{Micros, RunId, RunStatus, WaitingOn},
    ports::{SignalKind, SignalRow, StoreError},
    store::signal::signal_parts,
};

/// Appends a signal, once: where the answer of a try was lost, the signal is looked for before it is sent again.
pub(super) async fn signal(
    store: &PgStore,
    run: RunId,
    kind: &SignalKind,
    at: Micros,
) -> Result<Option<Result<SignalRow, RunStatus>>, StoreError> {
    let (word, data) = signal_parts(kind);
    let arguments =
        arguments!(run.0, At(at), word, stored_json(data), RunStatus::Queued.as_str(), WaitingOn::Capacity.as_str());
    let sql = include_str!("queries/signal.sql");
    let mut patience = Patience::new();
    loop {
        let error = match store.link.once(sql, arguments.clone()).await {
            Ok(answer) => match told(run, &answer)? {
                None => return Ok(None),
                Some((_, Some(seq))) => return Ok(Some(Ok(SignalRow { run, seq, at, kind: kind.clone() }))),
                Some((status, None)) if status.is_ended() => return Ok(Some(Err(status))),
                // It ended after the statement began, which saw that only when it came to write: look again.
                Some(_) => continue,
            },
            Err(error) => error,
        };
        if !patience.again(&error).await {
            return Err(store_error(&error));
        }
        if is_uncertain(&error)
            && let Some(said) = said(store, run, kind, at).await?
        {
            return Ok(Some(Ok(said)));
        }
    }
}

/// The answer of `signal.sql`; none where there is no such run.
fn told(run: RunId, answer: &[PgRow]) -> Result<Option<(RunStatus, Option<i64>)>, StoreError> {
    answer.first().map(|row| rows::status_and_seq(run, row)).transpose()
}

/// The signal, if the run has it already.
async fn said(store: &PgStore, run: RunId, kind: &SignalKind, at: Micros) -> Result<Option<SignalRow>, StoreError> {
    let signals = reads::signals(store, run, 0).await?;
    Ok(signals.into_iter().rev().find(|signal| signal.at == at && signal.kind == *kind))
}
