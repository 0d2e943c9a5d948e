//! The cases of Wycheproof (C2SP), which others wrote about mistakes that others made.
//!
//! They are not part of the repository: `HOPGUARD_VECTORS` names the folder that holds them. Their payloads are no
//! claims, so what is judged here is all that stands before the claims: shape, header, key set, key, signature.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use hopguard_core::Denial;

use super::*;
use crate::compact::Compact;
use crate::header::Header;
use crate::keys::{KeySet, Lookup};

const FOLDER: &str = "HOPGUARD_VECTORS";

/// Cases that we judge in another way than Wycheproof does, with the reason.
type Listed = &'static [(RangeInclusive<u64>, &'static str)];

const SYMMETRIC: &str = "HMAC: a symmetric key never serves (I8)";
const ENCRYPTED: &str = "a JWE: an access token that we verify is signed, not encrypted";

const EMPTY: &str = "an empty payload: no claims can be in it, so it is refused by its shape";
const OTHER_ALGORITHM: &str =
    "the key is published for PS256 and the token says PS384: the key's alg decides (I8)";
const MISNAMED: &str = "the key names ES521, an algorithm that does not exist: it is skipped";
const ALPHABET: &str = "a question mark within base64url, which RFC 4648 section 3.3 lets a decoder refuse";

const SIGNATURE: Listed = &[
    (1..=1, SYMMETRIC),
    (259..=259, EMPTY),
    (264..=264, EMPTY),
    (268..=268, EMPTY),
    (272..=272, EMPTY),
    (320..=320, EMPTY),
    (325..=325, EMPTY),
    (346..=346, OTHER_ALGORITHM),
    (347..=347, MISNAMED),
    (348..=348, SYMMETRIC),
    (350..=350, OTHER_ALGORITHM),
    (351..=351, MISNAMED),
    (352..=352, SYMMETRIC),
    (357..=359, SYMMETRIC),
    (372..=373, ALPHABET),
    (376..=377, SYMMETRIC),
];

const KEY: Listed = &[(2..=2, SYMMETRIC), (13..=15, SYMMETRIC)];

const CRYPTO: Listed =
    &[(1..=1, SYMMETRIC), (48..=48, SYMMETRIC), (50..=50, ENCRYPTED), (67..=67, ENCRYPTED)];

/// The folder, or `None` if none is named; a folder that is named and missing is a failure.
fn folder() -> Option<PathBuf> {
    let Some(root) = std::env::var_os(FOLDER) else {
        tell(&format!("skipped: {FOLDER} names no folder that holds them"));
        return None;
    };
    let folder = PathBuf::from(root).join("wycheproof");
    assert!(folder.is_dir(), "{FOLDER} is set, and {} is no folder", folder.display());
    Some(folder)
}

/// Says it on a line that the test runner does not hold back, and that `cargo xtask test` adds up: a test that was
/// skipped looks like one that passed.
fn tell(what: &str) {
    let line = format!("\nvectors: {what}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// Everything that the verifier does before it looks at claims.
fn genuine(token: &str, jwks: &str) -> Result<(), Denial> {
    let segments = Compact::split(token.as_bytes(), 16 * 1024)?;
    let text = segments.header()?;
    let asked = Header::read(&text)?.asks()?;
    segments.payload()?;
    let signature = segments.signature()?;
    let set = KeySet::read(jwks.as_bytes(), ISSUER, None, None).map_err(|_| Denial::KeyUnknown)?;
    let key = match set.find(asked.key_id.as_deref(), asked.algorithm) {
        Lookup::Found(key) => key,
        Lookup::OtherAlgorithm => return Err(Denial::AlgorithmRefused),
        Lookup::Unknown | Lookup::Ambiguous => return Err(Denial::KeyUnknown),
    };
    let genuine = key.verify(segments.signing_input, signature.as_bytes());
    genuine.map(|_| ()).ok_or(Denial::SignatureInvalid)
}

#[track_caller]
fn agrees(name: &str, cases: usize, listed: Listed) {
    let Some(folder) = folder() else { return };
    let text = fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let file: Value = serde_json::from_slice(&text).unwrap();
    let (mut seen, mut wrong, mut refusals) = (0, Vec::new(), BTreeMap::<_, usize>::new());
    for group in file["testGroups"].as_array().unwrap() {
        let key = group.get("public").unwrap_or(&group["private"]);
        let jwks = if key.get("keys").is_some() { key.clone() } else { json!({"keys": [key]}) };
        for case in group["tests"].as_array().unwrap() {
            seen += 1;
            let number = case["tcId"].as_u64().unwrap();
            // What is no text is the JSON serialization, which no `Authorization` header can carry.
            let token = case.get("jws").or(case.get("jwe")).unwrap();
            let token = token.as_str().map_or_else(|| token.to_string(), str::to_owned);
            let valid = match case["result"].as_str().unwrap() {
                "valid" => true,
                "invalid" => false,
                other => panic!("case {number} is {other}, which nobody has judged yet"),
            };
            let found = genuine(&token, &jwks.to_string()).map_err(|denial| denial.code());
            if let Err(code) = found {
                *refusals.entry(code).or_default() += 1;
            }
            let listed = listed.iter().any(|(numbers, _)| numbers.contains(&number));
            // A case that is listed and agrees is listed wrongly.
            if (found.is_ok() == valid) == listed {
                wrong.push(format!(
                    "{number} ({}, {}): {found:?}, should be {valid}, listed: {listed}",
                    group["comment"], case["comment"]
                ));
            }
        }
    }
    println!("{} judged otherwise, refused: {refusals:?}", listed.len());
    for (numbers, why) in listed {
        println!("  {numbers:?}: {why}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen, cases);
    tell(&format!("{seen} cases run of {name}"));
}

#[test]
fn signatures() {
    agrees("json_web_signature_test.json", 401, SIGNATURE);
}

#[test]
fn keys() {
    agrees("json_web_key_test.json", 26, KEY);
}

#[test]
fn key_sets_and_encryption() {
    agrees("json_web_crypto_test.json", 83, CRYPTO);
}

/// The base64 cases are signed with HMAC, and refused for that; what they are about is asked here.
#[test]
fn base64_has_one_spelling() {
    let Some(folder) = folder() else { return };
    let text = fs::read(folder.join("json_web_signature_test.json")).unwrap();
    let file: Value = serde_json::from_slice(&text).unwrap();
    let groups = file["testGroups"].as_array().unwrap();
    let group = groups.iter().find(|group| group["comment"] == "base64").unwrap();
    let cases = group["tests"].as_array().unwrap();
    for case in cases {
        let spelled = Compact::split(case["jws"].as_str().unwrap().as_bytes(), 16 * 1024)
            .and_then(|all| all.header().and(all.payload()).and(all.signature()).map(|_| ()));
        // In 367 and 370 the padding that they are about is not there: letter by letter they are 357, which is valid.
        let plain =
            case["comment"].as_str().unwrap().starts_with("Valid") || case["jws"] == group["tests"][0]["jws"];
        let expected = if plain { Ok(()) } else { Err(Denial::TokenMalformed) };
        assert_eq!(spelled, expected, "{}: {}", case["tcId"], case["comment"]);
    }
    assert_eq!(cases.len(), 21);
    tell(&format!("{} cases run of json_web_signature_test.json, as base64", cases.len()));
}
