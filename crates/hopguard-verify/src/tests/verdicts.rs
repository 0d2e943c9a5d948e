//! Which tokens are genuine, and with which code each of the others is refused.

use hopguard_core::{Actor, Fingerprint, RawToken, UnixTime, Withdrawal, seconds};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const EVERY: [Algorithm; 10] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
    Algorithm::EdDsa,
];

#[test]
fn every_algorithm_verifies_its_own_and_no_other() {
    let signers: Vec<_> =
        EVERY.into_iter().map(|algorithm| Signer::new(algorithm, Some(algorithm.name()))).collect();
    let rig = Rig::fixed(&signers.iter().collect::<Vec<_>>());
    for signer in &signers {
        let facts = rig.check(&signer.token(&claims())).unwrap();
        assert_eq!(facts.key_id.as_deref(), signer.kid);
        for other in &signers {
            // The other's name in the header, this one's signature.
            let token = signer.raw(&other.header().to_string(), &claims().to_string());
            let expected = if std::ptr::eq(signer, other) { Ok(()) } else { Err("signature_invalid") };
            assert_eq!(rig.check(&token).map(|_| ()), expected, "{signer:?} as {other:?}");
            // This one's kid, the other's algorithm.
            let mut header = other.header();
            header["kid"] = json!(signer.kid);
            let expected = if std::ptr::eq(signer, other) { Ok(()) } else { Err("algorithm_refused") };
            assert_eq!(
                rig.check(&signer.raw(&header.to_string(), &claims().to_string())).map(|_| ()),
                expected
            );
        }
    }
}

#[test]
fn the_facts_are_what_the_token_says() {
    let signer = Signer::es256("k1");
    let token = signer.token(&claims());
    let facts = Rig::fixed(&[&signer]).check(&token).unwrap();
    assert_eq!(facts.fingerprint, Fingerprint::of_token(&token));
    assert_eq!(facts.fingerprinted_len, token.rfind('.').unwrap());
    assert!(facts.structured);
    assert_eq!((&*facts.issuer, &*facts.subject, facts.client.as_deref()), (ISSUER, "alice", Some("web")));
    assert_eq!(*facts.audiences, ["https://orders.internal".into()]);
    assert_eq!(
        (facts.expires, facts.issued_at),
        (UnixTime::from_secs(NOW + 300), Some(UnixTime::from_secs(NOW)))
    );
    assert_eq!(
        (facts.token_id.as_deref(), facts.scopes.to_string()),
        (Some("t-1"), "orders:read".to_owned())
    );
    assert_eq!(facts.actors.actors(), [Actor::new("gateway")]);
    let ed = Signer::new(Algorithm::EdDsa, Some("k2"));
    let token = ed.token(&claims());
    assert_eq!(Rig::fixed(&[&ed]).check(&token).unwrap().fingerprint, Fingerprint::of_token(&token));
}

#[track_caller]
fn refused(header: impl FnOnce(&mut Value), change: impl FnOnce(&mut Value), code: &str) {
    let signer = Signer::es256("k1");
    let (mut head, mut body) = (signer.header(), claims());
    header(&mut head);
    change(&mut body);
    let token = signer.raw(&head.to_string(), &body.to_string());
    assert_eq!(Rig::fixed(&[&signer]).check(&token).err(), Some(code), "{head} {body}");
}

#[test]
fn each_refusal_has_its_code() {
    let none = |_: &mut Value| ();
    refused(|h| h["alg"] = json!("none"), none, "algorithm_refused");
    refused(|h| h["alg"] = json!("HS256"), none, "algorithm_refused");
    refused(|h| h["alg"] = json!("ES384"), none, "algorithm_refused");
    refused(|h| h["crit"] = json!(["exp"]), none, "critical_header");
    refused(|h| h["jwk"] = json!({}), none, "key_in_header");
    refused(|h| h["jku"] = json!("https://evil"), none, "key_in_header");
    refused(|h| h["typ"] = json!("JWT"), none, "token_type_mismatch");
    refused(|h| h["kid"] = json!("k2"), none, "key_unknown");
    refused(|h| h["kid"] = json!("../../etc/passwd"), none, "key_unknown");
    refused(|h| h["kid"] = json!("k1' OR '1'='1"), none, "key_unknown");
    refused(|h| h["kid"] = json!(1), none, "token_malformed");
    refused(none, |c| c["iss"] = json!("https://sts.internal/"), "issuer_unknown");
    refused(none, |c| c["iss"] = json!("https://STS.internal"), "issuer_unknown");
    refused(none, |c| c["iss"] = json!(["https://sts.internal"]), "claim_invalid");
    refused(none, |c| c["iss"] = json!(""), "claim_invalid");
    refused(none, |c| drop(c.as_object_mut().unwrap().remove("iss")), "claim_missing");
    refused(none, |c| drop(c.as_object_mut().unwrap().remove("exp")), "claim_missing");
    refused(none, |c| drop(c.as_object_mut().unwrap().remove("aud")), "claim_missing");
    refused(none, |c| c["exp"] = json!(NOW), "token_expired");
    refused(none, |c| c["exp"] = json!(NOW.to_string()), "claim_invalid");
    refused(none, |c| c["nbf"] = json!(NOW + 6), "token_not_yet_valid");
    refused(none, |c| c["iat"] = json!(NOW + 6), "token_from_future");
    refused(none, |c| c["cnf"] = json!({"kid": "x"}), "claim_invalid");
    // An issuer that is not trusted has no say about anything else.
    refused(|h| h["typ"] = json!("JWT"), |c| c["iss"] = json!("https://evil"), "issuer_unknown");
    // The header is judged before any claim.
    refused(|h| h["alg"] = json!("none"), |c| c["iss"] = json!(1), "algorithm_refused");
}

/// The look at the bytes of the claims that comes before they are read must not take a token for a stranger's that
/// only spells things otherwise.
#[test]
fn a_name_may_be_spelled_in_other_ways() {
    let (signer, other) = (Signer::es256("k1"), Signer::es256("k2"));
    let rig = Rig::fixed(&[&signer]);
    let header = signer.header().to_string();
    let spelled = |iss: &str| claims().to_string().replace("\"iss\":\"https://sts.internal\"", iss);
    for iss in [
        r#""iss":"https:\/\/sts.internal""#,
        r#""iss":"https://sts\u002einternal""#,
        r#""\u0069ss":"https://sts.internal""#,
        r#""iss" : "https://sts.internal""#,
        r#""a":{"iss":"https://evil"},"iss":"https://sts.internal""#,
        r#""a":{"iss":"https://evil"},"iss":"https:\/\/sts.internal""#,
    ] {
        let body = spelled(iss);
        assert!(body.contains(iss));
        rig.check(&signer.raw(&header, &body)).unwrap();
        assert_eq!(
            rig.check(&other.raw(&other.header().to_string(), &body)).err(),
            Some("key_unknown"),
            "{iss}"
        );
        let id_token = header.replace("at+jwt", "JWT");
        assert_eq!(rig.check(&signer.raw(&id_token, &body)).err(), Some("token_type_mismatch"), "{iss}");
    }
    for (iss, code) in [
        (r#""iss":"https:\/\/evil""#, "issuer_unknown"),
        (r#""iss":"https://evil","a":"https://sts.internal""#, "issuer_unknown"),
        (r#""iss":"https://evil","a":"\"""#, "issuer_unknown"),
        (r#""iss" : "https://evil""#, "issuer_unknown"),
        (r#""iss":"https://sts.internal.evil""#, "issuer_unknown"),
        (r#""iss":"""#, "claim_invalid"),
        (r#""iss":1"#, "claim_invalid"),
        (r#""issuer":"https://evil""#, "claim_missing"),
    ] {
        assert_eq!(rig.check(&signer.raw(&header, &spelled(iss))).err(), Some(code), "{iss}");
    }
}

/// Claims that are no JSON are not even read where the bytes show a stranger, another kind of token, or a key that
/// nobody has: those are the bulk of what strangers send.
#[test]
fn strangers_are_refused_before_claims_are_read() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let (ours, evil) = (format!("{{\"iss\":\"{ISSUER}\""), "{\"iss\":\"https://evil\"");
    let head = |name: &str, value: &str| {
        let mut head = signer.header();
        head[name] = json!(value);
        head.to_string()
    };
    for (header, claims, code) in [
        (head("kid", "k1"), evil, "issuer_unknown"),
        (head("kid", "k2"), &ours, "key_unknown"),
        (head("typ", "JWT"), &ours, "token_type_mismatch"),
        // Not sure, so they are read: another spelling, no issuer at all, a key that is there.
        (head("kid", "k1"), "{\"iss\":\"https:\\/\\/evil\"", "token_malformed"),
        (head("kid", "k2"), &format!("{ours},\"a\":\"\\n\""), "token_malformed"),
        (head("kid", "k1"), "{\"iss\":\"\"", "token_malformed"),
        (head("kid", "k1"), "{\"sub\":\"a\"", "token_malformed"),
        (head("kid", "k1"), &ours, "token_malformed"),
    ] {
        assert_eq!(rig.check(&signer.raw(&header, claims)).err(), Some(code), "{header} {claims}");
    }
    assert_eq!(rig.verifier.signature_checks(), 0);
}

#[test]
fn the_shape_is_judged_first() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let token = signer.token(&claims());
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    for bad in [
        String::new(),
        input.to_owned(),
        format!("{input}."),
        format!("{token}."),
        format!("{token}=="),
        format!("{token}.{signature}"),
        format!("{token}\n"),
        format!(" {token}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}.{payload}.{signature}.{payload}.{signature}"),
        format!("{}.{payload}.{signature}", encode(b"[]")),
        format!("{header}.{}.{signature}", encode(b"\"text\"")),
        signer.raw(&signer.header().to_string(), &claims().to_string().replacen('{', "{\"sub\":\"eve\",", 1)),
        signer.raw(
            &signer.header().to_string(),
            &claims().to_string().replacen('{', "{\"s\\u0075b\":\"eve\",", 1),
        ),
        signer.raw(&signer.header().to_string(), &format!("{}{}", "{\"a\":".repeat(100), "}".repeat(100))),
    ] {
        assert_eq!(rig.check(&bad).err(), Some("token_malformed"), "{bad}");
    }
    assert_eq!(rig.check(&"a".repeat(16 * 1024 + 1)).err(), Some("token_too_large"));
    assert_eq!(rig.check(&format!("{input}.{}", "A".repeat(1_000_000))).err(), Some("token_too_large"));
    assert!(rig.check(&token).is_ok());
}

#[test]
fn a_signature_has_one_form() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let token = signer.token(&claims());
    let (input, signature) = token.rsplit_once('.').unwrap();
    let raw = decode(signature);
    let (r, s) = raw.split_at(32);
    let der = [&[0x30, 68, 2, 32], r, &[2, 32], s].concat();
    let zero = [0; 32];
    let other = Signer::es256("k1").sign(input.as_bytes());
    for bad in [
        der,
        [&zero, s].concat(),
        [r, &zero].concat(),
        [zero, zero].concat(),
        vec![0xff; 64],
        raw[..63].to_vec(),
        [&raw[..], &[0]].concat(),
        [&[0], r, &[0], s].concat(),
        [s, r].concat(),
        vec![1],
        other,
    ] {
        assert_eq!(
            rig.check(&format!("{input}.{}", encode(&bad))).err(),
            Some("signature_invalid"),
            "{bad:?}"
        );
    }
    // The public key as a secret: whoever trusts the header's HS256 is lost.
    let header = signer.header().to_string().replace("ES256", "HS256");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, signer.jwk().to_string().as_bytes());
    let input = format!("{}.{}", encode(header.as_bytes()), encode(claims().to_string().as_bytes()));
    let tag = aws_lc_rs::hmac::sign(&key, input.as_bytes());
    assert_eq!(rig.check(&format!("{input}.{}", encode(tag.as_ref()))).err(), Some("algorithm_refused"));
}

/// (r, s) made into the equally valid (r, n - s), as anyone can without the key.
fn malleated(token: &str) -> String {
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut raw = decode(signature);
    let mut borrow = 0;
    for (s, n) in raw[32..].iter_mut().zip(N).rev() {
        let difference = i16::from(n) - i16::from(*s) - borrow;
        borrow = i16::from(difference < 0);
        *s = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{input}.{}", encode(&raw))
}

#[test]
fn two_spellings_of_one_signature_have_one_fingerprint_and_two_verdicts() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let token = signer.token(&claims());
    let other = malleated(&token);
    assert_ne!(token, other);
    let (first, second) = (rig.check(&token).unwrap(), rig.check(&other).unwrap());
    assert_eq!(first.fingerprint, second.fingerprint);
    assert!(!Arc::ptr_eq(&first, &second));
}

#[test]
fn a_token_without_kid_needs_exactly_one_fitting_key() {
    let (one, two) = (Signer::new(Algorithm::Es256, None), Signer::new(Algorithm::Es256, Some("k2")));
    let rsa = Signer::new(Algorithm::Rs256, Some("k3"));
    let token = one.token(&claims());
    assert!(Rig::fixed(&[&one, &rsa]).check(&token).is_ok());
    assert_eq!(Rig::fixed(&[&one, &two]).check(&token).err(), Some("key_unknown"));
    assert_eq!(Rig::fixed(&[&rsa]).check(&token).err(), Some("key_unknown"));
    // A key without a name is not the key of any name.
    let named = one.raw(&two.header().to_string(), &claims().to_string());
    assert_eq!(Rig::fixed(&[&one]).check(&named).err(), Some("key_unknown"));
}

#[test]
fn a_key_serves_its_own_issuer_only() {
    let (ours, theirs) = (Signer::es256("k1"), Signer::es256("k1"));
    let rig = Rig::built(&[], |builder| {
        builder
            .issuer(Issuer::at(ISSUER).keys_fixed(&set_of(&[&ours])))
            .issuer(Issuer::at("https://other.internal").keys_fixed(&set_of(&[&theirs])))
    });
    let mut other = claims();
    other["iss"] = json!("https://other.internal");
    assert_eq!(&*rig.check(&ours.token(&claims())).unwrap().issuer, ISSUER);
    assert_eq!(&*rig.check(&theirs.token(&other)).unwrap().issuer, "https://other.internal");
    assert_eq!(rig.check(&theirs.token(&claims())).err(), Some("signature_invalid"));
    assert_eq!(rig.check(&ours.token(&other)).err(), Some("signature_invalid"));
}

#[test]
fn another_issuers_name_in_the_claims_hides_no_key() {
    let (ours, theirs) = (Signer::es256("k1"), Signer::es256("k2"));
    let rig = Rig::built(&[], |builder| {
        builder
            .issuer(Issuer::at(ISSUER).keys_fixed(&set_of(&[&ours])))
            .issuer(Issuer::at("https://other.internal").keys_fixed(&set_of(&[&theirs])))
    });
    for iss in ["https://other.internal", r"https:\/\/other.internal", r"https://other\u002einternal"] {
        let body =
            claims().to_string().replace(ISSUER, iss).replacen('{', &format!("{{\"a\":\"{ISSUER}\","), 1);
        let found = rig.check(&theirs.raw(&theirs.header().to_string(), &body)).unwrap();
        assert_eq!(&*found.issuer, "https://other.internal");
        assert_eq!(
            rig.check(&ours.raw(&ours.header().to_string(), &body)).err(),
            Some("key_unknown"),
            "{iss}"
        );
    }
}

#[test]
fn an_issuer_serves_the_algorithms_that_are_configured() {
    let (rs, ps) = (Signer::new(Algorithm::Rs256, Some("k1")), Signer::new(Algorithm::Ps256, Some("k1")));
    let bare = json!({"keys": [rs.bare_jwk()]}).to_string();
    let check = |issuer: Issuer, signer: &Signer| {
        Rig::built(&[], |builder| builder.issuer(issuer)).check(&signer.token(&claims())).err()
    };
    // A key that names no algorithm: RS256 unless configured otherwise.
    assert_eq!(check(Issuer::at(ISSUER).keys_fixed(&bare), &rs), None);
    assert_eq!(check(Issuer::at(ISSUER).keys_fixed(&bare), &ps), Some("algorithm_refused"));
    let both = Issuer::at(ISSUER).keys_fixed(&bare).algorithms([Algorithm::Rs256, Algorithm::Ps256]);
    assert_eq!((check(both.clone(), &rs), check(both, &ps)), (None, None));
    let only = Issuer::at(ISSUER).keys_fixed(&bare).algorithms([Algorithm::Ps256]);
    assert_eq!((check(only.clone(), &rs), check(only, &ps)), (Some("algorithm_refused"), None));
}

/// A key that names its algorithm serves that one only, and only if its issuer may use it.
#[test]
fn a_key_of_an_algorithm_that_is_not_configured_does_not_serve() {
    let rs = Signer::new(Algorithm::Rs256, Some("k1"));
    let ec = Signer::es256("k2");
    let issuer = |algorithms: &[Algorithm]| {
        Issuer::at(ISSUER).keys_fixed(&set_of(&[&rs, &ec])).algorithms(algorithms.iter().copied())
    };
    let check = |algorithms: &[Algorithm]| {
        Rig::built(&[], |builder| builder.issuer(issuer(algorithms))).check(&rs.token(&claims())).err()
    };
    assert_eq!(check(&[Algorithm::Es256, Algorithm::Rs256]), None);
    assert_eq!(check(&[Algorithm::Es256]), Some("key_unknown"));
    assert_eq!(check(&[Algorithm::Es256, Algorithm::Ps256]), Some("key_unknown"));
}

#[test]
fn withdrawals_strike_fresh_and_remembered_tokens() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let (first, second) = (signer.token(&claims()), signer.token(&long_claims("t-2")));
    rig.check(&first).unwrap();
    let at = UnixTime::from_secs(NOW);
    let what = Withdrawal::Key { issuer: ISSUER.into(), key_id: "k1".into() };
    rig.ledger.withdrawals().withdraw(what, at, at.after(seconds(600))).unwrap();
    assert_eq!(rig.check(&first).err(), Some("token_withdrawn"));
    assert_eq!(rig.check(&second).err(), Some("token_withdrawn"));
}

#[test]
fn an_independent_minter_is_understood() {
    use jsonwebtoken::{Algorithm as Alg, EncodingKey, Header, encode as mint};
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der = pair.to_pkcs8v1().unwrap();
    let signer = Signer { pair: Pair::Ec(pair, "P-256"), algorithm: Algorithm::Es256, kid: Some("k1") };
    let mut header = Header::new(Alg::ES256);
    (header.typ, header.kid) = (Some("at+jwt".to_owned()), Some("k1".to_owned()));
    let token = mint(&header, &claims(), &EncodingKey::from_ec_der(der.as_ref())).unwrap();
    assert_eq!(&*Rig::fixed(&[&signer]).check(&token).unwrap().subject, "alice");
    header.typ = Some("JWT".to_owned());
    let token = mint(&header, &claims(), &EncodingKey::from_ec_der(der.as_ref())).unwrap();
    assert_eq!(Rig::fixed(&[&signer]).check(&token).err(), Some("token_type_mismatch"));
}

#[test]
fn what_is_claimed_is_bounded() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let mut body = claims();
    body["iss"] = json!("https://evil.".repeat(100));
    let token = signer.token(&body);
    let claimed = rig.verifier.claimed(&RawToken::new(&token));
    assert_eq!(claimed.key_id.as_deref(), Some("k1"));
    assert_eq!(claimed.issuer.unwrap().len(), 128);
    for garbage in ["", "a.b.c", "..", &"a".repeat(1 << 20)] {
        assert_eq!(rig.verifier.claimed(&RawToken::new(garbage)), hopguard_core::Unverified::default());
    }
}

#[test]
fn nothing_shows_token_bytes() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let token = signer.token(&claims());
    let facts = rig.check(&token).unwrap();
    let shown = format!("{rig:?} {facts:?} {:?}", rig.check(&malleated(&token)));
    let mut segments = token.split('.');
    assert!(segments.all(|segment| !shown.contains(segment)));
}

#[test]
fn a_wrong_configuration_names_every_problem() {
    let issuer = FakeIssuer::new(&[]);
    let builder = || Verifier::builder(issuer.clone(), Arc::new(FakeClock::default()), Spawn::current());
    let settings = |builder: VerifierBuilder| {
        let errors = builder.build().unwrap_err();
        errors.problems().iter().map(|one| one.setting.clone()).collect::<Vec<_>>()
    };
    assert_eq!(settings(builder()), ["issuer"]);
    let wrong = builder()
        .issuer(Issuer::at("http://sts.internal"))
        .issuer(Issuer::at("https://sts.internal?tenant=1"))
        .issuer(Issuer::at("https://sts.internal#x"))
        .issuer(Issuer::at("sts.internal"))
        .issuer(Issuer::at(ISSUER).jwks_url("http://sts.internal/jwks"))
        .issuer(Issuer::at(ISSUER).keys_fixed("{}"))
        .issuer(Issuer::at(ISSUER).keys_fixed(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#))
        .issuer(Issuer::at(ISSUER).algorithms([]))
        .issuer(Issuer::at(ISSUER))
        .issuer(Issuer::at("http://127.0.0.1:9"))
        .leeway(seconds(61))
        .token_at_most(0)
        .actors_at_most(32);
    assert_eq!(
        settings(wrong),
        [
            "issuer[0]",
            "issuer[1]",
            "issuer[2]",
            "issuer[3]",
            "issuer[4].jwks_url",
            "issuer[5].keys_fixed",
            "issuer[6].keys_fixed",
            "issuer[7].algorithms",
            "issuer[8]",
            "leeway",
            "token_at_most",
            "actors_at_most",
        ]
    );
}

#[test]
fn settings_may_be_as_large_as_they_may_be() {
    let signer = Signer::es256("k1");
    let set = set_of(&[&signer]);
    let built = |settings: fn(VerifierBuilder) -> VerifierBuilder| {
        Rig::built(&[], |builder| settings(builder.issuer(Issuer::at(ISSUER).keys_fixed(&set))))
    };
    let mut deep = claims();
    for _ in 1..31 {
        deep["act"] = json!({"sub": "a", "act": deep["act"]});
    }
    let rig = built(|builder| builder.actors_at_most(31).leeway(seconds(60)).token_at_most(64 * 1024));
    assert_eq!(rig.check(&signer.token(&deep)).unwrap().actors.depth(), 31);
    let mut long = claims();
    long["note"] = json!("x".repeat(32 * 1024));
    rig.check(&signer.token(&long)).unwrap();
    assert_eq!(built(|builder| builder.token_at_most(1)).check("ab").err(), Some("token_too_large"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is done to a good token's bytes, it is not admitted.
    #[test]
    fn no_mutation_is_admitted(at in 0usize..4096, byte in 0x20u8..0x7f, kind in 0u8..5) {
        static GOOD: LazyLock<(Rig, String)> = LazyLock::new(|| {
            let signer = Signer::es256("k1");
            (Rig::fixed(&[&signer]), signer.token(&claims()))
        });
        let (rig, token) = &*GOOD;
        let mut bytes = token.as_bytes().to_vec();
        let at = at % bytes.len();
        match kind {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            _ => bytes.swap(at, usize::from(byte) % token.len()),
        }
        let mutated = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(rig.check(&mutated).is_ok(), mutated == *token);
        // And with the good token remembered.
        prop_assert!(rig.check(token).is_ok());
        prop_assert_eq!(rig.check(&mutated).is_ok(), mutated == *token);
    }

    /// Whatever the payload is, reading it ends, and only what is complete is admitted.
    #[test]
    fn no_payload_breaks_the_reader(payload in "[\\[\\]{}:,\"0-9a-z\\\\u ]{0,200}") {
        static GOOD: LazyLock<(Rig, Signer)> = LazyLock::new(|| {
            let signer = Signer::es256("k1");
            (Rig::fixed(&[&signer]), signer)
        });
        let (rig, signer) = &*GOOD;
        prop_assert!(rig.check(&signer.raw(&signer.header().to_string(), &payload)).is_err());
    }
}
