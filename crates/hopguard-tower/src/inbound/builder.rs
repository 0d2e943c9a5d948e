//! Puts the inbound stack together in its one order.
//!
//! ```no_run
//! use hopguard_core::{Audit, Ledger, ScopeGuard, Ttl, minutes};
//! use hopguard_tower::Inbound;
//! use hopguard_verify::Issuer;
//!
//! # fn build(ledger: &Ledger, audit: &Audit) -> Result<Inbound, hopguard_core::ConfigErrors> {
//! let guard = Inbound::builder(ledger, audit)
//!     .issuer(Issuer::at("https://sts.internal"))
//!     .audience("https://orders.internal")
//!     .ttl(Ttl::lifetime_at_most(minutes(5)))
//!     .scope(ScopeGuard::all_of(["orders:read"]))
//!     .build()?;
//! # Ok(guard) }
//! ```
//!
//! Leave one of the four out and it does not compile:
//!
//! ```compile_fail
//! # use hopguard_core::{Audit, Ledger, ScopeGuard};
//! # use hopguard_tower::Inbound;
//! # use hopguard_verify::Issuer;
//! # fn build(ledger: &Ledger, audit: &Audit) {
//! let guard = Inbound::builder(ledger, audit)
//!     .issuer(Issuer::at("https://sts.internal"))
//!     .audience("https://orders.internal")
//!     .scope(ScopeGuard::any_scope())
//!     .build(); // no rule for the time to live
//! # }
//! ```

use std::sync::Arc;
use std::time::Duration;

use hopguard_client::{HttpTransport, Spawn, SystemClock, SystemTimer, Timer, Transport};
use hopguard_core::{
    ActorGuard, AudienceGuard, Audit, Clock, ConfigErrors, Guard, Ledger, Problems, ScopeGuard, TtlGuard,
};
use hopguard_verify::{Issuer, Verifier, VerifierBuilder};

use super::front::{Front, OpenPaths};
use super::gate::{GateLayer, GuardExt, GuardStep, Rules};
use super::lifetime::{LongStream, Streams};
use super::metadata::{PublishedMetadata, ResourceMetadata};
use super::response::ResponseRule;
use super::stated::{AudienceStated, IssuerStated, Missing, ScopeStated, Set, TtlStated};
use super::verify::VerifyLayer;
use crate::Hop;

/// The complete inbound stack: [`around`](Inbound::around) a service. Cloning it shares keys, caches and counters.
///
/// It is no [`Layer`](tower_layer::Layer), because `axum`'s `Router::layer` would take one, and leave whatever route or
/// fallback is added after it unguarded. `Protect::protect` of `hopguard-axum` takes a finished router.
#[derive(Clone, Debug)]
pub struct Inbound {
    pub(super) verify: VerifyLayer,
    pub(super) rules: Rules,
    pub(super) streams: Arc<Streams>,
    pub(super) open: OpenPaths,
    metadata: Option<PublishedMetadata>,
}

impl Inbound {
    /// Begins a stack over this ledger and audit.
    #[must_use]
    pub fn builder(ledger: &Ledger, audit: &Audit) -> InboundBuilder {
        InboundBuilder {
            ledger: ledger.clone(),
            audit: audit.clone(),
            clock: None,
            transport: None,
            spawn: Spawn::current(),
            issuers: Vec::new(),
            audience: None,
            ttl: None,
            scope: None,
            leeway: None,
            bounds: Bounds::default(),
            actor: None,
            response: ResponseRule::default(),
            metadata: None,
            timer: None,
            long: Vec::new(),
            chosen: std::marker::PhantomData,
        }
    }

    /// The paths that anybody may call; none unless set.
    #[must_use]
    pub fn open(mut self, paths: OpenPaths) -> Self {
        self.open = paths;
        self
    }

    /// This stack in front of `service`, so that nothing gets there but through it.
    ///
    /// Whatever stands further in or further out is put around `service`, or around what this returns:
    ///
    /// ```
    /// # use std::convert::Infallible;
    /// # use hopguard_tower::{Inbound, Upload};
    /// # use http::{Request, Response};
    /// use tower::{ServiceBuilder, service_fn};
    ///
    /// # fn guarded(guard: &Inbound) {
    /// let orders = service_fn(|_: Request<Upload<String>>| async {
    ///     Ok::<_, Infallible>(Response::new("an order".to_owned()))
    /// });
    /// let outside = ServiceBuilder::new().map_request(|request: Request<String>| request);
    /// let orders = outside.service(guard.around(orders));
    /// # let _ = orders; }
    /// ```
    #[must_use]
    pub fn around<S: Clone>(&self, service: S) -> Front<S> {
        // INVARIANT: I1 — no `Layer`, which could be laid over some of a router's routes: see the type's docs.
        Front { guard: Arc::new(self.clone()), service, peer: None, hangup: None }
    }

    /// A layer for single routes below this stack that demands `scope` as well as what the stack demands.
    ///
    /// # Errors
    ///
    /// If `scope` was written down wrongly, and would let nobody pass.
    pub fn tighten(&self, scope: ScopeGuard) -> Result<GateLayer<GuardStep<ScopeGuard>>, ConfigErrors> {
        let mut problems = Problems::new();
        if let Some(problem) = scope.problem() {
            problems.add("tighten", problem);
        }
        problems.into_result(())?;
        Ok(scope.layer(self.hop()))
    }

    /// What the stack tells clients about itself, if it does. An adapter serves it on an open path.
    #[must_use]
    pub fn resource_metadata(&self) -> Option<&PublishedMetadata> {
        self.metadata.as_ref()
    }

    /// What the stack's layers share.
    #[must_use]
    pub fn hop(&self) -> &Hop {
        self.verify.hop()
    }

    /// The verifier, to warm it up before traffic comes or to tell an orchestrator that it is ready.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        self.verify.verifier()
    }
}

/// What the verifier reads and remembers at most, where it is not left to itself.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    remembered: Option<usize>,
    token: Option<usize>,
    actors: Option<usize>,
}

impl Bounds {
    fn set(self, mut builder: VerifierBuilder) -> VerifierBuilder {
        if let Some(entries) = self.remembered {
            builder = builder.remember_at_most(entries);
        }
        if let Some(bytes) = self.token {
            builder = builder.token_at_most(bytes);
        }
        match self.actors {
            Some(depth) => builder.actors_at_most(depth),
            None => builder,
        }
    }
}

type Chosen<I, A, T, P> = std::marker::PhantomData<fn() -> (I, A, T, P)>;

/// Collects what an inbound stack needs; see the module docs.
///
/// The type parameters record which of issuer, audience, TTL and scope are set; [`build`](Self::build) is
/// there once all four are.
#[derive(Debug)]
pub struct InboundBuilder<I = Missing, A = Missing, T = Missing, P = Missing> {
    ledger: Ledger,
    audit: Audit,
    clock: Option<Arc<dyn Clock>>,
    transport: Option<Arc<dyn Transport>>,
    spawn: Spawn,
    issuers: Vec<Issuer>,
    audience: Option<AudienceGuard>,
    ttl: Option<TtlGuard>,
    scope: Option<ScopeGuard>,
    leeway: Option<Duration>,
    bounds: Bounds,
    actor: Option<ActorGuard>,
    response: ResponseRule,
    metadata: Option<ResourceMetadata>,
    timer: Option<Arc<dyn Timer>>,
    long: Vec<LongStream>,
    chosen: Chosen<I, A, T, P>,
}

impl<I, A, T, P> InboundBuilder<I, A, T, P> {
    fn choose<I2, A2, T2, P2>(self) -> InboundBuilder<I2, A2, T2, P2> {
        InboundBuilder {
            ledger: self.ledger,
            audit: self.audit,
            clock: self.clock,
            transport: self.transport,
            spawn: self.spawn,
            issuers: self.issuers,
            audience: self.audience,
            ttl: self.ttl,
            scope: self.scope,
            leeway: self.leeway,
            bounds: self.bounds,
            actor: self.actor,
            response: self.response,
            metadata: self.metadata,
            timer: self.timer,
            long: self.long,
            chosen: std::marker::PhantomData,
        }
    }

    /// Trusts tokens of `issuer`. Several may be named; each verifies its own tokens only.
    #[must_use]
    pub fn issuer(mut self, issuer: Issuer) -> InboundBuilder<Set, A, T, P> {
        self.issuers.push(issuer);
        self.choose()
    }

    /// This service's own audience: a token must be for it and for nobody else.
    #[must_use]
    pub fn audience(self, audience: &str) -> InboundBuilder<I, Set, T, P> {
        self.audience_guard(AudienceGuard::exactly(audience))
    }

    /// As [`audience`](Self::audience), with aliases or relaxations.
    #[must_use]
    pub fn audience_guard(mut self, guard: AudienceGuard) -> InboundBuilder<I, Set, T, P> {
        self.audience = Some(guard);
        self.choose()
    }

    /// How long a token may live; there is no default.
    #[must_use]
    pub fn ttl(mut self, guard: TtlGuard) -> InboundBuilder<I, A, Set, P> {
        self.ttl = Some(guard);
        self.choose()
    }

    /// The scopes that every guarded path needs; [`ScopeGuard::any_scope`] says that none is needed.
    #[must_use]
    pub fn scope(mut self, guard: ScopeGuard) -> InboundBuilder<I, A, T, Set> {
        self.scope = Some(guard);
        self.choose()
    }

    /// Leeway for `nbf` and `iat`; five seconds unless set, 60 at most. `exp` has none.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = Some(leeway);
        self
    }

    /// How many verified tokens are remembered: 10 000 unless set; 0 remembers none. See
    /// [`VerifierBuilder::remember_at_most`].
    #[must_use]
    pub fn remember_at_most(mut self, entries: usize) -> Self {
        self.bounds.remembered = Some(entries);
        self
    }

    /// The longest token that is read, in bytes: 16 KiB unless set, at most 64 KiB.
    #[must_use]
    pub fn token_at_most(mut self, bytes: usize) -> Self {
        self.bounds.token = Some(bytes);
        self
    }

    /// The deepest `act` chain that is read: 8 unless set. [`ActorGuard::at_most`] says how deep may be admitted.
    #[must_use]
    pub fn actors_at_most(mut self, depth: usize) -> Self {
        self.bounds.actors = Some(depth);
        self
    }

    /// Who may hold a token now, and through how many hands it may have come; anybody unless set.
    #[must_use]
    pub fn actor(mut self, guard: ActorGuard) -> Self {
        self.actor = Some(guard);
        self
    }

    /// Publishes where tokens for this service come from (RFC 9728). Its audience must be an `https` URL then.
    #[must_use]
    pub fn resource_metadata(mut self, metadata: ResourceMetadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// What is done about credentials in answers to the caller; a hit refuses unless set.
    #[must_use]
    pub fn responses(mut self, rule: ResponseRule) -> Self {
        self.response = rule;
        self
    }

    /// Lets the streams of one route outlive their tokens; see [`LongStream`]. All others end with theirs.
    #[must_use]
    pub fn long_stream(mut self, stream: LongStream) -> Self {
        self.long.push(stream);
        self
    }

    /// Waits for the end of streams, and for issuers that do not answer, by `timer` in place of the runtime's.
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

    /// Fetches keys through `transport` in place of one of its own.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }
}

impl<I, A, T, P> InboundBuilder<I, A, T, P> {
    /// Checks every setting and puts the stack together. No I/O.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with every setting that is wrong.
    pub fn build(self) -> Result<Inbound, ConfigErrors>
    where
        // Asked here and not of the whole `impl`, so that the compiler says which is missing.
        I: IssuerStated,
        A: AudienceStated,
        T: TtlStated,
        P: ScopeStated,
    {
        let mut problems = Problems::new();
        self.audit.check(&mut problems);
        let clock = self.clock.unwrap_or_else(SystemClock::shared);
        let transport = self.transport.map_or_else(|| own_transport(&mut problems), Some);
        let timer = self.timer.unwrap_or_else(SystemTimer::shared);
        let verifier = transport.and_then(|transport| {
            let builder = Verifier::builder(transport, clock.clone(), self.spawn).audit(&self.audit);
            let mut builder = self.bounds.set(builder.timer(timer.clone()));
            for issuer in self.issuers {
                builder = builder.issuer(issuer);
            }
            if let Some(leeway) = self.leeway {
                builder = builder.leeway(leeway);
            }
            builder.build().map_err(|nested| problems.absorb("inbound", nested)).ok()
        });
        if verifier.as_ref().is_some_and(Verifier::verifies_transactions) {
            problems.add(
                "inbound.issuer",
                "has transaction tokens, which are no access tokens: see `TransactionLayer`",
            );
        }
        let missing = "is missing";
        for (setting, problem) in [
            ("inbound.audience", self.audience.as_ref().map(Guard::problem)),
            ("inbound.ttl", self.ttl.as_ref().map(Guard::problem)),
            ("inbound.scope", self.scope.as_ref().map(Guard::problem)),
        ] {
            if let Some(problem) = problem.unwrap_or(Some(missing)) {
                problems.add(setting, problem);
            }
        }
        if let Some(problem) = self.actor.as_ref().and_then(Guard::problem) {
            problems.add("inbound.actor", problem);
        }
        if let Some(problem) = self.response.problem() {
            problems.add("inbound.response.bodies", problem);
        }
        for (at, stream) in self.long.iter().enumerate() {
            if let Some(problem) = stream.problem() {
                problems.add(format!("inbound.long_stream[{at}]"), problem);
            }
        }
        match (verifier, self.audience, self.ttl, self.scope) {
            (Some(verifier), Some(audience), Some(ttl), Some(scope)) => {
                let issuers: Vec<_> =
                    verifier.key_sets().iter().map(|keys| keys.issuer.to_string()).collect();
                let publish =
                    |metadata: ResourceMetadata| metadata.publish(&audience, &issuers, &scope, &mut problems);
                let metadata = self.metadata.and_then(publish);
                let url = metadata.as_ref().map(PublishedMetadata::url);
                let hop = Hop::described(&self.ledger, &self.audit, clock, url, issuers.len() > 1);
                let ttl_of_streams = ttl;
                let (audience, ttl, scope) = (GuardStep(audience), GuardStep(ttl), GuardStep(scope));
                let (spawn, long, response) = (self.spawn, self.long, self.response);
                if let Some(longest) = long.iter().map(LongStream::cap).max() {
                    self.ledger.withdrawals().outlasts(longest);
                }
                problems.into_result(Inbound {
                    verify: VerifyLayer::new(&hop, verifier),
                    rules: Rules { audience, ttl, scope, actor: self.actor.map(GuardStep) },
                    streams: Arc::new(Streams { hop, response, timer, spawn, long, ttl: ttl_of_streams }),
                    metadata,
                    open: OpenPaths::none(),
                })
            }
            _ => Err(problems.into_errors()),
        }
    }
}

pub(crate) fn own_transport(problems: &mut Problems) -> Option<Arc<dyn Transport>> {
    match HttpTransport::builder().build() {
        Ok(transport) => Some(Arc::new(transport)),
        Err(nested) => {
            problems.absorb("transport", nested);
            None
        }
    }
}
