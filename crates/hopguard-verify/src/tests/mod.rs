//! A rig for the tests: a clock that is set by hand, an issuer that answers as told, keys that sign anything.

mod verdicts;
mod lifecycle;
mod members;
mod bounds;
mod remembered;
mod differential;
mod profiled;
mod transactions;
mod seeds;
mod sources;
mod wycheproof;

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hopguard_client::{BoxFuture, Spawn, Transport, TransportError};
use hopguard_core::{Clock, Facts, Ledger, Monotonic, RawToken, Refusal};
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{Algorithm, Check, Issuer, Verifier, VerifierBuilder};

pub(crate) const ISSUER: &str = "https://sts.internal";
pub(crate) const JWKS: &str = "https://sts.internal/jwks";
pub(crate) const NOW: u64 = 1_750_000_000;

#[derive(Debug, Default)]
pub(crate) struct FakeClock(AtomicU64);

impl FakeClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn unix_millis(&self) -> u64 {
        NOW * 1000 + self.0.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(Duration::from_millis(7 + self.0.load(Ordering::SeqCst)))
    }
}

/// What the fake issuer answers.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Status(u16, String),
    /// With these headers.
    Headed(u16, Vec<(&'static str, String)>, String),
    Fails(TransportError),
    Panics,
}

#[derive(Debug)]
pub(crate) struct FakeIssuer {
    pub(crate) keys: Mutex<Answer>,
    pub(crate) metadata: Mutex<Answer>,
    /// What OpenID Connect Discovery answers, if it is something else.
    pub(crate) openid: Mutex<Option<Answer>>,
    /// Each request's path, and the entity tag that it asks for.
    pub(crate) asked: Mutex<Vec<(String, Option<String>)>>,
    pub(crate) key_fetches: AtomicUsize,
    pub(crate) metadata_fetches: AtomicUsize,
    held: watch::Sender<bool>,
}

impl FakeIssuer {
    fn new(keys: &[&Signer]) -> Arc<Self> {
        let metadata = json!({"issuer": ISSUER, "jwks_uri": JWKS}).to_string();
        Arc::new(Self {
            keys: Mutex::new(published(keys)),
            metadata: Mutex::new(Answer::Status(200, metadata)),
            openid: Mutex::default(),
            asked: Mutex::default(),
            key_fetches: AtomicUsize::new(0),
            metadata_fetches: AtomicUsize::new(0),
            held: watch::Sender::new(false),
        })
    }

    pub(crate) fn publish(&self, keys: &[&Signer]) {
        self.answer(published(keys));
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.keys.lock().unwrap() = answer;
    }

    /// Holds every answer back until [`FakeIssuer::release`].
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }

    pub(crate) fn fetches(&self) -> usize {
        self.key_fetches.load(Ordering::SeqCst)
    }
}

pub(crate) fn published(keys: &[&Signer]) -> Answer {
    Answer::Status(200, set_of(keys))
}

pub(crate) fn set_of(keys: &[&Signer]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

impl Transport for FakeIssuer {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, TransportError>> {
        let tag = request.headers().get("if-none-match").map(|tag| tag.to_str().unwrap().to_owned());
        self.asked.lock().unwrap().push((request.uri().path().to_owned(), tag));
        let (count, answer) = if request.uri().path().starts_with("/.well-known/") {
            (&self.metadata_fetches, &self.metadata)
        } else {
            assert!(request.uri().to_string().starts_with(JWKS));
            (&self.key_fetches, &self.keys)
        };
        count.fetch_add(1, Ordering::SeqCst);
        let mut answer = answer.lock().unwrap().clone();
        if request.uri().path().ends_with("/openid-configuration") {
            answer = self.openid.lock().unwrap().clone().unwrap_or(answer);
        }
        let mut held = self.held.subscribe();
        Box::pin(async move {
            held.wait_for(|held| !held).await.unwrap();
            match answer {
                Answer::Status(status, body) => {
                    Ok(Response::builder().status(status).body(Bytes::from(body)).unwrap())
                }
                Answer::Headed(status, headers, body) => {
                    let mut answer = Response::builder().status(status);
                    for (name, value) in headers {
                        answer = answer.header(name, value);
                    }
                    Ok(answer.body(Bytes::from(body)).unwrap())
                }
                Answer::Fails(error) => Err(error),
                Answer::Panics => panic!("a transport may be broken"),
            }
        })
    }
}

enum Pair {
    Ec(EcdsaKeyPair, &'static str),
    Rsa(Arc<RsaKeyPair>, &'static dyn RsaEncoding),
    Ed25519(Ed25519KeyPair),
}

/// A private key of an issuer.
pub(crate) struct Signer {
    pair: Pair,
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<&'static str>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({:?})", self.kid)
    }
}

static RSA: LazyLock<Arc<RsaKeyPair>> =
    LazyLock::new(|| Arc::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));

impl Signer {
    pub(crate) fn es256(kid: &'static str) -> Self {
        Self::new(Algorithm::Es256, Some(kid))
    }

    pub(crate) fn new(algorithm: Algorithm, kid: Option<&'static str>) -> Self {
        let rsa = |encoding| Pair::Rsa(RSA.clone(), encoding);
        let ec = |kind, crv| Pair::Ec(EcdsaKeyPair::generate(kind).unwrap(), crv);
        let pair = match algorithm {
            Algorithm::Es256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            Algorithm::Es384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            Algorithm::Es512 => ec(&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
            Algorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&RSA_PSS_SHA512),
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::generate().unwrap()),
        };
        Self { pair, algorithm, kid }
    }

    /// The public half as an issuer would publish it, without `alg`, `use` and `key_ops`.
    pub(crate) fn bare_jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Ec(pair, crv) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": crv, "x": encode(x), "y": encode(y)})
            }
            Pair::Rsa(pair, _) => {
                let key = pair.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
                json!({"kty": "RSA", "n": encode(n), "e": encode(e)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
        };
        if let Some(kid) = self.kid {
            jwk["kid"] = json!(kid);
        }
        jwk
    }

    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = self.bare_jwk();
        jwk["alg"] = json!(self.algorithm.name());
        jwk["use"] = json!("sig");
        jwk
    }

    pub(crate) fn sign(&self, input: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair, _) => pair.sign(&random, input).unwrap().as_ref().to_vec(),
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, input, &mut signature).unwrap();
                signature
            }
            Pair::Ed25519(pair) => pair.sign(input).as_ref().to_vec(),
        }
    }

    /// A token with this header and these claims, byte for byte.
    pub(crate) fn raw(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature = encode(&self.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }

    pub(crate) fn header(&self) -> Value {
        let mut header = json!({"alg": self.algorithm.name(), "typ": "at+jwt"});
        if let Some(kid) = self.kid {
            header["kid"] = json!(kid);
        }
        header
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.raw(&self.header().to_string(), &claims.to_string())
    }
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Claims of a good token that lives for five minutes.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "alice", "aud": "https://orders.internal", "client_id": "web", "jti": "t-1",
        "iat": NOW, "exp": NOW + 300, "scope": "orders:read", "act": {"sub": "gateway"},
    })
}

/// Claims of a good token that outlives every test.
pub(crate) fn long_claims(jti: &str) -> Value {
    let mut claims = claims();
    (claims["jti"], claims["exp"]) = (json!(jti), json!(NOW + 1_000_000));
    claims
}

/// A verifier, its issuer, its clock, and what was withdrawn.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) issuer: Arc<FakeIssuer>,
    pub(crate) verifier: Verifier,
    pub(crate) ledger: Ledger,
}

impl Rig {
    /// An issuer that publishes `keys` and is found by its JWKS URL.
    pub(crate) fn new(keys: &[&Signer]) -> Self {
        Self::built(keys, |builder| builder.issuer(Issuer::at(ISSUER).jwks_url(JWKS)))
    }

    pub(crate) fn built(keys: &[&Signer], settings: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Self {
        let (clock, issuer) = (Arc::new(FakeClock::default()), FakeIssuer::new(keys));
        let builder = Verifier::builder(issuer.clone(), clock.clone(), Spawn::current());
        let verifier = settings(builder).build().unwrap();
        Self { clock, issuer, verifier, ledger: Ledger::bounded() }
    }

    /// Keys from the configuration: no runtime is needed.
    pub(crate) fn fixed(keys: &[&Signer]) -> Self {
        Self::built(&[], |builder| builder.issuer(Issuer::at(ISSUER).keys_fixed(&set_of(keys))))
    }

    pub(crate) fn check(&self, token: &str) -> Result<Arc<Facts>, &'static str> {
        match self.verifier.check(&RawToken::new(token), self.ledger.withdrawals()) {
            Check::Done(verdict) => verdict.map_err(|denial| denial.code()),
            Check::NeedsKeys(_) => Err("needs keys"),
        }
    }

    pub(crate) async fn verify(&self, token: &str) -> Result<Arc<Facts>, &'static str> {
        let token = RawToken::new(token);
        let verdict = self.verifier.verify(&token, self.ledger.withdrawals()).await;
        verdict.map_err(|refusal: Refusal| refusal.code())
    }

    /// Lets tasks in the background run to their end.
    pub(crate) async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}
