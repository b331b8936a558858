//! Figures for Prometheus.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, response::Response, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::{health::Health, respond};
use crate::{
    control::{LaneCount, Runs},
    ports::StoreError,
    system::Usage,
};

/// Upper bounds of the buckets, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// The same, of what should take no time.
const SHORT: [f64; 8] = [0.000_01, 0.000_1, 0.001, 0.01, 0.1, 0.5, 1.0, 5.0];

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Collects what the whole process counts.
#[derive(Clone)]
pub struct Metrics {
    handle: Arc<PrometheusHandle>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Begins to collect; once in a process.
    pub fn install() -> Result<Metrics, String> {
        let named = |name: &str| Matcher::Full(name.to_owned());
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(named("http_request_duration_seconds"), &BUCKETS)
            .and_then(|builder| builder.set_buckets_for_metric(named("opsroom_database_acquire_seconds"), &SHORT))
            .and_then(|builder| builder.set_buckets_for_metric(named("opsroom_database_statement_seconds"), &BUCKETS));
        let recorder = builder.map_err(|error| error.to_string())?.build_recorder();
        let handle = Arc::new(recorder.handle());
        metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
        describe();
        metrics::gauge!("opsroom_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        metrics::gauge!("opsroom_sse_subscribers").set(0.0);
        Ok(Metrics { handle })
    }

    /// Folds what was collected, so that it does not grow; to be called every few seconds.
    pub fn fold(&self) {
        self.handle.run_upkeep();
    }

    fn render(&self) -> String {
        if let Some(usage) = Usage::of_process() {
            metrics::gauge!("process_resident_memory_bytes").set(usage.resident as f64);
            metrics::gauge!("process_open_fds").set(usage.descriptors as f64);
            metrics::gauge!("process_threads").set(usage.threads as f64);
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            metrics::gauge!("opsroom_tasks").set(runtime.metrics().num_alive_tasks() as f64);
        }
        self.handle.render()
    }
}

fn describe() {
    metrics::describe_counter!("http_requests_total", "Requests by route, method and status.");
    metrics::describe_histogram!("http_request_duration_seconds", "From the head of a request to that of its answer.");
    metrics::describe_counter!("opsroom_runs_ended_total", "Runs that this process has brought to an end, by status.");
    metrics::describe_counter!("opsroom_store_errors_total", "Errors of the store that requests met, by kind.");
    metrics::describe_gauge!("opsroom_sse_subscribers", "Open event streams.");
    metrics::describe_gauge!("opsroom_tasks", "Tasks of the process that have not ended.");
    metrics::describe_gauge!("opsroom_lane_queued", "Runs that wait in a lane.");
    metrics::describe_gauge!("opsroom_lane_running", "Runs of a lane that have an owner.");
    metrics::describe_histogram!("opsroom_database_acquire_seconds", "How long statements waited for a connection.");
    metrics::describe_histogram!("opsroom_database_statement_seconds", "From sending a statement to its last row.");
    metrics::describe_counter!("opsroom_database_retries_total", "Statements that were sent again, by the reason.");
    metrics::describe_gauge!("opsroom_database_connections", "Connections to the database, by state: idle, used.");
    metrics::describe_gauge!("opsroom_database_cache_hit_ratio", "Share of the blocks that the server had in memory.");
    metrics::describe_gauge!("opsroom_database_lock_waits", "Sessions on the database that wait for a lock.");
    metrics::describe_gauge!("opsroom_database_deadlocks", "Deadlocks that the server has broken up.");
    metrics::describe_gauge!("opsroom_build_info", "Always 1; the label tells the version.");
}

/// Notes one request.
pub fn request(route: &str, method: &str, status: u16, took: Duration) {
    let (route, method) = (route.to_owned(), method.to_owned());
    let labels = [("route", route), ("method", method)];
    metrics::histogram!("http_request_duration_seconds", &labels).record(took.as_secs_f64());
    let [(_, route), (_, method)] = labels;
    metrics::counter!("http_requests_total", "route" => route, "method" => method, "status" => status.to_string())
        .increment(1);
}

/// Notes an error of the store that a request met.
pub fn store_error(error: &StoreError) {
    let kind = match error {
        StoreError::Busy(_) => "busy",
        StoreError::Refused(_) => "refused",
        StoreError::Full(_) => "full",
        StoreError::Corrupt { .. } => "corrupt",
        StoreError::Unavailable(_) => "unavailable",
    };
    metrics::counter!("opsroom_store_errors_total", "kind" => kind).increment(1);
}

pub fn routes(metrics: Metrics, runs: Runs, health: Health) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state((metrics, runs, health))
}

/// `GET /metrics`. Figures of a store that cannot be read stay as they were.
async fn scrape(State((metrics, runs, health)): State<(Metrics, Runs, Health)>) -> Response {
    health.gauge().await;
    match runs.lanes().await {
        Ok(lanes) => lanes.iter().for_each(|(count, _)| lane(count)),
        Err(error) => tracing::warn!(%error, "the lanes could not be counted"),
    }
    respond::text(TEXT, metrics.render())
}

fn lane(count: &LaneCount) {
    metrics::gauge!("opsroom_lane_queued", "lane" => count.lane.as_str()).set(count.queued as f64);
    metrics::gauge!("opsroom_lane_running", "lane" => count.lane.as_str()).set(count.running as f64);
}
