//! One service may stand behind two stacks, one stricter than the other. What the lax one admitted, and what its
//! verifier remembers, is worth nothing at the strict one; what the strict one refused spoils nothing at the lax one.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use hopguard_axum::Caller;
use hopguard_client::Spawn;
use hopguard_core::{
    AudienceGuard, Audit, Ledger, ScopeGuard, Ttl, TtlGuard, UnixTime, Waiver, minutes, seconds,
};
use hopguard_testkit::MemorySink;
use hopguard_testkit::corpus::Stage;
use hopguard_tests::alone::{Boxed, answer};
use hopguard_tests::inbound::{Reached, Service, World, bearer, router};
use hopguard_tests::{ALL_SINGLY, event_named};
use hopguard_tower::{BindLayer, GuardExt, Hop, VerifyLayer};
use hopguard_verify::{Algorithm, Issuer, Verifier};
use http::StatusCode;
use tower::Service as _;
use tower::util::BoxCloneSyncService;
use tower_layer::Layer;

/// What a stack asks of a token.
#[derive(Clone)]
struct Rules {
    audience: &'static str,
    ttl: TtlGuard,
    scope: &'static str,
    /// Who answers for tokens whose holder nobody checks, and until when.
    open_until: Option<u64>,
}

impl Rules {
    fn usual() -> Self {
        let ttl = Ttl::lifetime_at_most(minutes(5));
        Self { audience: Stage::AUDIENCE, ttl, scope: Stage::SCOPE, open_until: None }
    }
}

/// When [`World`] begins.
const NOW: u64 = 1_800_000_000;

struct Stack {
    service: Boxed,
    sink: Arc<MemorySink>,
}

impl Stack {
    fn new(world: &World, ledger: &Ledger, verifier: &Verifier, rules: &Rules) -> Self {
        let sink = MemorySink::new();
        let audit = Audit::with_limits("orders", "1", sink.clone(), ALL_SINGLY);
        let hop = Hop::new(ledger, &audit, world.clock.clone());
        let service = BoxCloneSyncService::new(router(&Reached::default(), false, None));
        let verify = VerifyLayer::new(&hop, verifier.clone());
        if let Some(until) = rules.open_until {
            // The other guards take no token whose holder is open.
            let waiver = Waiver::new("a gateway checks it", "the tests", UnixTime::from_secs(until));
            let service = verify.dangerous_leave_holder_open(waiver).layer(service);
            return Self { service: BoxCloneSyncService::new(service), sink };
        }
        let service = ScopeGuard::all_of([rules.scope]).layer(&hop).layer(service);
        let service = rules.ttl.layer(&hop).layer(service);
        let service = AudienceGuard::exactly(rules.audience).layer(&hop).layer(service);
        let service = BoxCloneSyncService::new(verify.layer(service));
        Self { service, sink }
    }

    /// The code with which the token is refused, or `admitted`.
    async fn shown(&self, token: &str) -> &'static str {
        let answer = answer(&self.service, bearer("/plain", token)).await;
        match answer.event() {
            Some(event) => event_named(&self.sink, event).decision.code(),
            None => {
                assert_eq!(answer.status, 200);
                "admitted"
            }
        }
    }
}

fn verifier(world: &World, settings: impl FnOnce(Issuer) -> Issuer) -> Verifier {
    let issuer = settings(Issuer::at(Stage::ISSUER).keys_fixed(&world.stage.jwks()));
    Verifier::builder(world.key_sets(), world.clock.clone(), Spawn::current()).issuer(issuer).build().unwrap()
}

#[tokio::test]
async fn what_the_lax_stack_admitted_the_strict_one_judges_by_its_own_rules() {
    let world = World::default();
    let usual = Rules::usual;
    let cases = [
        (
            "audience",
            usual(),
            Rules { audience: "https://inventory.internal", ..usual() },
            "audience_mismatch",
        ),
        (
            "lifetime",
            usual(),
            Rules { ttl: Ttl::lifetime_at_most(seconds(119)), ..usual() },
            "lifetime_too_long",
        ),
        (
            "rest",
            usual(),
            Rules { ttl: Ttl::remaining_at_most(seconds(119)), ..usual() },
            "remaining_too_long",
        ),
        ("scope", usual(), Rules { scope: "orders:admin", ..usual() }, "insufficient_scope"),
        ("holder", Rules { open_until: Some(NOW + 60), ..usual() }, usual(), "holder_unproven"),
    ];
    for (what, lax, strict, code) in cases {
        for strict_first in [false, true] {
            // One ledger and one verifier, so that the strict stack finds what the lax one's tokens left there.
            let (ledger, verifier) = (Ledger::bounded(), verifier(&world, |issuer| issuer));
            let stack = |rules| Stack::new(&world, &ledger, &verifier, rules);
            let (lax, strict) = (stack(&lax), stack(&strict));
            let bound = serde_json::json!({"jkt": "k"});
            let token = world.stage.token();
            let token = if what == "holder" { token.claim("cnf", bound) } else { token };
            let token = token.sign(world.stage.key());
            if strict_first {
                assert_eq!(strict.shown(&token).await, code, "{what}, the strict one first");
            }
            for _ in 0..2 {
                assert_eq!(lax.shown(&token).await, "admitted", "{what}");
                assert_eq!(strict.shown(&token).await, code, "{what}");
            }
            // All that was judged by one signature check: the strict stack did meet a remembered token.
            assert_eq!(verifier.signature_checks(), 1, "{what}");
        }
    }
}

/// Fewer algorithms are another verifier's: over the same ledger it remembers nothing that the other one saw.
#[tokio::test]
async fn a_verifier_with_fewer_algorithms_knows_nothing_of_the_other_one() {
    let world = World::default();
    for strict_first in [false, true] {
        let ledger = Ledger::bounded();
        let all = Stack::new(&world, &ledger, &verifier(&world, |issuer| issuer), &Rules::usual());
        let few = verifier(&world, |issuer| issuer.algorithms([Algorithm::Rs256]));
        let few = Stack::new(&world, &ledger, &few, &Rules::usual());
        let token = world.stage.good_token();
        if strict_first {
            assert_eq!(few.shown(&token).await, "key_unknown");
        }
        for _ in 0..2 {
            assert_eq!(all.shown(&token).await, "admitted");
            assert_eq!(few.shown(&token).await, "key_unknown");
        }
    }
}

#[tokio::test]
async fn a_remembered_token_is_refused_once_time_says_so() {
    let usual = Rules::usual;
    for (what, rules, wait, code) in [
        ("age", Rules { ttl: Ttl::age_at_most(seconds(60)), ..usual() }, 61, "token_too_old"),
        ("exp", usual(), 120, "token_expired"),
        ("the waiver", Rules { open_until: Some(NOW + 60), ..usual() }, 60, "holder_unproven"),
    ] {
        let world = World::default();
        let verifier = verifier(&world, |issuer| issuer);
        let stack = Stack::new(&world, &Ledger::bounded(), &verifier, &rules);
        let bound = rules.open_until.map(|_| serde_json::json!({"jkt": "k"}));
        let token = bound.into_iter().fold(world.stage.token(), |token, cnf| token.claim("cnf", cnf));
        let token = token.sign(world.stage.key());
        for _ in 0..2 {
            assert_eq!(stack.shown(&token).await, "admitted", "{what}");
        }
        world.clock.advance(seconds(wait - 1));
        assert_eq!(stack.shown(&token).await, "admitted", "{what}");
        world.clock.advance(seconds(1));
        assert_eq!(stack.shown(&token).await, code, "{what}");
        assert_eq!(verifier.signature_checks(), 1, "{what}: it was not remembered");
    }
}

/// A guard on a route behind a complete stack takes nothing away: whom the stack has admitted, stays admitted.
#[tokio::test]
async fn a_holder_check_behind_a_stack_leaves_its_caller() {
    let world = World::default();
    let usual = Service::usual(&world);
    let hop = usual.guard.hop().clone();
    let who = |caller: Caller| async move { caller.facts().subject.to_string() };
    let routes = Router::new().route("/orders/42", any(who).layer(BindLayer::bearer_only(&hop)));
    let mut app = usual.guard.around(routes);
    let response = app.call(world.good_request("/orders/42").map(Body::from)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(usual.sink.codes().iter().filter(|code| **code == "passed").count(), 1);
}
