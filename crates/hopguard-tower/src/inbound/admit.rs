//! The last step of a complete stack: everything has passed, so the request is admitted, written down, and
//! room for its outcome is set aside.
//!
//! # Readiness
//!
//! It decides in `call` and forwards `poll_ready`.

use std::sync::Arc;
use std::task::{Context, Poll};

use hopguard_core::{Admitted, Decision, Direction, EventKind, Fault, Refusal};
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::lifetime::{Answering, Life, Offer, ResponseFuture, Streams, TimedBody, Upload};
use super::stage::Stage;
use crate::answer::Refused;
use crate::audited::OutcomeGuard;

/// Makes [`Admit`] services. Only the complete builder makes one: a guard that stands alone admits nobody.
#[derive(Clone, Debug)]
pub(super) struct AdmitLayer(pub(super) Arc<Streams>);

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Admit<S> {
        Admit { inner, streams: self.0.clone() }
    }
}

/// Admits what every guard has passed.
#[derive(Clone, Debug)]
pub struct Admit<S> {
    inner: S,
    streams: Arc<Streams>,
}

impl<S, B, R> Service<Request<B>> for Admit<S>
where
    S: Service<Request<Upload<B>>, Response = Response<R>>,
    B: Body,
    R: Body,
{
    type Response = Response<TimedBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let hop = &self.streams.hop;
        let record = hop.record(&mut request);
        // INVARIANT: I1 — a token whose holder nobody checked is not admitted.
        let bound = match Stage::of(request.extensions(), hop.stack()) {
            Ok(Stage::Bound(bound)) => Ok(bound.clone()),
            Ok(_) => Err(Fault::EvidenceMissing),
            Err(fault) => Err(fault),
        };
        let outcome = bound.and_then(|bound| {
            let now = hop.now();
            let remembered = hop.ledger().remember_received(bound.verified(), now)?;
            hop.note(remembered, &record);
            // INVARIANT: I11 — room for the outcome is set aside before the handler runs.
            let room = hop.audit().reserve()?;
            let admitted = Decision::Allow("admitted");
            let mut event = hop.event(&record, Direction::Inbound, EventKind::Decision, "inbound", admitted);
            let facts = bound.verified().facts();
            event.token = Some(facts.clone());
            event.peer = bound.verified().presented().peer();
            let longer = self.streams.outlives(request.uri().path(), facts, now);
            if let Some((stream, until)) = longer {
                (event.route, event.lasts_until) = (Some(stream.path().into()), Some(until));
            }
            let life = Life::new(&self.streams, facts, longer.map_or(facts.expires, |(_, until)| until));
            let facts = event.token.clone();
            hop.audit().write(event)?;
            let guard =
                OutcomeGuard::new(hop.clone(), record, Direction::Inbound, "inbound", room, facts, None);
            Ok((bound, guard, life))
        });
        match outcome {
            Ok((bound, outcome, life)) => {
                let (ledger, trace) = (hop.ledger().id(), record.trace);
                let admitted = Admitted::assert_all_guards_passed(bound, ledger, record.request, trace);
                Stage::Admitted(admitted).enter(request.extensions_mut());
                let offer = Offer::instead(&mut request);
                let request = request.map(|body| Upload::watched(body, &life));
                ResponseFuture::calling(self.inner.call(request), Answering { outcome, life, offer })
            }
            Err(fault) => {
                let decision = Decision::Fault(fault);
                let mut event =
                    hop.event(&record, Direction::Inbound, EventKind::Decision, "inbound", decision);
                event.status = Some(fault.status());
                let refused = Refused { refusal: Refusal::Fault(fault), event: event.id };
                hop.audit().refusal(event);
                ResponseFuture::refused(refused.answer(hop))
            }
        }
    }
}
