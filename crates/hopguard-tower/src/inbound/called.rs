//! A call of the service behind the stack: at once, where it has room.

use std::future::Future;
use std::hint::cold_path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower_service::Service;

pin_project! {
    /// The service's answer.
    #[project = CalledProjection]
    pub enum Called<S, Q>
    where
        S: Service<Q>,
    {
        /// At work.
        Now { #[pin] future: S::Future },
        /// Waiting for room, with the request: on the heap, because few do and all would carry its place along.
        Later { future: Pin<Box<Oneshot<S, Q>>> },
        /// It takes no requests any more.
        Failed { error: Option<S::Error> },
    }
}

impl<S, Q> Called<S, Q>
where
    S: Service<Q> + Clone,
{
    /// Calls `service`. Most services always have room: then the request is handed on where it is, instead of being
    /// carried along until somebody polls.
    pub(super) fn with(service: &mut S, request: Q) -> Self {
        // Who has no room is asked again, with the waker of whoever waits.
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Self::Now { future: service.call(request) },
            Poll::Ready(Err(error)) => {
                cold_path();
                Self::Failed { error: Some(error) }
            }
            Poll::Pending => {
                cold_path();
                // The one that was asked stands in a queue: it goes with the request, and a clone stays.
                let fresh = service.clone();
                let future = Oneshot::new(std::mem::replace(service, fresh), request);
                Self::Later { future: Box::pin(future) }
            }
        }
    }
}

impl<S, Q> Future for Called<S, Q>
where
    S: Service<Q>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            CalledProjection::Now { future } => future.poll(context),
            CalledProjection::Later { future } => future.as_mut().poll(context),
            CalledProjection::Failed { error } => {
                error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
            }
        }
    }
}
