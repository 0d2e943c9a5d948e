//! Row E6: a redirect is refused, or begins a call of its own that is judged like any other (I12).

use hopguard::{Anonymous, AsOurselves, Exchange};
use hopguard_testkit::{WireAnswer, WireRecorder};

use crate::world::{INVENTORY, World};

/// A peer that redirects `/from` to `to` with this status and answers the rest.
async fn peer(status: u16, to: &'static str) -> WireRecorder {
    WireRecorder::answering(move |request| match request.target.as_str() {
        "/from" | "/jobs/from" => WireAnswer::redirect(status, to),
        "/loop" => WireAnswer::redirect(302, "/loop"),
        _ => WireAnswer::text(200, "arrived"),
    })
    .await
}

async fn world(status: u16, to: &'static str, hops: u8) -> World {
    World::with_routes(peer(status, to).await, |egress, peer| {
        egress
            .route(
                &peer.url("/elsewhere"),
                Exchange::audience("https://other.internal").requires("orders:read"),
            )
            .route(&peer.url("/admin"), Exchange::audience(INVENTORY).requires("orders:admin"))
            .route(&peer.url("/jobs"), AsOurselves::audience(INVENTORY).requires_none())
            .follow_redirects(hops)
    })
    .await
}

fn audience(request: &hopguard_testkit::WireRequest) -> Option<String> {
    let shown = request.header("authorization")?.strip_prefix("Bearer ")?;
    Some(hopguard_testkit::mint::claims_of(shown)["aud"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn each_hop_has_a_grant_of_its_own() {
    let world = world(302, "/elsewhere/x", 3).await;
    let caller = world.caller().await;
    let calls = world.client.on_behalf_of(&caller);
    let answer = calls.get(&world.peer.url("/from")).header("x-mine", "1").send().await.unwrap();
    assert_eq!(answer.url().as_str(), world.peer.url("/elsewhere/x"));
    assert_eq!(answer.text().await.unwrap(), "arrived");
    let requests = world.peer.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(audience(&requests[0]).as_deref(), Some(INVENTORY));
    assert_eq!(audience(&requests[1]).as_deref(), Some("https://other.internal"));
    assert_eq!(requests[1].header("x-mine"), Some("1"), "the same origin gets the handler's headers");
    world.sink.sole("redirect_followed");
    assert_eq!(world.sink.with_code("sent").len(), 2);
}

#[tokio::test]
async fn where_no_route_leads_no_redirect_leads() {
    for (to, code) in [
        ("/closed/x", "destination_unlisted"),
        ("/admin/x", "route_requires_scope"),
        ("/x/../admin", "target_unreadable"),
        ("//u:p@127.0.0.1/x", "target_unreadable"),
        ("http://169.254.169.254/latest/meta-data", "destination_unlisted"),
        ("file:///etc/passwd", "redirect_refused"),
        ("", "redirect_refused"),
    ] {
        let world = world(307, to, 3).await;
        let caller = world.caller().await;
        let outcome = world.client.on_behalf_of(&caller).get(&world.peer.url("/from")).send().await;
        assert_eq!(outcome.as_ref().err().map(|error| error.code()), Some(code), "{to}");
        assert_eq!(world.reached(), 1, "{to}");
    }
}

#[tokio::test]
async fn an_anonymous_hop_carries_nothing_of_the_grant_before() {
    let trap = WireRecorder::answering(|_| WireAnswer::text(200, "trapped")).await;
    let (to, open) = (trap.url("/x"), trap.url(""));
    let peer = WireRecorder::answering(move |_| WireAnswer::redirect(302, &to)).await;
    let world =
        World::with_routes(peer, |egress, _| egress.route(&open, Anonymous).follow_redirects(1)).await;
    let caller = world.caller().await;
    let calls = world.client.on_behalf_of(&caller);
    let request = calls.get(&world.peer.url("/from")).header("x-mine", "1").header("accept", "text/plain");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let requests = trap.requests();
    assert_eq!(requests.len(), 1);
    for name in ["authorization", "x-mine", "cookie", "referer"] {
        assert_eq!(requests[0].header(name), None, "{name}");
    }
    assert_eq!(requests[0].header("accept"), Some("text/plain"));
    let granted = world.peer.requests()[0].header("authorization").unwrap().to_owned();
    assert!(!trap.saw(granted.trim_start_matches("Bearer ")));
    // What changes something does not follow to another origin.
    let outcome = calls.post(&world.peer.url("/from")).body("x").send().await;
    world.refused(outcome, "redirect_refused");
    assert_eq!(trap.requests().len(), 1);
}

#[tokio::test]
async fn hops_are_counted() {
    let world = world(302, "/x", 3).await;
    let caller = world.caller().await;
    let outcome = world.client.on_behalf_of(&caller).get(&world.peer.url("/loop")).send().await;
    world.refused(outcome, "redirect_refused");
    assert_eq!(world.reached(), 4);
    assert_eq!(world.sink.with_code("redirect_followed").len(), 3);
    let many = hopguard::Egress::builder(
        &world.ledger,
        &world.audit,
        hopguard::StsEndpoint::at(
            &world.sts.issuer(),
            hopguard::ClientAuth::client_secret_basic("orders", crate::world::SECRET),
        ),
    );
    assert!(many.follow_redirects(11).build().unwrap_err().to_string().contains("follow_redirects"));
}

#[tokio::test]
async fn method_and_body_follow_the_status() {
    for (status, method, body) in [(303, "GET", ""), (307, "POST", "seven"), (308, "POST", "seven")] {
        let world = world(status, "/x", 1).await;
        let caller = world.caller().await;
        let calls = world.client.on_behalf_of(&caller);
        let answer = calls.post(&world.peer.url("/from")).body("seven").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{status}");
        let last = &world.peer.requests()[1];
        assert_eq!((last.method.as_str(), last.text()), (method, body), "{status}");
    }
    // A stream is gone once it was sent.
    for (status, arrives) in [(303, true), (307, false)] {
        let world = world(status, "/x", 1).await;
        let caller = world.caller().await;
        let stream = reqwest::Body::wrap(http_body_util::Full::new(bytes::Bytes::from("seven")));
        let calls = world.client.on_behalf_of(&caller);
        let outcome = calls.post(&world.peer.url("/from")).body(stream).send().await;
        assert_eq!(outcome.is_ok(), arrives, "{status}: {outcome:?}");
        assert_eq!(world.reached(), 1 + usize::from(arrives));
    }
    for status in [301, 302] {
        let world = world(status, "/x", 1).await;
        let caller = world.caller().await;
        let calls = world.client.on_behalf_of(&caller);
        let outcome = calls.post(&world.peer.url("/from")).body("seven").send().await;
        world.refused(outcome, "redirect_refused");
        assert_eq!(world.reached(), 1);
    }
}

#[tokio::test]
async fn our_own_calls_are_judged_anew_as_well() {
    let world = world(302, "/stock", 1).await;
    let outcome = world.client.as_ourselves().get(&world.peer.url("/jobs/from")).send().await;
    // The route there exchanges a caller's token, and there is no caller.
    world.refused(outcome, "evidence_missing");
    assert_eq!(world.reached(), 1);
}
