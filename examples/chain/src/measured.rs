//! A page of metrics for each service, for Prometheus to fetch.
//!
//! It stands on a listener of its own, on loopback: whoever reaches the service does not thereby learn how busy it is
//! and what it refuses, as an open path would tell everybody.
//!
//! Three services run in this one process, so that each has a recorder of its own. A service alone in its process would
//! call `metrics::set_global_recorder` once, and nothing else here would change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hopguard::{AuditSink, Inbound, Metered, Observer};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::net::TcpListener;

use crate::system::Failure;

/// How often samples are folded into the histograms while nobody fetches them.
const UPKEEP: Duration = Duration::from_secs(5);

/// What one service counts into.
pub struct Measured(PrometheusRecorder);

impl Measured {
    pub fn new() -> Self {
        Self(PrometheusBuilder::new().build_recorder())
    }

    /// `sink`, behind a counter of its events.
    pub fn counted(&self, sink: Arc<dyn AuditSink>) -> Arc<dyn AuditSink> {
        metrics::with_local_recorder(&self.0, || Arc::new(Metered::new(sink)))
    }

    /// Serves the page; the answer is its URL.
    pub async fn serve(&self, guard: &Inbound) -> Result<String, Failure> {
        let observer = metrics::with_local_recorder(&self.0, || Observer::new().inbound(guard));
        let (page, upkeep) = (self.0.handle(), self.0.handle());
        let render = move || {
            observer.observe();
            std::future::ready(([("content-type", "text/plain; version=0.0.4")], page.render()))
        };
        // Axum clones a handler for each request.
        let render = Arc::new(render);
        let router = Router::new().route("/metrics", get(move || render()));
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("http://{}/metrics", listener.local_addr()?);
        hopguard::Spawn::current().spawn(async move {
            let _ended = axum::serve(listener, router).await;
        });
        hopguard::Spawn::current().spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                upkeep.run_upkeep();
            }
        });
        Ok(url)
    }
}
