//! The last step of a complete stack: everything has passed, so the request is admitted, written down, and
//! room for its outcome is set aside.
//!
//! # Readiness
//!
//! It decides in `call` and forwards `poll_ready`. If the sink promises to write before anything is allowed, the
//! inner service that was ready is kept until the event is safe, and called then; no thread is blocked.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hopguard_client::Durably;
use hopguard_core::{Acknowledgement, Admitted, Decision, Direction, EventKind, Fault, Refusal};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::stage::Stage;
use crate::Hop;
use crate::answer::Refused;
use crate::audited::{self, Audited, AuditedBody, OutcomeGuard};
use crate::hop::Record;

/// Makes [`Admit`] services. Only the complete builder makes one: a guard that stands alone admits nobody.
#[derive(Clone, Debug)]
pub(super) struct AdmitLayer(pub(super) Hop);

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Admit<S> {
        Admit { inner, hop: self.0.clone() }
    }
}

/// Admits what every guard has passed.
#[derive(Clone, Debug)]
pub struct Admit<S> {
    inner: S,
    hop: Hop,
}

impl<S, B, R> Service<Request<B>> for Admit<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Body + Default,
{
    type Response = Response<AuditedBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let record = self.hop.record(&mut request);
        // INVARIANT: I1 — a token whose holder nobody checked is not admitted.
        let bound = match Stage::of(request.extensions(), self.hop.stack()) {
            Ok(Stage::Bound(bound)) => Ok(bound.clone()),
            Ok(_) => Err(Fault::EvidenceMissing),
            Err(fault) => Err(fault),
        };
        let outcome = bound.and_then(|bound| {
            let remembered = self.hop.ledger().remember_received(bound.verified(), self.hop.now())?;
            self.hop.note(remembered, &record);
            // INVARIANT: I11 — room for the outcome is set aside before the handler runs.
            let room = self.hop.audit().reserve()?;
            let admitted = Decision::Allow("admitted");
            let mut event =
                self.hop.event(&record, Direction::Inbound, EventKind::Decision, "inbound", admitted);
            event.token = Some(bound.verified().facts().clone());
            event.peer = bound.verified().presented().peer();
            let facts = event.token.clone();
            let safe = self.hop.audit().write_durably(event)?;
            let guard =
                OutcomeGuard::new(self.hop.clone(), record, Direction::Inbound, "inbound", room, facts, None);
            Ok((bound, guard, safe))
        });
        match outcome {
            Ok((bound, guard, safe)) => {
                let (ledger, trace) = (self.hop.ledger().id(), record.trace);
                let admitted = Admitted::assert_all_guards_passed(bound, ledger, record.request, trace);
                Stage::Admitted(admitted).enter(request.extensions_mut());
                if safe.is_done() {
                    let future = Audited::<S>::answer(self.inner.call(request), guard);
                    return ResponseFuture::Answering { future };
                }
                // The clone was never ready; the one that was is kept.
                let fresh = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, fresh);
                ResponseFuture::waiting(inner, request, guard, safe, self.hop.clone(), record)
            }
            Err(fault) => {
                let future = refused(&self.hop, &record, fault);
                ResponseFuture::Answering { future }
            }
        }
    }
}

fn refused<F, R: Default>(hop: &Hop, record: &Record, fault: Fault) -> audited::ResponseFuture<F, R> {
    let decision = Decision::Fault(fault);
    let mut event = hop.event(record, Direction::Inbound, EventKind::Decision, "inbound", decision);
    event.status = Some(fault.status());
    let refused = Refused { refusal: Refusal::Fault(fault), event: event.id };
    hop.audit().refusal(event);
    audited::ResponseFuture::Refused { response: Some(refused.answer(hop)) }
}

pin_project! {
    /// The handler's answer, once its admission is safe.
    #[project = ResponseProjection]
    pub enum ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        /// The handler is at work, or will never be.
        Answering {
            #[pin]
            future: audited::ResponseFuture<S::Future, R>,
        },
        /// The admission is being written.
        Waiting { held: Option<Box<Held<S, B>>> },
    }
}

/// What waits for the disk. On the heap, so that those who do not wait pay nothing for it.
pub struct Held<S, B> {
    safe: Durably,
    inner: S,
    request: Request<B>,
    guard: OutcomeGuard,
    hop: Hop,
    record: Record,
}

impl<S: Service<Request<B>>, B, R> ResponseFuture<S, B, R> {
    fn waiting(
        inner: S,
        request: Request<B>,
        guard: OutcomeGuard,
        safe: Acknowledgement,
        hop: Hop,
        record: Record,
    ) -> Self {
        let held = Held { safe: Durably::new(safe), inner, request, guard, hop, record };
        Self::Waiting { held: Some(Box::new(held)) }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body + Default,
{
    type Output = Result<Response<AuditedBody<R>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let future = match self.as_mut().project() {
                ResponseProjection::Answering { future } => return future.poll(context),
                ResponseProjection::Waiting { held } => {
                    let Some(waiting) = held.as_mut() else { return Poll::Pending };
                    let safe = ready!(Pin::new(&mut waiting.safe).poll(context));
                    let Some(held) = held.take() else { return Poll::Pending };
                    let Held { mut inner, request, mut guard, hop, record, .. } = *held;
                    match safe {
                        Ok(()) => Audited::<S>::answer(inner.call(request), guard),
                        // INVARIANT: I11 — what is not written down does not happen.
                        Err(full) => {
                            let fault = Fault::from(full);
                            guard.status(fault.status());
                            guard.failed(fault);
                            refused(&hop, &record, fault)
                        }
                    }
                }
            };
            self.set(Self::Answering { future });
        }
    }
}

impl<S: Service<Request<B>>, B, R> fmt::Debug for ResponseFuture<S, B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = matches!(self, Self::Waiting { .. });
        f.debug_struct("ResponseFuture").field("waiting", &waiting).finish_non_exhaustive()
    }
}
