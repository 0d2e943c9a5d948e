//! Finds the route of a call, exchanges the caller's token for a grant, and attaches the grant.
//!
//! ```
//! # use std::convert::Infallible;
//! # use std::sync::Arc;
//! # use hopguard_audit::TracingSink;
//! # use hopguard_client::{BoxFuture, ClientAuth, Spawn, SystemClock, Transport, TransportError};
//! # use hopguard_core::{Audit, ScopeGuard, Ttl, minutes};
//! # use hopguard_sts::{Client, Rule, Sts, UserToken};
//! # use hopguard_tower::Inbound;
//! # use hopguard_verify::{Issuer, Verifier};
//! # use http::Response;
//! use hopguard_core::{Exchange, Ledger, Route, RouteMap};
//! use hopguard_exchange::Exchanger;
//! use hopguard_tower::{ExchangeLayer, Hop, OnBehalfOf};
//! use http::Request;
//! use tower::{Layer, ServiceBuilder, ServiceExt};
//! #
//! # /// Reaches an authorization server in the same process.
//! # #[derive(Clone, Debug)]
//! # struct InProcess(axum::Router);
//! #
//! # impl Transport for InProcess {
//! #     fn send(
//! #         &self,
//! #         request: Request<bytes::Bytes>,
//! #     ) -> BoxFuture<'static, Result<Response<bytes::Bytes>, TransportError>> {
//! #         let router = self.0.clone();
//! #         Box::pin(async move {
//! #             let response = router.oneshot(request.map(axum::body::Body::from)).await.unwrap();
//! #             let (parts, body) = response.into_parts();
//! #             let body = axum::body::to_bytes(body, 65_536).await.map_err(|_| TransportError::Broken)?;
//! #             Ok(Response::from_parts(parts, body))
//! #         })
//! #     }
//! # }
//! #
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (issuer, clock) = ("https://sts.internal", SystemClock::shared());
//! # let (orders, inventory) = ("https://orders.internal", "https://inventory.internal");
//! # let secret = "no-secret-at-all-but-long-enough";
//! # let rule = Rule::for_client("orders").subject_audience(orders).audience(inventory);
//! # let sts = Sts::builder(issuer, clock.clone())
//! #     .client(Client::client_secret_basic("orders", secret))
//! #     .rule(rule.scope("stock:read", "orders:read"))
//! #     .build()?;
//! # let transport: Arc<dyn Transport> = Arc::new(InProcess(sts.router()));
//! # let audit = Audit::new("orders", "1", Arc::new(TracingSink));
//! # let ledger = Ledger::bounded();
//! # let guard = Inbound::builder(&ledger, &audit)
//! #     .issuer(Issuer::at(issuer))
//! #     .audience(orders)
//! #     .ttl(Ttl::lifetime_at_most(minutes(5)))
//! #     .scope(ScopeGuard::any_scope())
//! #     .transport(transport.clone())
//! #     .build()?;
//! # let (seen, keep) = std::sync::mpsc::channel();
//! # let handler = guard.around(tower::service_fn(move |request: Request<hopguard_tower::Upload<String>>| {
//! #     seen.send(hopguard_tower::admitted(request.extensions()).cloned()).unwrap();
//! #     async { Ok::<_, Infallible>(Response::new(String::new())) }
//! # }));
//! # let token = sts.issue(&UserToken::new("alice", orders).scope("orders:read").client_id("web"))?;
//! # let inbound = Request::get("/").header("authorization", format!("Bearer {token}")).body(String::new())?;
//! # assert_eq!(handler.oneshot(inbound).await?.status(), 200);
//! # let caller = keep.recv()?.ok_or("nobody was admitted")?;
//! # let verifier = Verifier::builder(transport.clone(), clock.clone(), Spawn::current())
//! #     .issuer(Issuer::at(issuer))
//! #     .build()?;
//! # let auth = ClientAuth::client_secret_basic("orders", secret);
//! # let exchanger =
//! #     Exchanger::builder(issuer, auth, verifier, transport, clock.clone(), Spawn::current(), &ledger).build()?;
//! // `caller` was admitted by the inbound stack; `exchanger` knows the authorization server.
//! let target = Exchange::audience("https://inventory.internal").scope("stock:read").requires("orders:read");
//! let routes = RouteMap::new(vec![Route::new("https://inventory.internal", target.into())?])
//!     .map_err(|_| "two routes are equal")?;
//! let hop = Hop::new(&ledger, &audit, clock);
//! let client = ServiceBuilder::new()
//!     .layer(ExchangeLayer::new(&hop, routes, exchanger))
//!     .service_fn(|request: Request<String>| async move {
//!         // What the peer gets is a grant for the peer.
//!         assert!(request.headers().contains_key("authorization"));
//! #         assert!(!format!("{:?}", request.headers()).contains("eyJ"));
//! #         Ok::<_, Infallible>(Response::new(String::new()))
//!     });
//!
//! let mut call = Request::get("https://inventory.internal/stock/42").body(String::new())?;
//! call.extensions_mut().insert(OnBehalfOf::caller(&caller));
//! assert_eq!(client.clone().oneshot(call).await?.status(), 200);
//!
//! let unlisted = Request::get("https://elsewhere.internal/").body(String::new())?;
//! assert_eq!(client.oneshot(unlisted).await.unwrap_err().code(), "destination_unlisted");
//! # Ok(()) }
//! ```
//!
//! The caller is named by [`OnBehalfOf`](crate::OnBehalfOf) in the request's extensions.
//!
//! # Readiness
//!
//! Always ready: the client is reserved once the grant is there, so that a slow authorization server holds no
//! connection.
//!
//! # Errors
//!
//! [`EgressError::Refused`] with the code of what was missing: `destination_unlisted`, `evidence_missing`,
//! `route_requires_scope`, any `grant_*` or `sts_*`. Whatever it is, nothing was sent.
//!
//! # Security
//!
//! It decides what is attached, and writes that down: `passed`, alone, before the client is called. What else
//! the request carries is for the passthrough block below it.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use hopguard_core::{Admitted, Asked, Fault, Requested, Route, RouteMap, RouteRule};
use hopguard_exchange::{Exchanger, Prepared};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::attachment::Attachment;
use super::error::EgressError;
use super::explain::Explained;
use super::outgoing::Matched;
use super::renewal::{Budget, Replayable};
use super::sending::ResponseFuture;
use super::ticket::Call;
use crate::Hop;

/// Makes [`Exchanging`] services.
#[derive(Clone)]
pub struct ExchangeLayer {
    inner: Arc<Inner>,
    redirects_at_most: u8,
}

pub(super) struct Inner {
    pub(super) hop: Hop,
    /// There is no step of a complete stack below, which would write down that the request was sent.
    pub(super) alone: bool,
    pub(super) routes: RouteMap,
    /// One per route: what is asked there, made once.
    pub(super) requested: Vec<Option<Arc<Requested>>>,
    /// One per route: what the exchanger works with.
    pub(super) prepared: Vec<Option<Prepared>>,
    /// One per route: the secret that is attached there.
    pub(super) attachments: Vec<Option<Result<Arc<Attachment>, Fault>>>,
    /// One per route; routes of one destination share theirs.
    pub(super) budgets: Vec<Arc<Budget>>,
    pub(super) exchanger: Exchanger,
}

impl ExchangeLayer {
    /// Calls go where `routes` says, with grants by `exchanger`.
    #[must_use]
    pub fn new(hop: &Hop, routes: RouteMap, exchanger: Exchanger) -> Self {
        Self::made(hop, routes, exchanger, true)
    }

    /// Inside a complete stack, whose last step writes the one event of the sending.
    pub(super) fn within(hop: &Hop, routes: RouteMap, exchanger: Exchanger) -> Self {
        Self::made(hop, routes, exchanger, false)
    }

    fn made(hop: &Hop, routes: RouteMap, exchanger: Exchanger, alone: bool) -> Self {
        let asked = |asked: &Asked| {
            let audience = asked.target_audience().clone();
            Some(Arc::new(Requested { audience, scopes: asked.scopes() }))
        };
        let requested = |rule: &RouteRule| match rule {
            RouteRule::Exchange(target) => asked(target.asked()),
            RouteRule::AsOurselves(target) => asked(target.asked()),
            _ => None,
        };
        let attachment = |route: &Route| match route.rule() {
            RouteRule::Static(fixed) => Some(Attachment::enter(hop, fixed, route.destination())),
            _ => None,
        };
        let prepared = |route: &Route| match route.rule() {
            RouteRule::Exchange(target) => Some(exchanger.prepare(target, route.destination())),
            _ => None,
        };
        let prepared = routes.routes().iter().map(prepared).collect();
        let requested = routes.routes().iter().map(|route| requested(route.rule())).collect();
        let attachments = routes.routes().iter().map(attachment).collect();
        let budgets = budgets(routes.routes());
        let hop = hop.clone();
        let inner = Inner { hop, alone, routes, requested, prepared, attachments, budgets, exchanger };
        Self { inner: Arc::new(inner), redirects_at_most: 0 }
    }

    /// Follows up to `hops` redirects of one call. Each is a call of its own: judged by the route map, with a
    /// grant of its own. None unless set.
    #[must_use]
    pub fn follow_redirects(self, hops: u8) -> Self {
        Self { redirects_at_most: hops, ..self }
    }

    pub(super) fn explain(&self, call: Call<'_>, subject: Option<&Admitted>) -> Explained {
        let why = self.inner.routes.explain(call.method, call.uri, call.headers);
        let mut matched =
            Matched::new(self.inner.hop.begin(Some(call.method), call.headers), subject.cloned());
        let verdict = self.inner.ticket(call, &mut matched).map(|_index| ());
        Explained::new(why, verdict)
    }
}

impl ExchangeLayer {
    /// Who exchanges.
    pub(crate) fn exchanger(&self) -> &Exchanger {
        &self.inner.exchanger
    }
}

/// A peer that answers 401 is one peer, however many routes lead to it.
fn budgets(routes: &[Route]) -> Vec<Arc<Budget>> {
    let mut budgets: Vec<Arc<Budget>> = Vec::with_capacity(routes.len());
    for route in routes {
        let known = routes.iter().position(|other| other.destination() == route.destination());
        let shared = known.and_then(|index| budgets.get(index)).map(Arc::clone);
        budgets.push(shared.unwrap_or_default());
    }
    budgets
}

impl fmt::Debug for ExchangeLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeLayer").field("routes", &self.inner.routes).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ExchangeLayer {
    type Service = Exchanging<S>;

    fn layer(&self, inner: S) -> Exchanging<S> {
        Exchanging { inner, layer: self.clone() }
    }
}

/// Sends each call with a grant of its own; see the module docs.
#[derive(Clone, Debug)]
pub struct Exchanging<S> {
    inner: S,
    layer: ExchangeLayer,
}

impl<S, B, R> Service<Request<B>> for Exchanging<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Replayable + Send + 'static,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = EgressError<S::Error>;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (exchange, inner) = (self.layer.inner.clone(), self.inner.clone());
        match self.layer.redirects_at_most {
            0 => ResponseFuture::begin(exchange, inner, request),
            hops => ResponseFuture::Waiting { run: Box::pin(exchange.follow(inner, request, hops)) },
        }
    }
}
