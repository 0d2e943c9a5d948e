//! The last step before the client: the request is written down as sent, and its answer is watched.
//!
//! If the sink promises to write before anything is allowed, the client that was ready is kept until the event is
//! safe, and called then; no thread is blocked.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hopguard_core::{Acknowledgement, Decision, Direction, Fault, Refusal};
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::error::EgressError;
use super::outgoing::{Matched, Outgoing};
use super::redirect::is_redirect;
use crate::Hop;
use crate::answer::Refused;
use crate::audited::{AuditedBody, OutcomeGuard};
use crate::hop::Passage;
use crate::kept::Kept;

/// Makes [`Dispatch`] services. Only the complete builder makes one.
#[derive(Clone, Debug)]
pub(super) struct DispatchLayer(pub(super) Hop);

impl<S> Layer<S> for DispatchLayer {
    type Service = Dispatch<S>;

    fn layer(&self, inner: S) -> Dispatch<S> {
        Dispatch { inner, hop: self.0.clone() }
    }
}

/// Hands the request to the client.
#[derive(Clone, Debug)]
pub struct Dispatch<S> {
    inner: S,
    hop: Hop,
}

impl<S, B, R> Service<Request<B>> for Dispatch<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Body,
{
    type Response = Response<AuditedBody<R>>;
    type Error = EgressError<S::Error>;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(EgressError::Peer)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let matched = request.extensions_mut().remove::<Outgoing>();
        // The caller's evidence stays here: no client has a use for it.
        if !request.extensions().is_empty() {
            request.extensions_mut().remove::<super::OnBehalfOf>();
            request.extensions_mut().remove::<Passage>();
        }
        let Some(matched) = matched else {
            // INVARIANT: I1 — only the exchange says that a route was matched.
            let unmatched = Matched::new(self.hop.begin(Some(request.method()), request.headers()), None);
            let refused = unmatched.refuse(&self.hop, "egress", Fault::EvidenceMissing.into());
            return ResponseFuture::Refused { refused: Some(refused) };
        };
        // The exchange has judged in this very call that what is attached is good still.
        match self.announce(&matched.0) {
            Ok((outcome, safe)) if safe.is_done() => ResponseFuture::Sent {
                future: self.inner.call(request),
                outcome: Some(outcome),
                matched: Some(matched),
            },
            Ok((outcome, safe)) => {
                let held = Held { request, outcome, matched };
                ResponseFuture::Waiting { kept: Kept::until(safe, &mut self.inner, held) }
            }
            Err(refused) => ResponseFuture::Refused { refused: Some(refused) },
        }
    }
}

impl<S> Dispatch<S> {
    /// Writes that the request is sent, with room for its outcome set aside.
    fn announce(&self, matched: &Matched) -> Result<(OutcomeGuard, Acknowledgement), Refused> {
        let hop = &self.hop;
        let event = matched.event(hop, "egress", Decision::Allow("sent"));
        let id = event.id;
        let full = |full| Refused { refusal: Fault::from(full).into(), event: id };
        let room = hop.audit().reserve().map_err(full)?;
        let (token, destination) = (event.token.clone(), event.destination.clone());
        let safe = hop.audit().write_durably(event).map_err(full)?;
        let (record, direction) = (matched.record, Direction::Outbound);
        let outcome = OutcomeGuard::new(hop.clone(), record, direction, "egress", room, token, destination);
        Ok((outcome, safe))
    }
}

pin_project! {
    /// The client's answer, watched to its end.
    #[project = ResponseProjection]
    pub enum ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        /// It is being written that the request is sent.
        Waiting { kept: Option<Box<Kept<S, Held<B>>>> },
        /// On its way.
        Sent {
            #[pin]
            future: S::Future,
            outcome: Option<OutcomeGuard>,
            matched: Option<Outgoing>,
        },
        /// Refused.
        Refused {
            refused: Option<Refused>,
        },
    }
}

/// What goes on once its event is safe.
pub struct Held<B> {
    request: Request<B>,
    outcome: OutcomeGuard,
    matched: Outgoing,
}

impl<S: Service<Request<B>>, B> ResponseFuture<S, B> {
    /// Sends the request once it is safe that this is written down.
    fn poll_safe(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let ResponseProjection::Waiting { kept } = self.as_mut().project() else { return Poll::Ready(()) };
        let (safe, mut inner, held) = ready!(Kept::poll(kept, context));
        let Held { request, outcome, matched } = held;
        let hop = outcome.hop().clone();
        let next = match safe {
            Ok(()) => match matched.0.still_leaves(&hop, request.headers()) {
                Ok(()) => {
                    Self::Sent { future: inner.call(request), outcome: Some(outcome), matched: Some(matched) }
                }
                // INVARIANT: I13 — the disk may have been slow.
                Err(refusal) => {
                    match &refusal {
                        Refusal::Denial(denial) => _ = outcome.ended(denial.clone()),
                        Refusal::Fault(fault) => outcome.failed(*fault),
                    }
                    Self::Refused { refused: Some(matched.0.refuse(&hop, "egress", refusal)) }
                }
            },
            Err(fault) => {
                outcome.failed(fault);
                Self::Refused { refused: Some(matched.0.refuse(&hop, "egress", fault.into())) }
            }
        };
        self.set(next);
        Poll::Ready(())
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Output = Result<Response<AuditedBody<R>>, EgressError<S::Error>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(self.as_mut().poll_safe(context));
        match self.project() {
            ResponseProjection::Waiting { .. } => Poll::Pending,
            ResponseProjection::Sent { future, outcome, matched } => {
                let answer = ready!(future.poll(context));
                let Some(mut outcome) = outcome.take() else { return Poll::Pending };
                let response = match answer {
                    Ok(response) => response,
                    Err(error) => {
                        outcome.failed(Fault::PeerUnavailable);
                        return Poll::Ready(Err(EgressError::Peer(error)));
                    }
                };
                outcome.status(response.status().as_u16());
                // INVARIANT: I12 — nobody below follows one, and the handler must not do so with a credential.
                if is_redirect(response.status())
                    && let Some(matched) = matched
                    && !matched.0.follows
                {
                    let refused = matched.0.refuse(outcome.hop(), "egress", Fault::RedirectRefused.into());
                    return Poll::Ready(Err(EgressError::Refused(refused)));
                }
                Poll::Ready(Ok(response.map(|body| AuditedBody::watched(body, outcome))))
            }
            ResponseProjection::Refused { refused } => refused
                .take()
                .map_or(Poll::Pending, |refused| Poll::Ready(Err(EgressError::Refused(refused)))),
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = matches!(self, Self::Waiting { .. });
        f.debug_struct("ResponseFuture").field("waiting", &waiting).finish_non_exhaustive()
    }
}
