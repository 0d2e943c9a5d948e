//! Does a layer call only a service that said it was ready?
//!
//! The probe's `Clone` forgets its readiness, as `Buffer` and `ConcurrencyLimit` do, and its `call` panics
//! without it. Whoever clones a service and calls the clone is found out.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::ServiceExt;
use tower_layer::Layer;
use tower_service::Service;

/// A service that insists on being asked. The first `poll_ready` of each instance is pending.
#[derive(Debug)]
pub struct ReadyProbe {
    state: Readiness,
    calls: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    Unasked,
    Asked,
    Ready,
}

impl ReadyProbe {
    /// A probe that was never asked.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Readiness::Unasked, calls: Arc::default() }
    }

    /// How often this probe and its clones were called.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Default for ReadyProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for ReadyProbe {
    fn clone(&self) -> Self {
        Self { state: Readiness::Unasked, calls: self.calls.clone() }
    }
}

impl<B> Service<Request<B>> for ReadyProbe {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.state == Readiness::Unasked {
            self.state = Readiness::Asked;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.state = Readiness::Ready;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<B>) -> Self::Future {
        assert_eq!(self.state, Readiness::Ready, "called without being ready");
        self.state = Readiness::Asked;
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Ok(Response::new("answered".to_owned())))
    }
}

/// Drives `layer` around a probe in every way in which services are used: the same one again, a clone of one
/// that is ready, one that is replaced while it is ready, two calls at once. Returns the answers, and how
/// often the probe was reached.
///
/// `request` makes one request for each call. A layer that calls what was not ready panics.
///
/// # Panics
///
/// If the layer breaks the rule, or its service fails.
pub async fn drive<L, R>(layer: L, mut request: impl FnMut() -> Request<String>) -> (Vec<R>, usize)
where
    L: Layer<ReadyProbe>,
    L::Service: Service<Request<String>, Response = R> + Clone,
    <L::Service as Service<Request<String>>>::Error: fmt::Debug,
{
    let probe = ReadyProbe::new();
    let calls = probe.calls.clone();
    let mut service = layer.layer(probe);
    let mut answers = Vec::new();
    for _ in 0..2 {
        let answer = service.ready().await.expect("ready").call(request()).await;
        answers.push(answer.expect("an answer"));
    }
    let mut copy = service.ready().await.expect("ready").clone();
    answers.push(copy.ready().await.expect("ready").call(request()).await.expect("an answer"));
    // As `Buffer` and axum do: the ready one is moved out and called, a fresh one stays behind.
    let fresh = service.clone();
    let mut moved = std::mem::replace(&mut service, fresh);
    answers.push(moved.ready().await.expect("ready").call(request()).await.expect("an answer"));
    let first = service.ready().await.expect("ready").call(request());
    let second = service.ready().await.expect("ready").call(request());
    answers.push(second.await.expect("an answer"));
    answers.push(first.await.expect("an answer"));
    answers.push(copy.oneshot(request()).await.expect("an answer"));
    (answers, calls.load(Ordering::SeqCst))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use tower_layer::layer_fn;

    use super::*;

    /// The mistake that the probe is for.
    #[derive(Clone)]
    struct CallsAClone(ReadyProbe);

    impl Service<Request<String>> for CallsAClone {
        type Response = Response<String>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Service::<Request<String>>::poll_ready(&mut self.0, cx)
        }

        fn call(&mut self, request: Request<String>) -> Self::Future {
            let mut copy = self.0.clone();
            Box::pin(async move { copy.call(request).await })
        }
    }

    #[tokio::test]
    async fn a_layer_that_adds_nothing_passes() {
        let (answers, calls) = drive(layer_fn(|probe| probe), || Request::new("x".to_owned())).await;
        assert_eq!((answers.len(), calls), (7, 7));
        assert!(answers.iter().all(|answer| answer.body() == "answered"));
    }

    #[tokio::test]
    #[should_panic(expected = "called without being ready")]
    async fn a_layer_that_calls_a_clone_is_found() {
        drive(layer_fn(CallsAClone), Request::default).await;
    }
}
