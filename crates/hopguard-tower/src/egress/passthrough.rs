//! The passthrough block: no credential leaves but the one granted for its destination.
//!
//! ```
//! use std::convert::Infallible;
//! use std::sync::Arc;
//!
//! use hopguard_audit::TracingSink;
//! use hopguard_client::{HttpTransport, SigningKey, Spawn, SystemClock};
//! use hopguard_core::{Audit, Clock, Ledger};
//! use hopguard_tower::{Hop, PassthroughLayer, VerifyLayer};
//! use hopguard_verify::{Issuer, Verifier};
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let audit = Audit::new("orders", "1", Arc::new(TracingSink));
//! # let key = SigningKey::generate_es256()?;
//! # let keys = serde_json::json!({ "keys": [key.public_jwk()] }).to_string();
//! # let transport = Arc::new(HttpTransport::builder().build()?);
//! # let verifier = Verifier::builder(transport, SystemClock::shared(), Spawn::current())
//! #     .issuer(Issuer::at("https://sts.internal").keys_fixed(&keys))
//! #     .build()?;
//! # let now = SystemClock.now().as_secs();
//! # let token = key.sign_jwt("at+jwt", &serde_json::json!({
//! #     "iss": "https://sts.internal", "sub": "alice", "aud": "https://orders.internal", "client_id": "web",
//! #     "iat": now, "exp": now + 60, "jti": "1",
//! # }))?;
//! // One ledger for both directions: what came in is what is looked for.
//! let hop = Hop::new(&Ledger::bounded(), &audit, SystemClock::shared());
//! let peer = ServiceBuilder::new()
//!     .layer(PassthroughLayer::new(&hop))
//!     .service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new(String::new())) });
//!
//! // A token comes in ...
//! let service = ServiceBuilder::new()
//!     .layer(VerifyLayer::new(&hop, verifier))
//!     .service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new(String::new())) });
//! let inbound = Request::get("/").header("authorization", format!("Bearer {}", *token)).body(String::new())?;
//! assert_eq!(service.oneshot(inbound).await?.status(), 200);
//!
//! // ... and must not go out again, whatever the header is called.
//! let leak = Request::get("https://peer.internal/").header("x-api-key", token.as_str()).body(String::new())?;
//! assert_eq!(peer.clone().oneshot(leak).await.unwrap_err().code(), "passthrough_blocked");
//! let innocent = Request::get("https://peer.internal/").header("x-api-key", "17").body(String::new())?;
//! assert_eq!(peer.oneshot(innocent).await?.status(), 200);
//! # Ok(()) }
//! ```
//!
//! In front of any client it compares, by value, every header and the request target with the live
//! credentials of the ledger and the caller's own token.
//!
//! # Readiness
//!
//! It decides in `call` and forwards `poll_ready`.
//!
//! # Security
//!
//! It must be the innermost layer: what is added below it is not seen. Bodies are not looked through. See
//! [`Scanner`] for the encodings that are undone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hopguard_core::{Audit, Clock, Decision, Destination, Fault, Finding, FindingKind, Ledger, Scanner};
use http::{Request, request};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::error::EgressError;
use super::outgoing::{Matched, Outgoing};
use super::subject::OnBehalfOf;
use crate::Hop;
use crate::answer::Refused;

/// Makes [`Passthrough`] services.
#[derive(Clone, Debug)]
pub struct PassthroughLayer {
    hop: Hop,
    announce: bool,
    declared: Vec<(Destination, Arc<str>)>,
}

impl PassthroughLayer {
    /// Blocks what the ledger of `hop` holds and the destination was not granted.
    #[must_use]
    pub fn new(hop: &Hop) -> Self {
        Self { hop: hop.clone(), announce: true, declared: Vec::new() }
    }

    /// Calls to the origin of `url` may carry, in an authorization header, a JWT whose audience is `audience`
    /// and nothing else. For credentials that are attached above this layer by something other than an
    /// [`ExchangeLayer`](crate::ExchangeLayer), whose routes declare their own. An origin that is declared
    /// for nothing may carry no JWT there; a `url` that is none declares nothing.
    #[must_use]
    pub fn declare(mut self, url: &str, audience: &str) -> Self {
        if let Some(destination) = url.parse().ok().as_ref().and_then(Destination::of) {
            self.declared.push((destination, audience.into()));
        }
        self
    }

    /// Without an inbound side: nothing fills the ledger, so that only JWTs in authorization headers are
    /// judged, by their audience.
    #[must_use]
    pub fn dangerous_unlinked(audit: &Audit, clock: Arc<dyn Clock>) -> Self {
        Self::new(&Hop::new(&Ledger::bounded(), audit, clock))
    }

    /// Inside a complete stack, whose last step writes the one event of the sending.
    pub(super) fn within(hop: &Hop) -> Self {
        Self { announce: false, ..Self::new(hop) }
    }
}

impl<S> Layer<S> for PassthroughLayer {
    type Service = Passthrough<S>;

    fn layer(&self, inner: S) -> Passthrough<S> {
        Passthrough { inner, layer: self.clone() }
    }
}

/// Looks through each outgoing request; see the module docs.
#[derive(Clone, Debug)]
pub struct Passthrough<S> {
    inner: S,
    layer: PassthroughLayer,
}

impl<S, B> Service<Request<B>> for Passthrough<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = EgressError<S::Error>;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(EgressError::Peer)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        match self.layer.judge(&parts) {
            Ok(()) => ResponseFuture::Passed { future: self.inner.call(Request::from_parts(parts, body)) },
            Err(refused) => ResponseFuture::Blocked { refused: Some(refused) },
        }
    }
}

impl PassthroughLayer {
    fn judge(&self, parts: &request::Parts) -> Result<(), Refused> {
        let hop = &self.hop;
        let alone;
        let matched: &Matched = match parts.extensions.get::<Outgoing>() {
            Some(outgoing) => &outgoing.0,
            None => {
                let subject = OnBehalfOf::of(&parts.extensions).cloned();
                alone = Matched {
                    destination: Destination::of(&parts.uri),
                    ..Matched::new(hop.begin(&parts.headers), subject)
                };
                &alone
            }
        };
        // The route was chosen for a destination; a layer in between may not have changed it.
        let destination = Destination::of(&parts.uri)
            .filter(|found| Some(found) == matched.destination.as_ref())
            .ok_or_else(|| matched.refuse(hop, "passthrough", Fault::TargetUnreadable.into()))?;
        let mut scanner = Scanner::new(hop.ledger(), &destination, hop.now());
        if let Some(caller) = &matched.subject {
            scanner = scanner.with_own(caller.facts());
        }
        if let Some(value) = &matched.attached {
            scanner = scanner.with_attached(value);
        }
        let declared = self.declared.iter().find(|(origin, _)| *origin == destination);
        if let Some(requested) = &matched.requested {
            scanner = scanner.with_audience(&requested.audience);
        } else if let Some((_, audience)) = declared {
            scanner = scanner.with_audience(audience);
        }
        if let Err(finding) = scanner.scan(&parts.uri, &parts.headers) {
            return Err(block(matched, hop, &finding));
        }
        if self.announce {
            let event = matched.event(hop, "passthrough", Decision::Allow("passed"));
            let id = event.id;
            let full = |full| Refused { refusal: Fault::from(full).into(), event: id };
            hop.audit().write(event).map_err(full)?;
        }
        Ok(())
    }
}

/// Writes what was found and where, and refuses.
fn block(matched: &Matched, hop: &Hop, finding: &Finding) -> Refused {
    let fault = Fault::PassthroughBlocked;
    let mut event = matched.event(hop, "passthrough", Decision::Fault(fault));
    event.place = Some(finding.place.to_string().into());
    if let FindingKind::LiveCredential(fingerprint) = finding.kind {
        event.found = Some(fingerprint);
    }
    let refused = Refused { refusal: fault.into(), event: event.id };
    hop.audit().refusal(event);
    refused
}

pin_project! {
    /// The inner service's answer, or the refusal.
    #[project = ResponseProjection]
    #[derive(Debug)]
    pub enum ResponseFuture<F> {
        /// The inner service is at work.
        Passed { #[pin] future: F },
        /// Blocked.
        Blocked { refused: Option<Refused> },
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, EgressError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ResponseProjection::Passed { future } => future.poll(context).map_err(EgressError::Peer),
            ResponseProjection::Blocked { refused } => refused
                .take()
                .map_or(Poll::Pending, |refused| Poll::Ready(Err(EgressError::Refused(refused)))),
        }
    }
}
