//! One call on its way: its route, its grant, what is attached.
//!
//! Most calls find their grant at hand and their client ready, and are sent in one go. Whatever has to wait, for the
//! authorization server, for the client, or for a second grant, goes on from there in `waiting.rs`, on the heap.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hopguard_client::BoxFuture;
use hopguard_core::{Admitted, CacheState, Decision, EventKind, Fault, Granted, Refusal, UnixTime};
use http::header::HeaderName;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::again::Copied;
use super::error::EgressError;
use super::exchange::Inner;
use super::outgoing::{Attached, Follows, Matched, Outgoing};
use super::renewal::{Replayable, asks_for_renewal, may_be_renewed};
use super::subject::OnBehalfOf;
use super::ticket::{Call, Need};
use super::waiting::Renewable;
use crate::hop::{Passage, Record};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

pin_project! {
    /// The peer's answer, or why there is none.
    #[project = Stage]
    pub enum ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        /// Nothing was done yet.
        Begun { begun: Option<Begun<S, B>> },
        /// On its way.
        Sent { #[pin] future: S::Future, renewable: Option<Box<Renewable<S, B>>> },
        /// Something has to be waited for. Boxed, because an `async` block has no name; one allocation beside a call
        /// over the network.
        Waiting { run: BoxFuture<'static, Result<S::Response, EgressError<S::Error>>> },
    }
}

/// What a call begins with.
pub struct Begun<S, B> {
    pub(super) exchange: Arc<Inner>,
    pub(super) inner: S,
    request: Request<B>,
}

impl<S: Service<Request<B>>, B> ResponseFuture<S, B> {
    pub(super) const fn begin(exchange: Arc<Inner>, inner: S, request: Request<B>) -> Self {
        Self::Begun { begun: Some(Begun { exchange, inner, request }) }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Replayable + Send + 'static,
    R: Send + 'static,
{
    type Output = Result<Response<R>, EgressError<S::Error>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project() {
                Stage::Begun { begun } => {
                    let Some(at) = begun.as_mut() else { return Poll::Pending };
                    let judged = at.judge(context);
                    // Taken in any case: whatever happens, it is not begun twice.
                    let Some(begun) = begun.take() else { return Poll::Pending };
                    let (index, matched, at_hand, ready) = judged?;
                    let sending = Sending { begun, matched, index };
                    match (at_hand, ready) {
                        // Nothing has waited since it was judged.
                        (true, true) if !sending.begun.exchange.alone => {
                            let (future, renewable) = sending.send()?;
                            Self::Sent { future, renewable }
                        }
                        (true, _) => Self::Waiting { run: Box::pin(sending.once_ready()) },
                        (false, _) => Self::Waiting { run: Box::pin(sending.exchanged()) },
                    }
                }
                Stage::Sent { future, renewable } => {
                    let response = ready!(future.poll(context)).map_err(EgressError::Peer)?;
                    match renewable.take() {
                        Some(renewable) if asks_for_renewal(response.status(), response.headers()) => {
                            Self::Waiting { run: Box::pin(renewable.renewed(response)) }
                        }
                        _ => return Poll::Ready(Ok(response)),
                    }
                }
                Stage::Waiting { run } => return run.as_mut().poll(context),
            };
            self.set(next);
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// The route, what is known of the call, whether its grant is at hand, whether its client is ready.
type Judged = (usize, Matched, bool, bool);

impl<S: Service<Request<B>>, B> Begun<S, B> {
    /// All that is judged before anything is fetched; whether the grant is at hand, and the client ready.
    fn judge(&mut self, context: &mut Context<'_>) -> Result<Judged, EgressError<S::Error>> {
        let Self { exchange, inner, request } = self;
        // The evidence goes no further: a peer in the same process must not take it for its own.
        let (subject, as_ourselves) = OnBehalfOf::taken_from(request.extensions_mut());
        let mut matched = Matched::new(exchange.record(request, subject.as_ref()), subject);
        // Most calls carry nothing else, and then there is nothing to look for.
        let extensions = request.extensions_mut();
        if !extensions.is_empty() {
            extensions.remove::<Outgoing>();
            extensions.remove::<Passage>();
            matched.follows = extensions.remove::<Follows>().is_some();
        }
        let index = exchange.ticket(Call::of(request, as_ourselves), &mut matched);
        let index = index.map_err(|refusal| exchange.refused(&matched, refusal))?;
        // The record was begun just now.
        let now = matched.record.started_millis;
        let at_hand = exchange.at_hand(index, &mut matched, now);
        let at_hand = at_hand.map_err(|refusal| exchange.refused(&matched, refusal))?;
        // Alone, it writes down first what it attaches, which may have to wait.
        let at_once = at_hand && !exchange.alone;
        let ready = at_once && inner.poll_ready(context).map_err(EgressError::Peer)?.is_ready();
        Ok((index, matched, at_hand, ready))
    }
}

/// A call that may be made, before it is.
pub(super) struct Sending<S, B> {
    pub(super) begun: Begun<S, B>,
    pub(super) matched: Matched,
    pub(super) index: usize,
}

/// The client's answer to come, and what it takes to make the call once more.
type Sent<S, B> = (<S as Service<Request<B>>>::Future, Option<Box<Renewable<S, B>>>);

impl<S: Service<Request<B>>, B: Replayable> Sending<S, B> {
    /// Hands the request to the client, which is ready.
    pub(super) fn send(self) -> Result<Sent<S, B>, EgressError<S::Error>> {
        let Self { begun: Begun { exchange, mut inner, mut request }, matched, index } = self;
        // A copy is kept only where it may be needed.
        let begun = UnixTime::from_secs(matched.record.started_millis / 1000);
        let old = matched.attached.grant().filter(|grant| may_be_renewed(grant, begun));
        let again = old.and_then(|_| Some((request.body().replay()?, Copied::of(&request)?)));
        let matched = Arc::new(matched);
        exchange.attach(&mut request, &matched)?;
        let future = inner.call(request);
        let renewable =
            again.map(|(body, copied)| Box::new(Renewable { exchange, inner, body, copied, matched, index }));
        Ok((future, renewable))
    }
}

impl Inner {
    pub(super) fn refused<E>(&self, matched: &Matched, refusal: Refusal) -> EgressError<E> {
        EgressError::Refused(matched.refuse(&self.hop, "egress", refusal))
    }

    /// The record of the hop that makes this call: its caller's, or one of its own.
    pub(super) fn record<B>(&self, request: &Request<B>, subject: Option<&Admitted>) -> Record {
        match subject {
            Some(caller) => self.hop.begin_for(caller, request.method(), request.headers()),
            None => self.hop.begin(Some(request.method()), request.headers()),
        }
    }

    /// Finds what is to be attached, if it is there already; false if it has to be asked for.
    pub(super) fn at_hand(&self, index: usize, matched: &mut Matched, now: u64) -> Result<bool, Refusal> {
        let found = match self.need(index)? {
            Need::Nothing => return Ok(true),
            Need::Secret(_, attachment) => {
                matched.attached = Attached::Secret(attachment?.clone());
                return Ok(true);
            }
            Need::Grant(prepared) => {
                // INVARIANT: I4 — a route that exchanges never goes on without.
                let subject = matched.subject.as_ref().ok_or(Fault::EvidenceMissing)?;
                self.exchanger.cached_at(subject, prepared, now)
            }
            Need::Own(target, destination) => {
                matched.as_ourselves = true;
                self.exchanger.own_cached(target, destination)
            }
        };
        found.map_or(Ok(false), |granted| self.hold(granted, CacheState::Hit, matched).map(|()| true))
    }

    /// Takes this grant along.
    pub(super) fn hold(
        &self,
        granted: Granted,
        cache: CacheState,
        matched: &mut Matched,
    ) -> Result<(), Refusal> {
        (matched.attached, matched.cache) = (Attached::Grant(granted), Some(cache));
        // INVARIANT: I16 — each use is written down, and what cannot be written is not done.
        for waived in matched.attached.grant().map(Granted::waived).unwrap_or_default() {
            let mut event = matched.event(&self.hop, "egress", Decision::Allow("waiver_used"));
            event.kind = EventKind::Notice;
            event.waiver = Some(Box::new(waived.clone()));
            self.hop.audit().write(event).map_err(Fault::from)?;
        }
        Ok(())
    }

    /// Makes the request what is to leave.
    pub(super) fn attach<B, E>(
        &self,
        request: &mut Request<B>,
        matched: &Arc<Matched>,
    ) -> Result<(), EgressError<E>> {
        // INVARIANT: I4 — what cannot be shown is not left out.
        let shown = matched.attached.header().map_err(|fault| self.refused(matched, fault.into()))?;
        if let Some((name, value)) = shown {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        if let Some(trace) = &matched.record.trace
            && !request.headers().contains_key(TRACEPARENT)
            && let Some(value) = trace.header_value()
        {
            request.headers_mut().insert(TRACEPARENT, value);
        }
        request.extensions_mut().insert(Outgoing(matched.clone()));
        Ok(())
    }
}
