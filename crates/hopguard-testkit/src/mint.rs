//! Tokens made without hopguard's own code: keys from `aws-lc-rs`, signatures from `jsonwebtoken`, and what is
//! malformed put together by hand.
//!
//! ```
//! use hopguard_core::UnixTime;
//! use hopguard_testkit::mint::{MintKey, Signature, Token, jwks};
//!
//! let key = MintKey::es256("key-1");
//! let now = UnixTime::from_secs(1_800_000_000);
//! let good = Token::access("https://sts.internal", "https://orders.internal", "alice", now).sign(&key);
//! let forged = Token::access("https://sts.internal", "https://orders.internal", "alice", now)
//!     .claim("scope", "orders:admin")
//!     .signature(Signature::HmacPublicPem)
//!     .sign(&key);
//! assert_eq!(good.split('.').count(), 3);
//! assert_ne!(good, forged);
//! assert!(jwks(&[&key]).contains("key-1"));
//! ```

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hopguard_core::{Id, UnixTime};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value, json};

/// The order of P-256's group, big-endian (FIPS 186-4, D.1.2.3).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// A key pair that signs tokens.
#[derive(Clone)]
pub struct MintKey {
    algorithm: Algorithm,
    key_id: String,
    signing: EncodingKey,
    pkcs8: Vec<u8>,
    spki: Vec<u8>,
    parameters: Map<String, Value>,
}

impl MintKey {
    /// A fresh P-256 key for ES256.
    #[must_use]
    pub fn es256(key_id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let pkcs8 = pair.to_pkcs8v1().unwrap().as_ref().to_vec();
        // SEC 1 section 2.3.3: 0x04, x, y.
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let parameters = json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)});
        Self {
            algorithm: Algorithm::ES256,
            key_id: key_id.to_owned(),
            signing: EncodingKey::from_ec_der(&pkcs8),
            spki: AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap().as_ref().to_vec(),
            pkcs8,
            parameters: parameters.as_object().unwrap().clone(),
        }
    }

    /// A fresh 2048 bit RSA key for RS256.
    #[must_use]
    pub fn rs256(key_id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref().to_vec();
        let (n, e) = rsa_numbers(pair.public_key().as_ref());
        let parameters = json!({"kty": "RSA", "n": b64(n), "e": b64(e)});
        Self {
            algorithm: Algorithm::RS256,
            key_id: key_id.to_owned(),
            signing: EncodingKey::from_rsa_der(pkcs1(&pkcs8)),
            spki: AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap().as_ref().to_vec(),
            pkcs8,
            parameters: parameters.as_object().unwrap().clone(),
        }
    }

    /// Another key for the same algorithm under the same `kid`.
    #[must_use]
    pub fn impostor(&self) -> Self {
        if self.algorithm == Algorithm::ES256 { Self::es256(&self.key_id) } else { Self::rs256(&self.key_id) }
    }

    /// `kid`.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// `alg`.
    #[must_use]
    pub fn alg(&self) -> &'static str {
        if self.algorithm == Algorithm::ES256 { "ES256" } else { "RS256" }
    }

    /// The public key as a JWK with `kid`, `alg` and `use`.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = self.parameters.clone();
        jwk.insert("kid".to_owned(), self.key_id.as_str().into());
        jwk.insert("alg".to_owned(), self.alg().into());
        jwk.insert("use".to_owned(), "sig".into());
        Value::Object(jwk)
    }

    /// The private key (PKCS #8, DER).
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public key (SubjectPublicKeyInfo, DER).
    #[must_use]
    pub fn public_der(&self) -> &[u8] {
        &self.spki
    }

    /// The public key (SubjectPublicKeyInfo, PEM).
    #[must_use]
    pub fn public_pem(&self) -> String {
        let text = STANDARD.encode(&self.spki);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// The signature over `input`, base64url.
    #[must_use]
    pub fn sign(&self, input: &str) -> String {
        jsonwebtoken::crypto::sign(input.as_bytes(), &self.signing, self.algorithm).unwrap()
    }
}

impl fmt::Debug for MintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MintKey({} {})", self.alg(), self.key_id)
    }
}

/// The key set of these keys (RFC 7517 section 5).
#[must_use]
pub fn jwks(keys: &[&MintKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// How a token is signed, or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Signature {
    /// By the key, with the key's algorithm.
    #[default]
    Good,
    /// `alg: none` and an empty signature (RFC 7518 section 3.6).
    Unsigned,
    /// HS256, keyed with the public key as PEM (RFC 8725 section 2.1).
    HmacPublicPem,
    /// HS256, keyed with the public key as DER.
    HmacPublicDer,
    /// HS256, keyed with the public key as JWK.
    HmacPublicJwk,
    /// By another key that says it is this one.
    Impostor,
    /// `(r, n - s)` in place of `(r, s)`: as valid as the one the key made. ES256 only.
    Malleated,
    /// In DER in place of `r || s` (RFC 7518 section 3.4). ES256 only.
    Der,
    /// Zeros.
    Zero,
    /// Exactly this text.
    Literal(String),
}

/// A token in the making. What is set last counts.
#[derive(Clone, Debug)]
#[must_use = "a token is made by `sign`"]
pub struct Token {
    header: Map<String, Value>,
    dropped: Vec<String>,
    claims: Map<String, Value>,
    raw_header: Option<String>,
    raw_payload: Option<String>,
    signature: Signature,
}

impl Token {
    /// An access token as RFC 9068 section 2 describes it, issued now, good for two minutes, without scope.
    pub fn access(issuer: &str, audience: &str, subject: &str, now: UnixTime) -> Self {
        let claims = json!({
            "iss": issuer,
            "aud": audience,
            "sub": subject,
            "client_id": "testkit",
            "iat": now.as_secs(),
            "exp": now.as_secs() + 120,
            "jti": Id::fresh().to_string(),
        });
        let header = json!({ "typ": "at+jwt" });
        Self {
            header: header.as_object().unwrap().clone(),
            dropped: Vec::new(),
            claims: claims.as_object().unwrap().clone(),
            raw_header: None,
            raw_payload: None,
            signature: Signature::Good,
        }
    }

    /// Sets a claim.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a claim.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets a header member; `alg` and `kid` come from the key otherwise.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a header member, `alg` and `kid` included.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self.dropped.push(name.to_owned());
        self
    }

    /// The payload is this text, whatever the claims are: for what no map can hold.
    pub fn raw_payload(mut self, text: &str) -> Self {
        self.raw_payload = Some(text.to_owned());
        self
    }

    /// The header is this text, whatever its members are.
    pub fn raw_header(mut self, text: &str) -> Self {
        self.raw_header = Some(text.to_owned());
        self
    }

    /// How it is signed.
    pub fn signature(mut self, signature: Signature) -> Self {
        self.signature = signature;
        self
    }

    /// The claims as they stand.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The token in compact form (RFC 7515 section 3.1).
    #[must_use]
    pub fn sign(&self, key: &MintKey) -> String {
        let header = self.raw_header.clone().unwrap_or_else(|| self.header_for(key));
        let payload =
            self.raw_payload.clone().unwrap_or_else(|| Value::Object(self.claims.clone()).to_string());
        let input = format!("{}.{}", b64(header.as_bytes()), b64(payload.as_bytes()));
        let signature = self.signature_over(&input, key);
        format!("{input}.{signature}")
    }

    /// The header for `key` as it would be written, `raw_header` aside.
    #[must_use]
    pub fn header_for(&self, key: &MintKey) -> String {
        let alg = match self.signature {
            Signature::Unsigned => "none",
            Signature::HmacPublicPem | Signature::HmacPublicDer | Signature::HmacPublicJwk => "HS256",
            _ => key.alg(),
        };
        let mut header = self.header.clone();
        for (name, value) in [("alg", alg), ("kid", key.key_id())] {
            if !self.dropped.iter().any(|dropped| dropped == name) {
                header.entry(name).or_insert_with(|| value.into());
            }
        }
        Value::Object(header).to_string()
    }

    fn signature_over(&self, input: &str, key: &MintKey) -> String {
        match &self.signature {
            Signature::Good => key.sign(input),
            Signature::Unsigned => String::new(),
            Signature::HmacPublicPem => hmac(input, key.public_pem().as_bytes()),
            Signature::HmacPublicDer => hmac(input, key.public_der()),
            Signature::HmacPublicJwk => hmac(input, key.jwk().to_string().as_bytes()),
            Signature::Impostor => key.impostor().sign(input),
            Signature::Malleated => malleated(&key.sign(input)),
            Signature::Der => b64(&der(&unb64(&key.sign(input)))),
            Signature::Zero => b64(&vec![0; unb64(&key.sign(input)).len()]),
            Signature::Literal(text) => text.clone(),
        }
    }
}

/// The other valid spelling of an ES256 signature: `(r, n - s)`.
///
/// # Panics
///
/// If it is none.
#[must_use]
pub fn malleated(signature: &str) -> String {
    let mut bytes = unb64(signature);
    assert_eq!(bytes.len(), 64, "not an ES256 signature");
    let mut borrow = 0;
    for (at, order) in P256_ORDER.iter().enumerate().rev() {
        let taken = i16::from(*order) - i16::from(bytes[32 + at]) - borrow;
        borrow = i16::from(taken < 0);
        bytes[32 + at] = u8::try_from(taken.rem_euclid(256)).unwrap();
    }
    b64(&bytes)
}

/// What a token claims, unchecked.
///
/// # Panics
///
/// If it is no JWT.
#[must_use]
pub fn claims_of(token: &str) -> Map<String, Value> {
    let payload = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&unb64(payload)).expect("claims")
}

fn hmac(input: &str, secret: &[u8]) -> String {
    jsonwebtoken::crypto::sign(input.as_bytes(), &EncodingKey::from_secret(secret), Algorithm::HS256).unwrap()
}

/// `r || s` as an ASN.1 sequence of two integers (RFC 3279 section 2.2.3).
fn der(fixed: &[u8]) -> Vec<u8> {
    assert_eq!(fixed.len(), 64, "not an ES256 signature");
    let integer = |number: &[u8]| {
        let start = number.iter().position(|&byte| byte != 0).unwrap_or(number.len() - 1);
        let mut digits = number[start..].to_vec();
        if digits[0] >= 0x80 {
            digits.insert(0, 0);
        }
        [vec![0x02, u8::try_from(digits.len()).unwrap()], digits].concat()
    };
    let (r, s) = fixed.split_at(32);
    let body = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat()
}

/// `n` and `e` of an RSAPublicKey (RFC 8017 appendix A.1.1).
fn rsa_numbers(key: &[u8]) -> (&[u8], &[u8]) {
    let (sequence, _) = der_value(key, 0x30);
    let (n, rest) = der_value(sequence, 0x02);
    let (e, _) = der_value(rest, 0x02);
    (n.strip_prefix(&[0]).unwrap_or(n), e)
}

/// The RSAPrivateKey inside a PrivateKeyInfo (RFC 5208 section 5).
fn pkcs1(pkcs8: &[u8]) -> &[u8] {
    let (sequence, _) = der_value(pkcs8, 0x30);
    let (_version, rest) = der_value(sequence, 0x02);
    let (_algorithm, rest) = der_value(rest, 0x30);
    der_value(rest, 0x04).0
}

/// The contents of the DER value with the tag `tag` at the start of `input`, and what follows it.
fn der_value(input: &[u8], tag: u8) -> (&[u8], &[u8]) {
    assert_eq!(input[0], tag, "another DER value than expected");
    let (length, start) = match input[1] {
        short @ 0..=0x7f => (usize::from(short), 2),
        long => {
            let digits = usize::from(long & 0x7f);
            let length = input[2..2 + digits].iter().fold(0, |sum, &digit| sum << 8 | usize::from(digit));
            (length, 2 + digits)
        }
    };
    input[start..].split_at(length)
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn unb64(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{DecodingKey, Validation, decode};

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn token() -> Token {
        Token::access("https://sts.internal", "https://orders.internal", "alice", NOW)
    }

    /// What `jsonwebtoken`, reading the published JWK, says of a token.
    fn accepted(token: &str, key: &MintKey) -> bool {
        let jwk: Jwk = serde_json::from_value(key.jwk()).unwrap();
        let mut validation = Validation::new(key.algorithm);
        validation.validate_exp = false;
        validation.validate_aud = false;
        decode::<Value>(token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation).is_ok()
    }

    #[test]
    fn only_the_good_and_the_malleated_signature_verify() {
        let key = MintKey::es256("k");
        let cases = [
            (Signature::Good, true),
            (Signature::Malleated, true),
            (Signature::Unsigned, false),
            (Signature::HmacPublicPem, false),
            (Signature::HmacPublicDer, false),
            (Signature::HmacPublicJwk, false),
            (Signature::Impostor, false),
            (Signature::Der, false),
            (Signature::Zero, false),
            (Signature::Literal("AAAA".to_owned()), false),
        ];
        for (signature, expected) in cases {
            for _ in 0..8 {
                let minted = token().signature(signature.clone()).sign(&key);
                assert_eq!(accepted(&minted, &key), expected, "{signature:?}");
            }
        }
    }

    #[test]
    fn rsa_keys_sign_and_publish_what_verifies() {
        let key = MintKey::rs256("k");
        let good = token().sign(&key);
        assert!(accepted(&good, &key));
        assert!(!accepted(&token().signature(Signature::Impostor).sign(&key), &key));
        assert!(!accepted(&good, &key.impostor()));
        assert!(key.public_pem().starts_with("-----BEGIN PUBLIC KEY-----\nMII"));
    }

    #[test]
    fn malleating_twice_gives_the_first_back() {
        let signature = MintKey::es256("k").sign("x.y");
        assert_ne!(malleated(&signature), signature);
        assert_eq!(malleated(&malleated(&signature)), signature);
    }

    #[test]
    fn everything_can_be_set_and_removed() {
        let key = MintKey::es256("k");
        let minted = token()
            .claim("exp", "soon")
            .without("jti")
            .header("typ", "JWT")
            .header("alg", "ES512")
            .without_header("kid")
            .sign(&key);
        let header: Value = serde_json::from_slice(&unb64(minted.split('.').next().unwrap())).unwrap();
        assert_eq!(header, json!({"typ": "JWT", "alg": "ES512"}));
        let claims = claims_of(&minted);
        assert_eq!((claims.get("exp"), claims.get("jti")), (Some(&json!("soon")), None));
        let raw = token().raw_payload("{\"a\":1,\"a\":2}").raw_header("{}").sign(&key);
        assert_eq!(unb64(raw.split('.').nth(1).unwrap()), b"{\"a\":1,\"a\":2}");
        assert!(raw.starts_with("e30."));
    }
}
