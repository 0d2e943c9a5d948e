//! What is asked and what is answered (RFC 8693 section 2).

use std::sync::atomic::Ordering;

use hopguard_client::ClientAuth;
use hopguard_core::minutes;
use http::Method;
use serde_json::json;

use super::world::*;
use crate::UserToken;

#[test]
fn a_token_is_exchanged_for_a_narrower_one() {
    let world = World::new();
    let parent = world.user_token();
    let answer = world.send(world.ask(&parent));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let mut body = answer.body;
    let token = body["access_token"].take().as_str().unwrap().to_owned();
    let expected = json!({
        "access_token": null,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "orders:read",
    });
    assert_eq!(body, expected);
    let mut claims = claims(&token);
    assert_eq!(claims["jti"].take().as_str().map(str::len), Some(22));
    let expected = json!({
        "iss": ISSUER, "sub": "alice", "aud": ORDERS, "client_id": "gateway", "iat": NOW, "exp": NOW + 300,
        "jti": null, "scope": "orders:read", "act": { "sub": "gateway" },
    });
    assert_eq!(claims, expected);
}

#[test]
fn the_chain_grows_by_one_and_the_expiry_never_does() {
    let world = World::new();
    let first = world.exchanged(world.ask(&world.user_token()));
    world.clock.advance(250);
    let orders = ClientAuth::private_key_jwt("orders", world.orders.clone());
    let token = first["access_token"].as_str().unwrap();
    let ask = Ask::new(&orders, ISSUER, world.now(), token, INVENTORY, "stock:read");
    let second = world.exchanged(ask);
    let claims = claims(second["access_token"].as_str().unwrap());
    assert_eq!(claims["act"], json!({ "sub": "orders", "act": { "sub": "gateway" } }));
    // The rule would allow two minutes; the parent has fifty seconds left.
    assert_eq!((claims["exp"].as_u64(), second["expires_in"].as_u64()), (Some(NOW + 300), Some(50)));
    assert_eq!(claims["sub"], "alice");
}

#[test]
fn the_actors_of_the_parent_are_kept_as_they_are() {
    let world = World::new();
    let act = json!({ "sub": "portal", "iss": "https://elsewhere", "act": { "sub": "phone" } });
    let parent = world.token_with(|claims| claims["act"] = act.clone());
    let answer = world.exchanged(world.ask(&parent));
    assert_eq!(
        claims(answer["access_token"].as_str().unwrap())["act"],
        json!({ "sub": "gateway", "act": act })
    );
}

#[test]
fn variants_of_a_good_request_are_served() {
    let world = World::new();
    let token = world.user_token();
    let ask = || world.ask(&token);
    let jwt = "urn:ietf:params:oauth:token-type:jwt";
    let answer = world.exchanged(ask().set("requested_token_type", jwt).set("subject_token_type", jwt));
    assert_eq!(answer["issued_token_type"], jwt);
    world.exchanged(ask().without("audience").set("resource", ORDERS));
    world.exchanged(ask().set("resource", ORDERS));
    world.exchanged(ask().without("client_id"));
    world.exchanged(ask().set("actor_token", "").set("unknown", "is ignored"));
    let batch = ClientAuth::client_secret_basic("batch", SECRET);
    let by_secret = Ask::new(&batch, ISSUER, world.now(), &token, INVENTORY, "");
    world.exchanged(by_secret.clone());
    world.exchanged(by_secret.set("client_id", "batch"));
}

/// I14: who asks for nothing is granted nothing.
#[test]
fn without_a_requested_scope_none_is_granted() {
    let world = World::new();
    for ask in
        [world.ask(&world.user_token()).without("scope"), world.ask(&world.user_token()).set("scope", "")]
    {
        let answer = world.exchanged(ask);
        assert!(answer.get("scope").is_none());
        assert!(claims(answer["access_token"].as_str().unwrap()).get("scope").is_none());
    }
}

#[test]
fn malformed_requests_are_refused() {
    let world = World::new();
    let token = world.user_token();
    let ask = || world.ask(&token);
    let invalid = |ask: Ask, code: &str| world.refused(ask, 400, "invalid_request", code);
    for name in ["grant_type", "subject_token", "subject_token_type", "audience"] {
        invalid(ask().without(name), "parameter_missing");
        invalid(ask().set(name, ""), "parameter_missing");
    }
    for name in
        ["grant_type", "subject_token", "audience", "scope", "client_id", "client_assertion", "unknown"]
    {
        invalid(ask().set(name, "x").also(name, "x"), "parameter_repeated");
    }
    let saml = "urn:ietf:params:oauth:token-type:saml2";
    for other in ["urn:ietf:params:oauth:token-type:id_token", saml, "access_token", "Bearer"] {
        invalid(ask().set("subject_token_type", other), "token_type_unsupported");
        invalid(ask().set("requested_token_type", other), "token_type_unsupported");
    }
    invalid(ask().set("actor_token", &token), "actor_token_unsupported");
    invalid(ask().set("actor_token_type", saml), "actor_token_unsupported");
    for grant_type in ["client_credentials", "password", "authorization_code", "x"] {
        world.refused(
            ask().set("grant_type", grant_type),
            400,
            "unsupported_grant_type",
            "grant_type_unsupported",
        );
    }
    invalid(ask().raw(b"grant_type"), "request_malformed");
    invalid(ask().raw(b"{\"grant_type\":1}"), "request_malformed");
    invalid(ask().raw(b"a=\xff"), "request_malformed");
    let mut json = ask();
    json.headers.insert("content-type", "application/json".parse().unwrap());
    invalid(json, "request_malformed");
    let mut untyped = ask();
    untyped.headers.remove("content-type");
    invalid(untyped, "request_malformed");
    let large = ask().set("unknown", &"x".repeat(65 * 1024));
    world.refused(large, 413, "invalid_request", "request_too_large");
    // What reaches the audit before any rule is looked at has bounds of its own.
    for (name, most) in [("audience", 2048), ("resource", 2048), ("scope", 4096)] {
        let long = ask().set(name, &"x".repeat(most + 1));
        world.refused(long, 413, "invalid_request", "request_too_large");
    }
}

#[test]
fn a_token_request_is_a_post_without_a_query() {
    let world = World::new();
    let mut ask = world.ask(&world.user_token());
    let answer = world.call(ask.clone().into_request("/token?x=y"));
    assert_eq!((answer.status, answer.code), (400, Some("request_malformed")));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        ask.method = method;
        assert_eq!(world.send(ask.clone()).status, 405);
    }
    assert_eq!(world.get("/").status, 404);
}

#[test]
fn what_cannot_be_written_down_is_not_done() {
    let world = World::new();
    let token = world.user_token();
    world.written.full.store(true, Ordering::SeqCst);
    let answer = world.send(world.ask(&token));
    assert_eq!((answer.status, answer.code), (503, Some("audit_unavailable")));
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(answer.body["error"], "temporarily_unavailable");
    assert!(answer.body.get("access_token").is_none());
    // A refusal is told all the same, by the lane of strangers; there it is counted if it is one of too many.
    let refused = world.send(world.ask("not.a.token"));
    let events = world.written.events.lock().unwrap();
    let codes: Vec<_> = events.iter().map(|event| event.decision.code()).collect();
    assert_eq!((codes, refused.status), (vec![refused.code.unwrap()], 400));
}

#[test]
fn an_exchange_is_written_down_without_a_byte_of_a_token() {
    let world = World::new();
    let parent = world.user_token();
    let body = world.exchanged(world.ask(&parent));
    let grant = body["access_token"].as_str().unwrap();
    world.send(world.ask("not.a.token"));
    world.send(world.ask(&parent).set("client_assertion", &parent));
    let events = world.written.events.lock().unwrap();
    assert_eq!(events.len(), 3);
    let lines: Vec<_> = events.iter().map(|event| serde_json::to_value(event).unwrap()).collect();
    assert_eq!((&lines[0]["decision"], &lines[0]["code"]), (&json!("allow"), &json!("exchanged")));
    assert_eq!(lines[0]["client"], "gateway");
    assert!(lines.iter().all(|line| line["method"] == "POST"));
    assert_eq!(lines[0]["requested"], json!({ "audience": ORDERS, "scopes": ["orders:read"] }));
    let fingerprint = |token: &str| hopguard_core::Fingerprint::of_token(token).to_string();
    assert_eq!(lines[0]["token"]["fingerprint"], fingerprint(&parent));
    assert_eq!(lines[0]["grant"]["fingerprint"], fingerprint(grant));
    assert_eq!(lines[0]["grant"]["actors"], json!([{ "subject": "gateway" }]));
    let all = format!("{events:?} {lines:?}");
    for token in [parent.as_str(), grant] {
        for part in token.split('.') {
            assert!(!all.contains(part));
        }
    }
}

#[test]
fn user_tokens_are_checked_all_at_once() {
    let world = World::new();
    let wrong = UserToken::new("", "").client_id("").scope("a\tb").lifetime(minutes(0));
    assert_eq!(world.sts.issue(&wrong).unwrap_err().problems().len(), 5);
    let token = UserToken::new("alice", GATEWAY).may_act("gateway").client_id("phone").scope("b a");
    let claims = claims(&world.sts.issue(&token).unwrap());
    assert_eq!(claims["may_act"], json!({ "sub": "gateway" }));
    assert_eq!((&claims["client_id"], &claims["scope"]), (&json!("phone"), &json!("a b")));
}
