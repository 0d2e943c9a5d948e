//! Tells the audit which route the router chose.
//!
//! The guard stands in front of the router, so that no refusal can name a route: only the outcome does.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use hopguard_tower::RouteTemplate;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// Lets the outcome of each request name the route that the router chose (`http.route`): around the router that
/// [`protect`](crate::Protect::protect) then takes.
///
/// axum puts each route into a box for it, which costs every request a few allocations; hence by name.
///
/// ```
/// # use axum::{Router, routing::get};
/// use hopguard_axum::NameRoutes;
///
/// let router: Router = Router::new().route("/orders/{id}", get(async || "stock: 12")).layer(NameRoutes);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NameRoutes;

impl<S> Layer<S> for NameRoutes {
    type Service = NamedRoute<S>;

    fn layer(&self, inner: S) -> NamedRoute<S> {
        NamedRoute { inner, last: Arc::default() }
    }
}

/// One route, whose answers tell its template.
#[derive(Clone, Debug)]
pub struct NamedRoute<S> {
    inner: S,
    /// A route has one template, so that it is copied once and shared from then on.
    last: Arc<OnceLock<RouteTemplate>>,
}

impl<S> NamedRoute<S> {
    fn template(&self, request: &Request) -> Option<RouteTemplate> {
        let path = request.extensions().get::<MatchedPath>()?.as_str();
        let known = self.last.get_or_init(|| RouteTemplate::new(path));
        Some(if known.is(path) { known.clone() } else { RouteTemplate::new(path) })
    }
}

impl<S> Service<Request> for NamedRoute<S>
where
    S: Service<Request, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let route = self.template(&request);
        ResponseFuture { future: self.inner.call(request), route }
    }
}

pin_project! {
    /// The route's answer, with its template.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        future: F,
        route: Option<RouteTemplate>,
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(context))?;
        if let Some(route) = this.route.take() {
            response.extensions_mut().insert(route);
        }
        Poll::Ready(Ok(response))
    }
}
