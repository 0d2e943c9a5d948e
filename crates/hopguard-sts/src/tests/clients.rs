//! Who is taken for a client, and who is not (THREATS G9).

use std::sync::Arc;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use hopguard_client::{ClientAuth, SigningKey};
use serde_json::{Value, json};

use super::world::*;
use crate::Client;

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn good_claims() -> Value {
    json!({ "iss": "gateway", "sub": "gateway", "aud": ISSUER, "iat": NOW, "exp": NOW + 60, "jti": "one" })
}

/// A request of the gateway with this assertion.
fn with_assertion(world: &World, assertion: &str) -> Ask {
    world.ask(&world.user_token()).set("client_assertion", assertion)
}

/// An assertion signed by the gateway, its claims changed.
fn changed(world: &World, change: impl FnOnce(&mut Value)) -> Ask {
    let mut claims = good_claims();
    change(&mut claims);
    let jwt = world.gateway.sign_jwt("client-authentication+jwt", &claims).unwrap();
    with_assertion(world, &jwt)
}

/// An assertion with this header and signature.
fn forged(world: &World, header: &Value, signature: &[u8]) -> Ask {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
    with_assertion(world, &format!("{}.{}.{signature}", part(header), part(&good_claims())))
}

#[track_caller]
fn refused(world: &World, ask: Ask, code: &str) {
    world.refused(ask, 401, "invalid_client", code);
}

#[test]
fn claims_of_an_assertion_are_judged() {
    let world = World::new();
    let case = |name: &str, value: Value, code: &str| {
        refused(&world, changed(&world, |claims| claims[name] = value), code);
    };
    for audience in
        [json!(ORDERS), json!("https://sts.internal/"), json!([ISSUER, ORDERS]), json!([]), json!("")]
    {
        case("aud", audience, "assertion_audience_mismatch");
    }
    for name in ["iss", "sub"] {
        case(name, "orders".into(), "assertion_party_mismatch");
    }
    case("exp", NOW.into(), "assertion_expired");
    case("exp", (NOW - 1).into(), "assertion_expired");
    case("exp", (NOW + 301).into(), "assertion_lifetime_too_long");
    case("exp", u64::MAX.into(), "assertion_lifetime_too_long");
    case("iat", (NOW - 241).into(), "assertion_lifetime_too_long");
    case("iat", (NOW + 6).into(), "assertion_expired");
    case("nbf", (NOW + 6).into(), "assertion_expired");
    for (name, wrong) in [
        ("exp", json!("1800000060")),
        ("exp", json!(1.5)),
        ("exp", json!(-1)),
        ("exp", json!(null)),
        ("iat", json!("x")),
        ("jti", json!("")),
        ("jti", json!(7)),
        ("jti", json!("x".repeat(257))),
        ("aud", json!({})),
        ("aud", json!(null)),
        ("sub", json!(["gateway"])),
    ] {
        case(name, wrong, "assertion_malformed");
    }
    for name in ["iss", "sub", "aud", "exp", "jti"] {
        let ask = changed(&world, |claims| drop(claims.as_object_mut().unwrap().remove(name)));
        refused(&world, ask, "assertion_malformed");
    }
    refused(&world, changed(&world, |claims| claims["x"] = "y".repeat(5000).into()), "assertion_malformed");
    let named = |ask: Ask| ask.set("client_id", "orders");
    refused(&world, named(changed(&world, |_| ())), "assertion_party_mismatch");
    let stranger =
        changed(&world, |claims| (claims["iss"], claims["sub"]) = ("nobody".into(), "nobody".into()));
    refused(&world, stranger.without("client_id"), "client_unknown");
    // None of all that used the identifier up.
    world.exchanged(changed(&world, |_| ()));
    for (number, audience) in [json!(world.sts.token_endpoint()), json!([ISSUER])].into_iter().enumerate() {
        world.exchanged(changed(&world, |claims| {
            (claims["aud"], claims["jti"]) = (audience, number.to_string().into());
        }));
    }
    world.exchanged(changed(&world, |claims| {
        (claims["exp"], claims["jti"]) = ((NOW + 300).into(), "last".into());
    }));
}

#[test]
fn an_assertion_serves_once() {
    let world = World::new();
    let ask = world.ask(&world.user_token());
    world.exchanged(ask.clone());
    refused(&world, ask.clone(), "assertion_replayed");
    world.clock.advance(60);
    refused(&world, ask, "assertion_expired");
}

#[test]
fn a_full_memory_of_assertions_refuses() {
    let world = World::with(|builder| builder.assertions_at_most(2));
    let token = world.user_token();
    world.exchanged(world.ask(&token));
    world.exchanged(world.ask(&token));
    world.refused(world.ask(&token), 503, "temporarily_unavailable", "replay_memory_full");
    // Another client has a memory of its own.
    let orders = ClientAuth::private_key_jwt("orders", world.orders.clone());
    let ask = Ask::new(&orders, ISSUER, world.now(), &token, INVENTORY, "stock:read");
    world.refused(ask, 400, "invalid_request", "audience_mismatch");
    world.clock.advance(60);
    world.exchanged(world.ask(&token));
}

#[test]
fn the_key_decides_the_algorithm_and_not_the_header() {
    let world = World::new();
    let kid = world.gateway.key_id().to_owned();
    for algorithm in ["none", "NONE", "HS256", "RS256", "PS256", "ES384", "EdDSA", "es256", ""] {
        refused(
            &world,
            forged(&world, &json!({ "alg": algorithm, "kid": kid }), b"x"),
            "assertion_algorithm_refused",
        );
    }
    // HMAC keyed with the public key (CVE-2026-11800).
    let public = serde_json::to_vec(&world.gateway.public_jwk()).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
    let mac = aws_lc_rs::hmac::sign(&key, b"anything");
    refused(&world, forged(&world, &json!({ "alg": "HS256" }), mac.as_ref()), "assertion_algorithm_refused");
    for signature in [&[][..], &[0; 64], &[1; 64], &[1; 63], &[1; 72]] {
        refused(&world, forged(&world, &json!({ "alg": "ES256" }), signature), "assertion_signature_invalid");
    }
    refused(
        &world,
        forged(&world, &json!({ "alg": "ES256", "kid": "other" }), &[1; 64]),
        "assertion_key_unknown",
    );
    for name in ["crit", "jwk", "jku", "x5c", "x5u", "b64"] {
        for value in [json!(["exp"]), json!(null), json!(false)] {
            let mut header = json!({ "alg": "ES256" });
            header[name] = value;
            refused(&world, forged(&world, &header, &[1; 64]), "assertion_malformed");
        }
    }
}

#[test]
fn somebody_elses_signature_is_none() {
    let world = World::new();
    let stranger = Arc::new(SigningKey::generate_es256().unwrap());
    let signed = |key: &SigningKey| {
        let jwt = key.sign_jwt("JWT", &good_claims()).unwrap();
        with_assertion(&world, &jwt)
    };
    refused(&world, signed(&stranger), "assertion_key_unknown");
    refused(&world, signed(&world.orders), "assertion_key_unknown");
    world.exchanged(signed(&world.gateway));
}

#[test]
fn tokens_of_another_kind_are_no_assertions() {
    let world = World::new();
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "dpop+jwt", "logout+jwt", "token-exchange+jwt", ""]
    {
        let jwt = world.gateway.sign_jwt(typ, &good_claims()).unwrap();
        refused(&world, with_assertion(&world, &jwt), "assertion_type_mismatch");
    }
    refused(&world, with_assertion(&world, &world.user_token()), "assertion_type_mismatch");
    for (number, typ) in ["jwt", "JWT", "application/client-authentication+jwt"].into_iter().enumerate() {
        let mut claims = good_claims();
        claims["jti"] = number.to_string().into();
        world.exchanged(with_assertion(&world, &world.gateway.sign_jwt(typ, &claims).unwrap()));
    }
}

#[test]
fn the_shape_of_an_assertion_is_strict() {
    let world = World::new();
    let good = world.gateway.sign_jwt("JWT", &good_claims()).unwrap();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for text in ["x", "..", "a.b", &good[1..], &format!("{signed}.{signature}="), &format!("{} ", &*good)] {
        refused(&world, with_assertion(&world, text), "assertion_malformed");
    }
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let claims = encode(&good_claims().to_string());
    let headers = [
        r#"{"alg":"ES256","alg":"none"}"#,
        r#"["ES256",null,null]"#,
        r#"{"alg":["ES256"]}"#,
        "{}",
        "null",
        "{}{}",
    ];
    for header in headers {
        refused(
            &world,
            with_assertion(&world, &format!("{}.{claims}.AA", encode(header))),
            "assertion_malformed",
        );
    }
    let twice = r#"{"iss":"gateway","sub":"gateway","sub":"orders","aud":"x","exp":1,"jti":"x"}"#;
    let header = encode(r#"{"alg":"ES256"}"#);
    let text = format!("{header}.{}.AA", encode(twice));
    refused(&world, with_assertion(&world, &text), "assertion_malformed");
    let deep = format!("{header}.{}.AA", encode(&format!("{{\"x\":{}", "[".repeat(2000))));
    refused(&world, with_assertion(&world, &deep), "assertion_malformed");
}

#[test]
fn one_way_to_authenticate_and_no_more() {
    let world = World::new();
    let ask = world.ask(&world.user_token());
    let basic = format!("Basic {}", BASE64_STANDARD.encode("batch:x"));
    let ambiguous = |ask: Ask| world.refused(ask, 400, "invalid_request", "client_ambiguous");
    ambiguous(ask.clone().header("authorization", &basic));
    ambiguous(ask.clone().set("client_secret", "x"));
    let bare = ask.clone().without("client_assertion").without("client_assertion_type");
    ambiguous(bare.clone().header("authorization", &basic).header("authorization", &basic));
    ambiguous(bare.clone().header("authorization", &basic).set("client_secret", "x"));
    refused(&world, bare.clone(), "client_missing");
    refused(&world, bare.clone().without("client_id"), "client_missing");
    refused(&world, bare.set("client_secret", SECRET), "client_method_mismatch");
    refused(&world, ask.clone().without("client_assertion_type"), "assertion_malformed");
    refused(&world, ask.clone().without("client_assertion"), "assertion_malformed");
    let saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
    assert_ne!(saml, TYPE);
    refused(&world, ask.set("client_assertion_type", saml), "assertion_malformed");
}

#[test]
fn secrets_are_judged() {
    let world = World::new();
    let token = world.user_token();
    let good = ClientAuth::client_secret_basic("batch", SECRET);
    let ask = |auth: &ClientAuth| Ask::new(auth, ISSUER, world.now(), &token, INVENTORY, "");
    world.exchanged(ask(&good));
    world.refused(ask(&good).set("client_id", "orders"), 400, "invalid_request", "client_ambiguous");
    let case = |id: &str, secret: &str, code: &str| {
        refused(&world, ask(&ClientAuth::client_secret_basic(id, secret)), code);
    };
    case("batch", "wrong", "client_secret_wrong");
    case("batch", "", "client_secret_wrong");
    case("batch", &SECRET[1..], "client_secret_wrong");
    case("batch", &format!("{SECRET}x"), "client_secret_wrong");
    case("nobody", SECRET, "client_unknown");
    case("gateway", SECRET, "client_method_mismatch");
    let raw = |value: &str| {
        let mut bare = ask(&good);
        bare.headers.remove("authorization");
        bare.header("authorization", value)
    };
    let pair = BASE64_STANDARD.encode("batch");
    for value in
        ["Basic", "Basic !", "Basic =", &format!("Basic {pair}"), &format!("Basic {}", "A".repeat(3000))]
    {
        refused(&world, raw(value), "client_secret_wrong");
    }
    refused(&world, raw(&format!("Bearer {token}")), "client_method_mismatch");
    let encoded = BASE64_STANDARD.encode("batch:a+secret+of+the+batch+job%3a%20100%25");
    world.exchanged(raw(&format!("bAsIc {encoded}")));
}

#[test]
fn a_client_can_change_its_key_without_a_gap() {
    let next = Arc::new(SigningKey::generate_es256().unwrap());
    let first = Arc::new(SigningKey::generate_es256().unwrap());
    let client = Client::private_key_jwt("portal", &first.public_jwk()).also_key(&next.public_jwk());
    let world = World::with(|builder| builder.client(client));
    let token = world.user_token();
    for key in [first, next] {
        let auth = ClientAuth::private_key_jwt("portal", key);
        let ask = Ask::new(&auth, ISSUER, world.now(), &token, ORDERS, "");
        world.refused(ask, 400, "unauthorized_client", "client_not_allowed");
    }
}
