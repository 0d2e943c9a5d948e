//! The audit logger as a layer: each request that reaches it gets exactly one outcome event.
//!
//! Put it inside the guards, directly around what it watches; the guards write their own refusals.
//!
//! ```
//! use std::convert::Infallible;
//! use std::sync::Arc;
//!
//! use hopguard_audit::TracingSink;
//! use hopguard_client::SystemClock;
//! use hopguard_core::{Audit, Ledger};
//! use hopguard_tower::{AuditLayer, Hop};
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Infallible> {
//! let audit = Audit::new("orders", "1", Arc::new(TracingSink));
//! let hop = Hop::new(&Ledger::bounded(), &audit, SystemClock::shared());
//! let service = ServiceBuilder::new()
//!     .layer(AuditLayer::new(&hop))
//!     .service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new("done".to_owned())) });
//!
//! let response = service.oneshot(Request::new(String::new())).await?;
//! assert_eq!(response.status(), 200);
//! drop(response); // its body was not read to the end: the audit holds `abandoned`
//! # Ok(()) }
//! ```
//!
//! The outcome is `completed` when the response's body was read to its end, `abandoned` when the caller went
//! away before that, or the inner service failed. Room for it is set aside before the inner service is
//! called: without room the answer is 503 and nothing is called.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hopguard_core::{Decision, Denial, Direction, Event, EventKind, Facts, Fault, Id, Refusal, Reservation};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::Hop;
use crate::answer::Refused;
use crate::hop::Record;
use crate::inbound::{RouteTemplate, admitted};

/// Makes [`Audited`] services.
#[derive(Clone, Debug)]
pub struct AuditLayer(Hop);

impl AuditLayer {
    /// Writes to the audit of `hop`.
    #[must_use]
    pub fn new(hop: &Hop) -> Self {
        Self(hop.clone())
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audited<S>;

    fn layer(&self, inner: S) -> Audited<S> {
        Audited { inner, hop: self.0.clone() }
    }
}

/// Writes the outcome of each request; see the module docs.
#[derive(Clone, Debug)]
pub struct Audited<S> {
    inner: S,
    hop: Hop,
}

impl<S> Audited<S> {
    fn answer<F, R>(future: F, outcome: OutcomeGuard) -> ResponseFuture<F, R> {
        ResponseFuture::Calling { future, outcome: Some(outcome) }
    }
}

impl<S, B, R> Service<Request<B>> for Audited<S>
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
        let facts = admitted(request.extensions()).map(|admitted| admitted.facts().clone());
        match self.hop.audit().reserve() {
            Ok(room) => {
                let (hop, direction) = (self.hop.clone(), Direction::Inbound);
                let outcome = OutcomeGuard::new(hop, record, direction, "audit", room, facts, None);
                Self::answer(self.inner.call(request), outcome)
            }
            Err(full) => {
                let fault = Fault::from(full);
                let decision = Decision::Fault(fault);
                let mut event =
                    self.hop.event(&record, Direction::Inbound, EventKind::Decision, "audit", decision);
                event.status = Some(fault.status());
                let refused = Refused { refusal: Refusal::Fault(fault), event: event.id };
                self.hop.audit().stranger(event);
                ResponseFuture::Refused { response: Some(refused.answer(&self.hop)) }
            }
        }
    }
}

pin_project! {
    /// The inner service's answer, watched to its end.
    #[project = ResponseProjection]
    #[derive(Debug)]
    pub enum ResponseFuture<F, R> {
        /// The inner service is at work.
        Calling { #[pin] future: F, outcome: Option<OutcomeGuard> },
        /// Refused.
        Refused { response: Option<Response<AuditedBody<R>>> },
    }
}

impl<F, R, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<AuditedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ResponseProjection::Calling { future, outcome } => {
                let mut response = ready!(future.poll(context))?;
                let Some(mut outcome) = outcome.take() else { return Poll::Pending };
                outcome.status(response.status().as_u16());
                if let Some(route) = response.extensions_mut().remove() {
                    outcome.route(route);
                }
                Poll::Ready(Ok(response.map(|inner| AuditedBody::watched(inner, outcome))))
            }
            ResponseProjection::Refused { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
        }
    }
}

/// Writes the outcome of one request: `completed` when told so, `abandoned` when dropped.
///
/// On the heap, because it is handed on from the admission to the answer, its body, and the connection.
pub struct OutcomeGuard(Box<Open>);

struct Open {
    hop: Hop,
    record: Record,
    direction: Direction,
    gate: &'static str,
    token: Option<Arc<Facts>>,
    destination: Option<Arc<str>>,
    route: Option<RouteTemplate>,
    status: Option<u16>,
    room: Option<Reservation>,
}

impl OutcomeGuard {
    pub(crate) fn new(
        hop: Hop,
        record: Record,
        direction: Direction,
        gate: &'static str,
        room: Reservation,
        token: Option<Arc<Facts>>,
        destination: Option<Arc<str>>,
    ) -> Self {
        let (route, status, room) = (None, None, Some(room));
        Self(Box::new(Open { hop, record, direction, gate, token, destination, route, status, room }))
    }

    pub(crate) fn status(&mut self, status: u16) {
        self.0.status = Some(status);
    }

    pub(crate) fn route(&mut self, route: RouteTemplate) {
        self.0.route = Some(route);
    }

    pub(crate) fn hop(&self) -> &Hop {
        &self.0.hop
    }

    pub(crate) fn completed(mut self) {
        self.write(Decision::Allow("completed"));
    }

    /// The request's time was up. Returns the event that says so.
    pub(crate) fn ended(mut self, over: Denial) -> Id {
        self.write(Decision::Deny(over)).unwrap_or_else(Id::fresh)
    }

    /// There was no answer at all.
    pub(crate) fn failed(mut self, fault: Fault) {
        self.write(Decision::Fault(fault));
    }

    fn write(&mut self, decision: Decision) -> Option<Id> {
        let open = &mut *self.0;
        let room = open.room.take()?;
        let mut event: Event =
            open.hop.event(&open.record, open.direction, EventKind::Outcome, open.gate, decision);
        event.token = open.token.take();
        event.destination = open.destination.take();
        event.route = open.route.take().map(RouteTemplate::into_shared);
        event.status = open.status;
        let id = event.id;
        room.fill(event);
        Some(id)
    }
}

impl Drop for OutcomeGuard {
    fn drop(&mut self) {
        self.write(Decision::Allow("abandoned"));
    }
}

impl fmt::Debug for OutcomeGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutcomeGuard").field("open", &self.0.room.is_some()).finish_non_exhaustive()
    }
}

pin_project! {
    /// A response body that tells the audit how it ended.
    #[derive(Debug, Default)]
    pub struct AuditedBody<B> {
        #[pin]
        inner: B,
        outcome: Option<OutcomeGuard>,
    }
}

impl<B> AuditedBody<B> {
    /// A body whose end is nobody's concern.
    pub(crate) fn unaudited(inner: B) -> Self {
        Self { inner, outcome: None }
    }
}

impl<B: Body> AuditedBody<B> {
    /// A body whose end is the request's outcome. An empty one has ended, and no server polls it.
    pub(crate) fn watched(inner: B, outcome: OutcomeGuard) -> Self {
        let mut body = Self { inner, outcome: Some(outcome) };
        if at_end(&body.inner)
            && let Some(outcome) = body.outcome.take()
        {
            outcome.completed();
        }
        body
    }
}

impl<B> AuditedBody<B> {
    /// The request's time was up before the body ended.
    pub(crate) fn ended(self: Pin<&mut Self>, over: &Denial) {
        if let Some(outcome) = self.project().outcome.take() {
            outcome.ended(over.clone());
        }
    }
}

/// Nothing more will come, so that a server may drop the body without asking again.
fn at_end(body: &impl Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

impl<B: Body> Body for AuditedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(context));
        let ended = match &frame {
            None => true,
            Some(Ok(_)) => at_end(&*this.inner),
            Some(Err(_)) => false,
        };
        if ended && let Some(outcome) = this.outcome.take() {
            outcome.completed();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
