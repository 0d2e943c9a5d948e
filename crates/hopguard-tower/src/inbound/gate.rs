//! The one `Service` for every pure guard.
//!
//! ```
//! use std::convert::Infallible;
//! use std::sync::Arc;
//!
//! use hopguard_audit::TracingSink;
//! use hopguard_client::{HttpTransport, SigningKey, Spawn, SystemClock};
//! use hopguard_core::{Audit, AudienceGuard, Clock, Ledger, ScopeGuard, Ttl, minutes};
//! use hopguard_tower::{GuardExt, Hop, VerifyLayer};
//! use hopguard_verify::{Issuer, Verifier};
//! use http::{Request, Response};
//! use serde_json::json;
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let key = SigningKey::generate_es256()?;
//! # let keys = json!({ "keys": [key.public_jwk()] }).to_string();
//! let audit = Audit::new("orders", "1", Arc::new(TracingSink));
//! let hop = Hop::new(&Ledger::bounded(), &audit, SystemClock::shared());
//! let transport = Arc::new(HttpTransport::builder().build()?);
//! let verifier = Verifier::builder(transport, SystemClock::shared(), Spawn::current())
//!     .issuer(Issuer::at("https://sts.internal").keys_fixed(&keys))
//!     .build()?;
//! let service = ServiceBuilder::new()
//!     .layer(VerifyLayer::new(&hop, verifier))
//!     .layer(AudienceGuard::exactly("https://orders.internal").layer(&hop))
//!     .layer(Ttl::lifetime_at_most(minutes(5)).layer(&hop))
//!     .layer(ScopeGuard::all_of(["orders:read"]).layer(&hop))
//!     .service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new("an order".to_owned())) });
//!
//! # let now = SystemClock.now().as_secs();
//! let token = |audience: &str, seconds: u64, scope: &str| {
//!     let claims = json!({
//!         "iss": "https://sts.internal", "sub": "alice", "client_id": "web", "jti": "1",
//!         "iat": now, "exp": now + seconds, "aud": audience, "scope": scope,
//!     });
//!     key.sign_jwt("at+jwt", &claims).map(|token| format!("Bearer {}", *token))
//! };
//! for (authorization, status) in [
//!     (token("https://orders.internal", 60, "orders:read")?, 200),
//!     (token("https://inventory.internal", 60, "orders:read")?, 401),
//!     (token("https://orders.internal", 3600, "orders:read")?, 401),
//!     (token("https://orders.internal", 60, "orders:write")?, 403),
//! ] {
//!     let request = Request::get("/").header("authorization", authorization).body(String::new())?;
//!     assert_eq!(service.clone().oneshot(request).await?.status(), status);
//! }
//! # Ok(()) }
//! ```
//!
//! # Readiness
//!
//! A gate decides in `call` and forwards `poll_ready`. If the sink promises to write before anything is
//! allowed, the service that was ready is kept until the event is safe, and called then; no thread is
//! blocked, and the token is judged once more. Who does not wait clones and boxes nothing.
//!
//! # Security
//!
//! A gate in front of the verifier, or behind another stack's, finds no evidence of its own and answers 500.

use std::future::Future;
use std::hint::cold_path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hopguard_core::{
    Acknowledgement, ActorGuard, AudienceGuard, BearerOnly, Bound, Decision, Direction, Event, EventKind,
    Fault, Guard, Refusal, ScopeGuard, TtlGuard, UnixTime, Verified, Waived,
};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::stage::{Stage, Step};
use crate::Hop;
use crate::answer::Refused;
use crate::hop::{Passage, Record};
use crate::kept::Kept;

/// Makes a guard a layer.
pub trait GuardExt: Guard + Sized {
    /// This guard as a layer of the stack `hop`. One that was written down wrongly ([`Guard::problem`]) says so here,
    /// as an error to `tracing`, for there is no `build` to fail; and it refuses every request
    /// ([`Fault::GuardMisconfigured`], 500), whatever it would let pass.
    fn layer(self, hop: &Hop) -> GateLayer<GuardStep<Self>> {
        let problem = self.problem();
        if let Some(problem) = problem {
            tracing::error!(gate = self.name(), problem, "a guard was written down wrongly");
        }
        let fault = problem.map(|_| Fault::GuardMisconfigured);
        GateLayer(Arc::new(Inner { hop: hop.clone(), step: GuardStep(self), fault }))
    }
}

impl<G: Guard> GuardExt for G {}

/// A guard as a step: it leaves the evidence as it found it.
#[derive(Clone, Debug)]
pub struct GuardStep<G>(pub(super) G);

impl<G: Guard> Step for GuardStep<G> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn step(&self, token: &Verified, now: UnixTime) -> Result<Option<Bound>, Refusal> {
        self.0.check(token, now)?;
        Ok(None)
    }

    fn policy(&self) -> Option<&Arc<str>> {
        self.0.policy()
    }

    fn waived(&self, token: &Verified, now: UnixTime) -> Vec<&Waived> {
        self.0.waived(token, now)
    }
}

impl Step for BearerOnly {
    fn name(&self) -> &'static str {
        "bind"
    }

    fn step(&self, token: &Verified, _now: UnixTime) -> Result<Option<Bound>, Refusal> {
        Ok(Some(self.bind(token.clone())?))
    }

    fn needs_holder(&self) -> bool {
        false
    }
}

/// Makes [`Gate`] services.
#[derive(Debug)]
pub struct GateLayer<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    hop: Hop,
    step: T,
    /// There, if the step cannot have been meant as it is.
    fault: Option<Fault>,
}

/// The holder check as a layer of its own, behind a verifier that was told to leave it
/// ([`VerifyLayer::dangerous_leave_holder_open`](super::VerifyLayer::dangerous_leave_holder_open)): refuses a
/// token that is bound to a key, which nobody checks here (I15).
pub type BindLayer = GateLayer<BearerOnly>;

impl BindLayer {
    /// For services that check no proof of possession.
    #[must_use]
    pub fn bearer_only(hop: &Hop) -> Self {
        Self(Arc::new(Inner { hop: hop.clone(), step: BearerOnly, fault: None }))
    }
}

impl<T> Clone for GateLayer<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S, T> Layer<S> for GateLayer<T> {
    type Service = Gate<S, T>;

    fn layer(&self, inner: S) -> Gate<S, T> {
        Gate { inner, gate: self.0.clone() }
    }
}

/// Lets a request pass, or refuses it; see the module docs.
#[derive(Debug)]
pub struct Gate<S, T> {
    inner: S,
    gate: Arc<Inner<T>>,
}

impl<S: Clone, T> Clone for Gate<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), gate: self.gate.clone() }
    }
}

impl<S, T, B, R> Service<Request<B>> for Gate<S, T>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    T: Step,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, T, B, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.gate.decide(self.gate.hop.passage(&mut request)) {
            Ok(safe) if safe.is_done() => ResponseFuture::Passed { future: self.inner.call(request) },
            Ok(safe) => {
                let held = Held { gate: self.gate.clone(), request };
                ResponseFuture::Waiting { kept: Kept::until(safe, &mut self.inner, held) }
            }
            Err(refused) => ResponseFuture::Refused { response: Some(refused.answer(&self.gate.hop)) },
        }
    }
}

impl<T: Step> Inner<T> {
    /// Decides, and writes it down. What is allowed must wait until that is safe.
    fn decide(&self, passage: &mut Passage) -> Result<Acknowledgement, Refused> {
        let (hop, record, token) = (&self.hop, &passage.record, self.token(passage)?);
        if let Some(fault) = self.fault {
            return Err(refuse(hop, &self.step, record, token, fault.into()));
        }
        let changed = pass(hop, &self.step, record, token, hop.now())?;
        let passed = event(hop, &self.step, record, Some(token), Decision::Allow("passed"));
        let safe = hop.audit().write_durably(passed);
        let safe = safe.map_err(|full| refuse(hop, &self.step, record, token, Fault::from(full).into()))?;
        // Whom a complete stack has admitted, stays admitted: to be bound is less.
        if let Some(bound) = changed
            && passage.admitted().is_none()
        {
            passage.stage = Some(Stage::Bound(bound));
        }
        Ok(safe)
    }

    /// Decides once more, when the disk has answered.
    fn decide_again(&self, passage: &Passage, safe: Result<(), Fault>) -> Result<(), Refused> {
        let (hop, record, token) = (&self.hop, &passage.record, self.token(passage)?);
        let verdict = safe
            .map_err(Refusal::from)
            // INVARIANT: I13, I18 — it may have expired, or been withdrawn, while the disk was slow.
            .and_then(|()| Ok(hop.still_good(token.facts())?))
            .and_then(|()| self.step.step(token, hop.now()));
        verdict.map(drop).map_err(|refusal| refuse(hop, &self.step, record, token, refusal))
    }

    /// The token that this gate judges.
    fn token<'a>(&self, passage: &'a Passage) -> Result<&'a Verified, Refused> {
        // INVARIANT: I15 — a guard behind a verifier that left the holder open finds no evidence.
        let held = |stage: &Stage| !self.step.needs_holder() || !matches!(stage, Stage::Verified(_));
        let stage = passage
            .stage_of(self.hop.stack())
            .and_then(|stage| if held(stage) { Ok(stage) } else { Err(Fault::EvidenceMissing) });
        stage.map(Stage::verified).map_err(|fault| {
            let decision = Decision::Fault(fault);
            let event = event(&self.hop, &self.step, &passage.record, None, decision);
            let refused = Refused { refusal: fault.into(), event: event.id };
            // Nobody is known here; the fault is ours, whoever called.
            self.hop.audit().stranger(event);
            refused
        })
    }
}

/// The rules of a complete stack, in their order. Their events bear the names of the gates that they are alone.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) audience: GuardStep<AudienceGuard>,
    pub(super) ttl: GuardStep<TtlGuard>,
    pub(super) scope: GuardStep<ScopeGuard>,
    pub(super) actor: Option<GuardStep<ActorGuard>>,
}

impl Rules {
    /// Holds the token against every rule, the holder's first.
    pub(super) fn judge(
        &self,
        hop: &Hop,
        record: &Record,
        token: Verified,
        now: UnixTime,
    ) -> Result<Bound, Refused> {
        let bound = BearerOnly
            .try_bind(token)
            .map_err(|(denial, token)| refuse(hop, &BearerOnly, record, &token, denial.into()))?;
        let token = bound.verified();
        pass(hop, &self.audience, record, token, now)?;
        pass(hop, &self.ttl, record, token, now)?;
        pass(hop, &self.scope, record, token, now)?;
        if let Some(actor) = &self.actor {
            pass(hop, actor, record, token, now)?;
        }
        Ok(bound)
    }
}

/// Lets one step decide, and writes down a refusal or the waivers that were used.
fn pass<T: Step>(
    hop: &Hop,
    step: &T,
    record: &Record,
    token: &Verified,
    now: UnixTime,
) -> Result<Option<Bound>, Refused> {
    let changed = step.step(token, now).map_err(|refusal| refuse(hop, step, record, token, refusal))?;
    for waived in step.waived(token, now) {
        cold_path();
        let mut event = event(hop, step, record, Some(token), Decision::Allow("waiver_used"));
        event.kind = EventKind::Notice;
        event.waiver = Some(Box::new(waived.clone()));
        let id = event.id;
        let full = |full| Refused { refusal: Refusal::Fault(Fault::from(full)), event: id };
        hop.audit().write(event).map_err(full)?;
    }
    Ok(changed)
}

#[cold]
fn refuse<T: Step>(hop: &Hop, step: &T, record: &Record, token: &Verified, refusal: Refusal) -> Refused {
    let event = event(hop, step, record, Some(token), refusal.clone().into());
    let refused = Refused { refusal, event: event.id };
    hop.audit().refusal(event);
    refused
}

fn event<T: Step>(
    hop: &Hop,
    step: &T,
    record: &Record,
    token: Option<&Verified>,
    decision: Decision,
) -> Event {
    let status = match &decision {
        Decision::Allow(_) => None,
        Decision::Deny(denial) => Some(denial.status()),
        Decision::Fault(fault) => Some(fault.status()),
    };
    let mut event = hop.event(record, Direction::Inbound, EventKind::Decision, step.name(), decision);
    event.policy = step.policy().cloned();
    event.status = status;
    event.token = token.map(|token| token.facts().clone());
    event.peer = token.and_then(|token| token.presented().peer());
    event
}

/// What goes on once its event is safe.
struct Held<T, B> {
    gate: Arc<Inner<T>>,
    request: Request<B>,
}

pin_project! {
    /// The inner service's answer, or the refusal.
    #[project = ResponseProjection]
    pub enum ResponseFuture<S, T, B, R>
    where
        S: Service<Request<B>>,
    {
        /// The decision is being written.
        Waiting { kept: Option<Box<Kept<S, Held<T, B>>>> },
        /// The inner service is at work.
        Passed { #[pin] future: S::Future },
        /// Refused.
        Refused { response: Option<Response<R>> },
    }
}

impl<S, T, B, R> Future for ResponseFuture<S, T, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
    T: Step,
    R: Default,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project() {
                ResponseProjection::Waiting { kept } => {
                    let (safe, mut inner, held) = ready!(Kept::poll(kept, context));
                    let Held { gate, mut request } = held;
                    match gate.decide_again(gate.hop.passage(&mut request), safe) {
                        Ok(()) => Self::Passed { future: inner.call(request) },
                        Err(refused) => Self::Refused { response: Some(refused.answer(&gate.hop)) },
                    }
                }
                ResponseProjection::Passed { future } => return future.poll(context),
                ResponseProjection::Refused { response } => {
                    return response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)));
                }
            };
            self.set(next);
        }
    }
}
