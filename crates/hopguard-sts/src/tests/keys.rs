//! What is published, and what a change of keys does.

use std::sync::Arc;

use hopguard_client::{SigningKey, SystemClock};
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

#[test]
fn an_old_key_serves_until_its_last_token_has_expired() {
    let world = World::new();
    let before = world.user_token();
    world.sts.rotate_key().unwrap();
    let after = world.user_token();
    let ids: Vec<_> = published(&world).iter().map(|key| key["kid"].clone()).collect();
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
    let world = World::new();
    let tokens: Vec<_> = (0..10)
        .map(|_| {
            let token = world.user_token();
            world.sts.rotate_key().unwrap();
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
