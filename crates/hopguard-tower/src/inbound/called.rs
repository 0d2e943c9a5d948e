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
                // Who has failed is not asked again (`Service::poll_ready`): a clone takes its place.
                *service = service.clone();
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

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use super::*;

    /// Fails, and is dead from then on; its clones are not.
    #[derive(Default)]
    struct Mortal {
        dead: bool,
    }

    impl Clone for Mortal {
        fn clone(&self) -> Self {
            Self::default()
        }
    }

    impl Service<()> for Mortal {
        type Response = ();
        type Error = &'static str;
        type Future = Ready<Result<(), &'static str>>;

        fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            assert!(!self.dead, "who has failed is asked again");
            self.dead = true;
            Poll::Ready(Err("failed"))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            ready(Err("called, though it has failed"))
        }
    }

    #[tokio::test]
    async fn who_has_failed_is_not_asked_again() {
        let mut service = Mortal::default();
        for _ in 0..3 {
            assert_eq!(Called::with(&mut service, ()).await, Err("failed"));
        }
    }
}
