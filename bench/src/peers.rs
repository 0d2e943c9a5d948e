//! What others do for the same token: the best that is on crates.io, and as little as can be written by hand.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hopguard_client::SystemClock;
use hopguard_core::Clock;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::Value;

use crate::world::{ISSUER, ORDERS};

/// What a handler needs of a token; nobody here reads more.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    scope: String,
}

/// `jsonwebtoken` 11, its key and rules made once.
#[derive(Clone)]
pub(crate) struct JsonWebToken {
    key: DecodingKey,
    validation: Validation,
}

impl JsonWebToken {
    pub(crate) fn of(jwk: &Value) -> Self {
        Self::for_audience(jwk, ORDERS)
    }

    pub(crate) fn for_audience(jwk: &Value, audience: &str) -> Self {
        let algorithm = match jwk["alg"].as_str() {
            Some("ES256") => Algorithm::ES256,
            Some("RS256") => Algorithm::RS256,
            _ => Algorithm::EdDSA,
        };
        let jwk: Jwk = serde_json::from_value(jwk.clone()).expect("a key");
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Self { key: DecodingKey::from_jwk(&jwk).expect("a key"), validation }
    }

    pub(crate) fn validate(&self, token: &str) {
        let claims = decode::<Claims>(token, &self.key, &self.validation).expect("a good token").claims;
        assert!(!claims.sub.is_empty() && !claims.scope.is_empty());
    }
}

/// A validator as people write it by hand: one key, one algorithm, issuer, audience, expiry.
pub(crate) struct Minimal {
    key: ParsedPublicKey,
    algorithm: String,
}

#[derive(Deserialize)]
struct MinimalHeader<'a> {
    alg: &'a str,
}

#[derive(Deserialize)]
struct MinimalClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    exp: u64,
    sub: String,
    scope: String,
}

impl Minimal {
    pub(crate) fn of(jwk: &Value) -> Self {
        let part =
            |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().expect("a member")).expect("base64url");
        let algorithm = jwk["alg"].as_str().expect("alg").to_owned();
        let key = match algorithm.as_str() {
            "ES256" => {
                let point = [vec![4], part("x"), part("y")].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            }
            "RS256" => {
                let components = RsaPublicKeyComponents { n: part("n"), e: part("e") };
                components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            }
            _ => ParsedPublicKey::new(&ED25519, part("x")),
        };
        Self { key: key.expect("a key"), algorithm }
    }

    pub(crate) fn validate(&self, token: &str) {
        let (input, signature) = token.rsplit_once('.').expect("three segments");
        let (header, payload) = input.split_once('.').expect("three segments");
        let header = URL_SAFE_NO_PAD.decode(header).expect("base64url");
        let header: MinimalHeader<'_> = serde_json::from_slice(&header).expect("a header");
        assert_eq!(header.alg, self.algorithm);
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        self.key.verify_sig(input.as_bytes(), &signature).expect("a good signature");
        let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
        let claims: MinimalClaims<'_> = serde_json::from_slice(&payload).expect("claims");
        assert!(claims.iss == ISSUER && claims.aud == ORDERS);
        assert!(claims.exp > SystemClock.now().as_secs());
        assert!(!claims.sub.is_empty() && !claims.scope.is_empty());
    }
}
