//! Tokens that no honest server makes, for the tour.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hopguard::SigningKey;
use serde_json::{Value, json};

/// The claims of a token, unchecked.
pub fn claims_of(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// `token` with its claims changed and signed anew with the issuer's own key: what a careless issuer would
/// make.
pub fn changed(token: &str, key: &SigningKey, typ: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims_of(token).unwrap_or_else(|| json!({}));
    change(&mut claims);
    key.sign_jwt(typ, &claims).map(|token| token.to_string()).unwrap_or_default()
}

/// `alg: none`, and no signature.
pub fn unsigned(token: &str) -> String {
    let (_, rest) = token.split_once('.').unwrap_or(("", token));
    let (payload, _) = rest.split_once('.').unwrap_or((rest, ""));
    format!("{}.{payload}.", encode(&json!({ "alg": "none", "typ": "at+jwt" })))
}

/// Signed with HMAC, the key being the text of the issuer's public key.
pub fn hmac_with_public_key(token: &str, key: &SigningKey) -> String {
    let (_, rest) = token.split_once('.').unwrap_or(("", token));
    let (payload, _) = rest.split_once('.').unwrap_or((rest, ""));
    let header = encode(&json!({ "alg": "HS256", "typ": "at+jwt", "kid": key.key_id() }));
    let secret = hmac::Key::new(hmac::HMAC_SHA256, key.public_jwk().to_string().as_bytes());
    let input = format!("{header}.{payload}");
    let tag = hmac::sign(&secret, input.as_bytes());
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

/// Header and payload of `token`, signature of another token.
pub fn resigned(token: &str, other: &str) -> String {
    let input = token.rsplit_once('.').map_or(token, |(input, _)| input);
    let signature = other.rsplit_once('.').map_or("", |(_, signature)| signature);
    format!("{input}.{signature}")
}

fn encode(header: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(header.to_string())
}
