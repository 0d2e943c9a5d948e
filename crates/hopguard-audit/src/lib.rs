//! The sinks for hopguard's audit events: `tracing`, a JSON Lines file, a tamper-evident log, or several at
//! once. This crate must never block a request, lose an event without saying so, or make a decision of its
//! own.
//!
//! | sink | an event is | if there is no room |
//! | --- | --- | --- |
//! | [`TracingSink`] | one `tracing` event, its level by the decision | there always is; what is filtered is gone |
//! | [`JsonLines`] | one line, written by a thread of its own | refused before anything happens, or counted |
//! | [`DurableLog`] | one line of a log that shows what was done to it, durable by one `fsync` per batch | as above |
//! | [`Fanout`] | handed to each of several sinks | refused if any of them refuses |
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use hopguard_audit::{Fanout, JsonLines, TracingSink};
//! use hopguard_core::Audit;
//!
//! let file = JsonLines::at("/var/log/orders/audit.jsonl").open()?;
//! let sinks = Fanout::new(vec![Arc::new(TracingSink), Arc::new(file)]);
//! let audit = Audit::new("orders", "orders-1", Arc::new(sinks));
//! # let _ = audit;
//! # Ok::<(), hopguard_core::ConfigErrors>(())
//! ```
//!
//! # Security
//!
//! Events hold fingerprints, never token bytes, but they hold subjects: the file is made readable by its
//! owner only. A line that [`JsonLines`] wrote survives the process; whether it survives a loss of power is up to
//! the operating system. A record of [`DurableLog`] survives both.

mod tracing_sink;
mod json_lines;
mod durable;
mod fanout;
pub mod lineage;
#[cfg(test)]
mod events_for_tests;

pub use durable::{
    DurableLog, DurableLogBuilder, Finding, FindingKind, LogKey, LogVerifier, Verification, verify,
};
pub use fanout::Fanout;
pub use json_lines::{JsonLines, JsonLinesBuilder, Mended, Promise, QueueStatus};
pub use tracing_sink::TracingSink;
