//! Stacks put together by hand from the layers that stand alone, so that one can be left out or misplaced.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use hopguard_client::Spawn;
use hopguard_core::{AudienceGuard, Audit, Clock, Ledger, ScopeGuard, ScopeSet, Ttl, minutes};
use hopguard_testkit::MemorySink;
use hopguard_testkit::corpus::{Prepared, Stage};
use hopguard_tower::{BindLayer, GuardExt, Hop, VerifyLayer};
use hopguard_verify::Verifier;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use serde_json::Value;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use tower_layer::Layer;

use crate::ALL_SINGLY;
use crate::answer::Answer;
use crate::inbound::{Reached, World, admin, router};

/// Any service, its type forgotten.
pub type Boxed = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The guards of a whole stack, outermost first. `/admin` has its own, further in.
pub const WHOLE: &[&str] = &["verify", "bind", "audience", "ttl", "scope"];

/// Nobody lives a hundred years; what claims to is not read as a lifetime.
const LONGEST_READ: u64 = 100 * 365 * 86_400;

/// The layers of one service, to be put together by hand.
#[derive(Debug)]
pub struct Alone<'a> {
    /// What ties the layers together.
    pub hop: Hop,
    /// What was audited.
    pub sink: Arc<MemorySink>,
    /// What the handlers were given.
    pub reached: Reached,
    world: &'a World,
    verifier: Verifier,
}

impl<'a> Alone<'a> {
    /// With the names and keys of `world`.
    ///
    /// # Panics
    ///
    /// If no verifier can be made.
    pub fn new(world: &'a World) -> Self {
        let sink = MemorySink::new();
        let audit = Audit::with_limits("orders", "1", sink.clone(), ALL_SINGLY);
        let hop = Hop::new(&Ledger::bounded(), &audit, world.clock.clone());
        let [first, second, lax] = world.issuers();
        let verifier = Verifier::builder(world.key_sets(), world.clock.clone(), Spawn::current())
            .issuer(first)
            .issuer(second)
            .issuer(lax)
            .build()
            .expect("a verifier");
        Self { hop, sink, reached: Reached::default(), world, verifier }
    }

    /// The routes, `/admin` with its own scope rule or without.
    pub fn routes(&self, route_scope: bool) -> Boxed {
        let admin = route_scope.then(|| admin().layer(&self.hop));
        BoxCloneSyncService::new(router(&self.reached, false, admin))
    }

    /// The layers `names`, outermost first, around `service`.
    pub fn stack<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str, IntoIter: DoubleEndedIterator>,
        service: Boxed,
    ) -> Boxed {
        names.into_iter().rev().fold(service, |inner, name| self.layer(name, &self.hop, inner))
    }

    /// The layer `name` of the stack `hop` around `inner`.
    ///
    /// # Panics
    ///
    /// If there is no such layer.
    pub fn layer(&self, name: &str, hop: &Hop, inner: Boxed) -> Boxed {
        match name {
            "verify" => {
                let layer = VerifyLayer::new(hop, self.verifier.clone()).dangerous_leave_holder_open();
                BoxCloneSyncService::new(layer.layer(inner))
            }
            "verify and bind" => {
                BoxCloneSyncService::new(VerifyLayer::new(hop, self.verifier.clone()).layer(inner))
            }
            "bind" => BoxCloneSyncService::new(BindLayer::bearer_only(hop).layer(inner)),
            "audience" => {
                BoxCloneSyncService::new(AudienceGuard::exactly(Stage::AUDIENCE).layer(hop).layer(inner))
            }
            "ttl" => BoxCloneSyncService::new(Ttl::lifetime_at_most(minutes(5)).layer(hop).layer(inner)),
            "scope" => BoxCloneSyncService::new(ScopeGuard::all_of([Stage::SCOPE]).layer(hop).layer(inner)),
            other => panic!("no layer is named {other}"),
        }
    }

    /// The whole stack but for `guard`, or the whole stack.
    ///
    /// Nothing can lean on evidence that nobody has made. So what stands in for the verifier, and for the
    /// step that takes the credential out, is one that believes whatever it reads: see `believed`.
    pub fn without(&self, guard: Option<&str>) -> Boxed {
        let routes = self.routes(guard != Some("route_scope"));
        if guard == Some("bind") {
            // The other guards take no token whose holder is open; without them nobody stops it.
            return self.stack(["verify"], routes);
        }
        let stack =
            self.stack(WHOLE.iter().copied().filter(|&name| guard != Some(name) || name == "verify"), routes);
        if !matches!(guard, Some("verify" | "extract")) {
            return stack;
        }
        let (key, token) = (self.world.stage.key().clone(), self.world.stage.token());
        let now = self.world.clock.now().as_secs();
        let believing = move |request| {
            believed(request, now, |claims| {
                claims
                    .into_iter()
                    .fold(token.clone(), |token, (name, value)| token.claim(name, value))
                    .sign(&key)
            })
        };
        BoxCloneSyncService::new(tower::util::MapRequestLayer::new(believing).layer(stack))
    }

    /// Shows everything that an attack begins with, then the attack.
    pub async fn attacked(&self, stack: &Boxed, prepared: Prepared) -> Answer {
        for before in prepared.before {
            let _admitted = answer(stack, before).await;
        }
        answer(stack, prepared.request).await
    }
}

/// The answer of `stack` to `request`, whole.
pub async fn answer(stack: &Boxed, request: Request<Bytes>) -> Answer {
    let Ok(response) = stack.clone().oneshot(request.map(Body::from)).await;
    Answer::of(response).await
}

/// What a service does that takes a token at its word: whatever in the first credential the guards behind the
/// verifier judge (audience, scope, holder, lifetime) is put into a genuine token, made by `sign`. What cannot
/// be read is as in a good token, and so is everything that only the verifier judges.
fn believed(
    mut request: Request<Body>,
    now: u64,
    sign: impl FnOnce(Vec<(&'static str, Value)>) -> String,
) -> Request<Body> {
    let shown = request.headers().get_all(AUTHORIZATION).iter().find_map(|value| {
        let payload = std::str::from_utf8(value.as_bytes()).ok()?.split('.').nth(1)?;
        serde_json::from_slice::<Value>(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    });
    let claim = |name: &str| shown.as_ref().and_then(|claims| claims.get(name)).cloned();
    let mut claims = Vec::new();
    let told = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let audiences = |value: &Value| match value {
        Value::Array(items) => !items.is_empty() && items.iter().all(told),
        value => told(value),
    };
    let scopes = |value: &Value| value.as_str().is_some_and(|text| ScopeSet::parse(text).is_ok());
    claims.extend(claim("aud").filter(audiences).map(|aud| ("aud", aud)));
    claims.extend(claim("scope").filter(scopes).map(|scope| ("scope", scope)));
    claims.extend(claim("cnf").filter(|cnf| cnf.get("jkt").is_some()).map(|cnf| ("cnf", cnf)));
    let number = |name| claim(name).and_then(|value| value.as_u64());
    let lifetime = number("exp").zip(number("iat")).and_then(|(exp, iat)| exp.checked_sub(iat));
    let lifetime = lifetime.filter(|life| (1..LONGEST_READ).contains(life));
    claims.extend(lifetime.map(|life| ("exp", (now + life).into())));
    let value = format!("Bearer {}", sign(claims));
    request.headers_mut().remove(AUTHORIZATION);
    request.headers_mut().insert(AUTHORIZATION, value.parse().expect("a header's value"));
    request
}
