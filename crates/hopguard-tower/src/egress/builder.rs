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
    Audit, Clock, ConfigErrors, Destination, Ledger, Problems, Route, RouteMap, RouteRule, Waiver,
    parse_absolute,
};
use hopguard_exchange::Exchanger;
use hopguard_verify::{Issuer, Verifier};
use tower_layer::Layer;

use super::dispatch::{Dispatch, DispatchLayer};
use super::error::Flat;
use super::exchange::{ExchangeLayer, Exchanging};
use super::passthrough::{Passthrough, PassthroughLayer};
use crate::Hop;
use crate::inbound::own_transport;
use crate::scanned::BodyScan;

/// The authorization server that exchanges tokens, and how we prove who we are to it.
#[derive(Clone, Debug)]
pub struct StsEndpoint {
    issuer: String,
    auth: ClientAuth,
    token_endpoint: Option<String>,
}

impl StsEndpoint {
    /// The server with this issuer URL; its endpoints are found by RFC 8414.
    #[must_use]
    pub fn at(issuer: &str, auth: ClientAuth) -> Self {
        Self { issuer: issuer.into(), auth, token_endpoint: None }
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
            bodies: BodyScan::default(),
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

/// Collects what an egress stack needs; see the module docs.
#[derive(Debug)]
pub struct EgressBuilder {
    ledger: Ledger,
    audit: Audit,
    sts: StsEndpoint,
    routes: Vec<(String, RouteRule)>,
    bodies: BodyScan,
    judged: Vec<String>,
    exceptions: Vec<(String, Waiver)>,
    report_only: Option<Waiver>,
    clock: Option<Arc<dyn Clock>>,
    transport: Option<Arc<dyn Transport>>,
}

impl EgressBuilder {
    /// Calls at and below `url` are handled by `rule`. What no route lists is refused.
    #[must_use]
    pub fn route(mut self, url: &str, rule: impl Into<RouteRule>) -> Self {
        self.routes.push((url.into(), rule.into()));
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
        for (url, waiver) in &self.exceptions {
            layer = layer.dangerous_except(url, waiver.clone());
        }
        match &self.report_only {
            Some(waiver) => layer.dangerous_report_only(waiver.clone()),
            None => layer,
        }
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
        self.check_block(&mut problems);
        let routes = route_map(&self.routes, &mut problems);
        let clock = self.clock.clone().unwrap_or_else(SystemClock::shared);
        let transport = self.transport.clone().map_or_else(|| own_transport(&mut problems), Some);
        let StsEndpoint { issuer, auth, token_endpoint } = self.sts.clone();
        let verifier = transport.clone().and_then(|transport| {
            let verifier = Verifier::builder(transport, clock.clone(), Spawn::current()).audit(&self.audit);
            verifier
                .issuer(Issuer::at(&issuer))
                .build()
                .map_err(|nested| problems.absorb("egress.sts", nested))
                .ok()
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
                if let Some(url) = token_endpoint {
                    builder = builder.token_endpoint(&url);
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
                let exchange = ExchangeLayer::new(&hop, routes, exchanger);
                let passthrough = self.block(&hop);
                problems.into_result(Egress { hop, exchange, passthrough })
            }
            _ => Err(problems.into_errors()),
        }
    }
}

fn route_map(routes: &[(String, RouteRule)], problems: &mut Problems) -> Option<RouteMap> {
    let setting = |index: usize, url: &str| format!("egress.route[{index}] {url}");
    let (mut read, mut places) = (Vec::new(), Vec::new());
    for (index, (url, rule)) in routes.iter().enumerate() {
        match Route::new(url, rule.clone()) {
            Ok(route) => {
                read.push(route);
                places.push((index, url));
            }
            Err(invalid) => problems.add(setting(index, url), invalid.to_string()),
        }
    }
    let whole = read.len() == routes.len();
    let map = RouteMap::new(read)
        .map_err(|(earlier, later)| {
            if let (Some((earlier, _)), Some((later, url))) = (places.get(earlier), places.get(later)) {
                let problem = format!(
                    "names the same origin and path as egress.route[{earlier}]: keep one, or give one a longer path"
                );
                problems.add(setting(*later, url), problem);
            }
        })
        .ok();
    map.filter(|_| whole)
}
