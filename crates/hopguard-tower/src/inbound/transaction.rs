//! Is the request's transaction token genuine, and meant for this trust domain?
//!
//! ```
//! use std::sync::Arc;
//! use hopguard_client::{HttpTransport, Spawn, SystemClock};
//! use hopguard_core::{Ttl, minutes};
//! use hopguard_tower::{Inbound, TransactionLayer};
//! use hopguard_verify::{Issuer, Profile, Verifier};
//!
//! # fn layer(guard: &Inbound) -> Result<TransactionLayer, hopguard_core::ConfigErrors> {
//! // Below the complete stack: around the router that `guard` protects.
//! let transport = Arc::new(HttpTransport::builder().build()?);
//! let verifier = Verifier::builder(transport, SystemClock::shared(), Spawn::current())
//!     .issuer(Issuer::at("https://tts.internal").profile(Profile::transaction_token()))
//!     .build()?;
//! let ttl = Ttl::lifetime_at_most(minutes(5));
//! let layer = TransactionLayer::new(guard.hop(), verifier, "shop.internal", ttl)?;
//! # Ok(layer) }
//! ```
//!
//! The header `Txn-Token` (draft-ietf-oauth-transaction-tokens) is taken out of the request. What it holds is
//! verified like any token, by a verifier of its own, must be bound to no key, be for the trust domain and
//! for nobody else, live no longer than the rule allows, and be about the caller's subject. It is then part
//! of the caller's evidence: calls on the caller's behalf carry it on to destinations that are said to be
//! inside the same domain ([`EgressBuilder::trust_domain`](crate::EgressBuilder::trust_domain)). A request
//! without the header passes, and nothing is carried on.
//!
//! # Readiness
//!
//! Always ready: keys may have to be fetched first, and a place inside is held only afterwards.
//!
//! # Errors
//!
//! `credential_ambiguous` for two headers, whatever the verifier says of a token that is not good,
//! `holder_unproven` for one that is bound to a key, `audience_mismatch` or `audience_not_sole` for one of another
//! domain, what [`Ttl`](hopguard_core::Ttl) says of one that lives too long, `transaction_foreign` for another
//! subject's, `evidence_missing` outside a complete stack, `audit_unavailable` if it cannot be written down.
//!
//! # Security
//!
//! Subjects are compared as text: the servers of access tokens and of transaction tokens must name people
//! alike. The same name at two issuers is two people, so that a stack that trusts several takes no
//! transaction until [`TransactionLayer::subjects_of`] says whose names they are. Where the two do not name
//! people alike, [`TransactionLayer::subjects_may_differ`] gives the comparison up.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hopguard_client::{BoxFuture, Durably};
use hopguard_core::{
    Acknowledgement, Admitted, AudienceGuard, BearerOnly, ConfigErrors, Decision, Denial, Direction, Event,
    EventKind, Facts, Fault, Guard, Presented, Problems, RawToken, Refusal, TXN_TOKEN, Transaction, TtlGuard,
    Verified,
};
use hopguard_verify::{Check, Verifier};
use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower_layer::Layer;
use tower_service::Service;

use super::stage::Stage;
use crate::Hop;
use crate::answer::Refused;
use crate::hop::{Passage, Record};

/// Makes [`VerifyTransaction`] services.
#[derive(Clone, Debug)]
pub struct TransactionLayer(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    hop: Hop,
    verifier: Verifier,
    domain: Arc<str>,
    audience: AudienceGuard,
    ttl: TtlGuard,
    any_subject: bool,
    /// Whose names of people a transaction's subjects are; empty where the stack trusts one issuer only.
    subjects_of: Vec<Box<str>>,
}

impl TransactionLayer {
    /// Verifies transaction tokens of the trust domain `domain` with `verifier`, whose issuers have the profile
    /// [`transaction_token`](hopguard_verify::Profile::transaction_token); of others it takes none. How long they may
    /// live is for `ttl`; there is no default.
    ///
    /// # Errors
    ///
    /// Whatever of it would have every transaction refused.
    pub fn new(hop: &Hop, verifier: Verifier, domain: &str, ttl: TtlGuard) -> Result<Self, ConfigErrors> {
        let audience = AudienceGuard::exactly(domain);
        let mut problems = Problems::new();
        hop.audit().check(&mut problems);
        if !verifier.verifies_transactions() {
            problems.add("transaction.issuer", "has no transaction tokens: see `Profile::transaction_token`");
        }
        for (setting, problem) in
            [("transaction.trust_domain", audience.problem()), ("transaction.ttl", ttl.problem())]
        {
            if let Some(problem) = problem {
                problems.add(setting, problem);
            }
        }
        let (hop, domain, subjects_of) = (hop.clone(), domain.into(), Vec::new());
        problems.into_result(Self(Arc::new(Inner {
            hop,
            verifier,
            domain,
            audience,
            ttl,
            any_subject: false,
            subjects_of,
        })))
    }

    /// The subjects of transactions are named as `issuer`, of access tokens, names them: only its tokens' callers may
    /// bring one. Needed where the stack trusts several issuers; it may be said of more than one.
    #[must_use]
    pub fn subjects_of(mut self, issuer: &str) -> Self {
        Arc::make_mut(&mut self.0).subjects_of.push(issuer.into());
        self
    }

    /// Takes transactions about another subject than that of the caller's access token, as where the two are named
    /// by different servers, or a batch job works on somebody's transaction. The draft leaves this open.
    ///
    /// Nothing ties the two tokens together then: whoever may call, and gets hold of anybody's transaction token, has
    /// it carried on. The event of each that differs says whose it is (`place`).
    #[must_use]
    pub fn subjects_may_differ(mut self) -> Self {
        Arc::make_mut(&mut self.0).any_subject = true;
        self
    }
}

impl<S> Layer<S> for TransactionLayer {
    type Service = VerifyTransaction<S>;

    fn layer(&self, inner: S) -> VerifyTransaction<S> {
        VerifyTransaction { inner, layer: self.0.clone() }
    }
}

/// Verifies the transaction token of each request; see the module docs.
#[derive(Clone, Debug)]
pub struct VerifyTransaction<S> {
    inner: S,
    layer: Arc<Inner>,
}

impl<S, B, R> Service<Request<B>> for VerifyTransaction<S>
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
        let shown = match self.layer.extract(&mut request) {
            Ok(Some(shown)) => shown,
            Ok(None) => {
                return ResponseFuture::Calling { future: Oneshot::new(self.inner.clone(), request) };
            }
            Err(refusal) => {
                let record = self.layer.hop.record(&mut request);
                return ResponseFuture::refused(self.layer.refuse(&record, None, None, refusal));
            }
        };
        let (verifier, withdrawals) = (&self.layer.verifier, self.layer.hop.ledger().withdrawals());
        match verifier.check(shown.presented.token(), withdrawals) {
            Check::Done(verdict) => {
                self.layer.proceed(&self.inner, request, shown, verdict.map_err(Refusal::from))
            }
            Check::NeedsKeys(_) => ResponseFuture::Checking {
                verdict: self.layer.wait(shown.presented.token().clone()),
                waiting: Some((request, shown, self.inner.clone())),
                layer: self.layer.clone(),
            },
        }
    }
}

/// What a request showed, and whose request it is.
struct Shown {
    presented: Presented,
    caller: Admitted,
    record: Record,
}

impl Inner {
    /// Takes the header out, whatever it holds, and reads it if there is exactly one.
    fn extract<B>(&self, request: &mut Request<B>) -> Result<Option<Shown>, Refusal> {
        let record = self.hop.record(request);
        let mut values = request.headers().get_all(&TXN_TOKEN).iter();
        // INVARIANT: I15 — a second credential refuses, instead of one of the two being picked.
        let token = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some(_), Some(_)) => Err(Denial::CredentialAmbiguous),
            (Some(value), None) => value.to_str().map(RawToken::new).map_err(|_| Denial::CredentialMalformed),
        };
        request.headers_mut().remove(&TXN_TOKEN);
        // INVARIANT: I1 — outside a complete stack there is no caller to carry it on for.
        let caller = match stage_of(request.extensions(), &self.hop)? {
            Stage::Admitted(admitted) => admitted.clone(),
            _ => return Err(Fault::EvidenceMissing.into()),
        };
        let peer = caller.bound().verified().presented().peer();
        let presented = Presented::assert_extracted(self.hop.stack(), token?, peer);
        Ok(Some(Shown { presented, caller, record }))
    }

    /// The verdict once the keys are there. Boxed: it is the rare case, beside a fetch over the network.
    fn wait(&self, token: Arc<RawToken>) -> BoxFuture<'static, Result<Arc<Facts>, Refusal>> {
        let (verifier, ledger) = (self.verifier.clone(), self.hop.ledger().clone());
        Box::pin(async move { verifier.verify(&token, ledger.withdrawals()).await })
    }

    fn proceed<S, B, R>(
        self: &Arc<Self>,
        inner: &S,
        request: Request<B>,
        shown: Shown,
        verdict: Result<Arc<Facts>, Refusal>,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        R: Default,
    {
        let Shown { presented, caller, record } = shown;
        // One that is not genuine says nothing that an event could repeat.
        let verified = match verdict {
            Ok(facts) => Verified::assert_genuine(presented, facts),
            Err(refusal) => {
                return ResponseFuture::refused(self.refuse(&record, Some(&caller), None, refusal));
            }
        };
        let facts = verified.facts().clone();
        match self.judge(verified, &caller, &record) {
            Ok((transaction, safe)) if safe.is_done() => enter(inner.clone(), request, caller, transaction),
            Ok((transaction, safe)) => {
                let safe = Durably::new(safe);
                let held = Held { safe, request, caller, transaction, record, inner: inner.clone() };
                ResponseFuture::Writing { held: Some(Box::new(held)), layer: self.clone() }
            }
            Err(refusal) => {
                ResponseFuture::refused(self.refuse(&record, Some(&caller), Some(&facts), refusal))
            }
        }
    }

    /// It is genuine: is it meant for this domain, and for this caller? From now on the block knows it, wherever it
    /// turns up. What it allows waits until the event is safe.
    fn judge(
        &self,
        verified: Verified,
        caller: &Admitted,
        record: &Record,
    ) -> Result<(Transaction, Acknowledgement), Refusal> {
        // INVARIANT: I15 — nobody checks a key here, whichever header the token comes in.
        let bound = BearerOnly.bind(verified)?;
        let (verified, now) = (bound.verified(), self.hop.now());
        // INVARIANT: I13 — the caller may have gone while keys were fetched.
        self.hop.still_good(caller.facts())?;
        self.audience.check(verified, now)?;
        self.ttl.check(verified, now)?;
        if !self.any_subject && self.is_foreign(verified.facts(), caller) {
            return Err(Denial::TransactionForeign.into());
        }
        let remembered = self.hop.ledger().remember_received(verified, now)?;
        self.hop.note(remembered, record);
        let event = self.event(record, Some(caller), Some(verified.facts()), Decision::Allow("passed"));
        let safe = self.hop.audit().write_durably(event).map_err(Fault::from)?;
        Ok((Transaction::assert_meant_for(verified.clone(), self.domain.clone()), safe))
    }

    /// The decision about one transaction token: whose request, which token, and whose if not the caller's.
    fn event(
        &self,
        record: &Record,
        caller: Option<&Admitted>,
        found: Option<&Arc<Facts>>,
        decision: Decision,
    ) -> Event {
        let mut event =
            self.hop.event(record, Direction::Inbound, EventKind::Decision, "transaction", decision);
        event.token = caller.map(|caller| caller.facts().clone());
        event.found = found.map(|facts| facts.fingerprint);
        let foreign = found.filter(|facts| caller.is_some_and(|caller| self.is_foreign(facts, caller)));
        event.place = foreign.map(|facts| format!("subject {}", facts.subject).into());
        event
    }

    /// Is the transaction about somebody else than the caller's access token, as far as can be told?
    fn is_foreign(&self, transaction: &Facts, caller: &Admitted) -> bool {
        let caller = caller.facts();
        // The same name at two issuers is two people.
        let named = self.subjects_of.iter().any(|issuer| **issuer == *caller.issuer);
        let unsaid = self.subjects_of.is_empty() && !self.hop.trusts_several_issuers();
        transaction.subject != caller.subject || !(named || unsaid)
    }

    fn refuse<R: Default>(
        &self,
        record: &Record,
        caller: Option<&Admitted>,
        found: Option<&Arc<Facts>>,
        refusal: Refusal,
    ) -> Response<R> {
        let mut event = self.event(record, caller, found, Decision::from(refusal.clone()));
        event.status = Some(refusal.status());
        let refused = Refused { refusal, event: event.id };
        self.hop.audit().refusal(event);
        refused.answer(&self.hop)
    }
}

/// Calls the service, with the transaction in the caller's evidence.
fn enter<S, B, R>(
    inner: S,
    mut request: Request<B>,
    caller: Admitted,
    transaction: Transaction,
) -> ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    Stage::Admitted(caller.assert_with_transaction(transaction)).enter(request.extensions_mut());
    ResponseFuture::Calling { future: Oneshot::new(inner, request) }
}

/// What waits for the disk. On the heap, so that those who do not wait pay nothing for it.
struct Held<S, B> {
    safe: Durably,
    request: Request<B>,
    caller: Admitted,
    transaction: Transaction,
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
        Checking { verdict: BoxFuture<'static, Result<Arc<Facts>, Refusal>>, waiting: Option<(Request<B>, Shown, S)>, layer: Arc<Inner> },
        /// The decision is being written.
        Writing { held: Option<Box<Held<S, B>>>, layer: Arc<Inner> },
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
                    let Some((request, shown, inner)) = waiting.take() else { return Poll::Pending };
                    layer.proceed(&inner, request, shown, verdict)
                }
                ResponseProjection::Writing { held, layer } => {
                    let Some(waiting) = held.as_mut() else { return Poll::Pending };
                    let safe = ready!(Pin::new(&mut waiting.safe).poll(context));
                    let Some(held) = held.take() else { return Poll::Pending };
                    let Held { request, caller, transaction, record, inner, .. } = *held;
                    let facts = transaction.facts().clone();
                    // INVARIANT: I11 — what is not written down does not happen.
                    let safe = safe.map_err(|full| Refusal::from(Fault::from(full)));
                    let good = safe.and_then(|()| Ok(layer.hop.still_good(caller.facts())?));
                    match good.and_then(|()| Ok(layer.hop.still_good(&facts)?)) {
                        Ok(()) => enter(inner, request, caller, transaction),
                        Err(refusal) => {
                            Self::refused(layer.refuse(&record, Some(&caller), Some(&facts), refusal))
                        }
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

/// The evidence in `extensions`, if it is this stack's.
fn stage_of<'a>(extensions: &'a Extensions, hop: &Hop) -> Result<&'a Stage, Fault> {
    extensions.get::<Passage>().ok_or(Fault::EvidenceMissing)?.stage_of(hop.stack())
}
