//! Keys that sign: client assertions and, in an authorization server, tokens (RFC 7515, RFC 7518).

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hopguard_core::{ConfigErrors, Fault, Problems};
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256 (RFC 7518 section 3.4).
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3), 2048 bits or more.
    Rs256,
    /// Ed25519 (RFC 8037 section 3.1).
    EdDsa,
}

impl Algorithm {
    /// The name in `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(Box<RsaKeyPair>),
    EdDsa(Ed25519KeyPair),
}

/// A private key, parsed once.
///
/// ```
/// use hopguard_client::{Algorithm, SigningKey};
///
/// let key = SigningKey::generate_es256()?;
/// assert_eq!(key.algorithm(), Algorithm::Es256);
/// assert_eq!(key.public_jwk()["kid"], key.key_id());
/// # Ok::<(), hopguard_core::ConfigErrors>(())
/// ```
pub struct SigningKey {
    pair: Pair,
    key_id: Box<str>,
    random: SystemRandom,
}

impl SigningKey {
    /// A new P-256 key that lives as long as the process.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if the system has no randomness.
    pub fn generate_es256() -> Result<Self, ConfigErrors> {
        match EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING) {
            Ok(pair) => Ok(Self::named(Pair::Es256(pair), None)),
            Err(_) => Err(problem("signing_key", "cannot be made: the system has no randomness")),
        }
    }

    /// A key from PKCS #8 (RFC 5958), the DER that stands between the lines of a `PRIVATE KEY` file.
    ///
    /// `key_id` becomes `kid`; without one it is the key's thumbprint (RFC 7638).
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if `der` is no such key, an RSA key is shorter than 2048 bits, or `key_id` is empty.
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8], key_id: Option<&str>) -> Result<Self, ConfigErrors> {
        let mut problems = Problems::new();
        if key_id.is_some_and(|id| id.is_empty() || id.len() > LONGEST_KEY_ID) {
            problems.add(
                "signing_key.key_id",
                "is empty or longer than 128 bytes: leave it out for the thumbprint",
            );
        }
        let pair = match algorithm {
            Algorithm::Es256 => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok().map(Pair::Es256)
            }
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(der)
                .ok()
                .filter(|pair| pair.public_modulus_len() * 8 >= SHORTEST_RSA)
                .map(|pair| Pair::Rs256(Box::new(pair))),
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok().map(Pair::EdDsa),
        };
        let Some(pair) = pair else {
            let right = match algorithm {
                Algorithm::Es256 => "a P-256 key",
                Algorithm::Rs256 => "an RSA key of at least 2048 bits",
                Algorithm::EdDsa => "an Ed25519 key",
            };
            problems.add("signing_key", format!("is not {right} in PKCS #8, as DER"));
            return Err(problems.into_errors());
        };
        problems.into_result(Self::named(pair, key_id))
    }

    fn named(pair: Pair, key_id: Option<&str>) -> Self {
        let key_id = key_id.map_or_else(|| thumbprint(&pair), Box::from);
        Self { pair, key_id, random: SystemRandom::new() }
    }

    /// `kid`.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// How this key signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Es256(_) => Algorithm::Es256,
            Pair::Rs256(_) => Algorithm::Rs256,
            Pair::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    /// The public half as a JWK (RFC 7517 section 4), with `kid`, `alg` and `use`.
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        let mut jwk = json!({ "kid": self.key_id, "alg": self.algorithm().name(), "use": "sig" });
        for (name, value) in members(&self.pair) {
            if let Some(all) = jwk.as_object_mut() {
                all.insert(name.to_owned(), value.into());
            }
        }
        jwk
    }

    /// Signs `claims` as a JWT in compact form (RFC 7515 section 3.1), `typ` and `kid` in its header.
    ///
    /// # Errors
    ///
    /// [`Fault::SigningFailed`] if the claims cannot be written as JSON or the key cannot sign.
    pub fn sign_jwt(&self, typ: &str, claims: &impl Serialize) -> Result<Zeroizing<String>, Fault> {
        let header = json!({ "alg": self.algorithm().name(), "kid": self.key_id, "typ": typ });
        let header = serde_json::to_vec(&header).map_err(|_| Fault::SigningFailed)?;
        let claims = Zeroizing::new(serde_json::to_vec(claims).map_err(|_| Fault::SigningFailed)?);
        // Room for everything, so that growing leaves no unwiped copy behind.
        let needed = (header.len() + claims.len() + LONGEST_SIGNATURE) * 4 / 3 + 16;
        let mut jwt = Zeroizing::new(String::with_capacity(needed));
        BASE64_URL_SAFE_NO_PAD.encode_string(&header, &mut jwt);
        jwt.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(&*claims, &mut jwt);
        let signature = self.sign(jwt.as_bytes()).ok_or(Fault::SigningFailed)?;
        jwt.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(&signature, &mut jwt);
        Ok(jwt)
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Es256(pair) => pair.sign(&self.random, message).ok().map(|it| it.as_ref().to_vec()),
            Pair::EdDsa(pair) => pair.try_sign(message).ok().map(|it| it.as_ref().to_vec()),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm())
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// 128 bits from the system's random generator, as `jti` wants them: nobody can guess or repeat one.
///
/// # Errors
///
/// [`Fault::SigningFailed`] if the system has no randomness.
pub fn random_jti() -> Result<String, Fault> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| Fault::SigningFailed)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

const LONGEST_KEY_ID: usize = 128;
const SHORTEST_RSA: usize = 2048;
const LONGEST_SIGNATURE: usize = 1024;

fn problem(setting: &str, text: &str) -> ConfigErrors {
    let mut problems = Problems::new();
    problems.add(setting, text);
    problems.into_errors()
}

/// The members that RFC 7638 section 3.2 hashes, in its order (by name).
fn members(pair: &Pair) -> Vec<(&'static str, String)> {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    match pair {
        Pair::Es256(pair) => {
            // An uncompressed point: 0x04, x, y (SEC 1 section 2.3.3).
            let point = pair.public_key().as_ref();
            let part = |range| point.get(range).map(encode).unwrap_or_default();
            vec![("crv", "P-256".into()), ("kty", "EC".into()), ("x", part(1..33)), ("y", part(33..65))]
        }
        Pair::Rs256(pair) => {
            let key = pair.public_key();
            let (exponent, modulus) = (key.exponent(), key.modulus());
            vec![
                ("e", encode(exponent.big_endian_without_leading_zero())),
                ("kty", "RSA".into()),
                ("n", encode(modulus.big_endian_without_leading_zero())),
            ]
        }
        Pair::EdDsa(pair) => {
            vec![("crv", "Ed25519".into()), ("kty", "OKP".into()), ("x", encode(pair.public_key().as_ref()))]
        }
    }
}

/// RFC 7638: SHA-256 over the members as JSON without spaces. Values are base64url or fixed names, so that
/// nothing needs escaping.
fn thumbprint(pair: &Pair) -> Box<str> {
    let members: Vec<_> =
        members(pair).iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
    let canonical = format!("{{{}}}", members.join(","));
    let hash = digest::digest(&digest::SHA256, canonical.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(hash).into()
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;

    const RSA: &[u8] = include_bytes!("../fixtures/rsa-2048-key.der");
    const SHORT_RSA: &[u8] = include_bytes!("../fixtures/rsa-1024-key.der");
    const P256: &[u8] = include_bytes!("../fixtures/localhost-key.der");

    /// RFC 8037 appendix A.1, as PKCS #8 version 1.
    fn ed25519() -> Vec<u8> {
        let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let seed = BASE64_URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        [head.as_slice(), &seed].concat()
    }

    /// Another implementation reads the published key and accepts the signature.
    #[track_caller]
    fn verified_elsewhere(key: &SigningKey) {
        let jwk: Jwk = serde_json::from_value(key.public_jwk()).unwrap();
        let jwt =
            key.sign_jwt("at+jwt", &json!({ "sub": "alice", "aud": "a", "exp": 5_000_000_000_u64 })).unwrap();
        let header = jsonwebtoken::decode_header(&*jwt).unwrap();
        assert_eq!((header.typ.as_deref(), header.kid.as_deref()), (Some("at+jwt"), Some(key.key_id())));
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&["a"]);
        let decoding = DecodingKey::from_jwk(&jwk).unwrap();
        assert_eq!(format!("{:?}", header.alg).to_uppercase(), key.algorithm().name().to_uppercase());
        let found = jsonwebtoken::decode::<Value>(&*jwt, &decoding, &validation).unwrap();
        assert_eq!(found.claims["sub"], "alice");
        let last = if jwt.ends_with('A') { "B" } else { "A" };
        let half = jwt.len() - 20;
        let forged = [&jwt[..half], last, &jwt[half + 1..]].concat();
        if forged != *jwt {
            assert!(jsonwebtoken::decode::<Value>(&forged, &decoding, &validation).is_err());
        }
    }

    #[test]
    fn signatures_verify_elsewhere() {
        verified_elsewhere(&SigningKey::generate_es256().unwrap());
        verified_elsewhere(&SigningKey::from_pkcs8(Algorithm::Es256, P256, None).unwrap());
        verified_elsewhere(&SigningKey::from_pkcs8(Algorithm::Rs256, RSA, Some("one")).unwrap());
        verified_elsewhere(&SigningKey::from_pkcs8(Algorithm::EdDsa, &ed25519(), None).unwrap());
    }

    /// RFC 8037 appendices A.2 and A.3.
    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        let key = SigningKey::from_pkcs8(Algorithm::EdDsa, &ed25519(), None).unwrap();
        assert_eq!(key.public_jwk()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key.key_id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn thumbprints_agree_with_another_implementation() {
        for key in [
            SigningKey::from_pkcs8(Algorithm::Es256, P256, None).unwrap(),
            SigningKey::from_pkcs8(Algorithm::Rs256, RSA, None).unwrap(),
        ] {
            let jwk: Jwk = serde_json::from_value(key.public_jwk()).unwrap();
            assert_eq!(jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap(), key.key_id());
        }
    }

    #[track_caller]
    fn refused(algorithm: Algorithm, der: &[u8], key_id: Option<&str>, settings: &[&str]) {
        let errors = SigningKey::from_pkcs8(algorithm, der, key_id).unwrap_err();
        let found: Vec<_> = errors.problems().iter().map(|problem| problem.setting.as_str()).collect();
        assert_eq!(found, settings);
    }

    #[test]
    fn keys_that_do_not_fit_are_refused() {
        refused(Algorithm::Rs256, SHORT_RSA, None, &["signing_key"]);
        refused(Algorithm::Rs256, P256, None, &["signing_key"]);
        refused(Algorithm::Es256, RSA, None, &["signing_key"]);
        refused(Algorithm::EdDsa, P256, None, &["signing_key"]);
        refused(Algorithm::Es256, b"", Some(""), &["signing_key.key_id", "signing_key"]);
        refused(Algorithm::Es256, P256, Some(""), &["signing_key.key_id"]);
    }

    #[test]
    fn identifiers_do_not_repeat() {
        let all: std::collections::HashSet<_> = (0..1000).map(|_| random_jti().unwrap()).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|one| one.len() == 22));
    }

    #[test]
    fn debug_shows_no_key() {
        let key = SigningKey::from_pkcs8(Algorithm::Es256, P256, Some("one")).unwrap();
        assert_eq!(format!("{key:?}"), r#"SigningKey { algorithm: Es256, key_id: "one", .. }"#);
    }
}
