//! The service under attack: a router behind the complete inbound stack.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::any;
use bytes::Bytes;
use hopguard_axum::{Caller, Protect, Protected};
use hopguard_core::{ActorGuard, Audit, Ledger, ScopeGuard, StrangerLimits, Ttl, TtlGuard, minutes};
use hopguard_testkit::corpus::{Prepared, Stage};
use hopguard_testkit::{FakeClock, MemorySink, ScriptedTransport};
use hopguard_tower::inbound::{GateLayer, GuardStep};
use hopguard_tower::{Inbound, InboundBuilder, LongStream, OpenPaths};
use hopguard_verify::{Issuer, Profile};
use http::request::Parts;
use tower::ServiceExt;

use crate::ALL_SINGLY;
use crate::answer::Answer;

/// The scope that `/admin` needs beside the service's own.
pub const ADMIN: &str = "orders:admin";

/// What the handlers were given, in order. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Reached(Arc<Mutex<Vec<Parts>>>);

impl Reached {
    /// How often a handler was reached.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// What the handlers were given.
    pub fn all(&self) -> Vec<Parts> {
        self.0.lock().unwrap().clone()
    }

    /// A handler was reached.
    pub fn note<B>(&self, request: http::Request<B>) {
        self.0.lock().unwrap().push(request.into_parts().0);
    }
}

/// Names and keys, and the clock that everybody shares. Keys are slow to make: one world serves many services.
#[derive(Debug)]
pub struct World {
    /// The clock.
    pub clock: Arc<FakeClock>,
    /// Names and keys.
    pub stage: Stage,
}

impl Default for World {
    fn default() -> Self {
        let clock = FakeClock::somewhen();
        Self { stage: Stage::new(clock.clone()), clock }
    }
}

impl World {
    /// Answers with the key sets of both issuers.
    pub fn key_sets(&self) -> Arc<ScriptedTransport> {
        let (first, second) = (self.stage.jwks(), self.stage.second_jwks());
        ScriptedTransport::json(
            move |url| {
                if url.starts_with(Stage::ISSUER) { first.clone() } else { second.clone() }
            },
        )
    }

    /// Two issuers whose keys are fetched when first needed, and one whose tokens say less of what they are.
    pub fn issuers(&self) -> [Issuer; 3] {
        let [first, second] = [Stage::ISSUER, Stage::SECOND_ISSUER]
            .map(|issuer| Issuer::at(issuer).jwks_url(&format!("{issuer}/jwks")));
        let lax = Profile::named("lax").typ("JWT").untyped().requires_value("token_use", "access");
        let lax = lax.client_in("client_id").scopes_in("scope");
        [first, second, Issuer::at(Stage::LAX_ISSUER).profile(lax).keys_fixed(&self.stage.lax_jwks())]
    }

    /// A good request for a path.
    pub fn good_request(&self, path: &str) -> http::Request<Bytes> {
        bearer(path, &self.stage.good_token())
    }
}

/// A request that shows `token`.
///
/// # Panics
///
/// If path or token make none.
pub fn bearer(path: &str, token: &str) -> http::Request<Bytes> {
    let value = format!("Bearer {token}");
    http::Request::get(path).header("authorization", value).body(Bytes::new()).expect("a request")
}

/// What about a service is not as usual.
#[derive(Debug)]
pub struct Setting {
    /// The rule for the time to live.
    pub ttl: TtlGuard,
    /// The scopes that every guarded path needs.
    pub scope: ScopeGuard,
    /// Who may act, and through how many hands a token may have come.
    pub actor: ActorGuard,
    /// The ledger.
    pub ledger: Ledger,
    /// Where events go.
    pub sink: Arc<MemorySink>,
    /// How many refusals of strangers are written singly.
    pub limits: StrangerLimits,
    /// Answers with the key sets.
    pub transport: Arc<ScriptedTransport>,
    /// Whose streams outlive their tokens.
    pub long: Vec<LongStream>,
}

impl Setting {
    /// As [`Stage`] says.
    pub fn usual(world: &World) -> Self {
        Self {
            ttl: Ttl::lifetime_at_most(minutes(5)),
            scope: ScopeGuard::all_of([Stage::SCOPE]),
            actor: actors(),
            ledger: Ledger::bounded(),
            sink: MemorySink::new(),
            limits: ALL_SINGLY,
            transport: world.key_sets(),
            long: Vec::new(),
        }
    }
}

/// A router behind the complete stack, and everything that a test looks at.
#[derive(Debug)]
pub struct Service {
    /// The stack.
    pub guard: Inbound,
    /// The router behind it.
    pub app: Protected,
    /// What the handlers were given.
    pub reached: Reached,
    /// What was audited.
    pub sink: Arc<MemorySink>,
    /// The audit over it.
    pub audit: Audit,
    /// The live credentials.
    pub ledger: Ledger,
    /// How often keys were fetched.
    pub transport: Arc<ScriptedTransport>,
}

impl Service {
    /// As [`Stage`] says.
    pub fn usual(world: &World) -> Self {
        Self::with(world, Setting::usual(world))
    }

    /// With another setting.
    ///
    /// # Panics
    ///
    /// If it is wrong.
    pub fn with(world: &World, setting: Setting) -> Self {
        Self::serving(world, setting, |guard, reached| {
            router(reached, true, Some(guard.tighten(admin()).expect("a good rule")))
        })
    }

    /// With another setting and another router.
    ///
    /// # Panics
    ///
    /// If the setting is wrong.
    pub fn serving(
        world: &World,
        setting: Setting,
        router: impl FnOnce(&Inbound, &Reached) -> Router,
    ) -> Self {
        let Setting { ttl, scope, actor, ledger, sink, limits, transport, long } = setting;
        let audit = Audit::with_limits("orders", "1", sink.clone(), limits);
        let [first, second, lax] = world.issuers();
        let builder = long.into_iter().fold(Inbound::builder(&ledger, &audit), InboundBuilder::long_stream);
        let guard = builder
            .issuer(first)
            .issuer(second)
            .issuer(lax)
            .audience(Stage::AUDIENCE)
            .ttl(ttl)
            .scope(scope)
            .actor(actor)
            .clock(world.clock.clone())
            .timer(world.clock.timer())
            .transport(transport.clone())
            .build()
            .expect("a stack");
        let reached = Reached::default();
        let app = guard.protect(router(&guard, &reached), OpenPaths::paths(["/health"]));
        Self { guard, app, reached, sink, audit, ledger, transport }
    }

    /// The answer to `request`, whole.
    pub async fn answer(&self, request: http::Request<Bytes>) -> Answer {
        let Ok(response) = self.app.clone().oneshot(request.map(Body::from)).await;
        Answer::of(response).await
    }

    /// Shows everything that an attack begins with, then the attack.
    ///
    /// # Panics
    ///
    /// If what it begins with is not admitted.
    pub async fn attacked(&self, prepared: Prepared) -> Answer {
        for before in prepared.before {
            assert_eq!(self.answer(before).await.status, 200, "what the attack begins with is refused");
        }
        self.answer(prepared.request).await
    }
}

/// Who may act with a token.
pub fn actors() -> ActorGuard {
    ActorGuard::any_of(Stage::ACTORS).at_most(2)
}

/// What `/admin` needs.
pub fn admin() -> ScopeGuard {
    ScopeGuard::all_of([ADMIN])
}

/// The routes of the service under attack. `/orders/{id}` asks who calls if `asking`, the others do not;
/// `/admin` is tightened by `admin`; `/later` was added last.
pub fn router(reached: &Reached, asking: bool, admin: Option<GateLayer<GuardStep<ScopeGuard>>>) -> Router {
    let note = || {
        let reached = reached.clone();
        move |request: Request| async move { reached.note(request) }
    };
    let asks = {
        let reached = reached.clone();
        move |caller: Caller, request: Request| async move {
            reached.note(request);
            caller.facts().subject.to_string()
        }
    };
    let tightened = match admin {
        Some(layer) => any(note()).layer(layer),
        None => any(note()),
    };
    let nested = Router::new().route("/deep", any(note())).fallback(note());
    Router::new()
        .route("/orders/{id}", if asking { any(asks) } else { any(note()) })
        .route("/admin", tightened)
        .route("/plain", any(note()))
        .route("/health", any(note()))
        .nest("/nested", nested)
        .fallback(note())
        .route("/later", any(note()))
}
