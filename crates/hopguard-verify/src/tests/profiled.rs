//! Tokens of products as their documentation shows them: access tokens are understood, all others are refused.

use super::*;
use crate::Profile;

/// A product's tokens, with times in seconds from now, and its profile.
type Known = (&'static str, fn() -> Profile);

const PRODUCTS: [Known; 6] = [
    (include_str!("profiles/keycloak.json"), Profile::keycloak),
    (include_str!("profiles/entra_v1.json"), Profile::entra_v1),
    (include_str!("profiles/entra_v2.json"), Profile::entra_v2),
    (include_str!("profiles/okta.json"), Profile::okta),
    (include_str!("profiles/auth0.json"), Profile::auth0),
    (include_str!("profiles/zitadel.json"), Profile::zitadel),
];

struct Product {
    fixture: Value,
    signer: Signer,
}

impl Product {
    fn new(fixture: &str) -> Self {
        let signer = Signer::new(Algorithm::Rs256, Some("k1"));
        Self { fixture: serde_json::from_str(fixture).unwrap(), signer }
    }

    /// Keys as most products publish them: without `alg`.
    fn rig(&self, profile: Profile) -> Rig {
        let keys = json!({"keys": [self.signer.bare_jwk()]}).to_string();
        let issuer = self.fixture["issuer"].as_str().unwrap();
        Rig::built(&[], |builder| builder.issuer(Issuer::at(issuer).keys_fixed(&keys).profile(profile)))
    }

    fn all(&self, kind: &str) -> Vec<Value> {
        self.fixture[kind].as_array().unwrap().clone()
    }

    fn token(&self, case: &Value) -> String {
        let mut claims = case["claims"].clone();
        for name in ["exp", "iat", "nbf", "auth_time"] {
            if let Some(from_now) = claims.get(name).and_then(Value::as_i64) {
                claims[name] = json!(NOW.checked_add_signed(from_now).unwrap());
            }
        }
        self.signer.raw(&case["header"].to_string(), &claims.to_string())
    }
}

#[test]
fn access_tokens_are_understood() {
    for (fixture, profile) in PRODUCTS {
        let product = Product::new(fixture);
        let (plain, with_roles) = (product.rig(profile()), product.rig(profile().with_roles()));
        for case in product.all("access") {
            let token = product.token(&case);
            let facts = plain.check(&token).unwrap_or_else(|code| panic!("{code}: {case}"));
            assert_eq!(facts.client.as_deref(), case["client"].as_str(), "{case}");
            assert_eq!(facts.token_id.as_deref(), case["token_id"].as_str(), "{case}");
            assert_eq!(Some(facts.scopes.to_string().as_str()), case["scopes"].as_str(), "{case}");
            assert_eq!(Some(&*facts.subject), case["claims"]["sub"].as_str(), "{case}");
            let facts = with_roles.check(&token).unwrap();
            assert_eq!(Some(facts.scopes.to_string().as_str()), case["roles"].as_str(), "{case}");
        }
    }
}

#[test]
fn other_tokens_of_the_product_are_refused() {
    for (fixture, profile) in PRODUCTS {
        let product = Product::new(fixture);
        let rig = product.rig(profile());
        let refused = product.all("refused");
        assert!(refused.iter().any(|case| case["what"] == "ID token"));
        assert!(refused.iter().any(|case| case["what"] == "logout token"));
        for case in refused {
            assert_eq!(rig.check(&product.token(&case)).err(), Some("token_type_mismatch"), "{case}");
        }
    }
}

#[test]
fn an_access_token_with_what_other_tokens_have_is_refused() {
    for (fixture, profile) in PRODUCTS {
        let product = Product::new(fixture);
        let rig = product.rig(profile());
        let good = &product.all("access")[0];
        rig.check(&product.token(good)).unwrap();
        for typ in ["logout+jwt", "dpop+jwt", "id_token+jwt", "application/logout+jwt", "", "jwt "] {
            let mut case = good.clone();
            case["header"]["typ"] = json!(typ);
            assert_eq!(rig.check(&product.token(&case)).err(), Some("token_type_mismatch"), "{case}");
        }
        for typ in [json!(1), json!(null), json!(["JWT"])] {
            let mut case = good.clone();
            case["header"]["typ"] = typ;
            assert_eq!(rig.check(&product.token(&case)).err(), Some("token_type_mismatch"), "{case}");
        }
        for events in [json!({}), json!(null), json!("")] {
            let mut case = good.clone();
            case["claims"]["events"] = events;
            assert_eq!(rig.check(&product.token(&case)).err(), Some("token_type_mismatch"), "{case}");
        }
    }
}

#[test]
fn without_the_profile_its_tokens_are_refused() {
    for (fixture, _) in PRODUCTS {
        let product = Product::new(fixture);
        let case = &product.all("access")[0];
        let verdict = product.rig(Profile::rfc9068()).check(&product.token(case));
        assert_eq!(verdict.err(), Some("token_type_mismatch"), "{case}");
    }
}

#[track_caller]
fn changed(product: &Product, rig: &Rig, change: impl FnOnce(&mut Value), expected: Result<&str, &str>) {
    let mut case = product.all("access")[0].clone();
    change(&mut case["claims"]);
    let found = rig.check(&product.token(&case)).map(|facts| facts.scopes.to_string());
    assert_eq!(found.as_deref().map_err(|code| *code), expected, "{case}");
}

/// Each rule of each product by itself: without it, the token would pass.
#[test]
fn each_rule_of_a_profile_refuses_alone() {
    let id_token = ["nonce", "at_hash", "c_hash"];
    let login = ["nonce", "at_hash", "c_hash", "auth_time", "amr", "acr", "sid"];
    let with_session = ["nonce", "at_hash", "c_hash", "sid"];
    let refused: [&[&str]; 6] = [&[], &id_token, &id_token, &id_token, &with_session, &login];
    let required: [&[&str]; 6] =
        [&["typ"], &["ver", "appidacr"], &["ver", "azpacr"], &["jti", "cid"], &[], &["jti"]];
    for (((fixture, profile), refused), required) in PRODUCTS.into_iter().zip(refused).zip(required) {
        let product = Product::new(fixture);
        let rig = product.rig(profile());
        let verdict = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
            let mut case = product.all("access")[0].clone();
            change(case["claims"].as_object_mut().unwrap());
            rig.check(&product.token(&case)).err()
        };
        for name in refused {
            let with =
                |claims: &mut serde_json::Map<String, Value>| drop(claims.insert((*name).into(), json!("x")));
            assert_eq!(verdict(&with), Some("token_type_mismatch"), "{fixture} {name}");
        }
        for name in required {
            let without = |claims: &mut serde_json::Map<String, Value>| drop(claims.remove(*name));
            assert_eq!(verdict(&without), Some("token_type_mismatch"), "{fixture} {name}");
        }
        for (name, other) in [("ver", "9.9"), ("typ", "ID"), ("jti", "ID.x")] {
            let changed = |claims: &mut serde_json::Map<String, Value>| {
                if required.contains(&name)
                    && (name != "jti" || claims["jti"].as_str().unwrap().starts_with("AT."))
                {
                    claims.insert(name.into(), json!(other));
                } else {
                    claims.clear();
                }
            };
            assert!(verdict(&changed).is_some(), "{fixture} {name}");
        }
        // What RFC 9068 has a name for is of its type, whatever the product calls it.
        for (name, wrong) in [
            ("client_id", json!(7)),
            ("client_id", json!("")),
            ("client_id", json!(null)),
            ("jti", json!(7)),
            ("scope", json!(7)),
        ] {
            let with =
                |claims: &mut serde_json::Map<String, Value>| drop(claims.insert(name.into(), wrong.clone()));
            assert!(
                matches!(verdict(&with), Some("claim_invalid" | "token_type_mismatch")),
                "{fixture} {name} {wrong}"
            );
        }
    }
}

#[test]
fn no_profile_accepts_the_type_of_another_token() {
    for typ in [
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "client-authentication+jwt",
        "txntoken+jwt",
        "token-introspection+jwt",
        "oauth-authz-req+jwt",
        "id_token+jwt",
    ] {
        let profile = Profile::named("own").typ(typ).requires("x").client_in("c").scopes_in("s");
        assert_eq!(profile.problem(), Some("accepts the `typ` of a token that is no access token"), "{typ}");
    }
}

#[test]
fn claims_of_a_profile_are_read_as_strictly() {
    let product = Product::new(PRODUCTS[3].0);
    let rig = product.rig(Profile::okta());
    changed(&product, &rig, |c| c["scp"] = json!("b a"), Ok("a b"));
    changed(&product, &rig, |c| c["scp"] = json!([]), Ok(""));
    changed(&product, &rig, |c| drop(c.as_object_mut().unwrap().remove("scp")), Ok(""));
    for wrong in
        [json!(1), json!(null), json!({}), json!(["a", 1]), json!(["a b"]), json!([""]), json!(["a\tb"])]
    {
        changed(&product, &rig, |c| c["scp"] = wrong, Err("claim_invalid"));
    }
    for wrong in [json!(""), json!(1), json!(null), json!(["c"])] {
        changed(&product, &rig, |c| c["cid"] = wrong, Err("claim_invalid"));
    }
    for wrong in [json!("at.x"), json!("ID.x"), json!(1), json!(["AT.x"])] {
        changed(&product, &rig, |c| c["jti"] = wrong, Err("token_type_mismatch"));
    }
    for name in ["exp", "iat", "sub", "aud"] {
        changed(&product, &rig, |c| drop(c.as_object_mut().unwrap().remove(name)), Err("claim_missing"));
    }
    changed(&product, &rig, |c| c["exp"] = json!(0), Err("token_expired"));
}

/// Duende's and Spring's servers write `scope` as a list. RFC 9068 does not, and its profile takes none.
#[test]
fn a_profile_that_reads_scope_takes_it_as_a_list_too() {
    let product = Product::new(PRODUCTS[3].0);
    let own = Profile::okta().scopes_in("scope");
    let remove = |c: &mut Value| drop(c.as_object_mut().unwrap().remove("scp"));
    let rig = product.rig(own);
    let with = |scope: Value| {
        move |c: &mut Value| {
            remove(c);
            c["scope"] = scope;
        }
    };
    changed(&product, &rig, with(json!(["b", "a"])), Ok("a b"));
    changed(&product, &rig, with(json!("b a")), Ok("a b"));
    for wrong in [json!(1), json!({}), json!(["a", 1]), json!(["a b"])] {
        changed(&product, &rig, with(wrong), Err("claim_invalid"));
    }
    let rig = product.rig(Profile::okta());
    changed(&product, &rig, |c| c["scope"] = json!(["a"]), Err("claim_invalid"));
}

#[test]
fn roles_stand_where_they_are_said_to_stand() {
    let product = Product::new(PRODUCTS[0].0);
    let of = |place: &[&str]| product.rig(Profile::keycloak().roles_in(place));
    let none = "email openid orders:read";
    let clerk = "email openid orders:read role:clerk";
    changed(&product, &of(&["resource_access", "orders", "roles"]), |_| (), Ok(clerk));
    changed(&product, &of(&["resource_access", "other", "roles"]), |_| (), Ok(none));
    changed(&product, &of(&["resource_access", "orders", "roles", "x"]), |_| (), Ok(none));
    changed(&product, &of(&["azp"]), |_| (), Ok(none));
    let realm = product.rig(Profile::keycloak().with_roles());
    for odd in [json!({"roles": "buyer"}), json!("buyer"), json!({"roles": [1, ["buyer"]]}), json!(null)] {
        changed(&product, &realm, |c| c["realm_access"] = odd, Ok(none));
    }
}

#[test]
fn a_profile_without_a_rule_does_not_build() {
    #[track_caller]
    fn problem(profile: Profile, expected: Option<&str>) {
        let keys = set_of(&[&Signer::es256("k1")]);
        let clock = Arc::new(FakeClock::default());
        let built = Verifier::builder(FakeIssuer::new(&[]), clock, Spawn::current())
            .issuer(Issuer::at(ISSUER).keys_fixed(&keys).profile(profile))
            .build();
        match (built, expected) {
            (Ok(_), None) => {}
            (Err(errors), Some(part)) => {
                let [one] = errors.problems() else { panic!("{errors}") };
                assert_eq!(one.setting, "issuer[0].profile.acme");
                assert!(one.problem.contains(part), "{errors}");
            }
            (built, expected) => panic!("{built:?}, {expected:?}"),
        }
    }
    let acme = || Profile::named("acme").client_in("client_id");
    let no_rule = Some("no rule that tells");
    problem(acme().typ("JWT"), no_rule);
    problem(acme().untyped(), no_rule);
    problem(acme().typ("at+jwt").typ("JWT"), no_rule);
    // What ID tokens have as well, or need not have, tells nothing.
    problem(acme().typ("JWT").refuses("nonce").refuses("at_hash"), no_rule);
    problem(acme().typ("JWT").requires("azp").requires_value("aud", "x"), no_rule);
    for claim in ["email", "sid", "preferred_username", "s_hash"] {
        problem(acme().typ("JWT").requires(claim), no_rule);
    }
    problem(acme().typ("JWT").requires_one_of("token_use", &[]), no_rule);
    problem(acme().typ("JWT").requires_prefix("jti", ""), no_rule);
    problem(acme().typ("JWT").requires_prefix("azp", "at."), no_rule);
    problem(acme().typ("JWT").requires_prefix("jti", "at."), None);
    problem(acme(), Some("accepts no `typ`"));
    problem(acme().typ("logout+jwt").requires("x"), Some("no access token"));
    problem(acme().typ("application/DPoP+jwt").requires("x"), Some("no access token"));
    problem(Profile::named("acme").typ("at+jwt"), Some("no claim for the client"));
    problem(acme().typ("at+jwt").with_roles(), Some("no place"));
    problem(acme().typ("at+jwt"), None);
    problem(acme().typ("application/AT+JWT"), None);
    problem(acme().typ("JWT").requires_value("token_use", "access"), None);
    problem(acme().typ("JWT").client_is_no_audience(), None);
    problem(acme().typ("JWT").requires("scope").roles_in(&["groups"]), None);
    for (_, profile) in PRODUCTS {
        assert_eq!(profile().problem(), None);
    }
}

#[test]
fn rfc_9068_by_name_is_rfc_9068() {
    assert!(Profile::rfc9068().is_standard());
    let signer = Signer::es256("k1");
    let keys = set_of(&[&signer]);
    let rig = |profile| Rig::built(&[], |b| b.issuer(Issuer::at(ISSUER).keys_fixed(&keys).profile(profile)));
    // Once the fast way, once through the profile's own reading: the same facts, the same refusals.
    let (fast, slow) = (rig(Profile::rfc9068()), rig(Profile::rfc9068().with_roles()));
    let good = claims();
    assert_eq!(fast.check(&signer.token(&good)).unwrap(), slow.check(&signer.token(&good)).unwrap());
    for (name, value) in [
        ("client_id", json!("")),
        ("client_id", json!(null)),
        ("jti", json!(1)),
        ("jti", json!("")),
        ("scope", json!(1)),
        ("scope", json!("a\tb")),
        ("sub", json!("")),
        ("exp", json!("1")),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        let token = signer.token(&bad);
        assert_eq!(fast.check(&token).err(), Some("claim_invalid"), "{bad}");
        assert_eq!(slow.check(&token).err(), Some("claim_invalid"), "{bad}");
    }
    for name in ["client_id", "jti", "iat", "sub"] {
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().remove(name);
        let token = signer.token(&bad);
        assert_eq!(fast.check(&token).err(), Some("claim_missing"), "{bad}");
        assert_eq!(slow.check(&token).err(), Some("claim_missing"), "{bad}");
    }
    let mut with_role = good;
    with_role["roles"] = json!(["buyer"]);
    assert_eq!(slow.check(&signer.token(&with_role)).unwrap().scopes.to_string(), "orders:read role:buyer");
}
