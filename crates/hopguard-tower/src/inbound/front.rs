//! The outermost step: takes away evidence that is there already, and tells open paths from guarded ones.
//!
//! # Readiness
//!
//! Always ready: which of its two sides will be called is known only with the request, and a place held on one
//! would be missing on the other.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hopguard_core::is_ambiguous_path;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower_service::Service;

use super::lifetime::{TimedBody, Upload};
use crate::Hop;
use crate::hop::Passage;

/// Paths that anybody may call: health checks, metadata. Compared letter by letter with the whole path.
///
/// ```
/// let open = hopguard_tower::OpenPaths::paths(["/health"]);
/// # let _ = open;
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenPaths(Arc<BTreeSet<Box<str>>>);

impl OpenPaths {
    /// Every path is guarded.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// These paths are open, all others guarded. No patterns: a path that is not spelled exactly so is
    /// guarded.
    #[must_use]
    pub fn paths<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        Self(Arc::new(paths.into_iter().map(Box::from).collect()))
    }

    fn contains(&self, path: &str) -> bool {
        self.0.contains(path) && !is_ambiguous_path(path)
    }
}

/// The front of a complete stack.
#[derive(Clone, Debug)]
pub struct Front<G, S> {
    pub(super) hop: Hop,
    pub(super) open: OpenPaths,
    pub(super) guarded: G,
    pub(super) service: S,
}

impl<G, S, B, R> Service<Request<B>> for Front<G, S>
where
    G: Service<Request<B>, Response = Response<TimedBody<R>>, Error = S::Error>,
    S: Service<Request<Upload<B>>, Response = Response<R>> + Clone,
{
    type Response = Response<TimedBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<G::Future, Oneshot<S, Request<Upload<B>>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The open side is reserved when it is called: a place held here would be missing on the other side.
        self.guarded.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // INVARIANT: I1 — evidence that is here before the stack has begun is not the stack's.
        let record = self.hop.begin(request.headers());
        request.extensions_mut().insert(Passage::begun(&self.hop, record));
        if self.open.contains(request.uri().path()) {
            // Nobody has checked it, so nobody may take it for checked.
            request.headers_mut().remove(AUTHORIZATION);
            let request = request.map(Upload::untimed);
            ResponseFuture::Open { future: Oneshot::new(self.service.clone(), request) }
        } else {
            ResponseFuture::Guarded { future: self.guarded.call(request) }
        }
    }
}

pin_project! {
    /// The answer of the open or the guarded side.
    #[project = ResponseProjection]
    #[derive(Debug)]
    pub enum ResponseFuture<G, S> {
        /// Without a guard.
        Open {
            #[pin]
            future: S,
        },
        /// Through the guards.
        Guarded {
            #[pin]
            future: G,
        },
    }
}

impl<G, S, R, E> Future for ResponseFuture<G, S>
where
    G: Future<Output = Result<Response<TimedBody<R>>, E>>,
    S: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<TimedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ResponseProjection::Open { future } => {
                future.poll(context).map_ok(|response| response.map(TimedBody::untimed))
            }
            ResponseProjection::Guarded { future } => future.poll(context),
        }
    }
}
