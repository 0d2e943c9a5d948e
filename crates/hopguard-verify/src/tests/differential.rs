//! Held against `jsonwebtoken`: whatever it refuses, we refuse, bar what is listed; what it accepts and we refuse is
//! refused for a reason that is listed.

use std::collections::BTreeMap;

use hopguard_client::SystemClock;
use hopguard_core::{AudienceGuard, Guard, Presented, StackId, UnixTime, Verified};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode_header, errors::ErrorKind};

use super::*;

/// Which tokens are made: enough for each kind of change to meet each kind of key many times.
const POPULATION: u64 = 8000;

const AUDIENCE: &str = "https://orders.internal";

/// What we accept and the oracle refuses, with the oracle's words for it.
const ONLY_WE_ACCEPT: [(&str, &str, &str); 1] = [(
    "Ed25519",
    "unknown variant `Ed25519`",
    "the name of RFC 9864 for EdDSA with Ed25519, which the oracle does not know",
)];

/// Codes with which we refuse what the oracle accepts, with the reason.
const ONLY_WE_REFUSE: [(&str, &str); 12] = [
    ("token_type_mismatch", "RFC 9068 section 4: `typ` must say access token; the oracle does not look"),
    ("critical_header", "RFC 7515 section 4.1.11: nothing critical is understood; the oracle does not look"),
    (
        "key_in_header",
        "RFC 8725 section 3.1: a token that brings its key is refused; the oracle overlooks it",
    ),
    ("claim_missing", "RFC 9068 section 2.2: `sub`, `client_id`, `jti` and `iat` are required"),
    (
        "claim_invalid",
        "types are strict and texts are not empty, also of claims that the oracle does not judge",
    ),
    (
        "token_malformed",
        "a member twice (the oracle takes the last), nesting beyond the bound, a header parameter that is null",
    ),
    ("token_not_yet_valid", "`nbf` is judged; the oracle's default leaves it out"),
    ("token_from_future", "`iat` is judged; the oracle has no rule for it"),
    ("token_too_large", "the length is bounded; the oracle's is not"),
    (
        "audience_not_sole",
        "a token that is good elsewhere too can be replayed there; the oracle wants us among them",
    ),
    (
        "key_unknown",
        "twins of one `kid` and algorithm do not serve, nor several keys that fit a token without `kid`",
    ),
    ("algorithm_refused", "a key without `alg` serves the one algorithm that its type usually has"),
];

/// Small numbers that look random and are the same in each run (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(most).unwrap()).unwrap()
    }

    pub(super) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// A value that some reader may take for another one.
fn odd(dice: &mut Dice) -> Value {
    let now = NOW;
    dice.of(&[
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(now - 1),
        json!(now),
        json!(now + 1),
        json!(now + 6),
        json!(now + 4000),
        json!((now + 300).to_string()),
        json!((now + 300) as f64),
        json!(1e300),
        json!(""),
        json!("alice"),
        json!(ISSUER),
        json!(AUDIENCE),
        json!([]),
        json!([AUDIENCE]),
        json!([AUDIENCE, "other"]),
        json!([AUDIENCE, 1]),
        json!([[AUDIENCE]]),
        json!({}),
        json!({"sub": "x"}),
        json!({"jkt": "k"}),
        json!("none"),
        json!("JWT"),
        json!("HS256"),
        json!("ES256"),
        json!("RS256"),
        json!("Ed25519"),
        json!("k-ES256"),
        json!(["exp"]),
    ])
    .clone()
}

fn member(dice: &mut Dice, of: &[&str], object: &mut Value) {
    let name = *dice.of(of);
    if dice.below(4) == 0 {
        object.as_object_mut().unwrap().remove(name);
    } else if matches!(name, "iat" | "nbf") && dice.below(2) == 0 {
        object[name] = json!(NOW + 60);
    } else if name == "aud" && dice.below(3) == 0 {
        object[name] = json!([AUDIENCE, "https://other.internal"]);
    } else {
        object[name] = odd(dice);
    }
}

const CLAIMS: [&str; 14] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "act",
    "may_act",
    "cnf",
    "azp",
    "extra",
];
const HEADER: [&str; 17] = [
    "alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "cty", "enc", "zip",
    "url", "nonce", "extra",
];

/// One token: a good one, changed in none to three ways, before or after it is signed.
fn token(dice: &mut Dice, signers: &[Signer]) -> (String, Value) {
    let signer = dice.of(signers);
    let (mut header, mut claims) = (signer.header(), claims());
    let mut twist = None;
    for _ in 0..dice.below(4) {
        match dice.below(8) {
            0 => header["alg"] = json!(dice.of(signers).algorithm.name()),
            1 => header["kid"] = json!(dice.of(signers).kid),
            2 | 3 => member(dice, &HEADER, &mut header),
            4..=6 => member(dice, &CLAIMS, &mut claims),
            _ => twist = Some(dice.below(4)),
        }
    }
    if signer.algorithm == Algorithm::EdDsa && dice.below(3) == 0 {
        header["alg"] = json!("Ed25519");
    }
    let (mut head, mut body) = (header.to_string(), claims.to_string());
    match twist {
        Some(0) => body = body.replacen('{', r#"{"sub":"eve","#, 1),
        Some(1) => head = head.replacen('{', r#"{"alg":"none","#, 1),
        Some(2) => body = format!("{} ", body.replace(',', " ,\n")),
        Some(_) => body = body.replacen('{', &format!("{{\"x\":{}0{},", "[".repeat(40), "]".repeat(40)), 1),
        None => {}
    }
    let mut token = signer.raw(&head, &body).into_bytes();
    // Now and then something that no longer fits the signature, or is no token.
    match dice.below(12) {
        0 => {
            let at = dice.below(token.len());
            token[at] = *dice.of(b"AZaz09-_.+/= ");
        }
        1 => drop(token.remove(dice.below(token.len()))),
        2 => token.insert(dice.below(token.len()), *dice.of(b"AZ.=\n")),
        3 => token.truncate(dice.below(token.len())),
        4 => token.extend_from_slice(dice.of(&["=", ".", ".YQ", "A"]).as_bytes()),
        _ => {}
    }
    (String::from_utf8(token).unwrap(), header)
}

/// What the oracle says, told the same: the key of that name, its algorithm, issuer, audience and time.
///
/// Its clock cannot be set, so time is compared here, by the rule it would apply;
/// `time_is_judged_as_the_oracle_does` has it judge by its own.
fn oracle(token: &str, keys: &JwkSet) -> Result<Value, String> {
    let claims = oracle_without_time(token, keys, |_| ())?;
    match claims["exp"].as_f64() {
        Some(expires) if expires.round() > NOW as f64 => Ok(claims),
        _ => Err("expired, or `exp` is no number".to_owned()),
    }
}

fn oracle_without_time(
    token: &str,
    keys: &JwkSet,
    settings: impl FnOnce(&mut Validation),
) -> Result<Value, String> {
    let header = decode_header(token).map_err(|error| error.to_string())?;
    // Which key is the caller's to find: by name and algorithm. A token that names none fits the first of its
    // algorithm; a key without `alg` serves what the token says, if its type can.
    let alg = format!("{:?}", header.alg);
    let fits = |key: &&jsonwebtoken::jwk::Jwk| {
        let named = key.common.key_algorithm.map(|one| one.to_string());
        match &header.kid {
            Some(id) => key.common.key_id.as_ref() == Some(id) && named.is_none_or(|named| named == alg),
            None => named.is_some_and(|named| named == alg),
        }
    };
    let jwk = keys.keys.iter().find(fits).ok_or("no such key")?;
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    let mut rules = Validation::new(header.alg);
    rules.set_required_spec_claims(&["exp", "iss", "aud"]);
    rules.set_issuer(&[ISSUER]);
    rules.set_audience(&[AUDIENCE]);
    rules.validate_exp = false;
    settings(&mut rules);
    let decoded = jsonwebtoken::decode::<Value>(token, &key, &rules);
    Ok(decoded
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => "signature".to_owned(),
            _ => error.to_string(),
        })?
        .claims)
}

/// Our verdict, the audience included: that is the oracle's to judge, and a guard's with us.
fn ours(rig: &Rig, token: &str) -> Result<Arc<Facts>, &'static str> {
    let facts = rig.check(token)?;
    let presented = Presented::assert_extracted(StackId::unique(), RawToken::new(token), None);
    let verified = Verified::assert_genuine(presented, facts.clone());
    let guard = AudienceGuard::exactly(AUDIENCE);
    guard.check(&verified, UnixTime::from_secs(NOW)).map_err(|denial| denial.code())?;
    Ok(facts)
}

/// One key for each algorithm that the oracle knows; two that are published without `alg`; two pairs of one
/// name, one of which a token can tell apart by the algorithm.
fn population() -> (Vec<Signer>, String) {
    let signers: Vec<_> = [
        (Algorithm::Es256, "k-ES256"),
        (Algorithm::Es384, "k-ES384"),
        (Algorithm::Rs256, "k-RS256"),
        (Algorithm::Rs384, "k-RS384"),
        (Algorithm::Rs512, "k-RS512"),
        (Algorithm::Ps256, "k-PS256"),
        (Algorithm::Ps384, "k-PS384"),
        (Algorithm::Ps512, "k-PS512"),
        (Algorithm::EdDsa, "k-EdDSA"),
        (Algorithm::Es384, "pair"),
        (Algorithm::Rs512, "pair"),
        (Algorithm::Es256, "twins"),
        (Algorithm::Es256, "twins"),
        (Algorithm::Es256, "bare-EC"),
        (Algorithm::Rs256, "bare-RSA"),
        // The same key, and a token that says another algorithm of its type.
        (Algorithm::Ps256, "bare-RSA"),
    ]
    .into_iter()
    .map(|(algorithm, kid)| Signer::new(algorithm, Some(kid)))
    .collect();
    let published = |signer: &Signer| {
        let bare = signer.kid.is_some_and(|kid| kid.starts_with("bare"));
        if bare { signer.bare_jwk() } else { signer.jwk() }
    };
    let set = json!({"keys": signers.iter().map(published).collect::<Vec<_>>()}).to_string();
    (signers, set)
}

/// True if `code` may be our word for a token that the oracle accepts.
fn may_refuse(code: &str, header: &Value) -> bool {
    let kid = header["kid"].as_str();
    let listed = ONLY_WE_REFUSE.iter().any(|(listed, _)| *listed == code);
    listed
        && match code {
            "key_unknown" => kid.is_none() || kid == Some("twins"),
            "algorithm_refused" => kid == Some("bare-RSA"),
            _ => true,
        }
}

#[test]
fn we_accept_nothing_that_the_oracle_refuses() {
    let (signers, set) = population();
    let rig = Rig::built(&[], |builder| builder.issuer(Issuer::at(ISSUER).keys_fixed(&set)));
    let keys: JwkSet = serde_json::from_str(&set).unwrap();
    let mut dice = Dice::new(9068);
    let mut counts: BTreeMap<(bool, &str), usize> = BTreeMap::new();
    let mut accepted: BTreeMap<String, usize> = BTreeMap::new();
    let mut only_we = [0_usize; ONLY_WE_ACCEPT.len()];
    for number in 0..POPULATION {
        let (token, header) = token(&mut dice, &signers);
        let ours = ours(&rig, &token);
        let theirs = oracle(&token, &keys);
        let code = ours.as_ref().map_or_else(|code| *code, |_| "accepted");
        *counts.entry((theirs.is_ok(), code)).or_default() += 1;
        match (&ours, &theirs) {
            (Ok(facts), Ok(claims)) => {
                // Both read the same.
                assert_eq!(Some(&*facts.subject), claims["sub"].as_str(), "{number}: {token}");
                assert_eq!(Some(facts.expires.as_secs()), claims["exp"].as_u64(), "{number}: {token}");
                *accepted.entry(format!("{} {}", header["kid"], header["alg"])).or_default() += 1;
            }
            (Ok(_), Err(why)) => {
                let listed = ONLY_WE_ACCEPT
                    .iter()
                    .position(|(alg, words, _)| header["alg"] == *alg && why.contains(words));
                let Some(listed) = listed else {
                    panic!("{number}: we accept, it says {why}: {token}");
                };
                only_we[listed] += 1;
            }
            (Err(code), Ok(_)) => {
                assert!(may_refuse(code, &header), "{number}: it accepts, we say {code}: {token}");
            }
            (Err(_), Err(_)) => {}
        }
    }
    for ((theirs, ours), count) in &counts {
        println!("{count:5}  oracle {}  ours {ours}", if *theirs { "accepts" } else { "refuses" });
    }
    // A population in which nothing is accepted, or a listed difference never shows, proves nothing.
    let count = |theirs, ours| counts.get(&(theirs, ours)).copied().unwrap_or_default();
    assert!(count(true, "accepted") > 500, "{counts:?}");
    assert_eq!(count(false, "accepted"), only_we.iter().sum::<usize>());
    for ((alg, _, why), count) in ONLY_WE_ACCEPT.iter().zip(only_we) {
        assert!(count > 0, "{alg} never showed: {why}");
    }
    for (code, why) in ONLY_WE_REFUSE {
        assert!(count(true, code) > 0 || code == "token_too_large", "{code} never showed: {why}");
    }
    // Each key was accepted by both, but for the twins, and for what a key without `alg` does not serve.
    assert!(accepted.keys().all(|name| !name.contains("twins")), "{accepted:?}");
    for signer in signers.iter().filter(|signer| signer.kid != Some("twins")) {
        let name = format!("{} {}", json!(signer.kid), json!(signer.algorithm.name()));
        let served = name != r#""bare-RSA" "PS256""#;
        assert_eq!(accepted.get(&name).is_some_and(|count| *count > 10), served, "{name}: {accepted:?}");
    }
}

/// The oracle judges time by the machine's clock, and we are given the same.
#[test]
fn time_is_judged_as_the_oracle_does() {
    let signer = Signer::es256("k1");
    let rig = Rig::fixed(&[&signer]);
    let keys: JwkSet = serde_json::from_str(&set_of(&[&signer])).unwrap();
    let now = SystemClock::shared().now().as_secs();
    rig.clock.advance(Duration::from_secs(now - NOW));
    let own_time = |rules: &mut Validation| {
        (rules.validate_exp, rules.validate_nbf, rules.leeway) = (true, true, 0);
    };
    // Far enough from now that neither the leeway of ours nor the time that passes matters.
    for exp in [json!(0), json!(now - 3600), json!(now - 60), json!(now + 60), json!(now + 3600)] {
        for nbf in [Value::Null, json!(0), json!(now - 60), json!(now + 60), json!(now + 3600)] {
            let mut claims = claims();
            (claims["exp"], claims["iat"]) = (exp.clone(), json!(now - 7200));
            if nbf.is_u64() {
                claims["nbf"] = nbf.clone();
            }
            let token = signer.token(&claims);
            let theirs = oracle_without_time(&token, &keys, own_time).map(drop);
            let found = ours(&rig, &token).map(drop);
            assert_eq!(found.is_ok(), theirs.is_ok(), "exp {exp}, nbf {nbf}: {found:?}, {theirs:?}");
            let expected = match (exp.as_u64() > Some(now), nbf.as_u64() > Some(now)) {
                (true, false) => Ok(()),
                (true, true) => Err("token_not_yet_valid"),
                (false, _) => Err("token_expired"),
            };
            assert_eq!(found, expected, "exp {exp}, nbf {nbf}");
        }
    }
}

#[test]
fn length_is_ours_to_bound() {
    let signer = Signer::es256("k1");
    let keys: JwkSet = serde_json::from_str(&set_of(&[&signer])).unwrap();
    let mut long = claims();
    long["pad"] = json!("a".repeat(20_000));
    let token = signer.token(&long);
    oracle(&token, &keys).unwrap();
    assert_eq!(Rig::fixed(&[&signer]).check(&token).err(), Some("token_too_large"));
}
