//! Held against `jsonwebtoken`: whatever it refuses, we refuse, bar what is listed; what it accepts and we refuse is
//! refused for a reason that is listed.

use std::collections::BTreeMap;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode_header, errors::ErrorKind};

use super::*;

/// Which tokens are made: enough for each kind of change to meet each kind of key many times.
const POPULATION: u64 = 8000;

const AUDIENCE: &str = "https://orders.internal";

/// What we accept and the oracle refuses.
const ONLY_WE_ACCEPT: [(&str, &str); 1] =
    [("Ed25519", "the name of RFC 9864 for EdDSA with Ed25519, which the oracle does not know")];

/// Codes with which we refuse what the oracle accepts, with the reason.
const ONLY_WE_REFUSE: [(&str, &str); 9] = [
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
/// It has no clock of its own that could be set, so time is compared here, by the rule it would apply.
fn oracle(token: &str, keys: &JwkSet) -> Result<Value, String> {
    let header = decode_header(token).map_err(|error| error.to_string())?;
    // Which key is the caller's to find; a token that names none fits one key of the set, by its algorithm.
    let jwk = match &header.kid {
        Some(id) => keys.find(id),
        None => keys.keys.iter().find(|key| {
            key.common.key_algorithm.is_some_and(|one| one.to_string() == format!("{:?}", header.alg))
        }),
    };
    let jwk = jwk.ok_or("no such key")?;
    let algorithm = jwk.common.key_algorithm.ok_or("a key without alg")?.to_string();
    let algorithm: jsonwebtoken::Algorithm = algorithm.parse().map_err(|_| "no signature algorithm")?;
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    let mut rules = Validation::new(algorithm);
    rules.set_required_spec_claims(&["exp", "iss", "aud"]);
    rules.set_issuer(&[ISSUER]);
    rules.set_audience(&[AUDIENCE]);
    rules.validate_exp = false;
    let claims = jsonwebtoken::decode::<Value>(token, &key, &rules)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => "signature".to_owned(),
            _ => error.to_string(),
        })?
        .claims;
    match claims["exp"].as_f64() {
        Some(expires) if expires.round() > NOW as f64 => Ok(claims),
        _ => Err("expired, or `exp` is no number".to_owned()),
    }
}

#[test]
fn we_accept_nothing_that_the_oracle_refuses() {
    let algorithms = [
        (Algorithm::Es256, "k-ES256"),
        (Algorithm::Es384, "k-ES384"),
        (Algorithm::Rs256, "k-RS256"),
        (Algorithm::Ps384, "k-PS384"),
        (Algorithm::EdDsa, "k-EdDSA"),
    ];
    let signers: Vec<_> = algorithms.into_iter().map(|(alg, kid)| Signer::new(alg, Some(kid))).collect();
    let rig = Rig::fixed(&signers.iter().collect::<Vec<_>>());
    let keys: JwkSet = serde_json::from_str(&set_of(&signers.iter().collect::<Vec<_>>())).unwrap();
    let mut dice = Dice::new(9068);
    let mut counts: BTreeMap<(bool, &str), usize> = BTreeMap::new();
    for number in 0..POPULATION {
        let (token, header) = token(&mut dice, &signers);
        let ours = rig.check(&token);
        let theirs = oracle(&token, &keys);
        let code = ours.as_ref().map_or_else(|code| *code, |_| "accepted");
        *counts.entry((theirs.is_ok(), code)).or_default() += 1;
        match (&ours, &theirs) {
            (Ok(facts), Ok(claims)) => {
                // Both read the same.
                assert_eq!(Some(&*facts.subject), claims["sub"].as_str(), "{number}: {token}");
                assert_eq!(Some(facts.expires.as_secs()), claims["exp"].as_u64(), "{number}: {token}");
            }
            (Ok(facts), Err(why)) => {
                let listed = ONLY_WE_ACCEPT.iter().any(|(alg, _)| header["alg"] == *alg);
                // The audience is the oracle's to judge, and a guard's with us.
                let audience = facts.audiences.iter().all(|one| **one != *AUDIENCE);
                assert!(listed || audience, "{number}: we accept, it says {why}: {token}");
            }
            (Err(code), Ok(_)) => {
                let listed = ONLY_WE_REFUSE.iter().any(|(listed, _)| listed == code);
                assert!(listed, "{number}: it accepts, we say {code}: {token}");
            }
            (Err(_), Err(_)) => {}
        }
    }
    for ((theirs, ours), count) in &counts {
        println!("{count:5}  oracle {}  ours {ours}", if *theirs { "accepts" } else { "refuses" });
    }
    // A population in which nothing is accepted, or a listed difference never shows, proves nothing.
    let count = |theirs, ours| counts.get(&(theirs, ours)).copied().unwrap_or_default();
    assert!(count(true, "accepted") > 500 && count(false, "accepted") > 50);
    for (code, why) in ONLY_WE_REFUSE {
        assert!(count(true, code) > 0 || code == "token_too_large", "{code} never showed: {why}");
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
