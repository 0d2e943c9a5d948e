//! The passthrough block: no credential leaves but the one granted for its destination.
//!
//! ```
//! use std::convert::Infallible;
//! use std::sync::Arc;
//!
//! use hopguard_audit::TracingSink;
//! use hopguard_client::{HttpTransport, SigningKey, Spawn, SystemClock};
//! use hopguard_core::{Audit, Clock, Ledger};
//! use hopguard_tower::{Hop, PassthroughLayer, ScannedBody, VerifyLayer};
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
//!     .service_fn(|_: Request<ScannedBody<String>>| async { Ok::<_, Infallible>(Response::new("done")) });
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
//! let body = format!("{{\"token\":\"{}\"}}", token.as_str());
//! let leak = Request::post("https://peer.internal/").body(body)?;
//! assert_eq!(peer.clone().oneshot(leak).await.unwrap_err().code(), "passthrough_blocked");
//! let innocent = Request::get("https://peer.internal/").header("x-api-key", "17").body(String::new())?;
//! assert_eq!(peer.oneshot(innocent).await?.status(), 200);
//! # Ok(()) }
//! ```
//!
//! In front of any client it compares, by value, every header, the request target, the body and its trailers
//! with the live credentials of the ledger and the caller's own token. The client gets its request with a
//! [`ScannedBody`]: a body that is there whole is judged before anything is sent, a stream while it is sent,
//! and a hit ends it with an error. Either way the call fails with `passthrough_blocked`, unless the peer
//! has answered before it came so far: then its answer stands, and the credential has not left.
//!
//! # Transaction tokens
//!
//! [`PassthroughBuilder::trust_domain`] names the origins inside a trust domain: the transaction token that a
//! [`TransactionLayer`](crate::TransactionLayer) verified for the caller's request goes along in its own header,
//! `Txn-Token`. Any other value there is refused, and so is the token anywhere else.
//!
//! # Migration
//!
//! Where a service must go live before its last leak is mended, [`PassthroughBuilder::dangerous_except`] lets
//! what is found pass to one destination, [`PassthroughBuilder::dangerous_report_only`] to all. Both take a
//! [`Waiver`], write a `waiver_used` event at each use, and refuse from its end on.
//!
//! # Readiness
//!
//! It decides in `call` and forwards `poll_ready`. If the sink promises to write before anything is allowed,
//! a layer that stands alone keeps the client that was ready until its event is safe, and calls it then; no
//! thread is blocked.
//!
//! # Errors
//!
//! `passthrough_blocked`, or `body_unscannable` for a body that is longer than is looked through, compressed
//! in a way that cannot be undone, or that grows past all bounds when it is.
//!
//! # Security
//!
//! It must be the innermost layer: what is added below it is not seen. See [`Scanner`] and
//! [`BodyScanner`](hopguard_core::BodyScanner) for the encodings that are undone.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use hopguard_core::{
    Acknowledgement, Admitted, Audit, BodyScanner, Clock, Decision, Destination, EventKind, Fault, Finding,
    FindingKind, Ledger, Relaxation, Scanner, TXN_TOKEN, UnixTime, Waived, Waiver,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, request};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::error::EgressError;
use super::outgoing::{Matched, Outgoing};
use super::passthrough_builder::{PassthroughBuilder, Read};
use super::subject::OnBehalfOf;
use crate::Hop;
use crate::answer::Refused;
use crate::kept::Kept;
use crate::scanned::{BodyScan, Judge, ScannedBody, Watcher};

/// A body whose length is known and not above this is judged before anything is sent.
const WHOLE: u64 = 1024 * 1024;

/// Makes [`Passthrough`] services.
#[derive(Clone, Debug)]
pub struct PassthroughLayer {
    announce: bool,
    declared: Vec<(Destination, Arc<str>)>,
    domains: Vec<(Destination, Arc<str>)>,
    places: Vec<HeaderName>,
    bodies: BodyScan,
    /// What every call relies on, whatever it holds.
    waived: Vec<Waived>,
    rule: Rule,
}

/// What is done about a finding.
#[derive(Clone, Debug)]
struct Rule {
    hop: Hop,
    report_only: Option<Waiver>,
    exceptions: Vec<(Destination, Waiver)>,
}

impl PassthroughLayer {
    /// Blocks what the ledger of `hop` holds and the destination was not granted.
    #[must_use]
    pub fn new(hop: &Hop) -> Self {
        Self::of(hop, Read::default())
    }

    /// As [`new`](Self::new), with settings.
    pub fn builder(hop: &Hop) -> PassthroughBuilder {
        PassthroughBuilder::of(hop)
    }

    pub(super) fn of(hop: &Hop, read: Read) -> Self {
        let Read { declared, domains, places, bodies, exceptions, report_only, waived } = read;
        let rule = Rule { hop: hop.clone(), report_only, exceptions };
        Self { announce: true, declared, domains, places, bodies, waived, rule }
    }

    /// Without an inbound side: nothing fills the ledger, so that only JWTs in authorization headers are
    /// judged, by their audience. Each call writes a `waiver_used` event; from the waiver's end on, each is
    /// refused with `waiver_expired`.
    ///
    /// As in a proxy that verifies nothing itself, in front of whatever client it has:
    ///
    /// ```
    /// # use std::{convert::Infallible, sync::Arc};
    /// # use hopguard_audit::TracingSink;
    /// # use hopguard_client::{SigningKey, SystemClock};
    /// # use hopguard_core::{Audit, UnixTime, Waiver};
    /// # use hopguard_tower::{PassthroughLayer, ScannedBody};
    /// # use http::{Request, Response};
    /// # use tower::{Layer, ServiceExt};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let audit = Audit::new("edge", "1", Arc::new(TracingSink));
    /// # let client = tower::service_fn(|_: Request<ScannedBody<String>>| async {
    /// #     Ok::<_, Infallible>(Response::new(()))
    /// # });
    /// let until = UnixTime::from_secs(4_102_444_800);
    /// let waiver = Waiver::new("a proxy that sees no token, ticket 4711", "edge team", until);
    /// let client = PassthroughLayer::dangerous_unlinked(&audit, SystemClock::shared(), waiver)
    ///     .declare("https://orders.internal", "https://orders.internal") // a JWT for it, and no other, may go there
    ///     .build()?
    ///     .layer(client);
    ///
    /// # let key = SigningKey::generate_es256()?;
    /// let call = |aud: &str| {
    ///     let token = key.sign_jwt("at+jwt", &serde_json::json!({ "aud": aud })).unwrap();
    ///     let shown = format!("Bearer {}", token.as_str());
    ///     Request::get("https://orders.internal/7").header("authorization", shown).body(String::new()).unwrap()
    /// };
    /// assert_eq!(client.clone().oneshot(call("https://orders.internal")).await?.status(), 200);
    /// let refused = client.oneshot(call("https://billing.internal")).await.unwrap_err();
    /// assert_eq!(refused.code(), "passthrough_blocked");
    /// # Ok(()) }
    /// ```
    pub fn dangerous_unlinked(audit: &Audit, clock: Arc<dyn Clock>, waiver: Waiver) -> PassthroughBuilder {
        PassthroughBuilder::unlinked(&Hop::new(&Ledger::bounded(), audit, clock), waiver)
    }

    /// In front of a client that the stack has not made: each call is written down, and refused from the waiver's end.
    pub(super) fn before_foreign_client(mut self, waiver: Waiver) -> Self {
        self.waived.push(Waived { relaxation: Relaxation::ForeignClient, waiver });
        self
    }

    /// Inside a complete stack, whose last step writes the one event of the sending.
    pub(super) fn within(hop: &Hop, read: Read) -> Self {
        Self { announce: false, ..Self::of(hop, read) }
    }
}

impl<S> Layer<S> for PassthroughLayer {
    type Service = Passthrough<S>;

    fn layer(&self, inner: S) -> Passthrough<S> {
        Passthrough { inner, layer: Arc::new(self.clone()) }
    }
}

/// Looks through each outgoing request; see the module docs.
#[derive(Clone, Debug)]
pub struct Passthrough<S> {
    inner: S,
    // Shared, because a service is cloned for each call.
    layer: Arc<PassthroughLayer>,
}

impl<S, B> Service<Request<B>> for Passthrough<S>
where
    S: Service<Request<ScannedBody<B>>> + Clone,
    B: Body,
{
    type Response = S::Response;
    type Error = EgressError<S::Error>;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(EgressError::Peer)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        match self.layer.judge(&mut parts, body) {
            Ok(Judged { body, blocked, safe }) => {
                let request = Request::from_parts(parts, body);
                match safe {
                    None => ResponseFuture::Passed { future: self.inner.call(request), blocked },
                    Some((safe, matched)) => {
                        let held = Held { request, blocked, matched, layer: self.layer.clone() };
                        ResponseFuture::Waiting { kept: Kept::until(safe, &mut self.inner, held) }
                    }
                }
            }
            Err(refused) => ResponseFuture::Blocked { refused: Some(refused) },
        }
    }
}

/// What a body that is still on its way says of what was found in it.
type Slot = Arc<Told>;

#[derive(Default)]
struct Told {
    /// It was blocked.
    refused: OnceLock<Refused>,
    /// The end of each waiver that something passed by.
    ends: Mutex<Option<UnixTime>>,
}

impl Told {
    fn passes_until(&self) -> Option<UnixTime> {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passed_until(&self, end: Option<UnixTime>) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        *ends = earlier(*ends, end);
    }
}

/// The earlier end, where there is one at all.
fn earlier(one: Option<UnixTime>, other: Option<UnixTime>) -> Option<UnixTime> {
    one.into_iter().chain(other).min()
}

/// A request that may pass.
struct Judged<B: Body> {
    body: ScannedBody<B>,
    blocked: Option<Slot>,
    /// There, if it must wait until its event is safe.
    safe: Option<(Acknowledgement, Arc<Matched>)>,
}

impl PassthroughLayer {
    fn judge<B: Body>(&self, parts: &mut request::Parts, body: B) -> Result<Judged<B>, Refused> {
        let hop = &self.rule.hop;
        let (mut matched, is_here) = match parts.extensions.get::<Outgoing>() {
            // The route was chosen for a destination; a layer in between may not have changed it.
            Some(Outgoing(matched)) => {
                let destination = matched.destination.as_ref();
                (matched.clone(), destination.is_some_and(|expected| expected.is_of(&parts.uri)))
            }
            None => {
                let subject = OnBehalfOf::of(&parts.extensions).cloned();
                let mut matched = Matched::new(hop.begin(Some(&parts.method), &parts.headers), subject);
                matched.destination = Destination::of(&parts.uri);
                (Arc::new(matched), true)
            }
        };
        let destination = matched.destination.as_ref().filter(|_| is_here);
        let destination =
            destination.ok_or_else(|| matched.refuse(hop, "passthrough", Fault::TargetUnreadable.into()))?;
        // Another block may stand in front of this one.
        let mut passes_until = matched.passes_until;
        for waived in &self.waived {
            self.rule.relied_on(&matched, waived)?;
            passes_until = earlier(passes_until, Some(waived.waiver.until()));
        }
        let transaction = self.transaction(&matched, destination)?;
        // One that is there already is not ours, whatever it holds: it is looked at like any other header.
        let transaction = transaction.filter(|_| !parts.headers.contains_key(TXN_TOKEN));
        if let Some(value) = &transaction {
            parts.headers.insert(TXN_TOKEN, value.clone());
        }
        let mut scanner = self.scanner(&matched, destination);
        if let Some(value) = &transaction {
            scanner = scanner.with_transaction(value);
        }
        // What no header can hold was not attached either.
        if let Ok(Some((name, value))) = matched.attached.header() {
            scanner = scanner.with_attached_in(name, value);
        }
        // Under a waiver each of them is written down, not only the first.
        for finding in scanner.findings(&parts.uri, &parts.headers) {
            passes_until = earlier(passes_until, self.rule.found(&matched, &finding)?);
        }
        let (body, told) = self.judge_body(&matched, destination, parts, body)?;
        passes_until = earlier(passes_until, told.as_ref().and_then(|told| told.passes_until()));
        let blocked = told.filter(|_| !body.is_read());
        if passes_until.is_some() {
            // Whoever waits before it leaves, here or below, asks again.
            matched = Arc::new(Matched { passes_until, ..(*matched).clone() });
            if let Some(Outgoing(outgoing)) = parts.extensions.get_mut() {
                *outgoing = matched.clone();
            }
        }
        if !self.announce {
            return Ok(Judged { body, blocked, safe: None });
        }
        let event = matched.event(hop, "passthrough", Decision::Allow("passed"));
        let full = |full| matched.refuse(hop, "passthrough", Fault::from(full).into());
        let safe = hop.audit().write_durably(event).map_err(full)?;
        Ok(Judged { body, blocked, safe: (!safe.is_done()).then_some((safe, matched)) })
    }

    /// May a request that was judged leave still, when the disk has answered?
    fn judge_again(
        &self,
        matched: &Matched,
        headers: &HeaderMap,
        safe: Result<(), Fault>,
    ) -> Result<(), Refused> {
        let hop = &self.rule.hop;
        let refuse = |refusal| matched.refuse(hop, "passthrough", refusal);
        safe.map_err(|fault| refuse(fault.into()))?;
        // Each that is over says which it was.
        let mut over = self.waived.iter().filter(|waived| !waived.waiver.is_in_force(hop.now()));
        over.try_for_each(|waived| self.rule.relied_on(matched, waived))?;
        // INVARIANT: I13, I18 — what goes along may have expired, or been withdrawn, while the disk was slow.
        matched.still_leaves(hop, headers).map_err(refuse)
    }

    fn scanner<'a>(&'a self, matched: &'a Matched, destination: &'a Destination) -> Scanner<'a> {
        let hop = &self.rule.hop;
        // Nothing has waited since the exchange judged, or this layer began.
        let mut scanner =
            Scanner::new(hop.ledger(), destination, matched.record.now).with_places(&self.places);
        if let Some(caller) = &matched.subject {
            scanner = scanner.with_own(caller.facts());
        }
        let declared = self.declared.iter().find(|(origin, _)| origin == destination);
        if let Some(requested) = &matched.requested {
            scanner = scanner.with_audience(&requested.audience);
        } else if let Some((_, audience)) = declared {
            scanner = scanner.with_audience(audience);
        }
        scanner
    }

    /// The transaction token that goes along: the one of the caller's request, inside its trust domain.
    fn transaction(
        &self,
        matched: &Matched,
        destination: &Destination,
    ) -> Result<Option<HeaderValue>, Refused> {
        let Some(transaction) = matched.subject.as_ref().and_then(Admitted::transaction) else {
            return Ok(None);
        };
        let inside = |(origin, domain): &(Destination, Arc<str>)| {
            origin == destination && **domain == *transaction.domain()
        };
        if !self.domains.iter().any(inside) {
            return Ok(None);
        }
        let hop = &self.rule.hop;
        let value = transaction.header(hop.ledger().withdrawals(), hop.now());
        value.map(Some).map_err(|denial| matched.refuse(hop, "passthrough", denial.into()))
    }

    fn judge_body<B: Body>(
        &self,
        matched: &Arc<Matched>,
        destination: &Destination,
        parts: &request::Parts,
        body: B,
    ) -> Result<(ScannedBody<B>, Option<Slot>), Refused> {
        if body.is_end_stream() {
            return Ok((ScannedBody::unwatched(body), None));
        }
        let hop = &self.rule.hop;
        let whole = body.size_hint().exact().is_some_and(|length| length <= WHOLE);
        let own = matched.subject.as_ref().map(|caller| caller.facts());
        let mut told = None;
        let judge = Judge {
            headers: &parts.headers,
            scan: &self.bodies,
            hop,
            clear: |whole: &[u8]| BodyScanner::is_clear(hop.ledger(), own.map(Arc::as_ref), whole),
            make: || {
                let mut scanner = BodyScanner::new(hop.ledger(), Some(destination));
                if let Some(own) = own {
                    scanner = scanner.with_own(own);
                }
                let watcher = OnTheWay {
                    rule: self.rule.clone(),
                    matched: matched.clone(),
                    destination: destination.clone(),
                    told: told.insert(Slot::default()).clone(),
                };
                (scanner, Box::new(watcher) as Box<dyn Watcher>)
            },
        };
        // Whoever polls the body next leaves a waker of its own.
        let mut context = Context::from_waker(Waker::noop());
        let mut body = ScannedBody::judged(body, judge, WHOLE, &mut context)?;
        if whole {
            body.peek(&mut context, usize::MAX).map_or(Ok(()), Err)?;
        }
        Ok((body, told))
    }
}

impl Rule {
    /// Writes down that a call relies on this waiver, or refuses the call because there is none any more.
    fn relied_on(&self, matched: &Matched, waived: &Waived) -> Result<(), Refused> {
        let hop = &self.hop;
        // INVARIANT: I16 — an expired waiver waives nothing.
        let holds = waived.waiver.is_in_force(hop.now());
        let fault = Fault::WaiverExpired;
        let decision = if holds { Decision::Allow("waiver_used") } else { Decision::Fault(fault) };
        let mut event = matched.event(hop, "passthrough", decision);
        let id = event.id;
        event.waiver = Some(Box::new(waived.clone()));
        if holds {
            event.kind = EventKind::Notice;
            let full = |full| Refused { refusal: Fault::from(full).into(), event: id };
            return hop.audit().write(event).map_err(full);
        }
        hop.audit().refusal(event);
        Err(Refused { refusal: fault.into(), event: id })
    }

    /// Lets a finding pass where a waiver says so, until its end, and refuses it otherwise. Either is written down.
    fn found(&self, matched: &Matched, finding: &Finding) -> Result<Option<UnixTime>, Refused> {
        let hop = &self.hop;
        let excepted =
            self.exceptions.iter().filter(|(origin, _)| Some(origin) == matched.destination.as_ref());
        let waivers = excepted.map(|(_, waiver)| waiver).chain(&self.report_only);
        // INVARIANT: I16 — an expired waiver waives nothing.
        let in_force = |waiver: &&Waiver| {
            let complete = !waiver.reason().trim().is_empty() && !waiver.owner().trim().is_empty();
            complete && waiver.holds(hop.now())
        };
        let fault = match finding.kind {
            FindingKind::TooLong | FindingKind::Unreadable => Fault::BodyUnscannable,
            _ => Fault::PassthroughBlocked,
        };
        let waiver = { waivers }.find(in_force);
        let decision = if waiver.is_some() { Decision::Allow("waiver_used") } else { Decision::Fault(fault) };
        let mut event = matched.event(hop, "passthrough", decision);
        event.place = Some(finding.place.to_string().into());
        if let FindingKind::LiveCredential(fingerprint) = finding.kind {
            event.found = Some(fingerprint);
        }
        let id = event.id;
        if let Some(waiver) = waiver {
            event.kind = EventKind::Notice;
            let relaxation = Relaxation::Passthrough;
            event.waiver = Some(Box::new(Waived { relaxation, waiver: waiver.clone() }));
            let full = |full| Refused { refusal: Fault::from(full).into(), event: id };
            return hop.audit().write(event).map_err(full).map(|()| Some(waiver.until()));
        }
        hop.audit().refusal(event);
        Err(Refused { refusal: fault.into(), event: id })
    }
}

/// Watches the body of one request.
struct OnTheWay {
    rule: Rule,
    matched: Arc<Matched>,
    destination: Destination,
    told: Slot,
}

impl OnTheWay {
    fn keep(&self, verdict: Result<(), Refused>) -> Result<(), Refused> {
        verdict.inspect_err(|refused| _ = self.told.refused.set(refused.clone()))
    }
}

impl Watcher for OnTheWay {
    fn found(&self, finding: &Finding) -> Result<(), Refused> {
        let verdict = self.rule.found(&self.matched, finding);
        self.keep(verdict.map(|end| self.told.passed_until(end)))
    }

    fn beyond(&self) -> Result<(), Refused> {
        let hop = &self.rule.hop;
        let mut event = self.matched.event(hop, "passthrough", Decision::Allow("body_unscanned"));
        event.kind = EventKind::Notice;
        event.place = Some("body".into());
        let id = event.id;
        let full = |full| Refused { refusal: Fault::from(full).into(), event: id };
        self.keep(hop.audit().write(event).map_err(full))
    }

    fn trailers(&self, trailers: &HeaderMap) -> Result<(), Refused> {
        let hop = &self.rule.hop;
        let mut scanner = Scanner::new(hop.ledger(), &self.destination, hop.tick());
        if let Some(caller) = &self.matched.subject {
            scanner = scanner.with_own(caller.facts());
        }
        scanner.trailers(trailers).try_for_each(|finding| self.found(&finding))
    }
}

/// What goes on once its event is safe.
struct Held<B: Body> {
    request: Request<ScannedBody<B>>,
    blocked: Option<Slot>,
    matched: Arc<Matched>,
    layer: Arc<PassthroughLayer>,
}

pin_project! {
    /// The inner service's answer, or the refusal.
    #[project = ResponseProjection]
    pub enum ResponseFuture<S, B>
    where
        S: Service<Request<ScannedBody<B>>>,
        B: Body,
    {
        /// The decision is being written.
        Waiting { kept: Option<Box<Kept<S, Held<B>>>> },
        /// The inner service is at work.
        Passed { #[pin] future: S::Future, blocked: Option<Slot> },
        /// Blocked.
        Blocked { refused: Option<Refused> },
    }
}

impl<S, B> Future for ResponseFuture<S, B>
where
    S: Service<Request<ScannedBody<B>>>,
    B: Body,
{
    type Output = Result<S::Response, EgressError<S::Error>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project() {
                ResponseProjection::Waiting { kept } => {
                    let (safe, mut inner, held) = ready!(Kept::poll(kept, context));
                    let Held { request, blocked, matched, layer } = held;
                    match layer.judge_again(&matched, request.headers(), safe) {
                        Ok(()) => Self::Passed { future: inner.call(request), blocked },
                        Err(refused) => Self::Blocked { refused: Some(refused) },
                    }
                }
                ResponseProjection::Passed { future, blocked } => {
                    let outcome = ready!(future.poll(context));
                    // The peer has seen part of a request; whatever it answered answers something else.
                    if let Some(refused) = blocked.as_ref().and_then(|told| told.refused.get()) {
                        return Poll::Ready(Err(EgressError::Refused(refused.clone())));
                    }
                    return Poll::Ready(outcome.map_err(EgressError::Peer));
                }
                ResponseProjection::Blocked { refused } => {
                    let Some(refused) = refused.take() else { return Poll::Pending };
                    return Poll::Ready(Err(EgressError::Refused(refused)));
                }
            };
            self.set(next);
        }
    }
}
