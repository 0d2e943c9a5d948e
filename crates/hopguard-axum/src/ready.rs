//! May traffic be routed here? For whoever routes it.
//!
//! ```
//! use axum::Router;
//! use hopguard_axum::{Protect, Protected, ready};
//! use hopguard_tower::{Inbound, OpenPaths};
//!
//! fn service(guard: &Inbound, router: Router) -> Protected {
//!     guard.protect(router.route("/ready", ready(guard)), OpenPaths::paths(["/ready"]))
//! }
//! # let _ = service;
//! ```

use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use futures_util::FutureExt;
use hopguard_tower::Inbound;
use http::StatusCode;
use http::header::{CACHE_CONTROL, RETRY_AFTER};

/// Answers 200 while there are usable keys of every issuer, else 503; mount it on an open path.
///
/// A service that gets no traffic fetches no keys, so asking is what makes it begin: a probe starts the fetch that
/// [`warm_up`](hopguard_tower::Inbound::verifier) would, and does not wait for it. However often it is asked, an issuer
/// hears no more than one request each second. It is ready through an issuer's outage for as long as the keys may
/// serve, and says to strangers no more than ready or not: which issuer is at fault stands in the log, the metrics
/// and [`key_sets`](hopguard_tower::Inbound::verifier).
pub fn ready<S: Clone + Send + Sync + 'static>(guard: &Inbound) -> MethodRouter<S> {
    let verifier = guard.verifier().clone();
    get(move || {
        if !verifier.is_ready() {
            // Begins in a task of its own what this first poll asks for.
            let _begun = verifier.warm_up().now_or_never();
        }
        let ready = verifier.is_ready();
        async move {
            if ready {
                ([(CACHE_CONTROL, "no-store")], "ready").into_response()
            } else {
                let headers = [(CACHE_CONTROL, "no-store"), (RETRY_AFTER, "1")];
                (StatusCode::SERVICE_UNAVAILABLE, headers, "not ready").into_response()
            }
        }
    })
}
