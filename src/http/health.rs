//! Whether the process lives, and whether it can take work.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, response::Response, routing::get};
use futures::future::join_all;
use serde::Serialize;
use serde_json::json;
use tokio::{sync::Mutex, time::Instant};

use super::{problem::Problem, respond};
use crate::ports::Probe;

/// How long an answer of the probes stands for the next ones.
const FRESH: Duration = Duration::from_secs(1);

/// A part that takes longer is not ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// The parts that must be usable. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    parts: Arc<[(&'static str, Arc<dyn Probe>)]>,
    /// One probing at a time; who comes meanwhile gets its answer.
    last: Arc<Mutex<Option<Checked>>>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.parts.iter().map(|(name, _)| name)).finish()
    }
}

/// What all parts said, and when.
type Checked = (Instant, Vec<Check>);

/// What became of one part's probe.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Health {
    pub fn new(parts: impl IntoIterator<Item = (&'static str, Arc<dyn Probe>)>) -> Health {
        Health { parts: parts.into_iter().collect(), last: Arc::default() }
    }

    /// Every part's state, at most a second old.
    pub async fn checks(&self) -> Vec<Check> {
        let mut last = self.last.lock().await;
        if let Some((at, checks)) = &*last
            && at.elapsed() < FRESH
        {
            return checks.clone();
        }
        let checks = join_all(self.parts.iter().map(|(name, part)| check(name, &**part))).await;
        *last = Some((Instant::now(), checks.clone()));
        checks
    }

    /// Brings the gauges of all parts up to date.
    pub async fn gauge(&self) {
        // Figures are not worth a long wait.
        let _ = tokio::time::timeout(PATIENCE, join_all(self.parts.iter().map(|(_, part)| part.gauge()))).await;
    }
}

async fn check(name: &'static str, part: &dyn Probe) -> Check {
    let (code, detail) = match tokio::time::timeout(PATIENCE, part.probe()).await {
        Ok(Ok(())) => return Check { name, ok: true, code: None, detail: None },
        Ok(Err(unready)) => (unready.code, unready.detail),
        Err(_) => ("TIMED_OUT", "it did not answer in time".to_owned()),
    };
    Check { name, ok: false, code: Some(code), detail: Some(detail) }
}

pub fn routes(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/health", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health)
}

async fn healthz() -> Result<Response, Problem> {
    respond::json(StatusCode::OK, &json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

async fn readyz(State(health): State<Health>) -> Result<Response, Problem> {
    let checks = health.checks().await;
    let ready = checks.iter().all(|check| check.ok);
    let (code, status) = if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    respond::json(code, &json!({"status": status, "checks": checks}))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::ports::Unready;

    /// Fails until it was asked so often, then never answers.
    struct Recovers(AtomicU32);

    #[async_trait::async_trait]
    impl Probe for Recovers {
        async fn probe(&self) -> Result<(), Unready> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Err(Unready { code: "STORE_FULL", detail: "no space".to_owned() }),
                1 => Ok(()),
                _ => std::future::pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_is_asked_once_a_second_and_its_next_success_counts() {
        let health = Health::new([("store", Arc::new(Recovers(AtomicU32::new(0))) as Arc<dyn Probe>)]);
        for _ in 0..3 {
            let check = health.checks().await.remove(0);
            assert_eq!((check.ok, check.code), (false, Some("STORE_FULL")));
        }
        tokio::time::advance(FRESH).await;
        assert!(health.checks().await[0].ok);
        tokio::time::advance(FRESH).await;
        assert_eq!(health.checks().await[0].code, Some("TIMED_OUT"));
    }
}
