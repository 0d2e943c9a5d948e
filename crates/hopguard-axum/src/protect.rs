//! Puts the stack in front of a finished router, so that nothing can be added past it.
//!
//! `Router::layer` guards only the routes that are there when it is called, and not the fallback of a router
//! merged later. [`Protect::protect`] takes the router whole and gives back a service that has no `route`. The stack is
//! no layer, so that `Router::layer`, `route_layer` and `MethodRouter::layer` do not take it:
//!
//! ```compile_fail,E0277
//! # use axum::{Router, routing::get};
//! # use hopguard_tower::Inbound;
//! # fn unguarded(guard: Inbound) -> Router {
//! let router = Router::new().route("/orders/{id}", get(async || "an order"));
//! router.layer(guard).route("/later", get(async || "open to anybody"))
//! # }
//! ```
//!
//! ```
//! # use axum::{Router, routing::get};
//! # use hopguard_axum::{Protect, Protected};
//! # use hopguard_tower::{Inbound, OpenPaths};
//! # fn guarded(guard: Inbound) -> Protected {
//! let router = Router::new().route("/orders/{id}", get(async || "an order"));
//! guard.protect(router.route("/later", get(async || "guarded")), OpenPaths::none())
//! # }
//! ```

use std::any::Any;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use futures_util::FutureExt;
use futures_util::future::{Either, Map, Ready, ready};
use hopguard_tower::inbound::Front;
use hopguard_tower::{Inbound, OpenPaths, PublishedMetadata, ScannedBody, TimedBody, Upload};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use tower_service::Service;

use crate::listener::TimedSocket;
use crate::problem::render;

/// Wraps a router in an inbound stack.
pub trait Protect {
    /// `router`, every route and the fallback behind this stack, except `open` paths.
    fn protect(&self, router: Router, open: OpenPaths) -> Protected;
}

impl Protect for Inbound {
    fn protect(&self, router: Router, open: OpenPaths) -> Protected {
        let guard = self.clone().open(open);
        Protected { service: guard.around(Inner(router)), peer: None, connect_info: false }
    }
}

/// A router behind its guard. Serve it with `axum::serve`, or call it as a `tower::Service` in tests.
///
/// Where the stack publishes metadata (RFC 9728), this answers in front of the guard and the router: the path needs
/// no route, and no route can take it.
#[derive(Clone, Debug)]
pub struct Protected {
    service: Front<Inner>,
    peer: Option<SocketAddr>,
    connect_info: bool,
}

impl Protected {
    /// Also tells handlers the transport's other end, for axum's own `ConnectInfo<SocketAddr>`, where it is known: by
    /// `axum::serve`, or by [`Protected::for_peer`]. The audit knows it anyway.
    #[must_use]
    pub fn with_connect_info(self) -> Self {
        Self { connect_info: true, ..self }
    }

    /// The same for one connection, whose other end is `peer`: for servers other than `axum::serve`, which says so by
    /// itself.
    #[must_use]
    pub fn for_peer(self, peer: SocketAddr) -> Self {
        Self { service: self.service.for_peer(peer), peer: Some(peer), ..self }
    }

    /// The stack in front: to warm it up, to see how its keys are.
    #[must_use]
    pub fn guard(&self) -> &Inbound {
        self.service.guard()
    }
}

/// The router within the stack, whose bodies end with their tokens.
#[derive(Clone, Debug)]
pub struct Inner(Router);

impl Service<http::Request<Upload<Body>>> for Inner {
    type Response = Response;
    type Error = Infallible;
    type Future = <Router as Service<Request>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Router as Service<Request>>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: http::Request<Upload<Body>>) -> Self::Future {
        // A body without time to keep, as most are, is the server's own: nothing is allocated for it.
        self.0.call(request.map(|body| body.into_untimed().unwrap_or_else(Body::new)))
    }
}

type Answer = Result<http::Response<TimedBody<ScannedBody<Body>>>, Infallible>;
type Rendered<F> = Map<F, fn(Answer) -> Result<Response, Infallible>>;
type Published = Ready<Result<Response, Infallible>>;

impl Service<Request> for Protected {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Published, Rendered<<Front<Inner> as Service<Request>>::Future>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Front<Inner> as Service<Request>>::poll_ready(&mut self.service, context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Some(peer) = self.peer.filter(|_| self.connect_info) {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let rendered: fn(Answer) -> Result<Response, Infallible> =
            |answer| answer.map(|response| render(response.map(Body::new)));
        match self.guard().resource_metadata() {
            Some(published) if published.is_at(request.uri().path()) => {
                Either::Left(ready(Ok(describe(published, request.method()))))
            }
            _ => Either::Right(self.service.call(request).map(rendered)),
        }
    }
}

/// One connection of `axum::serve`. Its other end is known where the listener's address is a [`SocketAddr`], as of TCP
/// with or without TLS; what a handler makes of it by axum's own `WebSocketUpgrade` ends in time where the listener is a
/// [`TimedListener`](crate::TimedListener).
impl<L> Service<IncomingStream<'_, L>> for Protected
where
    L: Listener,
    L::Addr: 'static,
{
    type Response = Self;
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, L>) -> Self::Future {
        let mut service = self.clone();
        if let Some(peer) = (stream.remote_addr() as &dyn Any).downcast_ref::<SocketAddr>() {
            service = service.for_peer(*peer);
        }
        if let Some(io) = (stream.io() as &dyn Any).downcast_ref::<TimedSocket>() {
            service.service = service.service.for_connection(io.inner().hangup());
        }
        ready(Ok(service))
    }
}

/// RFC 9728 section 3.2. Of the request only the method counts: the document is the same for everybody.
fn describe(published: &PublishedMetadata, method: &Method) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    if !matches!(*method, Method::GET | Method::HEAD) {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // As short as a key set may be old: whoever changes the settings need not wait longer for clients.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response.map(|_| Body::from(published.document()))
}
