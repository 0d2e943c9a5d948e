//! The last step before the client: the request is written down as sent, and its answer is watched.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hopguard_core::{Decision, Direction, Fault};
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
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<AuditedBody<R>>;
    type Error = EgressError<S::Error>;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(EgressError::Peer)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let matched = request.extensions_mut().remove::<Outgoing>();
        // The caller's evidence stays here: no client has a use for it.
        request.extensions_mut().remove::<super::OnBehalfOf>();
        request.extensions_mut().remove::<Passage>();
        match self.announce(matched.as_ref().map(|outgoing| &*outgoing.0)) {
            Ok(outcome) => ResponseFuture::Sent {
                future: self.inner.call(request),
                outcome: Some(outcome),
                matched,
                hop: self.hop.clone(),
            },
            Err(refused) => ResponseFuture::Refused { refused: Some(refused) },
        }
    }
}

impl<S> Dispatch<S> {
    /// Writes that the request is sent, with room for its outcome set aside.
    fn announce(&self, matched: Option<&Matched>) -> Result<OutcomeGuard, Refused> {
        let hop = &self.hop;
        let Some(matched) = matched else {
            // INVARIANT: I1 — only the exchange says that a route was matched.
            let record = hop.begin(&http::HeaderMap::new());
            return Err(Matched::new(record, None).refuse(hop, "egress", Fault::EvidenceMissing.into()));
        };
        let event = matched.event(hop, "egress", Decision::Allow("sent"));
        let id = event.id;
        let full = |full| Refused { refusal: Fault::from(full).into(), event: id };
        let room = hop.audit().reserve().map_err(full)?;
        let (token, destination) = (event.token.clone(), event.destination.clone());
        hop.audit().write(event).map_err(full)?;
        let record = matched.record;
        Ok(OutcomeGuard::new(hop.clone(), record, Direction::Outbound, "egress", room, token, destination))
    }
}

pin_project! {
    /// The client's answer, watched to its end.
    #[project = ResponseProjection]
    #[derive(Debug)]
    pub enum ResponseFuture<F> {
        /// On its way.
        Sent {
            #[pin]
            future: F,
            outcome: Option<OutcomeGuard>,
            matched: Option<Outgoing>,
            hop: Hop,
        },
        /// Refused.
        Refused {
            refused: Option<Refused>,
        },
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<AuditedBody<R>>, EgressError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ResponseProjection::Sent { future, outcome, matched, hop } => {
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
                    let refused = matched.0.refuse(hop, "egress", Fault::RedirectRefused.into());
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
