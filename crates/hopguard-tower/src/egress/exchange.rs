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
    Admitted, AsOurselves, Asked, CacheState, Decision, Demand, Destination, EventKind, Fault, Granted,
    Refusal, Remembered, Requested, Route, RouteMap, RouteRule, UnixTime,
};
use hopguard_exchange::{Exchanger, Prepared};
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, Method, Request, Response, Uri, request};
use tower::ServiceExt;
use tower_layer::Layer;
use tower_service::Service;

use super::again::Copied;
use super::attachment::Attachment;
use super::error::EgressError;
use super::explain::Explained;
use super::outgoing::{Follows, Matched, Outgoing, still_good};
use super::redirect::{is_redirect, onward};
use super::renewal::{Budget, Replayable, asks_for_renewal, may_be_renewed};
use super::subject::OnBehalfOf;
use crate::Hop;
use crate::hop::{Passage, Record};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

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
    /// One per route: what the exchanger works with.
    prepared: Vec<Option<Prepared>>,
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
        let prepared = |route: &Route| match route.rule() {
            RouteRule::Exchange(target) => Some(exchanger.prepare(target, route.destination())),
            _ => None,
        };
        let prepared = routes.routes().iter().map(prepared).collect();
        let requested = routes.routes().iter().map(|route| requested(route.rule())).collect();
        let attachments = routes.routes().iter().map(attachment).collect();
        let budgets = budgets(routes.routes());
        let hop = hop.clone();
        let inner = Inner { hop, routes, requested, prepared, attachments, budgets, exchanger };
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
        let mut matched = Matched::new(self.inner.hop.begin(call.headers), subject.cloned());
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
        ResponseFuture {
            run: match self.layer.redirects_at_most {
                0 => layer.run(inner, request),
                hops => Box::pin(async move { layer.follow(inner, request, hops).await }),
            },
        }
    }
}

/// The words of a request.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    /// On behalf of nobody else, which was said by name.
    pub(super) as_ourselves: bool,
}

impl<'a> Call<'a> {
    fn of(parts: &'a request::Parts, as_ourselves: bool) -> Self {
        let request::Parts { method, uri, headers, .. } = parts;
        Self { method, uri, headers, as_ourselves }
    }
}

/// What is to be attached.
enum Need<'a> {
    Nothing,
    /// For the caller.
    Grant(&'a Prepared),
    Own(&'a AsOurselves, &'a Destination),
    Secret(&'a Demand, Result<&'a Attachment, Fault>),
}

impl Inner {
    /// Sends the call, and what its redirects ask for in its place.
    async fn follow<S, B, R>(
        self: Arc<Self>,
        inner: S,
        mut request: Request<B>,
        hops: u8,
    ) -> Result<Response<R>, EgressError<S::Error>>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        B: Replayable + Send + 'static,
        R: Send,
    {
        for hop in 0..=hops {
            let (mut parts, body) = request.into_parts();
            // Nobody's but ours to say.
            parts.extensions.remove::<Outgoing>();
            let spare = (parts.clone(), body.replay());
            parts.extensions.insert(Follows);
            let response = self.clone().run(inner.clone(), Request::from_parts(parts, body)).await?;
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

    /// Sends the call. Whatever needs no waiting is judged at once, so that the future is no larger than the wait.
    fn run<S, B, R>(
        self: Arc<Self>,
        mut inner: S,
        request: Request<B>,
    ) -> BoxFuture<'static, Result<Response<R>, EgressError<S::Error>>>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        B: Replayable + Send + 'static,
        R: Send,
    {
        let (mut parts, body) = request.into_parts();
        // The evidence goes no further: a peer in the same process must not take it for its own.
        let (subject, as_ourselves) = OnBehalfOf::taken_from(&mut parts.extensions);
        let mut matched = Arc::new(Matched::new(self.record(&parts, subject.as_ref()), subject));
        let begun = Arc::make_mut(&mut matched);
        // Most calls carry nothing else, and then there is nothing to look for.
        if !parts.extensions.is_empty() {
            parts.extensions.remove::<Outgoing>();
            parts.extensions.remove::<Passage>();
            begun.follows = parts.extensions.remove::<Follows>().is_some();
        }
        let ticket = self.ticket(Call::of(&parts, as_ourselves), begun);
        Box::pin(async move {
            let index = ticket.map_err(|refusal| self.refused(&matched, refusal))?;
            let granted = self.grant(index, Arc::make_mut(&mut matched)).await;
            let granted = granted.map_err(|refusal| self.refused(&matched, refusal))?;
            // A copy is kept only where it may be needed.
            let begun = UnixTime::from_secs(matched.record.started_millis / 1000);
            let old = granted.filter(|grant| may_be_renewed(grant, begun));
            let again =
                old.and_then(|old| Some(Again { old, body: body.replay()?, copied: Copied::of(&parts)? }));
            let client = inner.ready().await.map_err(EgressError::Peer)?;
            self.judge_again(&mut matched)?;
            let response = client.call(attach(parts, body, &matched)).await.map_err(EgressError::Peer)?;
            match again {
                Some(again) if asks_for_renewal(response.status(), response.headers()) => {
                    // On the heap, so that those to whom this does not happen pay nothing for it.
                    Box::pin(self.renewed(&mut inner, index, matched, again, response)).await
                }
                _ => Ok(response),
            }
        })
    }

    /// The answer to the call with a new grant, if it may be sent once more.
    async fn renewed<S, B, R>(
        &self,
        inner: &mut S,
        index: usize,
        mut matched: Arc<Matched>,
        again: Again<B>,
        response: Response<R>,
    ) -> Result<Response<R>, EgressError<S::Error>>
    where
        S: Service<Request<B>, Response = Response<R>>,
    {
        let Again { old, body, copied } = again;
        if !self.budgets.get(index).is_some_and(|budget| budget.spend(self.hop.clock().monotonic())) {
            return Ok(response);
        }
        let Some(parts) = copied.into_parts() else { return Ok(response) };
        drop(response);
        match (self.need(index), &matched.subject) {
            (Ok(Need::Grant(prepared)), Some(subject)) => self.exchanger.forget(subject, prepared, &old),
            (Ok(Need::Own(target, destination)), _) => self.exchanger.forget_own(target, destination, &old),
            _ => {}
        }
        // INVARIANT: I13 — the peer may have taken its time, and nothing is asked for a caller who is gone.
        if let Some(subject) = &matched.subject {
            still_good(&self.hop, subject, self.hop.now())
                .map_err(|denial| self.refused(&matched, denial.into()))?;
        }
        Arc::make_mut(&mut matched).attempt = 2;
        let notice = Decision::Allow("grant_renewed");
        let mut event = matched.event(&self.hop, "egress", notice);
        event.kind = EventKind::Notice;
        let written = self.hop.audit().write(event);
        written.map_err(|full| self.refused(&matched, Refusal::Fault(full.into())))?;
        let granted = self.grant(index, Arc::make_mut(&mut matched)).await;
        granted.map_err(|refusal| self.refused(&matched, refusal))?;
        let client = inner.ready().await.map_err(EgressError::Peer)?;
        self.judge_again(&mut matched)?;
        client.call(attach(parts, body, &matched)).await.map_err(EgressError::Peer)
    }

    /// Judges what is attached once more, right before it is sent.
    fn judge_again<E>(&self, matched: &mut Arc<Matched>) -> Result<(), EgressError<E>> {
        // INVARIANT: I13, I18 — the authorization server and the client may have taken their time.
        let now = self.hop.now();
        Arc::make_mut(matched).record.now = now;
        let verdict = matched.still_sendable(&self.hop, now);
        verdict.map_err(|refusal| self.refused(matched, refusal))
    }

    fn refused<E>(&self, matched: &Matched, refusal: Refusal) -> EgressError<E> {
        EgressError::Refused(matched.refuse(&self.hop, "egress", refusal))
    }

    /// The record of the hop that makes this call: its caller's, or one of its own.
    fn record(&self, parts: &request::Parts, subject: Option<&Admitted>) -> Record {
        match subject {
            Some(caller) => self.hop.begin_for(caller, &parts.headers),
            None => self.hop.begin(&parts.headers),
        }
    }

    /// Which route, and may this caller use it? Everything that is judged before anything is fetched.
    fn ticket(&self, call: Call<'_>, matched: &mut Matched) -> Result<usize, Refusal> {
        let Call { method, uri, headers, as_ourselves } = call;
        let choice = self.routes.judge(method, uri, headers);
        // A route is for one destination, whose text is there already.
        matched.destination = match &choice {
            Ok(choice) => Some(choice.route.destination().clone()),
            Err(_) => Destination::of(uri),
        };
        let choice = choice?;
        not_ours_to_send(headers)?;
        if matched.subject.as_ref().is_some_and(|caller| caller.ledger() != self.hop.ledger().id()) {
            return Err(Fault::EvidenceForeign.into());
        }
        let index = choice.index;
        match self.need(index)? {
            Need::Grant(prepared) => {
                // INVARIANT: I4 — without a caller there is no grant, and without a grant no call.
                let subject = matched.subject.as_ref().ok_or(Fault::EvidenceMissing)?;
                matched.requested = self.requested.get(index).cloned().flatten();
                prepared.target().check_open_to(subject.facts())?;
                still_good(&self.hop, subject, matched.record.now)?;
            }
            Need::Own(target, _) => {
                self.demanded(target.demand(), matched, as_ourselves)?;
                matched.requested = self.requested.get(index).cloned().flatten();
            }
            Need::Secret(demand, attachment) => {
                self.demanded(demand, matched, as_ourselves)?;
                attachment?.check(&self.hop, headers)?;
            }
            Need::Nothing => {}
        }
        Ok(index)
    }

    /// What the route of this number attaches.
    fn need(&self, index: usize) -> Result<Need<'_>, Fault> {
        let route = self.routes.routes().get(index).ok_or(Fault::DestinationUnlisted)?;
        match route.rule() {
            RouteRule::Exchange(_) => {
                let prepared = self.prepared.get(index).and_then(Option::as_ref);
                Ok(Need::Grant(prepared.ok_or(Fault::EvidenceMissing)?))
            }
            RouteRule::AsOurselves(target) => Ok(Need::Own(target, route.destination())),
            RouteRule::Static(fixed) => {
                let entered = self.attachments.get(index).and_then(Option::as_ref);
                let entered = entered.ok_or(Fault::EvidenceMissing)?.as_ref();
                Ok(Need::Secret(fixed.demand(), entered.map_err(|fault| *fault)))
            }
            RouteRule::Anonymous => Ok(Need::Nothing),
            _ => Err(Fault::DestinationUnlisted),
        }
    }

    /// May this call have a credential of ours?
    fn demanded(&self, demand: &Demand, matched: &Matched, as_ourselves: bool) -> Result<(), Refusal> {
        // INVARIANT: I6 — judged before anything is fetched, for callers and for calls that nobody asked for.
        match &matched.subject {
            Some(subject) => {
                demand.required().check_open_to(subject.facts())?;
                Ok(still_good(&self.hop, subject, matched.record.now)?)
            }
            None if as_ourselves && demand.admits_ourselves() => Ok(()),
            None => Err(Fault::EvidenceMissing.into()),
        }
    }

    async fn grant(&self, index: usize, matched: &mut Matched) -> Result<Option<Granted>, Refusal> {
        let need = self.need(index)?;
        let (granted, cache) = match &need {
            Need::Nothing => return Ok(None),
            Need::Secret(_, attachment) => {
                let attachment = (*attachment)?;
                let (name, value) = attachment.header();
                (matched.attached, matched.attached_in) = (Some(value), Some(name));
                matched.secret = Some(attachment.facts().clone());
                return Ok(None);
            }
            Need::Grant(prepared) => {
                // INVARIANT: I4 — a route that exchanges never goes on without.
                let subject = matched.subject.as_ref().ok_or(Fault::EvidenceMissing)?;
                match self.exchanger.cached(subject, prepared) {
                    Some(granted) => (granted, CacheState::Hit),
                    None => self.fetched(self.exchanger.grant(subject, prepared), matched).await?,
                }
            }
            Need::Own(target, destination) => match self.exchanger.own_cached(target, destination) {
                Some(granted) => (granted, CacheState::Hit),
                None => self.fetched(self.exchanger.own_grant(target, destination), matched).await?,
            },
        };
        matched.as_ourselves = matches!(need, Need::Own(..));
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
}

/// What it takes to send a call once more.
struct Again<B> {
    old: Granted,
    body: B,
    copied: Copied,
}

fn attach<B>(mut parts: request::Parts, body: B, matched: &Arc<Matched>) -> Request<B> {
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

/// May the handler set all of these headers? One look at each costs less than a search for every name.
fn not_ours_to_send(headers: &HeaderMap) -> Result<(), Fault> {
    let mut framed = false;
    for name in headers.keys() {
        match name.as_str() {
            // INVARIANT: I2 — a credential that no route attached is not ours to send.
            "authorization" | "proxy-authorization" => return Err(Fault::CredentialUnexpected),
            // Framing and what is meant for one connection only is the client's own to write: a length that lies
            // would make the start of the next request its body, and `Connection` names headers to drop
            // (RFC 9110 section 7.6.1, RFC 9112 section 6).
            "connection" | "content-length" | "transfer-encoding" | "trailer" | "upgrade" | "keep-alive"
            | "proxy-connection" => framed = true,
            _ => {}
        }
    }
    if framed { Err(Fault::RequestUnsendable) } else { Ok(()) }
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
