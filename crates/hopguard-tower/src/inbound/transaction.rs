//! Is the request's transaction token genuine, and meant for this trust domain?
//!
//! ```
//! use std::sync::Arc;
//! use hopguard_client::{HttpTransport, Spawn, SystemClock};
//! use hopguard_tower::{Inbound, TransactionLayer};
//! use hopguard_verify::{Issuer, Profile, Verifier};
//!
//! # fn layer(guard: &Inbound) -> Result<TransactionLayer, hopguard_core::ConfigErrors> {
//! // Below the complete stack: around the router that `guard` protects.
//! let transport = Arc::new(HttpTransport::builder().build()?);
//! let verifier = Verifier::builder(transport, SystemClock::shared(), Spawn::current())
//!     .issuer(Issuer::at("https://tts.internal").profile(Profile::transaction_token()))
//!     .build()?;
//! let layer = TransactionLayer::new(guard.hop(), verifier, "shop.internal");
//! # Ok(layer) }
//! ```
//!
//! The header `Txn-Token` (draft-ietf-oauth-transaction-tokens) is taken out of the request. What it holds is
//! verified like any token, by a verifier of its own, must be for the trust domain and for nobody else, and is
//! then part of the caller's evidence: calls on the caller's behalf carry it on to destinations that are said to
//! be inside the same domain ([`EgressBuilder::trust_domain`](crate::EgressBuilder::trust_domain)). A request
//! without the header passes, and nothing is carried on.
//!
//! # Readiness
//!
//! Always ready: keys may have to be fetched first, and a place inside is held only afterwards.
//!
//! # Errors
//!
//! `credential_ambiguous` for two headers, whatever the verifier says of a token that is not good,
//! `audience_mismatch` or `audience_not_sole` for one of another domain, `evidence_missing` outside a complete stack.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hopguard_client::BoxFuture;
use hopguard_core::{
    Admitted, AudienceGuard, Decision, Denial, Direction, EventKind, Facts, Fault, Guard, Presented,
    RawToken, Refusal, TXN_TOKEN, Transaction, Verified,
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

#[derive(Debug)]
struct Inner {
    hop: Hop,
    verifier: Verifier,
    domain: Arc<str>,
    guard: AudienceGuard,
}

impl TransactionLayer {
    /// Verifies transaction tokens of the trust domain `domain` with `verifier`, whose issuers have the profile
    /// [`transaction_token`](hopguard_verify::Profile::transaction_token); of others it takes none.
    #[must_use]
    pub fn new(hop: &Hop, verifier: Verifier, domain: &str) -> Self {
        let guard = AudienceGuard::exactly(domain);
        Self(Arc::new(Inner { hop: hop.clone(), verifier, domain: domain.into(), guard }))
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
                return ResponseFuture::refused(self.layer.refuse(&record, None, refusal));
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
        &self,
        inner: &S,
        mut request: Request<B>,
        shown: Shown,
        verdict: Result<Arc<Facts>, Refusal>,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        R: Default,
    {
        let Shown { presented, caller, record } = shown;
        match verdict.and_then(|facts| self.judge(presented, facts, &caller, &record)) {
            Ok(transaction) => {
                Stage::Admitted(caller.assert_with_transaction(transaction)).enter(request.extensions_mut());
                ResponseFuture::Calling { future: Oneshot::new(inner.clone(), request) }
            }
            Err(refusal) => ResponseFuture::refused(self.refuse(&record, Some(caller.facts()), refusal)),
        }
    }

    /// It is genuine: is it meant for this domain? From now on the block knows it, wherever it turns up.
    fn judge(
        &self,
        presented: Presented,
        facts: Arc<Facts>,
        caller: &Admitted,
        record: &Record,
    ) -> Result<Transaction, Refusal> {
        if !self.verifier.verifies_transactions() {
            return Err(Denial::TokenTypeMismatch.into());
        }
        let verified = Verified::assert_genuine(presented, facts);
        let now = self.hop.now();
        self.guard.check(&verified, now)?;
        let remembered = self.hop.ledger().remember_received(&verified, now)?;
        self.hop.note(remembered, record);
        let passed = Decision::Allow("passed");
        let mut event =
            self.hop.event(record, Direction::Inbound, EventKind::Decision, "transaction", passed);
        event.token = Some(caller.facts().clone());
        event.found = Some(verified.facts().fingerprint);
        self.hop.audit().write(event).map_err(Fault::from)?;
        Ok(Transaction::assert_meant_for(verified, self.domain.clone()))
    }

    fn refuse<R: Default>(
        &self,
        record: &Record,
        caller: Option<&Arc<Facts>>,
        refusal: Refusal,
    ) -> Response<R> {
        let decision = Decision::from(refusal.clone());
        let mut event =
            self.hop.event(record, Direction::Inbound, EventKind::Decision, "transaction", decision);
        event.status = Some(refusal.status());
        event.token = caller.cloned();
        let refused = Refused { refusal, event: event.id };
        self.hop.audit().refusal(event);
        refused.answer(&self.hop)
    }
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
