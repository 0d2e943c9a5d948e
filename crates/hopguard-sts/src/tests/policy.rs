//! Which exchanges are allowed (THREATS G8).

use hopguard_client::{ClientAuth, SystemClock};
use hopguard_core::{Fingerprint, Withdrawal, minutes};
use serde_json::{Value, json};

use super::world::*;
use crate::{Client, Rule, Sts, UserToken};

#[test]
fn what_no_rule_allows_is_refused() {
    let world = World::new();
    let token = world.user_token();
    let target = |ask: Ask| world.refused(ask, 400, "invalid_target", "exchange_target_refused");
    for audience in [INVENTORY, "https://orders.internal/", "HTTPS://orders.internal", GATEWAY, ISSUER, "*"] {
        target(world.ask(&token).set("audience", audience));
        target(world.ask(&token).without("audience").set("resource", audience));
    }
    target(world.ask(&token).set("resource", INVENTORY));
    let idle = ClientAuth::client_secret_basic("idle", SECRET);
    let ask = Ask::new(&idle, ISSUER, world.now(), &token, ORDERS, "orders:read");
    world.refused(ask, 400, "unauthorized_client", "client_not_allowed");
}

#[test]
fn scopes_are_granted_whole_or_not_at_all() {
    let world = World::new();
    let token = world.user_token();
    let refused = |token: &str, scope: &str| {
        world.refused(world.ask(token).set("scope", scope), 400, "invalid_scope", "scope_refused");
    };
    for scope in
        ["orders:write", "orders:read orders:write", "shop:read", "orders:read x", "ORDERS:READ", "a\tb"]
    {
        refused(&token, scope);
    }
    // I14: a parent that holds nothing yields nothing.
    for change in [json!(""), json!(null)] {
        let empty = world.token_with(|claims| {
            claims["scope"] = change;
            if claims["scope"].is_null() {
                claims.as_object_mut().unwrap().remove("scope");
            }
        });
        refused(&empty, "orders:read");
        world.exchanged(world.ask(&empty).without("scope"));
    }
    let broad = world.token_with(|claims| claims["scope"] = "shop:write shop:read".into());
    let answer = world.exchanged(world.ask(&broad).set("scope", "orders:write orders:read"));
    assert_eq!(answer["scope"], "orders:read orders:write");
    let half = world.token_with(|claims| claims["scope"] = "shop:write".into());
    refused(&half, "orders:write");
}

#[test]
fn a_client_exchanges_only_tokens_meant_for_it() {
    let world = World::new();
    let aud = |value: Value| world.token_with(|claims| claims["aud"] = value);
    world.subject_refused(&aud(json!(ORDERS)), "audience_mismatch");
    world.subject_refused(&aud(json!([GATEWAY, ORDERS])), "audience_not_sole");
    world.subject_refused(&aud(json!("https://gateway.internal/")), "audience_mismatch");
    world.exchanged(world.ask(&aud(json!([GATEWAY]))));
    // The next service's token does not come back to be exchanged by the one before.
    let grant = world.exchanged(world.ask(&world.user_token()));
    world.subject_refused(grant["access_token"].as_str().unwrap(), "audience_mismatch");
}

#[test]
fn a_subject_token_must_be_genuine_and_alive() {
    let world = World::new();
    let other = World::new();
    world.subject_refused("not a token", "token_malformed");
    world.subject_refused(&other.user_token(), "key_unknown");
    let stranger = world.token_with(|claims| claims["iss"] = "https://elsewhere".into());
    world.subject_refused(&stranger, "issuer_unknown");
    let assertion = world.gateway.sign_jwt("client-authentication+jwt", &json!({ "iss": ISSUER })).unwrap();
    world.subject_refused(&assertion, "token_type_mismatch");
    let bad = world.user_token();
    let (signed, _) = bad.rsplit_once('.').unwrap();
    world.subject_refused(&format!("{signed}.{}", "A".repeat(86)), "signature_invalid");
    world.subject_refused(&world.token_with(|claims| claims["exp"] = NOW.into()), "token_expired");
    world.subject_refused(
        &world.token_with(|claims| claims["nbf"] = (NOW + 60).into()),
        "token_not_yet_valid",
    );
    let token = world.user_token();
    world.exchanged(world.ask(&token));
    let what = Withdrawal::Token(Fingerprint::of_token(&token));
    world.sts.withdrawals().withdraw(what, world.now(), world.now().after(minutes(20))).unwrap();
    world.subject_refused(&token, "token_withdrawn");
    let short = world.user_token();
    world.clock.advance(599);
    assert_eq!(world.exchanged(world.ask(&short))["expires_in"], 1);
    world.clock.advance(1);
    world.subject_refused(&short, "token_expired");
}

#[test]
fn a_bound_token_is_refused() {
    let world = World::new();
    for cnf in [json!({ "jkt": "thumbprint" }), json!({ "x5t#S256": "thumbprint" })] {
        let token = world.token_with(|claims| claims["cnf"] = cnf);
        world.subject_refused(&token, "holder_unproven");
    }
    let token = world.token_with(|claims| claims["cnf"] = json!({ "new": "kind" }));
    world.subject_refused(&token, "claim_invalid");
}

#[test]
fn may_act_is_enforced_in_every_spelling() {
    let world = World::new();
    let with = |value: Value| world.token_with(|claims| claims["may_act"] = value);
    for allowed in [
        json!("gateway"),
        json!({ "sub": "gateway" }),
        json!({ "sub": "gateway", "iss": ISSUER }),
        json!(["orders", "gateway"]),
        json!([{ "sub": "orders" }, { "sub": "gateway" }]),
    ] {
        world.exchanged(world.ask(&with(allowed)));
    }
    for refused in [
        json!("orders"),
        json!("Gateway"),
        json!({ "sub": "orders" }),
        json!({ "sub": "gateway", "iss": "https://elsewhere" }),
        json!({ "client_id": "gateway" }),
        json!(["orders"]),
        json!(""),
        json!({}),
        json!([]),
    ] {
        world.subject_refused(&with(refused), "actor_not_allowed");
    }
    for wrong in [json!(null), json!(7), json!(true)] {
        world.subject_refused(&with(wrong), "claim_invalid");
    }
    let user = UserToken::new("alice", GATEWAY).scope("shop:read").may_act("orders");
    world.subject_refused(&world.sts.issue(&user).unwrap(), "actor_not_allowed");
}

fn chain(names: &[&str]) -> Value {
    let nest = |inner: Option<Value>, name: &&str| {
        let mut act = json!({ "sub": name });
        if let Some(inner) = inner {
            act["act"] = inner;
        }
        Some(act)
    };
    names.iter().rev().fold(None, nest).unwrap()
}

#[test]
fn chains_end_and_do_not_turn_back() {
    let world = World::new();
    let with = |names: &[&str]| world.token_with(|claims| claims["act"] = chain(names));
    world.exchanged(world.ask(&with(&["a", "b", "c", "d", "e", "f", "g"])));
    world.subject_refused(&with(&["a", "b", "c", "d", "e", "f", "g", "h"]), "actor_chain_too_deep");
    world.subject_refused(&with(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]), "claim_invalid");
    world.subject_refused(&with(&["gateway"]), "actor_repeated");
    world.subject_refused(&with(&["a", "gateway", "b"]), "actor_repeated");
    // The same name at another issuer is somebody else.
    let foreign =
        world.token_with(|claims| claims["act"] = json!({ "sub": "gateway", "iss": "https://elsewhere" }));
    world.exchanged(world.ask(&foreign));
    let shallow = World::with(|builder| builder.actors_at_most(1));
    shallow.exchanged(shallow.ask(&shallow.user_token()));
    let token = shallow.token_with(|claims| claims["act"] = chain(&["a"]));
    shallow.subject_refused(&token, "actor_chain_too_deep");
}

/// A chain from another transaction can come in only as an actor token, and none is taken.
#[test]
fn no_chain_is_spliced_in() {
    let world = World::new();
    let other = world.token_with(|claims| claims["act"] = chain(&["mallory"]));
    let ask = world.ask(&world.user_token()).set("actor_token", &other);
    let ask = ask.set("actor_token_type", "urn:ietf:params:oauth:token-type:access_token");
    world.refused(ask, 400, "invalid_request", "actor_token_unsupported");
}

#[test]
fn every_wrong_setting_is_named_at_once() {
    let rule = |client: &str| Rule::for_client(client).subject_audience(GATEWAY).audience(ORDERS);
    let errors = Sts::builder("http://sts.internal/{x}?y", SystemClock::shared())
        .client(Client::client_secret_basic("a", "short"))
        .client(Client::client_secret_basic("a", SECRET))
        .client(Client::private_key_jwt("b", &json!({})))
        .rule(rule("a"))
        .rule(rule("a"))
        .rule(rule("nobody").scope("x", ""))
        .actors_at_most(9)
        .assertions_at_most(0)
        .build()
        .unwrap_err();
    let settings: Vec<_> = errors.problems().iter().map(|problem| problem.setting.as_str()).collect();
    let expected = [
        "sts.issuer",
        "sts.actors_at_most",
        "sts.assertions_at_most",
        "sts.client[0].secret",
        "sts.client[1].id",
        "sts.client[2].key[0]",
        "sts.rule[1]",
        "sts.rule[2].scope[0]",
        "sts.rule[2].client",
    ];
    assert_eq!(settings, expected);
}

#[test]
fn an_issuer_is_a_plain_url() {
    for good in
        ["https://sts.internal", "https://sts.internal/", "https://sts.internal/a/b", "http://127.0.0.1:8080"]
    {
        assert!(Sts::builder(good, SystemClock::shared()).build().is_ok(), "{good}");
    }
    for bad in [
        "",
        "sts",
        "http://sts.internal",
        "https://u:p@sts.internal",
        "https://sts.internal?x",
        "https://sts.internal#x",
        "https://sts.internal/a//b",
        "https://sts.internal/{a}",
        "https://sts.internal/*a",
        "https://sts.internal/%41",
    ] {
        let errors = Sts::builder(bad, SystemClock::shared()).build().unwrap_err();
        assert_eq!(errors.problems()[0].setting, "sts.issuer", "{bad}");
    }
}
