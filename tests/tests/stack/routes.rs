//! Rows E1, E2, E4 to E6, E10: what no route allows is not sent.

use hopguard::{Clock, GuardedClient, seconds};
use hopguard_testkit::{WireAnswer, WireRecorder};

use crate::world::World;

#[tokio::test]
async fn a_good_call_carries_the_grant_and_nothing_else() {
    let world = World::new().await;
    let text = world.signed(world.token());
    let caller = world.admit(&text).await;
    assert_eq!(world.call(&caller).await.unwrap().text().await.unwrap(), "7 in stock");
    let requests = world.peer.requests();
    let shown = requests[0].header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
    assert_ne!(shown, text);
    let claims = hopguard_testkit::mint::claims_of(shown);
    assert_eq!(claims["aud"], crate::world::INVENTORY);
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["act"]["sub"], "orders");
    assert!(!world.peer.saw(&text));
    let sent = world.sink.sole("sent");
    assert_eq!(sent.token.unwrap().fingerprint, caller.facts().fingerprint);
    assert_eq!(sent.request_id, Some(caller.request_id()));
}

#[tokio::test]
async fn nobody_may_use_a_route_that_needs_somebody() {
    let world = World::new().await;
    let outcome = world.client.as_nobody().get(&world.peer.url("/stock/42")).send().await;
    world.refused(outcome, "evidence_missing");
    assert_eq!((world.reached(), world.sts.token_requests()), (0, 0));
}

#[tokio::test]
async fn an_anonymous_route_carries_no_credential() {
    let world = World::new().await;
    let caller = world.caller().await;
    let url = world.peer.url("/open");
    assert_eq!(world.client.as_nobody().get(&url).send().await.unwrap().status(), 200);
    assert_eq!(world.client.on_behalf_of(&caller).get(&url).send().await.unwrap().status(), 200);
    assert!(world.peer.requests().iter().all(|request| request.header("authorization").is_none()));
    assert_eq!(world.sts.token_requests(), 0);
}

#[tokio::test]
async fn unlisted_denied_and_ambiguous_targets_are_refused() {
    let world = World::new().await;
    let caller = world.caller().await;
    let elsewhere = WireRecorder::answering(|_| WireAnswer::text(200, "")).await;
    let port = world.peer.address().port();
    for (url, code) in [
        (elsewhere.url("/stock/42"), "destination_unlisted"),
        (world.peer.url("/closed/x"), "destination_unlisted"),
        (format!("http://localhost:{port}/stock/42"), "destination_unlisted"),
        (world.peer.url("/open%2f..%2fstock"), "target_unreadable"),
        (world.peer.url("//open"), "target_unreadable"),
        (format!("http://user:password@127.0.0.1:{port}/stock/42"), "target_unreadable"),
    ] {
        let outcome = world.client.on_behalf_of(&caller).get(&url).send().await;
        world.refused(outcome, code);
    }
    let outcome = world
        .client
        .on_behalf_of(&caller)
        .get(&world.peer.url("/"))
        .header("host", "evil.example")
        .send()
        .await;
    world.refused(outcome, "host_mismatch");
    assert_eq!((world.reached(), elsewhere.requests().len(), world.sts.token_requests()), (0, 0, 0));
}

#[tokio::test]
async fn a_handler_writes_no_framing() {
    let world = World::new().await;
    let caller = world.caller().await;
    for (name, value) in [
        ("content-length", "40"),
        ("transfer-encoding", "chunked"),
        ("connection", "authorization"),
        ("keep-alive", "timeout=9"),
        ("upgrade", "h2c"),
        ("trailer", "x"),
        ("proxy-connection", "close"),
    ] {
        let calls = world.client.on_behalf_of(&caller);
        let outcome = calls.get(&world.peer.url("/stock/42")).header(name, value).send().await;
        world.refused(outcome, "request_unsendable");
    }
    assert_eq!((world.reached(), world.sts.token_requests()), (0, 0));
}

#[tokio::test]
async fn a_caller_without_the_required_scope_fetches_nothing() {
    let world = World::new().await;
    let caller = world.admit(&world.signed(world.token().claim("scope", "orders:list"))).await;
    let outcome = world.call(&caller).await;
    world.refused(outcome, "route_requires_scope");
    assert_eq!((world.reached(), world.sts.token_requests()), (0, 0));
}

#[tokio::test]
async fn a_caller_of_another_ledger_is_refused() {
    let (world, other) = (World::new().await, World::new().await);
    let stranger = other.caller().await;
    let outcome = world.call(&stranger).await;
    world.refused(outcome, "evidence_foreign");
    assert_eq!((world.reached(), world.sts.token_requests()), (0, 0));
}

#[tokio::test]
async fn a_caller_that_expired_in_the_handler_is_refused() {
    let world = World::new().await;
    let caller = world.caller().await;
    world.call(&caller).await.unwrap();
    let left = caller.facts().expires.since(hopguard::Clock::now(&*world.clock)).unwrap();
    world.clock.advance(left);
    let outcome = world.call(&caller).await;
    world.refused(outcome, "subject_expired");
    assert_eq!(world.reached(), 1);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let trap = WireRecorder::answering(|_| WireAnswer::text(200, "trapped")).await;
        let to = trap.url("/trap");
        let peer = WireRecorder::answering(move |_| WireAnswer::redirect(status, &to)).await;
        let world = World::with_peer(peer).await;
        let caller = world.caller().await;
        let outcome = world.call(&caller).await;
        world.refused(outcome, "redirect_refused");
        assert_eq!((world.reached(), trap.requests().len()), (1, 0));
    }
}

#[tokio::test]
async fn a_client_keeps_no_cookie_and_adds_no_referer() {
    let peer = WireRecorder::answering(|_| WireAnswer::text(200, "").with_header("set-cookie", "a=b")).await;
    let world = World::with_peer(peer).await;
    let caller = world.caller().await;
    for _ in 0..2 {
        world.call(&caller).await.unwrap();
    }
    for request in world.peer.requests() {
        assert_eq!(request.header("cookie"), None);
        assert_eq!(request.header("referer"), None);
    }
}

#[tokio::test]
async fn a_client_that_was_made_elsewhere_is_judged_all_the_same() {
    let world = World::new().await;
    let caller = world.caller().await;
    let egress = hopguard::Egress::builder(
        &world.ledger,
        &world.audit,
        hopguard::StsEndpoint::at(
            &world.sts.issuer(),
            hopguard::ClientAuth::client_secret_basic("orders", crate::world::SECRET),
        ),
    )
    .clock(world.clock.clone())
    .build()
    .unwrap();
    let waiver =
        hopguard_core::Waiver::new("a pool of its own", "payments", world.clock.now().after(seconds(30)));
    let client = GuardedClient::dangerous_from_client(reqwest::Client::new(), &egress, waiver);
    let outcome = client.on_behalf_of(&caller).get(&world.peer.url("/stock/42")).send().await;
    world.refused(outcome, "destination_unlisted");
}
