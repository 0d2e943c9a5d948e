//! Takes the credential out of the request, has it verified, and refuses it if it is bound to a key that nobody
//! checks.
//!
//! ```
//! use std::sync::Arc;
//! use hopguard_client::{HttpTransport, Spawn, SystemClock};
//! use hopguard_core::{Audit, Ledger};
//! use hopguard_tower::{Hop, VerifyLayer};
//! use hopguard_verify::{Issuer, Verifier};
//!
//! # fn stack(audit: &Audit) -> Result<VerifyLayer, hopguard_core::ConfigErrors> {
//! let hop = Hop::new(&Ledger::bounded(), audit, SystemClock::shared());
//! let transport = Arc::new(HttpTransport::builder().build()?);
//! let verifier = Verifier::builder(transport, SystemClock::shared(), Spawn::current())
//!     .issuer(Issuer::at("https://sts.internal"))
//!     .build()?;
//! let layer = VerifyLayer::new(&hop, verifier);
//! # Ok(layer) }
//! ```
//!
//! # Readiness
//!
//! Always ready: the inner service is reserved only once the token is known to be good, so that a stranger
//! whose keys must be fetched holds no place that others need. A load limit that shall also protect the
//! verification stands outside.
//!
//! # Security
//!
//! A verified token is genuine and valid now. For whom, how long and for what it is meant is for the guards.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hopguard_client::{BoxFuture, Durably};
use hopguard_core::{
    BearerOnly, Decision, Denial, Direction, Event, EventKind, Facts, Fault, Presented, RawToken, Refusal,
    Relaxation, UnixTime, Verified, Waived, Waiver,
};
use hopguard_verify::{Check, Verifier};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower_layer::Layer;
use tower_service::Service;

use super::extract::{NotShown, extract, why_unreadable};
use super::stage::Stage;
use crate::Hop;
use crate::answer::Refused;
use crate::hop::{Passage, Record};

/// Makes [`Verify`] services.
#[derive(Clone, Debug)]
pub struct VerifyLayer {
    hop: Hop,
    verifier: Verifier,
    holder_open: Option<Waiver>,
}

impl VerifyLayer {
    /// Verifies tokens with `verifier` and leaves the evidence for the guards of `hop`. A verifier of transaction
    /// tokens, which are no access tokens, belongs to a [`TransactionLayer`](super::TransactionLayer): with one, every
    /// request is answered 500 (`evidence_missing`).
    #[must_use]
    pub fn new(hop: &Hop, verifier: Verifier) -> Self {
        Self { hop: hop.clone(), verifier, holder_open: None }
    }

    /// Leaves open whether whoever shows a token may hold it, until the waiver ends; each bound token that goes past
    /// is a `waiver_used` event. A waiver without reason or owner is none.
    ///
    /// Guards then find no evidence, and answer 500, until a [`BindLayer`](super::BindLayer) stands between; a
    /// service with no guard at all behind this layer takes tokens that are bound to a key from anybody.
    #[must_use]
    pub fn dangerous_leave_holder_open(mut self, waiver: Waiver) -> Self {
        self.holder_open = Some(waiver);
        self
    }
}

impl<S> Layer<S> for VerifyLayer {
    type Service = Verify<S>;

    fn layer(&self, inner: S) -> Verify<S> {
        Verify { inner, layer: self.clone() }
    }
}

/// Verifies the token of each request; see the module docs.
#[derive(Clone, Debug)]
pub struct Verify<S> {
    inner: S,
    layer: VerifyLayer,
}

impl<S, B, R> Service<Request<B>> for Verify<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let hop = &self.layer.hop;
        let record = hop.record(&mut request);
        // INVARIANT: I1 — evidence that is here already is not this stack's, and a handler that finds none writes
        // it down here.
        request.extensions_mut().insert(Passage::begun(hop, record));
        // A transaction token says what is done, and lets nobody in.
        if self.layer.verifier.verifies_transactions() {
            return ResponseFuture::refused(self.layer.refuse(&record, None, Fault::EvidenceMissing.into()));
        }
        let presented = match extract(hop, &mut request, None) {
            Ok(presented) => presented,
            Err(not_shown) => return ResponseFuture::refused(self.layer.refuse_unshown(&record, not_shown)),
        };
        match self.layer.check(&presented, record.now) {
            Check::Done(Ok(facts)) => {
                let verified = Verified::assert_genuine(presented, facts);
                self.layer.proceed(&self.inner, request, verified, &record)
            }
            Check::Done(Err(denial)) => {
                ResponseFuture::refused(self.layer.refuse(&record, Some(&presented), denial.into()))
            }
            Check::NeedsKeys(_) => ResponseFuture::Checking {
                verdict: self.layer.wait(presented.token().clone()),
                waiting: Some(Waiting { request, presented, record, inner: self.inner.clone() }),
                layer: self.layer.clone(),
            },
        }
    }
}

impl VerifyLayer {
    pub(super) fn hop(&self) -> &Hop {
        &self.hop
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// What can be said about the token without waiting.
    pub(super) fn check(&self, presented: &Presented, now: UnixTime) -> Check {
        let token = presented.token();
        match self.verifier.check_at(token, self.hop.ledger().withdrawals(), now) {
            Check::Done(Err(Denial::TokenMalformed)) => Check::Done(Err(why_unreadable(token))),
            check => check,
        }
    }

    /// The verdict once the keys are there. Boxed: it is the rare case, beside a fetch over the network.
    pub(super) fn wait(&self, token: Arc<RawToken>) -> BoxFuture<'static, Result<Arc<Facts>, Refusal>> {
        let (verifier, ledger) = (self.verifier.clone(), self.hop.ledger().clone());
        Box::pin(async move { verifier.verify(&token, ledger.withdrawals()).await })
    }

    pub(super) fn refuse<R: Default>(
        &self,
        record: &Record,
        shown: Option<&Presented>,
        refusal: Refusal,
    ) -> Response<R> {
        let event = self.hop.stranger(record, "verify", &refusal, |event| {
            event.peer = shown.and_then(Presented::peer);
            event.unverified = shown.map(|shown| Box::new(self.verifier.claimed(shown.token())));
        });
        Refused { refusal, event }.answer(&self.hop)
    }

    pub(super) fn refuse_unshown<R: Default>(&self, record: &Record, not_shown: NotShown) -> Response<R> {
        let NotShown { denial, peer } = not_shown;
        let refusal = denial.into();
        let event = self.hop.stranger(record, "verify", &refusal, |event| event.peer = peer);
        Refused { refusal, event }.answer(&self.hop)
    }

    /// An event about a caller whose token is genuine.
    fn known(&self, record: &Record, verified: &Verified, decision: Decision) -> Event {
        let mut event = self.hop.event(record, Direction::Inbound, EventKind::Decision, "verify", decision);
        event.token = Some(verified.facts().clone());
        event.peer = verified.presented().peer();
        event
    }

    /// The evidence that this layer leaves.
    fn stage(&self, verified: Verified, record: &Record) -> Result<Stage, Refusal> {
        // INVARIANT: I15 — unless the next layer is said to check the holder, a bound token goes no further.
        // INVARIANT: I16 — and only for as long as somebody answers for that.
        let Some(waiver) = self.holder_open.as_ref().filter(|waiver| waiver.is_in_force(self.hop.now()))
        else {
            return Ok(Stage::Bound(BearerOnly.bind(verified)?));
        };
        if !verified.facts().confirmation.is_none() {
            let mut event = self.known(record, &verified, Decision::Allow("waiver_used"));
            event.kind = EventKind::Notice;
            let relaxation = Relaxation::HolderOpen;
            event.waiver = Some(Box::new(Waived { relaxation, waiver: waiver.clone() }));
            self.hop.audit().write(event).map_err(Fault::from)?;
        }
        Ok(Stage::Verified(verified))
    }

    /// The token is genuine: remembers it and hands the request on.
    fn proceed<S, B, R>(
        &self,
        inner: &S,
        mut request: Request<B>,
        verified: Verified,
        record: &Record,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        R: Default,
    {
        let (hop, shown) = (&self.hop, verified.clone());
        // A complete stack remembers at its last step: what its rules refuse reaches no handler that could pass it
        // on, and must not push out what does. What stands behind this layer is not known.
        let remembered = hop.ledger().remember_received(&shown, hop.now());
        let outcome = remembered.map_err(Refusal::from).and_then(|remembered| {
            hop.note(remembered, record);
            let stage = self.stage(verified, record)?;
            let event = self.known(record, &shown, Decision::Allow("passed"));
            Ok((stage, hop.audit().write_durably(event).map_err(Fault::from)?))
        });
        let (stage, safe) = match outcome {
            Ok(passed) => passed,
            Err(refusal) => return ResponseFuture::refused(self.refuse_known(record, &shown, refusal)),
        };
        stage.enter(request.extensions_mut());
        if safe.is_done() {
            return ResponseFuture::Calling { future: Oneshot::new(inner.clone(), request) };
        }
        let held = Held { safe: Durably::new(safe), request, shown, record: *record, inner: inner.clone() };
        ResponseFuture::Writing { held: Some(Box::new(held)), layer: self.clone() }
    }

    fn refuse_known<R: Default>(&self, record: &Record, shown: &Verified, refusal: Refusal) -> Response<R> {
        let mut event = self.known(record, shown, refusal.clone().into());
        event.status = Some(refusal.status());
        let refused = Refused { refusal, event: event.id };
        self.hop.audit().refusal(event);
        refused.answer(&self.hop)
    }
}

/// What waits for the disk. On the heap, so that those who do not wait pay nothing for it.
struct Held<S, B> {
    safe: Durably,
    request: Request<B>,
    shown: Verified,
    record: Record,
    inner: S,
}

/// A request whose issuer's keys are being fetched.
struct Waiting<S, B> {
    request: Request<B>,
    presented: Presented,
    record: Record,
    inner: S,
}

pin_project! {
    /// The answer: a refusal, or the inner service's.
    #[project = ResponseProjection]
    pub enum ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        /// Keys are being fetched.
        Checking { verdict: BoxFuture<'static, Result<Arc<Facts>, Refusal>>, waiting: Option<Waiting<S, B>>, layer: VerifyLayer },
        /// The decision is being written.
        Writing { held: Option<Box<Held<S, B>>>, layer: VerifyLayer },
        /// The inner service is being readied, then at work.
        Calling { #[pin] future: Oneshot<S, Request<B>> },
        /// Refused.
        Refused { response: Option<Response<R>> },
    }
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    fn refused(response: Response<R>) -> Self {
        Self::Refused { response: Some(response) }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Default,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project() {
                ResponseProjection::Checking { verdict, waiting, layer } => {
                    let verdict = ready!(verdict.as_mut().poll(context));
                    let Some(Waiting { request, presented, record, inner }) = waiting.take() else {
                        return Poll::Pending;
                    };
                    let record = record.judged_at(layer.hop.now());
                    match verdict {
                        Ok(facts) => {
                            let verified = Verified::assert_genuine(presented, facts);
                            layer.proceed(&inner, request, verified, &record)
                        }
                        Err(refusal) => Self::refused(layer.refuse(&record, Some(&presented), refusal)),
                    }
                }
                ResponseProjection::Writing { held, layer } => {
                    let Some(waiting) = held.as_mut() else { return Poll::Pending };
                    let safe = ready!(Pin::new(&mut waiting.safe).poll(context));
                    let Some(held) = held.take() else { return Poll::Pending };
                    let Held { request, shown, record, inner, .. } = *held;
                    // INVARIANT: I11 — what is not written down does not happen.
                    let safe = safe.map_err(|full| Refusal::from(Fault::from(full)));
                    // INVARIANT: I13 — it may have expired, or been withdrawn, while the disk was slow.
                    match safe.and_then(|()| Ok(layer.hop.still_good(shown.facts())?)) {
                        Ok(()) => ResponseFuture::Calling { future: Oneshot::new(inner, request) },
                        Err(refusal) => Self::refused(layer.refuse_known(&record, &shown, refusal)),
                    }
                }
                ResponseProjection::Calling { future } => return future.poll(context),
                ResponseProjection::Refused { response } => {
                    return response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)));
                }
            };
            self.set(next);
        }
    }
}
