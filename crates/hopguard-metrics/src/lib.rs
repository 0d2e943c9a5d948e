//! What hopguard decides and how it fares, for the `metrics` facade. It counts; it must decide nothing, and put
//! nothing into a label that is not from a closed set.
//!
//! Two parts, because what happens and how things stand are two matters: [`Metered`] stands in front of an audit sink
//! and counts the events that pass, and an [`Observer`] asks key sets, exchanger, ledger and logs how they stand, each
//! time that somebody wants to know. Every metric is one of [`METRICS`], and `docs/METRICS.md` of the repository says
//! what each means.
//!
//! ```
//! use std::sync::Arc;
//!
//! use hopguard_audit::TracingSink;
//! use hopguard_client::SystemClock;
//! use hopguard_core::{Audit, Clock, Decision, Direction, EventKind, Ledger};
//! use hopguard_metrics::{Metered, Observer};
//!
//! let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
//! let exporter = recorder.handle();
//! metrics::set_global_recorder(recorder)?; // before the next line: it fetches its handles
//! let sink = Metered::new(Arc::new(TracingSink));
//! let audit = Audit::new("orders", "orders-1", Arc::new(sink));
//! let ledger = Ledger::bounded();
//! let observer = Observer::new().ledger(&ledger); // also .inbound(&guard), .egress(&egress), .json_lines(..)
//!
//! // In earnest the stacks write it.
//! let now = SystemClock.unix_millis();
//! audit.write(audit.event(now, Direction::Inbound, EventKind::Decision, "inbound", Decision::Allow("admitted")))?;
//! observer.observe();
//! let page = exporter.render();
//! assert!(page.contains(r#"hopguard_inbound_decisions_total{decision="allow",code="admitted"} 1"#), "{page}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Cost
//!
//! Without this crate nothing is counted and nothing is paid. With it, an event costs one look-up, one addition and one
//! histogram sample more, and no allocation by this crate: the handles of all codes are fetched at the start.
//!
//! # Security
//!
//! Labels are codes of the closed registry, cache states, names of our own sinks, and issuers that the configuration
//! names: no subject, client, path, destination, nothing from a token. Whoever reads them still learns how busy a
//! service is and what it refuses: serve them on a listener of their own, not on an open path of the service.

mod list;
mod metered;
mod observer;

pub use list::{Kind, METRICS, Metric};
pub use metered::Metered;
pub use observer::Observer;
