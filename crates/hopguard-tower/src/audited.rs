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
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hopguard_core::{
    Decision, Denial, Direction, Event, EventKind, Facts, Fault, Id, Refusal, Reservation, Room,
};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::Hop;
use crate::answer::Refused;
use crate::hop::Record;
use crate::inbound::{LastWord, PeerAddress, RouteTemplate, Sending, Uploading, admitted};

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
        let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
        match self.hop.audit().reserve() {
            Ok(room) => {
                let (hop, direction) = (self.hop.clone(), Direction::Inbound);
                let of = Of { token: facts, peer, ..Of::default() };
                let outcome = OutcomeGuard::new(Id::fresh(), hop, record, direction, "audit", room, of);
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

/// Whose request an outcome is of, and where it went.
#[derive(Default)]
pub(crate) struct Of {
    pub(crate) token: Option<Arc<Facts>>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) destination: Option<Arc<str>>,
    pub(crate) attempt: Option<u8>,
}

/// Writes the outcome of one request: `completed` when told so, `abandoned` when dropped.
///
/// On the heap, because it is handed on from the admission to the answer, its body, and the connection.
pub struct OutcomeGuard(Box<Open>);

struct Open {
    id: Id,
    hop: Hop,
    record: Record,
    direction: Direction,
    gate: &'static str,
    of: Of,
    route: Option<RouteTemplate>,
    status: Option<u16>,
    /// There, if an upload may go on after the answer.
    last_word: Option<Arc<LastWord>>,
    room: Option<Room>,
}

impl OutcomeGuard {
    pub(crate) fn new(
        id: Id,
        hop: Hop,
        record: Record,
        direction: Direction,
        gate: &'static str,
        room: Reservation<'_>,
        of: Of,
    ) -> Self {
        let (route, status, last_word, room) = (None, None, None, Some(room.keep()));
        Self(Box::new(Open { id, hop, record, direction, gate, of, route, status, last_word, room }))
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

    /// Which request of which stack this is the outcome of.
    pub(crate) fn of(&self) -> (&Hop, &Record) {
        (&self.0.hop, &self.0.record)
    }

    /// The request is not at its end before its upload is.
    pub(crate) fn waits_for(&mut self, upload: &Uploading) {
        self.0.last_word = Some(upload.last_word());
    }

    /// The answer was whole.
    pub(crate) fn completed(mut self) {
        match self.0.last_word.take() {
            Some(shared) => shared.answered(self),
            None => _ = self.write(Decision::Allow("completed")),
        }
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
        let mut event: Event = open.hop.event_with_id(
            open.id,
            &open.record,
            open.direction,
            EventKind::Outcome,
            open.gate,
            decision,
        );
        event.token = open.of.token.take();
        event.destination = open.of.destination.take();
        (event.peer, event.attempt) = (open.of.peer, open.of.attempt);
        event.route = open.route.take().map(RouteTemplate::into_shared);
        event.status = open.status;
        open.hop.audit().fill(room, event);
        Some(open.id)
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
        outcome: Option<Outcome>,
    }
}

/// Whose the outcome of an answer is while its body is on its way.
#[derive(Debug)]
enum Outcome {
    Own(OutcomeGuard),
    Sending(Sending),
}

impl Outcome {
    fn into_guard(self) -> Option<OutcomeGuard> {
        match self {
            Self::Own(outcome) => Some(outcome),
            Self::Sending(sending) => sending.into_outcome(),
        }
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
        if at_end(&inner) {
            outcome.completed();
            return Self { inner, outcome: None };
        }
        Self { inner, outcome: Some(Outcome::Own(outcome)) }
    }
}

impl<B> AuditedBody<B> {
    /// The request's time was up before the body ended.
    pub(crate) fn ended(self: Pin<&mut Self>, over: &Denial) {
        if let Some(outcome) = self.project().outcome.take().and_then(Outcome::into_guard) {
            outcome.ended(over.clone());
        }
    }

    /// A part of the answer was given out: the rest may never be asked for.
    pub(crate) fn is_sending(self: Pin<&mut Self>, begin: impl FnOnce(OutcomeGuard) -> Sending) {
        let outcome = self.project().outcome;
        *outcome = match outcome.take() {
            Some(Outcome::Own(own)) => Some(Outcome::Sending(begin(own))),
            other => other,
        };
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
        if ended && let Some(outcome) = this.outcome.take().and_then(Outcome::into_guard) {
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
