//! No guard is idle: builds the stack once per omitted guard and shows which attacks of the corpus then get
//! through, and that with the guard they do not.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::body::Body;
use hopguard_core::{ActorGuard, Audit, Fault, Ledger, PeerIdentity, Refusal};
use hopguard_testkit::MemorySink;
use hopguard_testkit::corpus::{Attack, EGRESS_GUARDS, GUARDS, Target};
use hopguard_testkit::leak;
use hopguard_tests::alone::{Alone, Boxed, answer};
use hopguard_tests::inbound::{Reached, Service, Setting, World, bearer};
use hopguard_tests::onward::{Onward, PEER, Peer, STATUS, boxed, call};
use hopguard_tests::{ALL_SINGLY, enabled, event_named};
use hopguard_tower::{AuditLayer, EgressError, Hop, PassthroughLayer};
use http::{Request, Response};
use http_body_util::Full;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_layer::Layer;

/// Fails unless every guard has an attack that gets through without it; prints which.
#[track_caller]
fn no_guard_is_idle(guards: &[&str], through: &BTreeMap<String, Vec<String>>) {
    for guard in guards {
        let attacks = through.get(*guard).map_or(&[][..], Vec::as_slice);
        assert!(!attacks.is_empty(), "{guard} is idle");
        println!("without {guard}: {}", attacks.join(", "));
    }
    assert_eq!(through.len(), guards.len(), "{:?}", through.keys());
}

#[tokio::test]
async fn without_a_guard_in_front_its_attacks_reach_the_handler() {
    let world = World::default();
    let mut wrong = Vec::new();
    let mut through: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for attack in enabled(Target::Inbound) {
        let Attack { id, expect, .. } = &attack;
        let Some(guard) = attack.removed_guard.as_deref() else { continue };

        let alone = Alone::new(&world);
        let prepared = world.stage.prepare(&attack);
        let before = prepared.before.len();
        let whole = alone.without(None);
        let answer = alone.attacked(&whole, prepared).await;
        let code = answer.event().map(|event| event_named(&alone.sink, event).decision.code());
        if (code, answer.status) != (Some(expect.code.as_str()), expect.status) {
            wrong.push(format!("{id}: with {guard}, {} {code:?}", answer.status));
        }
        if alone.reached.count() != before {
            wrong.push(format!("{id}: with {guard}, a handler was reached"));
        }

        let alone = Alone::new(&world);
        let prepared = world.stage.prepare(&attack);
        let before = prepared.before.len();
        let less = alone.without(Some(guard));
        let answer = alone.attacked(&less, prepared).await;
        if (answer.status, alone.reached.count()) == (200, before + 1) {
            through.entry(guard.to_owned()).or_default().push(id.clone());
        } else {
            wrong.push(format!("{id}: without {guard}, {} {:?}", answer.status, alone.sink.codes()));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    no_guard_is_idle(GUARDS, &through);
}

/// A verifier that nobody told otherwise is its own holder check.
#[tokio::test]
async fn a_verifier_alone_takes_no_token_that_is_bound_to_a_key() {
    let world = World::default();
    let bound: Vec<_> = enabled(Target::Inbound)
        .into_iter()
        .filter(|attack| attack.removed_guard.as_deref() == Some("bind"))
        .collect();
    for attack in &bound {
        let alone = Alone::new(&world);
        let stack = alone.stack(["verify and bind"], alone.routes(true));
        let answer = alone.attacked(&stack, world.stage.prepare(attack)).await;
        let code = event_named(&alone.sink, answer.event().unwrap()).decision.code();
        assert_eq!(
            (answer.status, code, alone.reached.count()),
            (401, "holder_unproven", 0),
            "{}",
            attack.id
        );
    }
    let alone = Alone::new(&world);
    let stack = alone.stack(["verify and bind", "audience", "ttl", "scope"], alone.routes(true));
    assert_eq!(answer(&stack, world.good_request("/orders/42")).await.status, 200);
}

/// Who shows a token is the party that acts with it, by its certificate. No file can describe a certificate.
#[tokio::test]
async fn without_the_actor_guard_anybody_may_show_the_token() {
    let world = World::default();
    let token =
        world.stage.token().claim("act", serde_json::json!({"sub": "gateway"})).sign(world.stage.key());
    let itself = || ActorGuard::any_of(["gateway"]).shown_by_itself();
    for (peer, code) in [
        (Some("gateway"), None),
        (Some("mallory"), Some("peer_not_actor")),
        (Some("testkit"), Some("peer_not_actor")),
        (None, Some("peer_unproven")),
    ] {
        for guarded in [true, false] {
            let usual = Setting::usual(&world);
            let actor = if guarded { itself() } else { ActorGuard::any_of(["gateway"]) };
            let service = Service::with(&world, Setting { actor, ..usual });
            let mut request = bearer("/orders/42", &token);
            // A header says nothing: only what terminates TLS may.
            request
                .headers_mut()
                .insert("x-forwarded-client-cert", "Subject=\"CN=gateway\"".parse().unwrap());
            request.extensions_mut().extend(
                peer.map(|peer| {
                    let mut extensions = http::Extensions::new();
                    extensions.insert(PeerIdentity::assert_authenticated(peer));
                    extensions
                })
                .unwrap_or_default(),
            );
            let answer = service.answer(request).await;
            let found = answer.event().map(|event| event_named(&service.sink, event));
            let expected = code.filter(|_| guarded);
            assert_eq!(found.as_ref().map(|event| event.decision.code()), expected, "{peer:?} {guarded}");
            assert!(found.is_none_or(|event| event.gate == "actor" && event.token.is_some()));
            assert_eq!(answer.status, if expected.is_some() { 403 } else { 200 });
            assert_eq!(service.reached.count(), usize::from(expected.is_none()));
        }
    }
}

#[tokio::test]
async fn without_a_guard_behind_its_attacks_reach_the_peer() {
    let stage = World::default().stage;
    let mut wrong = Vec::new();
    let mut through: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for attack in enabled(Target::Egress) {
        let Attack { id, expect, .. } = &attack;
        let Some(guard) = attack.removed_guard.as_deref() else { continue };
        let onward = Onward::start().await;
        let token = onward.token();
        let caller = onward.admit(&token).await;
        onward.sts.misbehave(attack.egress.sts);
        let attacking = || onward.call(&stage, &attack, &caller, &token);

        let peer = Peer::good();
        match onward.without(None, &peer).oneshot(attacking()).await {
            Err(EgressError::Refused(refused)) if refused.refusal.code() == expect.code => {
                let event = event_named(&onward.sink, &refused.event.to_string());
                assert_eq!(event.decision.code(), expect.code, "{id}");
            }
            other => wrong.push(format!("{id}: with {guard}, {other:?}")),
        }
        if !peer.sent().is_empty() {
            wrong.push(format!("{id}: with {guard}, it was sent"));
        }

        let peer = Peer::good();
        let outcome = onward.without(Some(guard), &peer).oneshot(attacking()).await;
        if matches!(outcome, Ok(200)) && peer.sent().len() == 1 {
            through.entry(guard.to_owned()).or_default().push(id.clone());
        } else {
            wrong.push(format!("{id}: without {guard}, {outcome:?}"));
        }
        let sent = format!("{:?}", peer.sent().iter().map(http::Request::uri).collect::<Vec<_>>());
        let headers = peer.sent().iter().flat_map(|r| r.headers().values().cloned()).collect::<Vec<_>>();
        let found = headers.iter().find_map(|value| leak::find(signature(&token), value.as_bytes()));
        let left = found.or_else(|| leak::find(signature(&token), sent.as_bytes()));
        // Without the block the caller's token is on the wire; that is what the block is for.
        if guard == "passthrough" && left.is_none() {
            wrong.push(format!("{id}: without {guard}, the token did not leave all the same"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    no_guard_is_idle(EGRESS_GUARDS, &through);
}

/// The part of a token that no other token has.
fn signature(token: &str) -> &str {
    token.rsplit('.').next().unwrap_or_default()
}

#[tokio::test]
async fn without_the_exchange_the_callers_token_would_be_what_leaves() {
    let onward = Onward::start().await;
    let token = onward.token();
    let caller = onward.admit(&token).await;
    let passing_on = || {
        let mut request = call(&format!("{PEER}/stock/42"), Some(&caller));
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    };
    // With neither: what most services do.
    let peer = Peer::good();
    assert_eq!(peer.clone().oneshot(passing_on()).await.unwrap().status(), 200);
    assert!(leak::find(&token, peer.sent()[0].headers()["authorization"].as_bytes()).is_some());
    // With the block alone.
    let peer = Peer::good();
    let blocked = PassthroughLayer::new(&onward.hop()).layer(peer.clone()).oneshot(passing_on()).await;
    assert_eq!((blocked.unwrap_err().code(), peer.sent().len()), ("passthrough_blocked", 0));
    // With both, the grant.
    let peer = Peer::good();
    let usual = call(&format!("{PEER}/stock/42"), Some(&caller));
    assert_eq!(onward.without(None, &peer).oneshot(usual).await.unwrap(), 200);
    let sent = peer.sent();
    let granted = sent[0].headers()["authorization"].to_str().unwrap().to_owned();
    assert!(granted.starts_with("Bearer ey") && !granted.contains(signature(&token)));
    assert_eq!(hopguard_testkit::mint::claims_of(&granted[7..])["aud"], PEER);
}

/// A redirect is an answer like any other to whoever does not look; the complete stack's last step does.
#[tokio::test]
async fn without_the_last_step_a_redirect_would_be_handed_on() {
    let onward = Onward::start().await;
    let caller = onward.admit(&onward.token()).await;
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = move |_: &Request<String>| {
            let response = Response::builder().status(status).header("location", "https://evil.example/");
            Ok(response.body(Full::default()).unwrap())
        };
        for (url, subject) in [(format!("{PEER}/stock/42"), Some(&caller)), (format!("{STATUS}/ping"), None)]
        {
            let peer = Peer::answering(elsewhere);
            let alone = onward.without(None, &peer).oneshot(call(&url, subject)).await;
            assert_eq!(alone.unwrap(), status);
            let complete = boxed(onward.egress().layer(peer.clone()), |error| error);
            let refused = complete.oneshot(call(&url, subject)).await.unwrap_err();
            assert_eq!(refused.code(), "redirect_refused");
            assert_eq!(peer.sent().len(), 2, "once for each stack, and never again");
        }
    }
}

/// A handler behind the audit logger, or without it, over a sink with `places`.
fn logged(places: usize, audited: bool) -> (Boxed, Reached, std::sync::Arc<MemorySink>) {
    let world = World::default();
    let sink = MemorySink::with_places(places);
    let audit = Audit::with_limits("orders", "1", sink.clone(), ALL_SINGLY);
    let hop = Hop::new(&Ledger::bounded(), &audit, world.clock.clone());
    let reached = Reached::default();
    let kept = reached.clone();
    let handler = service_fn(move |request: Request<Body>| {
        kept.note(request);
        async { Ok::<_, Infallible>(Response::new(Body::from("done"))) }
    });
    let service = if audited {
        let layers = ServiceBuilder::new()
            .map_response(|r: Response<_>| r.map(Body::new))
            .layer(AuditLayer::new(&hop));
        BoxCloneSyncService::new(layers.service(handler))
    } else {
        BoxCloneSyncService::new(handler)
    };
    (service, reached, sink)
}

#[tokio::test]
async fn without_the_audit_logger_nothing_is_written_down() {
    let request = || Request::get("/orders/42").body(bytes::Bytes::new()).unwrap();
    for (places, audited, status, reached, codes) in [
        (9, true, 200, 1, &["completed"][..]),
        (9, false, 200, 1, &[]),
        (0, true, 503, 0, &["audit_unavailable"]),
        (0, false, 200, 1, &[]),
    ] {
        let (service, handler, sink) = logged(places, audited);
        let answer = answer(&service, request()).await;
        assert_eq!(
            (answer.status, handler.count()),
            (status, reached),
            "{places} places, audited: {audited}"
        );
        sink.assert_codes(codes);
    }
}

/// What a route requires is judged by the route alone: neither scope nor destination would have stopped it.
#[tokio::test]
async fn without_requires_the_peer_gets_a_grant_that_the_caller_had_no_claim_to() {
    let onward = Onward::start().await;
    let caller = onward.admit(&onward.token()).await;
    let purge = || call(&format!("{PEER}/admin/purge"), Some(&caller));
    let peer = Peer::good();
    match onward.without(None, &peer).oneshot(purge()).await {
        Err(EgressError::Refused(refused)) => {
            let Refusal::Denial(denial) = refused.refusal else { panic!("{refused:?}") };
            assert_eq!(denial.needed_scopes().unwrap().to_string(), "orders:admin");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((onward.sts.token_requests(), peer.sent().len()), (0, 0));
    assert_eq!(onward.without(Some("requires"), &peer).oneshot(purge()).await.unwrap(), 200);
    assert_eq!((onward.sts.token_requests(), peer.sent().len()), (1, 1));
    assert!(peer.sent()[0].headers().contains_key("authorization"));
}

/// Faults keep their codes when layers are put together by hand and their errors joined.
#[test]
fn joined_errors_keep_their_code() {
    let refused = || hopguard_tower::Refused {
        refusal: Refusal::Fault(Fault::PassthroughBlocked),
        event: hopguard_core::Id::fresh(),
    };
    let inner: EgressError<EgressError<()>> = EgressError::Peer(EgressError::Refused(refused()));
    assert_eq!(inner.flatten().code(), "passthrough_blocked");
    let outer: EgressError<EgressError<()>> = EgressError::Refused(refused());
    assert_eq!(outer.flatten().code(), "passthrough_blocked");
    let peer: EgressError<EgressError<()>> = EgressError::Peer(EgressError::Peer(()));
    assert_eq!(peer.flatten().code(), "peer_unavailable");
}
