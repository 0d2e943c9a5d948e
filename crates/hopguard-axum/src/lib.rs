//! hopguard for `axum`: wraps a finished router, hands the caller to handlers, renders refusals as
//! `application/problem+json`. It must make no security decision.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use hopguard_axum::{Caller, Protect};
//! use hopguard_tower::{Inbound, OpenPaths};
//!
//! # async fn serve(guard: Inbound) -> std::io::Result<()> {
//! async fn order(caller: Caller) -> String {
//!     format!("an order of {}", caller.facts().subject)
//! }
//!
//! let router = Router::new().route("/orders/{id}", get(order)).route("/health", get(|| async { "ok" }));
//! let service = guard.protect(router, OpenPaths::paths(["/health"]));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, service).await
//! # }
//! ```

mod listener;
mod protect;
mod caller;
mod rejection;
mod problem;
mod route;
mod ready;

pub use caller::{Caller, CallerMissing};
pub use listener::TimedListener;
pub use protect::{Protect, Protected};
pub use ready::ready;
pub use rejection::EgressRejection;
pub use route::{NameRoutes, NamedRoute};
