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
use std::time::Duration;

use hopguard_client::{Spawn, SystemClock, SystemTimer, Timer, Transport};
use hopguard_core::{
    Audit, Clock, ConfigErrors, IntoRule, InvalidRoute, Ledger, Problems, Route, RouteMap, RouteRule, Waiver,
};
use hopguard_exchange::{Exchanger, ExchangerBuilder};
use hopguard_verify::{Issuer, Verifier};
use http::{Method, Request, request};
use tower_layer::Layer;

use super::dispatch::{Dispatch, DispatchLayer};
use super::error::Flat;
use super::exchange::{ExchangeLayer, Exchanging};
use super::explain::Explained;
use super::passthrough::{Passthrough, PassthroughLayer};
use super::passthrough_builder::Written;
use super::sts::StsEndpoint;
use super::subject::OnBehalfOf;
use super::ticket::Call;
use crate::Hop;
use crate::inbound::own_transport;
use crate::scanned::BodyScan;

/// More redirects than this are a loop.
const MOST_REDIRECTS: u8 = 10;

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
            block: Written::default(),
            bounds: Bounds::default(),
            timer: None,
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
    block: Written,
    bounds: Bounds,
    timer: Option<Arc<dyn Timer>>,
    clock: Option<Arc<dyn Clock>>,
    transport: Option<Arc<dyn Transport>>,
}

/// What the exchanger keeps and does at most, where it is not left to itself.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    remembered: Option<usize>,
    waiters: Option<usize>,
    flights: Option<usize>,
    refresh_ahead: Option<Duration>,
}

impl Bounds {
    fn set(self, mut builder: ExchangerBuilder) -> ExchangerBuilder {
        if let Some(grants) = self.remembered {
            builder = builder.remember_at_most(grants);
        }
        if let Some(callers) = self.waiters {
            builder = builder.waiters_at_most(callers);
        }
        if let Some(exchanges) = self.flights {
            builder = builder.flights_at_most(exchanges);
        }
        match self.refresh_ahead {
            Some(ahead) => builder.refresh_ahead_at_most(ahead),
            None => builder,
        }
    }
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
        self.block.bodies = scan;
        self
    }

    /// Also in the header `name` a JWT must be for the audience that its route declares.
    #[must_use]
    pub fn judge_header(mut self, name: &str) -> Self {
        self.block.judged.push(name.into());
        self
    }

    /// Lets what the passthrough block finds pass to the origin of `url` until the waiver ends, each time with
    /// an event.
    #[must_use]
    pub fn dangerous_except(mut self, url: &str, waiver: Waiver) -> Self {
        self.block.exceptions.push((url.into(), waiver));
        self
    }

    /// Lets whatever the passthrough block finds pass until the waiver ends, each time with an event.
    #[must_use]
    pub fn dangerous_report_only(mut self, waiver: Waiver) -> Self {
        self.block.report_only = Some(waiver);
        self
    }

    /// Says that the origin of `url` is inside the trust domain `domain`: calls there carry on the transaction token
    /// that a [`TransactionLayer`](crate::TransactionLayer) verified for the caller's request. None goes elsewhere.
    #[must_use]
    pub fn trust_domain(mut self, url: &str, domain: &str) -> Self {
        self.block.domains.push((url.to_owned(), domain.to_owned()));
        self
    }

    /// How many grants are kept: 10 000 unless set. See
    /// [`ExchangerBuilder::remember_at_most`](hopguard_exchange::ExchangerBuilder::remember_at_most).
    #[must_use]
    pub fn remember_at_most(mut self, grants: usize) -> Self {
        self.bounds.remembered = Some(grants);
        self
    }

    /// How many callers may wait for an exchange at one time: 10 000 unless set.
    #[must_use]
    pub fn waiters_at_most(mut self, callers: usize) -> Self {
        self.bounds.waiters = Some(callers);
        self
    }

    /// How many exchanges may be under way at one time: 2048 unless set.
    #[must_use]
    pub fn flights_at_most(mut self, exchanges: usize) -> Self {
        self.bounds.flights = Some(exchanges);
        self
    }

    /// How long before its end a grant that is used is renewed at most: a minute unless set, and in the second half of
    /// its life at the earliest. Zero: never before its end.
    #[must_use]
    pub fn refresh_ahead_at_most(mut self, ahead: Duration) -> Self {
        self.bounds.refresh_ahead = Some(ahead);
        self
    }

    /// Waits between attempts, and for an authorization server that does not answer, by `timer` in place of the
    /// runtime's.
    #[must_use]
    pub fn timer(mut self, timer: Arc<dyn Timer>) -> Self {
        self.timer = Some(timer);
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
        self.audit.check(&mut problems);
        let block = self.block.read("egress", &mut problems);
        let routes = route_map(&self.routes, &mut problems);
        let clock = self.clock.clone().unwrap_or_else(SystemClock::shared);
        let transport = self.transport.clone().map_or_else(|| own_transport(&mut problems), Some);
        let timer = self.timer.clone().unwrap_or_else(SystemTimer::shared);
        if self.redirects_at_most > MOST_REDIRECTS {
            problems.add("egress.follow_redirects", "is more than 10");
        }
        let StsEndpoint { issuer, auth, token_endpoint, grants, refusals, actor, acts_as } = self.sts.clone();
        let exchanger = transport.and_then(|transport| {
            let verifying = |grants: Issuer| {
                let builder = Verifier::builder(transport.clone(), clock.clone(), Spawn::current());
                builder.audit(&self.audit).timer(timer.clone()).issuer(grants).build()
            };
            let verifier = verifying(grants).map_err(|nested| problems.absorb("egress.sts", nested));
            let sound = verifier.is_ok();
            // In place of one that cannot be, so that the rest is judged all the same.
            let verifier = verifier.or_else(|()| verifying(Issuer::at("https://missing.invalid"))).ok()?;
            let (clock, spawn) = (clock.clone(), Spawn::current());
            let builder =
                Exchanger::builder(&issuer, auth, verifier, transport.clone(), clock, spawn, &self.ledger);
            let mut builder = self.bounds.set(builder.sts_profile(refusals).timer(timer.clone()));
            if let Some(url) = token_endpoint {
                builder = builder.token_endpoint(&url);
            }
            if let Some(actor) = actor {
                builder = builder.actor_token(actor);
            }
            if let Some(name) = acts_as {
                builder = builder.acts_as(&name);
            }
            builder.build().map_err(|nested| of_exchanger(&nested, sound, &mut problems)).ok()
        });
        match (routes, exchanger) {
            (Some(routes), Some(exchanger)) => {
                let hop = Hop::new(&self.ledger, &self.audit, clock);
                let exchange =
                    ExchangeLayer::within(&hop, routes, exchanger).follow_redirects(self.redirects_at_most);
                let passthrough = PassthroughLayer::within(&hop, block);
                problems.into_result(Egress { hop, exchange, passthrough })
            }
            _ => Err(problems.into_errors()),
        }
    }
}

/// The exchanger names its settings below `exchange`; here its bounds are the stack's own, and the rest is about the
/// server. Its issuer is the verifier's, who has told of one that is not `sound`.
fn of_exchanger(errors: &ConfigErrors, sound: bool, problems: &mut Problems) {
    for one in errors.problems() {
        let name = one.setting.strip_prefix("exchange.").unwrap_or(&one.setting);
        let name = name.strip_prefix("auth.").unwrap_or(name);
        match name {
            "issuer" if !sound => {}
            "sts_profile" => problems.add("egress.sts.refusals", &one.problem),
            _ if name.ends_with("_at_most") => problems.add(format!("egress.{name}"), &one.problem),
            _ => problems.add(format!("egress.sts.{name}"), &one.problem),
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
