//! What is read, and what is refused.

use hopguard_core::Actor;
use serde_json::{Value, json};

use super::*;

fn facts_of(text: &str) -> Result<Facts, Denial> {
    let claims = Claims::read(text.as_bytes())?;
    claims.unverified_issuer()?;
    let issuer = Arc::from("https://sts.internal");
    let fingerprint = Fingerprint::of_token("a.b.c");
    let alike = &Alike::default();
    let origin = Origin { issuer: &issuer, key_id: None, fingerprint, fingerprinted_len: 3, alike };
    claims.into_facts(&origin, None, 8)
}

fn good() -> Value {
    json!({
        "iss": "https://sts.internal", "sub": "alice", "aud": "https://orders.internal",
        "client_id": "web", "jti": "1", "iat": 1000, "exp": 1300,
    })
}

fn with(name: &str, value: Value) -> Result<Facts, Denial> {
    let mut claims = good();
    claims[name] = value;
    facts_of(&claims.to_string())
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "a table of literals reads better")]
fn refused(name: &str, value: Value, code: &str) {
    assert_eq!(with(name, value.clone()).as_ref().map_err(Denial::code).err(), Some(code), "{name}: {value}");
}

#[test]
fn what_rfc_9068_requires_is_required() {
    facts_of(&good().to_string()).unwrap();
    for name in ["iss", "sub", "aud", "client_id", "jti", "iat", "exp"] {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        assert_eq!(facts_of(&claims.to_string()), Err(Denial::ClaimMissing), "{name}");
    }
}

#[test]
fn texts_are_texts_and_not_empty() {
    for name in ["iss", "sub", "client_id", "jti"] {
        for value in [json!(""), json!(1), json!(null), json!(["a"]), json!({"a": 1}), json!(true)] {
            refused(name, value, "claim_invalid");
        }
    }
    for value in [json!(["orders:read"]), json!(1), json!(null), json!("a\tb"), json!("a\"b"), json!("ä")] {
        refused("scope", value, "claim_invalid");
    }
    assert!(with("scope", json!("")).unwrap().scopes.is_empty());
    assert_eq!(with("scope", json!("b a a")).unwrap().scopes, ScopeSet::parse("a b").unwrap());
}

#[test]
fn dates_are_integers_within_the_calendar() {
    for name in ["exp", "nbf", "iat"] {
        with(name, json!(0)).unwrap();
        with(name, json!(LATEST)).unwrap();
        for value in [
            json!(LATEST + 1),
            json!(u64::MAX),
            json!(-1),
            json!(1300.0),
            json!(1e10),
            json!("1300"),
            json!(null),
            json!([1300]),
            json!({}),
            json!(true),
        ] {
            refused(name, value, "claim_invalid");
        }
    }
    let huge = good().to_string().replace("1300", "1e400");
    assert_eq!(facts_of(&huge), Err(Denial::TokenMalformed));
}

#[test]
fn audiences_are_one_text_or_several() {
    assert_eq!(*with("aud", json!("a")).unwrap().audiences, ["a".into()]);
    assert_eq!(*with("aud", json!(["a", "b"])).unwrap().audiences, ["a".into(), "b".into()]);
    for value in [
        json!(""),
        json!([]),
        json!([""]),
        json!(["a", 1]),
        json!(["a", ""]),
        json!({"a": 1}),
        json!(1),
        json!(null),
        json!([["a"]]),
    ] {
        refused("aud", value, "claim_invalid");
    }
}

#[test]
fn actors_are_nested_objects() {
    let chain = with("act", json!({"sub": "orders", "x": {}, "act": {"iss": "https://i", "sub": "gateway"}}));
    let inner = Actor { subject: "gateway".into(), issuer: Some("https://i".into()) };
    assert_eq!(chain.unwrap().actors.actors(), [Actor::new("orders"), inner]);
    for value in [
        json!("orders"),
        json!(["orders"]),
        json!({}),
        json!({"sub": 1}),
        json!({"sub": ""}),
        json!(null),
        json!({"sub": "a", "act": "b"}),
        json!({"sub": "a", "act": {}}),
        json!({"sub": "a", "iss": 1}),
        json!({"sub": "a", "act": null}),
        json!({"act": {"sub": "a"}}),
        json!({"sub": "a", "iss": ""}),
    ] {
        refused("act", value, "claim_invalid");
    }
    let nested = |depth| (1..depth).fold(json!({"sub": "a"}), |inner, _| json!({"sub": "a", "act": inner}));
    assert_eq!(with("act", nested(8)).unwrap().actors.depth(), 8);
    refused("act", nested(9), "claim_invalid");
    refused("act", nested(40), "token_malformed");
}

#[test]
fn may_act_is_enforced_in_every_spelling() {
    let parties = |value| with("may_act", value).unwrap().may_act.unwrap().parties;
    assert_eq!(with("jti", json!("x")).unwrap().may_act, None);
    assert_eq!(parties(json!("gateway")), [Actor::new("gateway")]);
    assert_eq!(parties(json!({"sub": "gateway"})), [Actor::new("gateway")]);
    assert_eq!(parties(json!(["a", {"sub": "b"}])), [Actor::new("a"), Actor::new("b")]);
    for nobody in [json!(""), json!([]), json!({}), json!([""]), json!({"iss": "https://i"})] {
        assert_eq!(parties(nobody), []);
    }
    for value in [json!(1), json!(null), json!([1]), json!([["a"]]), json!({"sub": 1}), json!(true)] {
        refused("may_act", value, "claim_invalid");
    }
}

#[test]
fn a_binding_is_known_or_refused() {
    let confirmation = |value| with("cnf", value).unwrap().confirmation;
    assert_eq!(confirmation(json!({"jkt": "k"})), Confirmation::Jkt("k".into()));
    assert_eq!(confirmation(json!({"x5t#S256": "c"})), Confirmation::Certificate("c".into()));
    let both = Confirmation::Both { jkt: "k".into(), certificate: "c".into() };
    assert_eq!(confirmation(json!({"jkt": "k", "x5t#S256": "c"})), both);
    for value in [
        json!({}),
        json!({"jkt": 1}),
        json!({"jkt": ""}),
        json!({"jwk": {}}),
        json!({"jkt": "k", "jku": "u"}),
        json!("k"),
        json!(null),
        json!([]),
        json!({"jkt": null}),
        json!({"JKT": "k"}),
    ] {
        refused("cnf", value, "claim_invalid");
    }
}

#[test]
fn a_claim_that_stands_twice_is_refused() {
    let text = good().to_string();
    for twice in [r#""sub":"bob""#, r#""s\u0075b":"bob""#, r#""exp":9999"#, r#""x":{"a":1,"a":2}"#] {
        let text = text.replacen('{', &format!("{{{twice},"), 1);
        assert_eq!(facts_of(&text), Err(Denial::TokenMalformed), "{twice}");
    }
}
