//! How signals are stored, in all databases alike: a word and JSON.

use serde::{Deserialize, Serialize};

use crate::ports::SignalKind;

/// What `run_signals.data` holds for a cancel.
#[derive(Serialize, Deserialize)]
struct Cancel {
    by: String,
    reason: String,
    force: bool,
}

/// What `run_signals.data` holds for a resolve.
#[derive(Serialize, Deserialize)]
struct Resolve {
    step: String,
    verdict: String,
    by: String,
    note: String,
}

const CANCEL: &str = "cancel";
const RESOLVE: &str = "resolve";

/// The word and the data of a signal.
pub fn signal_parts(kind: &SignalKind) -> (&'static str, String) {
    match kind.clone() {
        SignalKind::Cancel { by, reason, force } => (CANCEL, json(&Cancel { by, reason, force })),
        SignalKind::Resolve { step, verdict, by, note } => (RESOLVE, json(&Resolve { step, verdict, by, note })),
    }
}

/// The signal of a word and data; the error says what is wrong with them.
pub fn signal_kind(word: &str, data: &str) -> Result<SignalKind, (&'static str, String)> {
    let wrong = |why: serde_json::Error| ("data", why.to_string());
    match word {
        CANCEL => serde_json::from_str(data)
            .map(|Cancel { by, reason, force }| SignalKind::Cancel { by, reason, force })
            .map_err(wrong),
        RESOLVE => serde_json::from_str(data)
            .map(|Resolve { step, verdict, by, note }| SignalKind::Resolve { step, verdict, by, note })
            .map_err(wrong),
        other => Err(("kind", format!("`{other}` is not a signal"))),
    }
}

fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).unwrap_or_else(|why| unreachable!("plain data has a JSON form: {why}"))
}
