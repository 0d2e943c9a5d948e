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
//! # let handler = guard.layer(tower::service_fn(move |request: Request<hopguard_tower::Upload<String>>| {
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
//! It decides what is attached. What else the request carries is for the passthrough block below it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hopguard_client::BoxFuture;
use hopguard_core::{
    Admitted, AsOurselves, Asked, CacheState, Decision, Demand, Denial, Destination, EventKind, Exchange,
    Fault, Granted, Refusal, Remembered, Requested, Route, RouteMap, RouteRule, UnixTime,
};
use hopguard_exchange::Exchanger;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderName, PROXY_AUTHORIZATION, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{Extensions, HeaderMap, Method, Request, Response, Uri, request};
use tower::ServiceExt;
use tower_layer::Layer;
use tower_service::Service;

use super::again::Copied;
use super::attachment::Attachment;
use super::error::EgressError;
use super::explain::Explained;
use super::outgoing::{Follows, Matched, Outgoing};
use super::redirect::{is_redirect, onward};
use super::renewal::{Budget, Replayable, asks_for_renewal, may_be_renewed};
use super::subject::OnBehalfOf;
use crate::Hop;
use crate::hop::{Passage, Record};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What a handler may not set (RFC 9110 section 7.6.1, RFC 9112 section 6).
const PER_CONNECTION: [HeaderName; 7] = [
    CONNECTION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    TRAILER,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Makes [`Exchanging`] services.
#[derive(Clone)]
pub struct ExchangeLayer {
    inner: Arc<Inner>,
    redirects_at_most: u8,
}

struct Inner {
    hop: Hop,
    routes: RouteMap,
    /// One per route: what is asked there, made once.
    requested: Vec<Option<Arc<Requested>>>,
    /// One per route: the secret that is attached there.
    attachments: Vec<Option<Result<Attachment, Fault>>>,
    /// One per route; routes of one destination share theirs.
    budgets: Vec<Arc<Budget>>,
    exchanger: Exchanger,
}

impl ExchangeLayer {
    /// Calls go where `routes` says, with grants by `exchanger`.
    #[must_use]
    pub fn new(hop: &Hop, routes: RouteMap, exchanger: Exchanger) -> Self {
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
        let requested = routes.routes().iter().map(|route| requested(route.rule())).collect();
        let attachments = routes.routes().iter().map(attachment).collect();
        let budgets = budgets(routes.routes());
        let inner = Inner { hop: hop.clone(), routes, requested, attachments, budgets, exchanger };
        Self { inner: Arc::new(inner), redirects_at_most: 0 }
    }

    /// Follows up to `hops` redirects of one call. Each is a call of its own: judged by the route map, with a
    /// grant of its own. None unless set.
    #[must_use]
    pub fn follow_redirects(self, hops: u8) -> Self {
        Self { redirects_at_most: hops, ..self }
    }

    pub(super) fn explain(&self, call: Call<'_>) -> Explained {
        let why = self.inner.routes.explain(call.method, call.uri, call.headers);
        let subject = OnBehalfOf::of(call.extensions).cloned();
        let mut matched = Matched::new(self.inner.hop.begin(Some(call.method), call.headers), subject);
        let verdict = self.inner.ticket(call, &mut matched).map(|_ticket| ());
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
    R: Send,
{
    type Response = S::Response;
    type Error = EgressError<S::Error>;
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (layer, inner) = (self.layer.inner.clone(), self.inner.clone());
        match self.layer.redirects_at_most {
            0 => ResponseFuture { run: Box::pin(async move { layer.run(inner, request).await }) },
            hops => ResponseFuture { run: Box::pin(async move { layer.follow(inner, request, hops).await }) },
        }
    }
}

/// The words of a request.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}

impl<'a> Call<'a> {
    fn of(parts: &'a request::Parts) -> Self {
        let request::Parts { method, uri, headers, extensions, .. } = parts;
        Self { method, uri, headers, extensions }
    }
}

/// What one call needs, once its route is known.
struct Ticket<'a> {
    index: usize,
    destination: &'a Destination,
    need: Need<'a>,
}

/// What is to be attached.
enum Need<'a> {
    Nothing,
    /// For the caller.
    Grant(&'a Exchange),
    Own(&'a AsOurselves),
    Secret(&'a Attachment),
}

impl Inner {
    /// Sends the call, and what its redirects ask for in its place.
    async fn follow<S, B, R>(
        &self,
        inner: S,
        mut request: Request<B>,
        hops: u8,
    ) -> Result<Response<R>, EgressError<S::Error>>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        B: Replayable,
    {
        for hop in 0..=hops {
            let (mut parts, body) = request.into_parts();
            // Nobody's but ours to say.
            parts.extensions.remove::<Outgoing>();
            let spare = (parts.clone(), body.replay());
            parts.extensions.insert(Follows);
            let response = self.run(inner.clone(), Request::from_parts(parts, body)).await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let (parts, body) = spare;
            let subject = OnBehalfOf::of(&parts.extensions).cloned();
            let mut matched = Matched::new(self.record(&parts, subject.as_ref()), subject);
            matched.destination = Destination::of(&parts.uri);
            let refuse = |refusal| EgressError::Refused(matched.refuse(&self.hop, "egress", refusal));
            let onward = onward(response.status(), response.headers(), parts, body).filter(|_| hop < hops);
            drop(response);
            // INVARIANT: I12 — what follows is a call of its own, or there is none.
            let (parts, body) = onward.ok_or_else(|| refuse(Fault::RedirectRefused.into()))?;
            let mut event = matched.event(&self.hop, "egress", Decision::Allow("redirect_followed"));
            event.kind = EventKind::Notice;
            self.hop.audit().write(event).map_err(|full| refuse(Refusal::Fault(full.into())))?;
            request = Request::from_parts(parts, body);
        }
        // The last round returns, because it follows nothing.
        let (parts, _) = request.into_parts();
        let matched = Matched::new(self.record(&parts, None), None);
        Err(EgressError::Refused(matched.refuse(&self.hop, "egress", Fault::RedirectRefused.into())))
    }

    async fn run<S, B, R>(
        &self,
        mut inner: S,
        request: Request<B>,
    ) -> Result<Response<R>, EgressError<S::Error>>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        B: Replayable,
    {
        let (mut parts, body) = request.into_parts();
        parts.extensions.remove::<Outgoing>();
        let subject = OnBehalfOf::of(&parts.extensions).cloned();
        let record = self.record(&parts, subject.as_ref());
        let mut matched = Matched::new(record, subject);
        matched.follows = parts.extensions.remove::<Follows>().is_some();
        let refuse =
            |matched: &Matched, refusal| EgressError::Refused(matched.refuse(&self.hop, "egress", refusal));
        let ticket =
            self.ticket(Call::of(&parts), &mut matched).map_err(|refusal| refuse(&matched, refusal))?;
        // The evidence goes no further: a peer in the same process must not take it for its own.
        parts.extensions.remove::<OnBehalfOf>();
        parts.extensions.remove::<Passage>();
        let granted = self.grant(&ticket, &mut matched).await.map_err(|refusal| refuse(&matched, refusal))?;
        // A copy is kept only where it may be needed.
        let begun = UnixTime::from_secs(matched.record.started_millis / 1000);
        let old = granted.filter(|grant| may_be_renewed(grant, begun));
        let again = old.and_then(|old| Some((old, body.replay()?, Copied::of(&parts))));
        let matched = Arc::new(matched);
        let request = self.attach(parts, body, &matched);
        let ready = inner.ready().await.map_err(EgressError::Peer)?;
        // INVARIANT: I13, I18 — the authorization server and the client may have taken their time.
        matched.still_sendable(&self.hop).map_err(|refusal| refuse(&matched, refusal))?;
        let response = ready.call(request).await.map_err(EgressError::Peer)?;

        let Some((old, body, copied)) = again else { return Ok(response) };
        let renew = asks_for_renewal(response.status(), response.headers())
            && self.budgets.get(ticket.index).is_some_and(|b| b.spend(self.hop.clock().monotonic()));
        if !renew {
            return Ok(response);
        }
        let Some(parts) = copied.into_parts() else { return Ok(response) };
        drop(response);
        let mut matched = Arc::unwrap_or_clone(matched);
        match (&ticket.need, &matched.subject) {
            (Need::Grant(target), Some(subject)) => {
                self.exchanger.forget(subject, target, ticket.destination, &old);
            }
            (Need::Own(target), _) => self.exchanger.forget_own(target, ticket.destination, &old),
            (Need::Grant(_) | Need::Nothing | Need::Secret(_), _) => {}
        }
        // INVARIANT: I13 — the peer may have taken its time, and what is sent again is sent for the caller still.
        if let Some(subject) = &matched.subject {
            self.still_good(subject).map_err(|denial| refuse(&matched, denial.into()))?;
        }
        matched.attempt = 2;
        let notice = Decision::Allow("grant_renewed");
        let mut event = matched.event(&self.hop, "egress", notice);
        event.kind = EventKind::Notice;
        self.hop.audit().write(event).map_err(|full| refuse(&matched, Refusal::Fault(full.into())))?;
        self.grant(&ticket, &mut matched).await.map_err(|refusal| refuse(&matched, refusal))?;
        let matched = Arc::new(matched);
        let request = self.attach(parts, body, &matched);
        let ready = inner.ready().await.map_err(EgressError::Peer)?;
        matched.still_sendable(&self.hop).map_err(|refusal| refuse(&matched, refusal))?;
        ready.call(request).await.map_err(EgressError::Peer)
    }

    /// The record of the hop that makes this call: its caller's, or one of its own.
    fn record(&self, parts: &request::Parts, subject: Option<&Admitted>) -> Record {
        let begun = self.hop.begin(Some(&parts.method), &parts.headers);
        match subject {
            Some(caller) => Record {
                request: caller.request_id(),
                trace: caller.trace().copied().or(begun.trace),
                ..begun
            },
            None => begun,
        }
    }

    /// Which route, and may this caller use it? Everything that is judged before anything is fetched.
    fn ticket(&self, call: Call<'_>, matched: &mut Matched) -> Result<Ticket<'_>, Refusal> {
        let Call { method, uri, headers, extensions } = call;
        let choice = self.routes.judge(method, uri, headers);
        // A route is for one destination, whose text is there already.
        matched.destination = match &choice {
            Ok(choice) => Some(choice.route.destination().clone()),
            Err(_) => Destination::of(uri),
        };
        let choice = choice?;
        // INVARIANT: I2 — a credential that no route attached is not ours to send.
        if headers.contains_key(AUTHORIZATION) || headers.contains_key(PROXY_AUTHORIZATION) {
            return Err(Fault::CredentialUnexpected.into());
        }
        // Framing and what is meant for one connection only is the client's own to write: a length that lies
        // would make the start of the next request its body, and `Connection` names headers to drop.
        if PER_CONNECTION.iter().any(|name| headers.contains_key(name)) {
            return Err(Fault::RequestUnsendable.into());
        }
        if matched.subject.as_ref().is_some_and(|caller| caller.ledger() != self.hop.ledger().id()) {
            return Err(Fault::EvidenceForeign.into());
        }
        let index = choice.index;
        let need = match choice.route.rule() {
            RouteRule::Exchange(target) => {
                // INVARIANT: I4 — without a caller there is no grant, and without a grant no call.
                let subject = matched.subject.as_ref().ok_or(Fault::EvidenceMissing)?;
                matched.requested = self.requested.get(index).cloned().flatten();
                target.check_open_to(subject.facts())?;
                self.still_good(subject)?;
                Need::Grant(target)
            }
            RouteRule::AsOurselves(target) => {
                self.demanded(target.demand(), matched, extensions)?;
                matched.requested = self.requested.get(index).cloned().flatten();
                Need::Own(target)
            }
            RouteRule::Static(fixed) => {
                self.demanded(fixed.demand(), matched, extensions)?;
                let entered = self.attachments.get(index).and_then(Option::as_ref);
                let attachment = entered.ok_or(Fault::EvidenceMissing)?.as_ref().map_err(|fault| *fault)?;
                attachment.check(&self.hop, headers)?;
                Need::Secret(attachment)
            }
            RouteRule::Anonymous => Need::Nothing,
            _ => return Err(Fault::DestinationUnlisted.into()),
        };
        Ok(Ticket { index, destination: choice.route.destination(), need })
    }

    /// May this call have a credential of ours?
    fn demanded(&self, demand: &Demand, matched: &Matched, extensions: &Extensions) -> Result<(), Refusal> {
        // INVARIANT: I6 — judged before anything is fetched, for callers and for calls that nobody asked for.
        match &matched.subject {
            Some(subject) => {
                demand.required().check_open_to(subject.facts())?;
                Ok(self.still_good(subject)?)
            }
            None if OnBehalfOf::is_ourselves(extensions) && demand.admits_ourselves() => Ok(()),
            None => Err(Fault::EvidenceMissing.into()),
        }
    }

    fn still_good(&self, subject: &Admitted) -> Result<(), Denial> {
        // INVARIANT: I13 — the handler may have taken its time.
        if self.hop.now() >= subject.facts().expires {
            Err(Denial::SubjectExpired)
        } else if self.hop.ledger().withdrawals().strikes(subject.facts()) {
            Err(Denial::TokenWithdrawn)
        } else {
            Ok(())
        }
    }

    async fn grant(&self, ticket: &Ticket<'_>, matched: &mut Matched) -> Result<Option<Granted>, Refusal> {
        let destination = ticket.destination;
        let (granted, cache) = match &ticket.need {
            Need::Nothing => return Ok(None),
            Need::Secret(attachment) => {
                let (name, value) = attachment.header();
                (matched.attached, matched.attached_in) = (Some(value), Some(name));
                matched.secret = Some(attachment.facts().clone());
                return Ok(None);
            }
            Need::Grant(target) => {
                // INVARIANT: I4 — a route that exchanges never goes on without.
                let subject = matched.subject.as_ref().ok_or(Fault::EvidenceMissing)?;
                match self.exchanger.cached(subject, target, destination) {
                    Some(granted) => (granted, CacheState::Hit),
                    None => {
                        let grant = self.exchanger.grant(subject, target, destination);
                        self.fetched(grant, matched).await?
                    }
                }
            }
            Need::Own(target) => match self.exchanger.own_cached(target, destination) {
                Some(granted) => (granted, CacheState::Hit),
                None => self.fetched(self.exchanger.own_grant(target, destination), matched).await?,
            },
        };
        matched.as_ourselves = matches!(ticket.need, Need::Own(_));
        matched.attached = Some(granted.authorization()?);
        matched.grant = Some(granted.facts().clone());
        matched.cache = Some(cache);
        // INVARIANT: I16 — each use is written down, and what cannot be written is not done.
        for waived in granted.waived() {
            let mut event = matched.event(&self.hop, "egress", Decision::Allow("waiver_used"));
            event.kind = EventKind::Notice;
            event.waiver = Some(Box::new(waived.clone()));
            self.hop.audit().write(event).map_err(Fault::from)?;
        }
        Ok(Some(granted))
    }

    /// A grant that had to be asked for, and what the ledger did about it.
    async fn fetched(
        &self,
        asking: BoxFuture<'static, Result<(Granted, CacheState), Refusal>>,
        matched: &Matched,
    ) -> Result<(Granted, CacheState), Refusal> {
        let answer = asking.await?;
        let evicted = self.exchanger.take_ledger_overflows() > 0;
        self.hop.note(Remembered { evicted }, &matched.record);
        Ok(answer)
    }

    fn attach<B>(&self, mut parts: request::Parts, body: B, matched: &Arc<Matched>) -> Request<B> {
        if let Some(value) = &matched.attached {
            let name = matched.attached_in.clone().unwrap_or(AUTHORIZATION);
            parts.headers.insert(name, value.clone());
        }
        if let Some(trace) = &matched.record.trace
            && !parts.headers.contains_key(TRACEPARENT)
            && let Some(value) = trace.header_value()
        {
            parts.headers.insert(TRACEPARENT, value);
        }
        parts.extensions.insert(Outgoing(matched.clone()));
        Request::from_parts(parts, body)
    }
}

/// The peer's answer, or why there is none.
///
/// Boxed, because an `async` block that may exchange, send, exchange once more and send again has no name;
/// one allocation beside a call over the network.
pub struct ResponseFuture<T, E> {
    run: BoxFuture<'static, Result<T, EgressError<E>>>,
}

impl<T, E> std::future::Future for ResponseFuture<T, E> {
    type Output = Result<T, EgressError<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.run.as_mut().poll(context)
    }
}

impl<T, E> fmt::Debug for ResponseFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
