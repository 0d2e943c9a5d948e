//! Relaxations of a route, one by one: what they let through, what they do not, and that they end.

use hopguard_client::BoxFuture;
use hopguard_core::{
    CacheState, Clock, Exchange, Granted, Refusal, Relaxation, UnixTime, Unstated, Waiver, minutes, seconds,
};
use serde_json::{Value, json};

use crate::rig_for_tests::*;

/// Holds for a minute.
fn waiver() -> Waiver {
    Waiver::new("a test", "nobody", UnixTime::from_secs(START + 60))
}

type Relax = fn(Exchange<Unstated>) -> Exchange<Unstated>;

fn route(relax: Relax) -> Exchange {
    let base = Exchange::audience(PEER).scope("stock:read").lifetime_at_most(minutes(10));
    relax(base).requires("orders:read")
}

/// A server that changes its honest claims so.
fn claiming(change: fn(&mut Value)) -> Rig {
    Rig::new(move |ask| {
        let mut claims = ask.claims();
        change(&mut claims);
        let mut answer = response(&mint(&claims));
        answer["expires_in"] = Value::Null;
        reply(200, &answer)
    })
}

/// A server that answers with an opaque token, changed so.
fn opaque(change: fn(&mut Value)) -> Rig {
    Rig::new(move |_| {
        let mut answer = response("V1-opaque.0123456789");
        change(&mut answer);
        reply(200, &answer)
    })
}

async fn call(rig: &Rig, relax: Relax) -> Result<(Granted, CacheState), Refusal> {
    let alice = rig.caller("alice").await;
    rig.exchanger.grant(&alice, &rig.exchanger.prepare(&route(relax), &peer())).await
}

async fn code(rig: &Rig, relax: Relax) -> Option<&'static str> {
    call(rig, relax).await.err().map(|refusal| refusal.code())
}

const STRICT: Relax = |route| route;

/// The server's habit is refused with `refused`, passes by the relaxation, is reported at each use, and is
/// refused again when the waiver has expired.
async fn relaxation(rig: Rig, relax: Relax, refused: &str, used: Relaxation) {
    assert_eq!(code(&rig, STRICT).await, Some(refused));
    for state in [CacheState::Miss, CacheState::Hit] {
        let (granted, found) = call(&rig, relax).await.unwrap();
        assert_eq!(found, state);
        let [waived] = granted.waived() else { panic!("{:?}", granted.waived()) };
        assert_eq!((&waived.relaxation, &waived.waiver), (&used, &waiver()));
    }
    assert_eq!(code(&rig, STRICT).await, Some(refused), "the relaxed grant stays on its route");
    rig.clock.advance(seconds(59));
    let alice = rig.caller_with("alice", |claims| claims["iat"] = START.into()).await;
    rig.exchanger.grant(&alice, &rig.exchanger.prepare(&route(relax), &peer())).await.unwrap();
    rig.clock.advance(seconds(1));
    assert!(
        rig.exchanger.cached(&alice, &rig.exchanger.prepare(&route(relax), &peer())).is_none(),
        "it ends with its waiver"
    );
    assert_eq!(code(&rig, relax).await, Some("waiver_expired"));
    assert_eq!(rig.exchanger.traffic(), (0, 0));
}

#[tokio::test]
async fn without_actor() {
    let rig = claiming(|claims| drop(claims.as_object_mut().unwrap().remove("act")));
    let relax: Relax = |route| route.dangerous_without_actor(waiver());
    relaxation(rig, relax, "grant_actor_missing", Relaxation::WithoutActor).await;
    let wrong = claiming(|claims| claims["act"] = json!({ "sub": "someone else" }));
    assert_eq!(code(&wrong, relax).await, Some("grant_actor_changed"));
}

#[tokio::test]
async fn foreign_audience() {
    let rig = claiming(|claims| claims["aud"] = json!([PEER, "account"]));
    let relax: Relax = |route| route.dangerous_foreign_audience("account", waiver());
    let used = Relaxation::ForeignAudience("account".into());
    relaxation(rig, relax, "grant_audience_wider", used).await;
    let other = claiming(|claims| claims["aud"] = json!([PEER, "account", "other"]));
    assert_eq!(code(&other, relax).await, Some("grant_audience_wider"));
    let alone = claiming(|claims| claims["aud"] = json!("account"));
    assert_eq!(code(&alone, relax).await, Some("grant_audience_wider"));
}

#[tokio::test]
async fn later_expiry() {
    let rig = claiming(|claims| claims["exp"] = json!(claims["iat"].as_u64().unwrap() + 400));
    let relax: Relax = |route| route.dangerous_later_expiry(waiver());
    relaxation(rig, relax, "grant_outlives_parent", Relaxation::LaterExpiry).await;
    let longer = claiming(|claims| claims["exp"] = json!(START + 601));
    assert_eq!(code(&longer, relax).await, Some("grant_lifetime_too_long"));
}

#[tokio::test]
async fn a_grant_that_expires_later_dies_with_its_parent_here() {
    let rig = claiming(|claims| claims["exp"] = json!(START + 600));
    let relax: Relax = |route| {
        let long = Waiver::new("a test", "nobody", UnixTime::from_secs(START + 9999));
        route.dangerous_later_expiry(long)
    };
    let alice = rig.caller("alice").await;
    let granted =
        rig.exchanger.grant(&alice, &rig.exchanger.prepare(&route(relax), &peer())).await.unwrap().0;
    assert!(granted.facts().expires > alice.facts().expires);
    rig.clock.advance(seconds(269));
    assert!(rig.exchanger.cached(&alice, &rig.exchanger.prepare(&route(relax), &peer())).is_some());
    tokio::task::yield_now().await;
    assert_eq!(rig.asked(), 1, "no successor could live longer here");
    rig.clock.advance(seconds(1));
    assert!(rig.exchanger.cached(&alice, &rig.exchanger.prepare(&route(relax), &peer())).is_none());
    rig.clock.advance(seconds(30));
    assert_eq!(
        rig.exchanger.grant(&alice, &rig.exchanger.prepare(&route(relax), &peer())).await.unwrap_err().code(),
        "subject_expired"
    );
}

#[tokio::test]
async fn opaque_grants() {
    let relax: Relax = |route| route.dangerous_opaque(waiver());
    relaxation(opaque(|_| ()), relax, "grant_unreadable", Relaxation::Opaque).await;
    let rig = opaque(|_| ());
    let (granted, _) = call(&rig, relax).await.unwrap();
    let facts = granted.facts();
    assert!(!facts.structured && facts.actors.depth() == 0);
    assert_eq!((&*facts.audiences, &*facts.subject), (&[PEER.into()][..], "alice"));
    assert_eq!(facts.expires.since(rig.clock.now()), Some(seconds(120)));
    assert_eq!(granted.authorization().unwrap(), "Bearer V1-opaque.0123456789");
    assert_eq!(rig.ledger.len(), 1, "the passthrough block knows it by its value");

    // What another relaxation lets through is a JWT all the same.
    let of_actor: Relax = |route| route.dangerous_without_actor(waiver());
    assert_eq!(code(&opaque(|_| ()), of_actor).await, Some("grant_unreadable"));
    // And nothing that the answer says of it is read.
    let untold = opaque(|answer| answer["expires_in"] = Value::Null);
    assert_eq!(code(&untold, of_actor).await, Some("grant_unreadable"));

    for (server, expected) in [
        (opaque(|answer| answer["expires_in"] = Value::Null), Some("sts_answer_invalid")),
        (opaque(|answer| answer["expires_in"] = json!(0)), Some("grant_expired")),
        (opaque(|answer| answer["expires_in"] = json!(301)), Some("grant_outlives_parent")),
        (opaque(|answer| answer["expires_in"] = json!(601)), Some("grant_outlives_parent")),
        (opaque(|answer| answer["scope"] = json!("stock:read")), None),
        (opaque(|answer| answer["scope"] = json!("")), None),
        (opaque(|answer| answer["scope"] = json!("stock:read admin")), Some("grant_scope_wider")),
        (opaque(|answer| answer["scope"] = json!(["stock:read"])), Some("sts_answer_invalid")),
        (opaque(|answer| answer["scope"] = json!("a\nb")), Some("sts_answer_invalid")),
        (opaque(|answer| answer["access_token"] = json!("opaque token")), Some("grant_unreadable")),
        (opaque(|answer| answer["access_token"] = json!("opäque")), Some("grant_unreadable")),
        // What has the shape of a JWS is verified, whatever the route expects.
        (opaque(|answer| answer["access_token"] = json!("a.b.c")), Some("grant_unreadable")),
        (
            opaque(|answer| {
                let claims = json!({ "sub": "alice" });
                answer["access_token"] = json!(&**STRANGER.sign_jwt("at+jwt", &claims).unwrap());
            }),
            Some("grant_unreadable"),
        ),
        (claiming(|claims| claims["aud"] = json!([PEER, "account"])), Some("grant_audience_wider")),
        (claiming(|claims| drop(claims.as_object_mut().unwrap().remove("act"))), Some("grant_actor_missing")),
        (claiming(|_| ()), None),
    ] {
        assert_eq!(code(&server, relax).await, expected, "{:?}", call(&server, relax).await);
    }
}

#[tokio::test]
async fn an_audience_of_another_name_is_expected_in_place_of_the_one_asked() {
    let relax: Relax = |route| route.expects_audience("8f3c5b0e-guid");
    let rig = claiming(|claims| claims["aud"] = json!("8f3c5b0e-guid"));
    assert_eq!(code(&rig, STRICT).await, Some("grant_audience_wider"));
    let (granted, _) = call(&rig, relax).await.unwrap();
    assert!(granted.waived().is_empty());
    let as_asked = claiming(|_| ());
    assert_eq!(code(&as_asked, relax).await, Some("grant_audience_wider"));
    let both = claiming(|claims| claims["aud"] = json!(["8f3c5b0e-guid", PEER]));
    assert_eq!(code(&both, relax).await, Some("grant_audience_wider"));
}

#[tokio::test]
async fn a_waiver_that_ends_on_the_way_excuses_nothing() {
    let clock = FakeClock::at(START);
    let passing = clock.clone();
    let behaviour = move |ask: Ask| {
        passing.advance(seconds(60));
        let mut claims = ask.claims();
        claims.as_object_mut().unwrap().remove("act");
        let reply = reply(200, &response(&mint(&claims)));
        Box::pin(async { reply }) as BoxFuture<'static, Reply>
    };
    let rig = Rig::with(clock, behaviour, fixed_endpoint);
    let relax: Relax = |route| route.dangerous_without_actor(waiver());
    assert_eq!(code(&rig, relax).await, Some("waiver_expired"));
    assert_eq!((rig.exchanger.remembered(), rig.ledger.len()), (0, 0));
}
