//! Why a call onwards was not made, or failed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hopguard_core::{Fault, Refusal};
use http::Request;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::answer::Refused;

/// A call onwards that brought no answer of the peer.
///
/// A refusal is an error, never an invented response: the handler must not take it for the peer's words.
#[derive(Debug)]
pub enum EgressError<E> {
    /// The call was refused before it left, or its answer may not be used.
    Refused(Refused),
    /// The client could not make the request, through a mistake of its caller; nothing was sent.
    Unsendable(E),
    /// The peer answered, and not as was asked; asked again, it would as a rule do the same.
    Unexpected(E),
    /// The client failed, and whether the peer saw the request is not known; or the peer says that it cannot
    /// answer now.
    Peer(E),
}

impl<E> EgressError<E> {
    /// The stable code: of the refusal, `request_unsendable`, `peer_answer_unexpected` or `peer_unavailable`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refused) => refused.refusal.code(),
            Self::Unsendable(_) => Fault::RequestUnsendable.code(),
            Self::Unexpected(_) => Fault::PeerAnswerUnexpected.code(),
            Self::Peer(_) => Fault::PeerUnavailable.code(),
        }
    }
}

impl<E> EgressError<E> {
    /// Why the call was refused, where it was; the client's own failures are not hopguard's to judge.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refused) => Some(&refused.refusal),
            Self::Unsendable(_) | Self::Unexpected(_) | Self::Peer(_) => None,
        }
    }

    /// When the same call may succeed; `None` if it will not until something is mended, or if nobody can say.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refused) => refused.refusal.retry_after(),
            Self::Unsendable(_) | Self::Unexpected(_) => None,
            Self::Peer(_) => Fault::PeerUnavailable.retry_after(),
        }
    }
}

impl<E> EgressError<EgressError<E>> {
    /// Joins the errors of two egress layers, one inside the other, for `map_err` in a hand-made stack.
    #[must_use]
    pub fn flatten(self) -> EgressError<E> {
        match self {
            Self::Refused(refused) => EgressError::Refused(refused),
            Self::Unsendable(inner) | Self::Unexpected(inner) | Self::Peer(inner) => inner,
        }
    }
}

impl<E: fmt::Display> fmt::Display for EgressError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => write!(f, "{} (event {})", refused.refusal, refused.event),
            Self::Unsendable(_) => f.write_str("the request could not be made"),
            Self::Unexpected(_) => f.write_str("the peer did not answer as was asked"),
            Self::Peer(_) => f.write_str("the peer is unavailable"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for EgressError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(refused) => Some(&refused.refusal),
            Self::Unsendable(error) | Self::Unexpected(error) | Self::Peer(error) => Some(error),
        }
    }
}

/// Joins the errors of two egress layers, one inside the other.
#[derive(Clone, Debug)]
pub struct Flat<S>(pub(super) S);

impl<S, B, E> Service<Request<B>> for Flat<S>
where
    S: Service<Request<B>, Error = EgressError<EgressError<E>>>,
{
    type Response = S::Response;
    type Error = EgressError<E>;
    type Future = FlatFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context).map_err(EgressError::flatten)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        FlatFuture { inner: self.0.call(request) }
    }
}

pin_project! {
    /// The inner service's answer with its errors joined.
    #[derive(Debug)]
    pub struct FlatFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, T, E> Future for FlatFuture<F>
where
    F: Future<Output = Result<T, EgressError<EgressError<E>>>>,
{
    type Output = Result<T, EgressError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(context).map_err(EgressError::flatten)
    }
}
