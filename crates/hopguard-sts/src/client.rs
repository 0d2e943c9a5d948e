//! The clients that may ask for tokens, and what each is known by.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hopguard_core::{Fingerprint, Problems};
use serde_json::Value;

use crate::replay::ReplayMemory;

const SHORTEST_SECRET: usize = 16;

/// A client of the authorization server, before it is checked.
///
/// A client authenticates in one way only; the way is part of its registration.
#[derive(Clone)]
pub struct Client {
    id: Box<str>,
    method: Method,
}

#[derive(Clone)]
enum Method {
    PrivateKeyJwt(Vec<Value>),
    // A digest is enough to compare with, and is worth nothing to whoever reads the memory later.
    ClientSecretBasic { digest: Fingerprint, length: usize },
}

impl Client {
    /// A client that signs assertions (RFC 7523) with the key whose public half is `jwk`: an EC key on P-256
    /// (ES256), an RSA key of at least 2048 bits (RS256) or an Ed25519 key (`EdDSA`).
    #[must_use]
    pub fn private_key_jwt(id: &str, jwk: &Value) -> Self {
        Self { id: id.into(), method: Method::PrivateKeyJwt(vec![jwk.clone()]) }
    }

    /// A client that shows a shared secret (RFC 6749 section 2.3.1), of at least 16 bytes.
    #[must_use]
    pub fn client_secret_basic(id: &str, secret: &str) -> Self {
        let digest = Fingerprint::of_bytes(secret.as_bytes());
        Self { id: id.into(), method: Method::ClientSecretBasic { digest, length: secret.len() } }
    }

    /// Another key of the same client, so that it can change keys without a gap. Without effect on a client
    /// that has a secret.
    #[must_use]
    pub fn also_key(mut self, jwk: &Value) -> Self {
        if let Method::PrivateKeyJwt(keys) = &mut self.method {
            keys.push(jwk.clone());
        }
        self
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Parses what is registered, once.
    pub(crate) fn register(&self, setting: &str, most: usize, problems: &mut Problems) -> Registered {
        if self.id.is_empty() {
            problems.add(format!("{setting}.id"), "is empty: give the client's name");
        }
        let credential = match &self.method {
            Method::ClientSecretBasic { digest, length } => {
                if *length < SHORTEST_SECRET {
                    problems.add(format!("{setting}.secret"), "is shorter than 16 bytes: make a random one");
                }
                Credential::Secret(*digest)
            }
            Method::PrivateKeyJwt(jwks) => {
                let mut keys = Vec::new();
                for (at, jwk) in jwks.iter().enumerate() {
                    match ClientKey::parse(jwk) {
                        Ok(key) => keys.push(key),
                        Err(problem) => problems.add(format!("{setting}.key[{at}]"), problem),
                    }
                }
                let ids: Vec<_> = keys.iter().map(|key| &key.id).collect();
                if ids.iter().enumerate().any(|(at, id)| ids.iter().skip(at + 1).any(|other| other == id)) {
                    problems.add(format!("{setting}.key"), "holds two keys with one kid: give each its own");
                }
                Credential::Keys(keys)
            }
        };
        Registered { id: (&*self.id).into(), credential, replays: ReplayMemory::new(most) }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A client, its keys parsed.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) id: Arc<str>,
    pub(crate) credential: Credential,
    pub(crate) replays: ReplayMemory,
}

#[derive(Debug)]
pub(crate) enum Credential {
    Secret(Fingerprint),
    Keys(Vec<ClientKey>),
}

/// True if `secret` has the digest `expected`. The comparison takes as long whatever differs.
pub(crate) fn is_secret(secret: &str, expected: &Fingerprint) -> bool {
    let shown = Fingerprint::of_bytes(secret.as_bytes());
    verify_slices_are_equal(shown.as_bytes(), expected.as_bytes()).is_ok()
}

/// A registered public key, for one algorithm.
pub(crate) struct ClientKey {
    pub(crate) id: Option<Box<str>>,
    pub(crate) algorithm: &'static str,
    parsed: ParsedPublicKey,
}

impl ClientKey {
    /// Reads a JWK (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).
    fn parse(jwk: &Value) -> Result<Self, &'static str> {
        let member = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| member(name).and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
        if ["d", "k", "p", "q"].iter().any(|secret| jwk.get(secret).is_some()) {
            return Err("holds a private or symmetric key: register the public half only");
        }
        if jwk.get("use").is_some_and(|usage| usage != "sig") {
            return Err("is not for signatures: its `use` must be `sig`");
        }
        let (algorithm, parsed) = match (member("kty"), member("crv")) {
            (Some("EC"), Some("P-256")) => {
                let coordinates = bytes("x").zip(bytes("y"));
                let point = coordinates.filter(|(x, y)| x.len() == 32 && y.len() == 32);
                let point = point.map(|(x, y)| [&[4], x.as_slice(), &y].concat());
                ("ES256", point.and_then(|p| ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, p).ok()))
            }
            (Some("RSA"), _) => {
                let components = bytes("n").zip(bytes("e")).map(|(n, e)| RsaPublicKeyComponents { n, e });
                let parsed = components.filter(|it| (256..=1024).contains(&it.n.len()));
                ("RS256", parsed.and_then(|it| it.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()))
            }
            (Some("OKP"), Some("Ed25519")) => {
                ("EdDSA", bytes("x").and_then(|x| ParsedPublicKey::new(&ED25519, x).ok()))
            }
            _ => return Err("is of no kind that is accepted: EC on P-256, RSA, or OKP with Ed25519"),
        };
        if jwk.get("alg").is_some_and(|named| named != algorithm) {
            return Err(
                "has an `alg` that is not accepted: ES256, RS256 or EdDSA, as its kind of key has it",
            );
        }
        let parsed = parsed.ok_or("has missing or malformed members, or is an RSA key under 2048 bits")?;
        Ok(Self { id: member("kid").map(Box::from), algorithm, parsed })
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hopguard_client::SigningKey;
    use serde_json::json;

    use super::*;

    fn public() -> Value {
        SigningKey::generate_es256().unwrap().public_jwk()
    }

    #[track_caller]
    fn registered(client: &Client, expected: &[&str]) {
        let mut problems = Problems::new();
        client.register("sts.client[0]", 9, &mut problems);
        let found = problems.into_result(()).err();
        let found: Vec<_> =
            found.iter().flat_map(|errors| errors.problems()).map(|p| p.setting.as_str()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn keys_that_cannot_serve_are_named() {
        let good = public();
        registered(&Client::private_key_jwt("orders", &good), &[]);
        registered(&Client::private_key_jwt("orders", &good).also_key(&public()), &[]);
        registered(&Client::private_key_jwt("orders", &good).also_key(&good), &["sts.client[0].key"]);
        let changes: [(&str, Value); 8] = [
            ("d", "AA".into()),
            ("k", "AA".into()),
            ("use", "enc".into()),
            ("alg", "HS256".into()),
            ("alg", "RS256".into()),
            ("kty", "oct".into()),
            ("x", "AA".into()),
            ("y", json!(7)),
        ];
        for (name, value) in changes {
            let mut jwk = good.clone();
            jwk[name] = value;
            registered(&Client::private_key_jwt("orders", &jwk), &["sts.client[0].key[0]"]);
        }
        registered(&Client::private_key_jwt("", &json!({})), &["sts.client[0].id", "sts.client[0].key[0]"]);
    }

    #[test]
    fn short_rsa_keys_are_refused() {
        let n = BASE64_URL_SAFE_NO_PAD.encode([0xff; 128]);
        let jwk = json!({ "kty": "RSA", "n": n, "e": "AQAB" });
        registered(&Client::private_key_jwt("orders", &jwk), &["sts.client[0].key[0]"]);
    }

    #[test]
    fn secrets_are_long_and_compared_whole() {
        registered(&Client::client_secret_basic("orders", "fifteen bytes.."), &["sts.client[0].secret"]);
        registered(&Client::client_secret_basic("orders", "sixteen bytes..."), &[]);
        let digest = Fingerprint::of_bytes(b"sixteen bytes...");
        assert!(is_secret("sixteen bytes...", &digest));
        assert!(!is_secret("sixteen bytes..", &digest) && !is_secret("", &digest));
        let shown = format!("{:?}", Client::client_secret_basic("orders", "sixteen bytes..."));
        assert!(!shown.contains("sixteen"));
    }
}
