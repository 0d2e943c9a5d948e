//! Puts the egress stack together in its one order.
//!
//! ```no_run
//! use hopguard_client::ClientAuth;
//! use hopguard_core::{Anonymous, Audit, Exchange, Ledger};
//! use hopguard_tower::{Egress, StsEndpoint};
//!
//! # fn build(ledger: &Ledger, audit: &Audit, auth: ClientAuth) -> Result<Egress, hopguard_core::ConfigErrors> {
//! let inventory = Exchange::audience("https://inventory.internal").scope("stock:read").requires("orders:read");
//! let egress = Egress::builder(ledger, audit, StsEndpoint::at("https://sts.internal", auth))
//!     .route("https://inventory.internal", inventory)
//!     .route("https://status.example", Anonymous) // unlisted destinations are refused
//!     .build()?;
//! # Ok(egress) }
//! ```
//!
//! A route that does not say what it requires of the caller does not compile:
//!
//! ```compile_fail
//! # use hopguard_core::{Audit, Exchange, Ledger};
//! # use hopguard_tower::{Egress, StsEndpoint};
//! # fn build(ledger: &Ledger, audit: &Audit, sts: StsEndpoint) {
//! let egress = Egress::builder(ledger, audit, sts)
//!     .route("https://inventory.internal", Exchange::audience("https://inventory.internal"));
//! # }
//! ```

use std::sync::Arc;

use hopguard_client::{ClientAuth, Spawn, SystemClock, Transport};
use hopguard_core::{
    Audit, Clock, ConfigErrors, Destination, IntoRule, InvalidRoute, Ledger, Problems, Route, RouteMap,
    RouteRule, Waiver, parse_absolute,
};
use hopguard_exchange::{ActorToken, Exchanger, StsProfile};
use hopguard_verify::{Algorithm, Issuer, Profile, Verifier};
use http::{Method, Request, request};
use tower_layer::Layer;

use super::dispatch::{Dispatch, DispatchLayer};
use super::error::Flat;
use super::exchange::{ExchangeLayer, Exchanging};
use super::explain::Explained;
use super::passthrough::{Passthrough, PassthroughLayer};
use super::subject::OnBehalfOf;
use super::ticket::Call;
use crate::Hop;
use crate::inbound::own_transport;
use crate::scanned::BodyScan;

/// More redirects than this are a loop.
const MOST_REDIRECTS: u8 = 10;

/// The authorization server that exchanges tokens, and how we prove who we are to it.
///
/// ```
/// use hopguard_client::{ClientAuth, TokenFile};
/// use hopguard_exchange::{ActorToken, StsProfile};
/// use hopguard_tower::StsEndpoint;
/// use hopguard_verify::Profile;
///
/// let svid = || TokenFile::at("/var/run/secrets/tokens/svid");
/// let keycloak = StsEndpoint::at("https://id.internal/realms/shop", ClientAuth::jwt_svid_file("orders", svid()))
///     .token_endpoint("https://id.internal/realms/shop/protocol/openid-connect/token")
///     .jwks_url("https://id.internal/realms/shop/protocol/openid-connect/certs")
///     .profile(Profile::keycloak())
///     .refusals(StsProfile::keycloak())
///     .actor_token(ActorToken::file(svid()).of_type_jwt())
///     .acts_as("service-account-orders");
/// # let _ = keycloak;
/// ```
#[derive(Clone, Debug)]
pub struct StsEndpoint {
    issuer: String,
    auth: ClientAuth,
    token_endpoint: Option<String>,
    grants: Issuer,
    refusals: StsProfile,
    actor: Option<ActorToken>,
    acts_as: Option<String>,
}

impl StsEndpoint {
    /// The server with this issuer URL; its endpoints are found by RFC 8414.
    #[must_use]
    pub fn at(issuer: &str, auth: ClientAuth) -> Self {
        Self {
            issuer: issuer.into(),
            auth,
            token_endpoint: None,
            grants: Issuer::at(issuer),
            refusals: StsProfile::default(),
            actor: None,
            acts_as: None,
        }
    }

    /// Takes the keys of its grants from this URL in place of the one that its metadata names.
    #[must_use]
    pub fn jwks_url(mut self, url: &str) -> Self {
        self.grants = self.grants.jwks_url(url);
        self
    }

    /// Takes the keys of its grants from this JWK set, which never changes.
    #[must_use]
    pub fn keys_fixed(mut self, jwks: &str) -> Self {
        self.grants = self.grants.keys_fixed(jwks);
        self
    }

    /// Accepts only these algorithms on its grants.
    #[must_use]
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.grants = self.grants.algorithms(algorithms);
        self
    }

    /// How it writes its tokens: RFC 9068 unless set.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.grants = self.grants.profile(profile);
        self
    }

    /// Which of its error codes mean the caller: none but those of RFC 9470 unless set.
    #[must_use]
    pub fn refusals(mut self, profile: StsProfile) -> Self {
        self.refusals = profile;
        self
    }

    /// Sends this token of our own with each exchange (`actor_token`, RFC 8693 section 2.1).
    #[must_use]
    pub fn actor_token(mut self, actor: ActorToken) -> Self {
        self.actor = Some(actor);
        self
    }

    /// The name under which we stand in the `act` of its grants, where that is not the client's.
    #[must_use]
    pub fn acts_as(mut self, name: &str) -> Self {
        self.acts_as = Some(name.into());
        self
    }

    /// Uses this token endpoint in place of the one that the server's metadata names.
    #[must_use]
    pub fn token_endpoint(mut self, url: &str) -> Self {
        self.token_endpoint = Some(url.into());
        self
    }
}

/// The complete egress stack, as a layer around a client. Cloning it shares grants and counters.
#[derive(Clone, Debug)]
pub struct Egress {
    hop: Hop,
    exchange: ExchangeLayer,
    passthrough: PassthroughLayer,
}

/// The service that [`Egress`] makes of the client `S`.
pub type EgressService<S> = Flat<Exchanging<Flat<Passthrough<Dispatch<S>>>>>;

impl Egress {
    /// Begins a stack over the ledger that the inbound stack fills.
    #[must_use]
    pub fn builder(ledger: &Ledger, audit: &Audit, sts: StsEndpoint) -> EgressBuilder {
        EgressBuilder {
            ledger: ledger.clone(),
            audit: audit.clone(),
            sts,
            routes: Vec::new(),
            redirects_at_most: 0,
            bodies: BodyScan::default(),
            domains: Vec::new(),
            judged: Vec::new(),
            exceptions: Vec::new(),
            report_only: None,
            clock: None,
            transport: None,
        }
    }

    /// The exchanger, for how it fares.
    #[must_use]
    pub fn exchanger(&self) -> &Exchanger {
        self.exchange.exchanger()
    }

    /// Which route `request` would take and whether its caller may use it, and why; nothing is sent, fetched or
    /// written down, and no secret is shown.
    ///
    /// ```no_run
    /// # use hopguard_tower::Egress;
    /// # fn of(egress: Egress) -> Result<(), http::Error> {
    /// let request = http::Request::get("https://inventory.internal/stock/42").body(())?;
    /// println!("{}", egress.explain(&request));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn explain<B>(&self, request: &Request<B>) -> Explained {
        let (method, uri) = (request.method(), request.uri());
        let (headers, extensions) = (request.headers(), request.extensions());
        let as_ourselves = OnBehalfOf::is_ourselves(extensions);
        self.exchange.explain(Call { method, uri, headers, as_ourselves }, OnBehalfOf::of(extensions))
    }

    /// The same for a request whose body is elsewhere.
    #[must_use]
    pub fn explain_parts(&self, parts: &request::Parts) -> Explained {
        let request::Parts { method, uri, headers, extensions, .. } = parts;
        let as_ourselves = OnBehalfOf::is_ourselves(extensions);
        self.exchange.explain(Call { method, uri, headers, as_ourselves }, OnBehalfOf::of(extensions))
    }

    /// The same stack, for a client that does below it what the stack does not see: redirects, retries, cookies. Each
    /// call writes a `waiver_used` event; from the waiver's end on, or without reason or owner, each is refused with
    /// `waiver_expired`.
    #[must_use]
    pub fn dangerous_before_foreign_client(&self, waiver: Waiver) -> Self {
        let mut stack = self.clone();
        stack.passthrough = stack.passthrough.before_foreign_client(waiver);
        stack
    }

    /// What the stack's layers share.
    #[must_use]
    pub fn hop(&self) -> &Hop {
        &self.hop
    }
}

impl<S> Layer<S> for Egress {
    type Service = EgressService<S>;

    fn layer(&self, client: S) -> EgressService<S> {
        let dispatch = DispatchLayer(self.hop.clone()).layer(client);
        Flat(self.exchange.layer(Flat(self.passthrough.layer(dispatch))))
    }
}

/// One route as it was written down.
#[derive(Clone, Debug)]
struct Line {
    url: String,
    methods: Option<Vec<Method>>,
    rule: RouteRule,
}

impl Line {
    fn read(&self) -> Result<Route, InvalidRoute> {
        let route = Route::new(&self.url, self.rule.clone())?;
        match &self.methods {
            Some(methods) => route.methods(methods.iter().cloned()),
            None => Ok(route),
        }
    }
}

/// Collects what an egress stack needs; see the module docs.
#[derive(Debug)]
pub struct EgressBuilder {
    ledger: Ledger,
    audit: Audit,
    sts: StsEndpoint,
    routes: Vec<Line>,
    redirects_at_most: u8,
    bodies: BodyScan,
    domains: Vec<(String, String)>,
    judged: Vec<String>,
    exceptions: Vec<(String, Waiver)>,
    report_only: Option<Waiver>,
    clock: Option<Arc<dyn Clock>>,
    transport: Option<Arc<dyn Transport>>,
}

impl EgressBuilder {
    /// Calls at and below `url` are handled by `rule`. What no route lists is refused.
    #[must_use]
    pub fn route(mut self, url: &str, rule: impl IntoRule) -> Self {
        self.routes.push(Line { url: url.into(), methods: None, rule: rule.into_rule() });
        self
    }

    /// Calls with one of `methods` at and below `url` are handled by `rule`. Other methods find no route there
    /// unless another route of the same URL takes them.
    ///
    /// ```
    /// # use hopguard_core::{Anonymous, Deny};
    /// # fn of(builder: hopguard_tower::EgressBuilder) -> hopguard_tower::EgressBuilder {
    /// use http::Method;
    ///
    /// builder.route_for([Method::GET, Method::HEAD], "https://status.example", Anonymous)
    /// # }
    /// ```
    #[must_use]
    pub fn route_for(
        mut self,
        methods: impl IntoIterator<Item = Method>,
        url: &str,
        rule: impl IntoRule,
    ) -> Self {
        let methods = Some(methods.into_iter().collect());
        self.routes.push(Line { url: url.into(), methods, rule: rule.into_rule() });
        self
    }

    /// Follows up to `hops` redirects of one call, at most 10; none unless set, when a redirect is refused.
    ///
    /// Each is a call of its own: judged by the route map, with a grant of its own, and nothing of the credential
    /// that the first peer was shown. A peer that may redirect chooses among the URLs that routes list: to another
    /// origin only `GET` and `HEAD` follow, without a body and without headers of the handler's own. A 301 or
    /// 302 follows for these two methods only; a 307 or 308 needs a body that can be sent twice.
    #[must_use]
    pub fn follow_redirects(mut self, hops: u8) -> Self {
        self.redirects_at_most = hops;
        self
    }

    /// How the passthrough block looks through bodies.
    #[must_use]
    pub fn bodies(mut self, scan: BodyScan) -> Self {
        self.bodies = scan;
        self
    }

    /// Also in the header `name` a JWT must be for the audience that its route declares.
    #[must_use]
    pub fn judge_header(mut self, name: &str) -> Self {
        self.judged.push(name.into());
        self
    }

    /// Lets what the passthrough block finds pass to the origin of `url` until the waiver ends, each time with
    /// an event.
    #[must_use]
    pub fn dangerous_except(mut self, url: &str, waiver: Waiver) -> Self {
        self.exceptions.push((url.into(), waiver));
        self
    }

    /// Lets whatever the passthrough block finds pass until the waiver ends, each time with an event.
    #[must_use]
    pub fn dangerous_report_only(mut self, waiver: Waiver) -> Self {
        self.report_only = Some(waiver);
        self
    }

    /// The passthrough block's own settings; what is wrong with them goes to `problems`.
    fn check_block(&self, problems: &mut Problems) {
        let complete =
            |waiver: &Waiver| !waiver.reason().trim().is_empty() && !waiver.owner().trim().is_empty();
        let unfounded = "has a waiver without reason or owner";
        for (index, (url, waiver)) in self.exceptions.iter().enumerate() {
            let setting = format!("egress.dangerous_except[{index}]");
            if url.parse().ok().as_ref().and_then(Destination::of).is_none() {
                problems.add(setting.clone(), "names no origin");
            }
            if !complete(waiver) {
                problems.add(setting, unfounded);
            }
        }
        if self.report_only.as_ref().is_some_and(|waiver| !complete(waiver)) {
            problems.add("egress.dangerous_report_only", unfounded);
        }
        for (index, (url, domain)) in self.domains.iter().enumerate() {
            let setting = format!("egress.trust_domain[{index}]");
            if url.parse().ok().as_ref().and_then(Destination::of).is_none() {
                problems.add(setting.clone(), "names no origin");
            }
            if domain.trim().is_empty() {
                problems.add(setting, "names no domain");
            }
        }
        for (index, name) in self.judged.iter().enumerate() {
            if name.parse::<http::HeaderName>().is_err() {
                problems.add(format!("egress.judge_header[{index}]"), "is no header name");
            }
        }
    }

    fn block(&self, hop: &Hop) -> PassthroughLayer {
        let mut layer = PassthroughLayer::within(hop).bodies(self.bodies);
        for name in &self.judged {
            layer = layer.judge_header(name);
        }
        for (url, domain) in &self.domains {
            layer = layer.trust_domain(url, domain);
        }
        for (url, waiver) in &self.exceptions {
            layer = layer.dangerous_except(url, waiver.clone());
        }
        match &self.report_only {
            Some(waiver) => layer.dangerous_report_only(waiver.clone()),
            None => layer,
        }
    }

    /// Says that the origin of `url` is inside the trust domain `domain`: calls there carry on the transaction token
    /// that a [`TransactionLayer`](crate::TransactionLayer) verified for the caller's request. None goes elsewhere.
    #[must_use]
    pub fn trust_domain(mut self, url: &str, domain: &str) -> Self {
        self.domains.push((url.to_owned(), domain.to_owned()));
        self
    }

    /// Takes the time from `clock` in place of the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Reaches the authorization server through `transport` in place of one of its own.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Checks every setting and puts the stack together. No I/O.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with every setting that is wrong.
    pub fn build(self) -> Result<Egress, ConfigErrors> {
        let mut problems = Problems::new();
        if let Some(problem) = self.bodies.problem() {
            problems.add("egress.bodies", problem);
        }
        self.check_block(&mut problems);
        let routes = route_map(&self.routes, &mut problems);
        let clock = self.clock.clone().unwrap_or_else(SystemClock::shared);
        let transport = self.transport.clone().map_or_else(|| own_transport(&mut problems), Some);
        if self.redirects_at_most > MOST_REDIRECTS {
            problems.add("egress.follow_redirects", "is more than 10");
        }
        let StsEndpoint { issuer, auth, token_endpoint, grants, refusals, actor, acts_as } = self.sts.clone();
        let verifier = transport.clone().and_then(|transport| {
            let verifier = Verifier::builder(transport, clock.clone(), Spawn::current()).audit(&self.audit);
            verifier.issuer(grants).build().map_err(|nested| problems.absorb("egress.sts", nested)).ok()
        });
        let exchanger = match (transport, verifier) {
            (Some(transport), Some(verifier)) => {
                let spawn = Spawn::current();
                let mut builder = Exchanger::builder(
                    &issuer,
                    auth,
                    verifier,
                    transport,
                    clock.clone(),
                    spawn,
                    &self.ledger,
                );
                builder = builder.sts_profile(refusals);
                if let Some(url) = token_endpoint {
                    builder = builder.token_endpoint(&url);
                }
                if let Some(actor) = actor {
                    builder = builder.actor_token(actor);
                }
                if let Some(name) = acts_as {
                    builder = builder.acts_as(&name);
                }
                builder.build().map_err(|nested| problems.absorb("egress.sts", nested)).ok()
            }
            _ => {
                // There is no exchanger to say what else is wrong.
                if let Err(nested) = auth.validate() {
                    problems.absorb("egress.sts", nested);
                }
                if let Some(Err(problem)) = token_endpoint.as_deref().map(parse_absolute) {
                    problems.add("egress.sts.token_endpoint", problem);
                }
                None
            }
        };
        match (routes, exchanger) {
            (Some(routes), Some(exchanger)) => {
                let hop = Hop::new(&self.ledger, &self.audit, clock);
                let exchange =
                    ExchangeLayer::within(&hop, routes, exchanger).follow_redirects(self.redirects_at_most);
                let passthrough = self.block(&hop);
                problems.into_result(Egress { hop, exchange, passthrough })
            }
            _ => Err(problems.into_errors()),
        }
    }
}

fn route_map(routes: &[Line], problems: &mut Problems) -> Option<RouteMap> {
    // INVARIANT: I10 — a URL may hold a password, or be one that somebody wrote into the wrong setting.
    let setting = |index: usize| format!("egress.route[{index}]");
    let (mut read, mut places) = (Vec::new(), Vec::new());
    for (index, line) in routes.iter().enumerate() {
        match line.read() {
            Ok(route) => {
                read.push(route);
                places.push(index);
            }
            Err(invalid) => problems.add(setting(index), invalid.to_string()),
        }
    }
    let whole = read.len() == routes.len();
    let map = RouteMap::new(read)
        .map_err(|(earlier, later)| {
            if let (Some(earlier), Some(later)) = (places.get(earlier), places.get(later)) {
                let problem = format!(
                    "names the same origin and path as egress.route[{earlier}], and a method in common: keep one, or give one a longer path"
                );
                problems.add(setting(*later), problem);
            }
        })
        .ok();
    map.filter(|_| whole)
}
