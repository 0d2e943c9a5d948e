//! The last step of a complete stack: everything has passed, so the request is admitted, written down, and
//! room for its outcome is set aside.
//!
//! # Readiness
//!
//! It decides in `call` and forwards `poll_ready`.

use std::task::{Context, Poll};

use hopguard_core::{Admitted, Decision, Direction, EventKind, Refusal};
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::stage::Stage;
use crate::Hop;
use crate::answer::Refused;
use crate::audited::{Audited, AuditedBody, OutcomeGuard, ResponseFuture};

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
    S: Service<Request<B>, Response = Response<R>>,
    R: Body + Default,
{
    type Response = Response<AuditedBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let record = self.hop.record(&mut request);
        // INVARIANT: I1 — a token whose holder nobody checked is not admitted.
        let bound = Stage::take_bound(request.extensions_mut(), self.hop.stack());
        let outcome = bound.and_then(|bound| {
            let remembered = self.hop.ledger().remember_received(bound.verified(), record.now)?;
            self.hop.note(remembered, &record);
            // INVARIANT: I11 — room for the outcome is set aside before the handler runs.
            let room = self.hop.audit().reserve()?;
            let admitted = Decision::Allow("admitted");
            let mut event =
                self.hop.event(&record, Direction::Inbound, EventKind::Decision, "inbound", admitted);
            event.token = Some(bound.verified().facts().clone());
            event.peer = bound.verified().presented().peer();
            let facts = event.token.clone();
            self.hop.audit().write(event)?;
            let guard =
                OutcomeGuard::new(self.hop.clone(), record, Direction::Inbound, "inbound", room, facts, None);
            Ok((bound, guard))
        });
        match outcome {
            Ok((bound, guard)) => {
                let (ledger, trace) = (self.hop.ledger().id(), record.trace);
                let admitted = Admitted::assert_all_guards_passed(bound, ledger, record.request, trace);
                Stage::Admitted(admitted).enter(request.extensions_mut());
                Audited::<S>::answer(self.inner.call(request), guard)
            }
            Err(fault) => {
                let decision = Decision::Fault(fault);
                let mut event =
                    self.hop.event(&record, Direction::Inbound, EventKind::Decision, "inbound", decision);
                event.status = Some(fault.status());
                let refused = Refused { refusal: Refusal::Fault(fault), event: event.id };
                self.hop.audit().refusal(event);
                ResponseFuture::Refused { response: Some(refused.answer(&self.hop)) }
            }
        }
    }
}
