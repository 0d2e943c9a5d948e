//! What is published, and what a change of keys does.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use hopguard_client::{SigningKey, SystemClock};
use hopguard_core::seconds;
use serde_json::{Value, json};

use super::world::*;
use crate::Sts;

fn published(world: &World) -> Vec<Value> {
    let answer = world.get("/jwks");
    assert_eq!((answer.status, answer.headers["content-type"].as_bytes()), (200, &b"application/json"[..]));
    answer.body["keys"].as_array().unwrap().clone()
}

#[test]
fn only_public_halves_are_published() {
    let world = World::new();
    let [key] = &published(&world)[..] else { panic!("not one key") };
    let mut members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    assert_eq!((&key["alg"], &key["use"]), (&json!("ES256"), &json!("sig")));
}

#[test]
fn metadata_name_the_endpoints() {
    let world = World::new();
    let body = world.get("/.well-known/oauth-authorization-server").body;
    assert_eq!(body["issuer"], ISSUER);
    assert_eq!(body["token_endpoint"], "https://sts.internal/token");
    assert_eq!(body["jwks_uri"], "https://sts.internal/jwks");
    assert_eq!(body["grant_types_supported"], json!(["urn:ietf:params:oauth:grant-type:token-exchange"]));
}

/// RFC 8414 section 3.1.
#[test]
fn an_issuer_with_a_path_has_it_inserted() {
    let mut world = World::new();
    for issuer in ["https://sts.internal/tenant/one", "https://sts.internal/tenant/one/"] {
        world.sts = Sts::builder(issuer, SystemClock::shared()).build().unwrap();
        let body = world.get("/.well-known/oauth-authorization-server/tenant/one").body;
        assert_eq!(body["issuer"], issuer);
        assert_eq!(body["token_endpoint"], "https://sts.internal/tenant/one/token");
        assert_eq!(body["jwks_uri"], "https://sts.internal/tenant/one/jwks");
        assert_eq!(world.get("/tenant/one/jwks").status, 200);
        assert_eq!(world.get("/tenant/one/token").status, 405);
        assert_eq!(world.get("/.well-known/oauth-authorization-server").status, 404);
    }
}

fn ids(world: &World) -> Vec<Value> {
    published(world).iter().map(|key| key["kid"].clone()).collect()
}

/// `kid` of a token.
fn signer(token: &str) -> Value {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].clone()
}

#[test]
fn a_new_key_is_published_a_minute_before_it_signs() {
    let world = World::new();
    let old = ids(&world)[0].clone();
    world.sts.rotate_key().unwrap();
    let both = ids(&world);
    assert_eq!((both.len(), &both[0]), (2, &old));
    world.clock.advance(59);
    let before = world.user_token();
    assert_eq!((signer(&before), ids(&world)), (old.clone(), both.clone()));
    world.clock.advance(1);
    let after = world.user_token();
    assert_eq!((signer(&after), ids(&world)), (both[1].clone(), vec![both[1].clone(), old]));
    for token in [&before, &after] {
        world.exchanged(world.ask(token));
    }
}

#[test]
fn a_key_that_waits_is_dropped_for_a_newer_one_and_one_that_is_due_is_not() {
    let world = World::new();
    let old = ids(&world)[0].clone();
    world.sts.rotate_key().unwrap();
    let waiting = ids(&world)[1].clone();
    world.clock.advance(59);
    world.sts.rotate_key().unwrap();
    let newer = ids(&world)[1].clone();
    assert_ne!(newer, waiting);
    world.clock.advance(59);
    assert_eq!(signer(&world.user_token()), old);
    // Due by now, though nobody has used it.
    world.clock.advance(1);
    world.sts.rotate_key().unwrap();
    assert_eq!(signer(&world.user_token()), newer);
    assert_eq!(ids(&world).len(), 3);
}

#[test]
fn an_old_key_serves_until_its_last_token_has_expired() {
    let world = World::with(|builder| builder.publish_ahead(Duration::ZERO));
    let before = world.user_token();
    world.sts.rotate_key().unwrap();
    let after = world.user_token();
    let ids = ids(&world);
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
    for token in [&before, &after] {
        world.exchanged(world.ask(token));
    }
    world.clock.advance(599);
    assert_eq!(published(&world).len(), 2);
    world.clock.advance(1);
    let [key] = &published(&world)[..] else { panic!("not one key") };
    assert_eq!(key["kid"], ids[0]);
}

#[test]
fn retired_keys_are_bounded() {
    let world = World::with(|builder| builder.publish_ahead(seconds(1)));
    let tokens: Vec<_> = (0..10)
        .map(|_| {
            let token = world.user_token();
            world.sts.rotate_key().unwrap();
            world.clock.advance(1);
            token
        })
        .collect();
    assert_eq!(published(&world).len(), 9);
    world.subject_refused(&tokens[1], "key_unknown");
    world.exchanged(world.ask(&tokens[2]));
}

#[test]
fn a_key_can_be_given_and_not_twice() {
    let key = Arc::new(SigningKey::generate_es256().unwrap());
    let world = World::with(|builder| builder.signing_key(key.clone()));
    assert_eq!(published(&world)[0], key.public_jwk());
    assert_eq!(world.sts.rotate_to(key).unwrap_err().problems()[0].setting, "sts.signing_key");
    assert_eq!(world.sts.jwks(), json!({ "keys": published(&world) }).to_string());
}
