//! The keys that sign, now and until lately, and the verifier that knows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hopguard_client::{BoxFuture, SigningKey, Spawn, Transport, TransportError};
use hopguard_core::{Clock, ConfigErrors, Fault, Problems, UnixTime};
use hopguard_verify::{Issuer, Verifier};
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Retired keys beyond this many are dropped, the oldest first, and with them whatever they signed.
const MOST_RETIRED: usize = 8;

/// `typ` of an access token (RFC 9068 section 2.1).
const ACCESS_TOKEN: &str = "at+jwt";

/// One state of the keys. Rotation makes a new ring; whoever holds the old one finishes with it.
#[derive(Debug)]
pub(crate) struct KeyRing {
    key: Arc<SigningKey>,
    latest: Arc<AtomicU64>,
    retired: Vec<Retired>,
    verifier: Verifier,
}

/// A key that signs no more and is published until the last token it signed has expired.
#[derive(Clone, Debug)]
struct Retired {
    jwk: Value,
    latest: Arc<AtomicU64>,
}

impl KeyRing {
    pub(crate) fn new(
        issuer: &str,
        key: Arc<SigningKey>,
        clock: &Arc<dyn Clock>,
        actors_at_most: usize,
    ) -> Result<Self, ConfigErrors> {
        Self::made_of(issuer, key, Vec::new(), clock, actors_at_most)
    }

    /// The ring in which `key` signs, and the key of this ring verifies only.
    pub(crate) fn rotated_to(
        &self,
        issuer: &str,
        key: Arc<SigningKey>,
        clock: &Arc<dyn Clock>,
        actors_at_most: usize,
    ) -> Result<Self, ConfigErrors> {
        let now = clock.now();
        let ours = Retired { jwk: self.key.public_jwk(), latest: self.latest.clone() };
        let known = std::iter::once(&ours).chain(&self.retired);
        if known.clone().any(|retired| retired.jwk.get("kid") == Some(&key.key_id().into())) {
            let mut problems = Problems::new();
            problems.add(
                "sts.signing_key",
                "has the kid of a key that was in use: tokens could not tell them apart",
            );
            return Err(problems.into_errors());
        }
        let retired = known.filter(|retired| retired.is_needed(now)).take(MOST_RETIRED).cloned().collect();
        Self::made_of(issuer, key, retired, clock, actors_at_most)
    }

    fn made_of(
        issuer: &str,
        key: Arc<SigningKey>,
        retired: Vec<Retired>,
        clock: &Arc<dyn Clock>,
        actors_at_most: usize,
    ) -> Result<Self, ConfigErrors> {
        let keys: Vec<_> = std::iter::once(key.public_jwk())
            .chain(retired.iter().map(|retired| retired.jwk.clone()))
            .collect();
        let trusted = Issuer::at(issuer).keys_fixed(&json!({ "keys": keys }).to_string());
        let verifier = Verifier::builder(Arc::new(NoTransport), clock.clone(), Spawn::current())
            .issuer(trusted)
            .actors_at_most(actors_at_most)
            .build()?;
        Ok(Self { key, latest: Arc::default(), retired, verifier })
    }

    /// Knows every token that this server has issued and that has not expired.
    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub(crate) fn key_id(&self) -> &str {
        self.key.key_id()
    }

    /// Signs an access token that lives until `expires`.
    pub(crate) fn sign(
        &self,
        claims: &impl Serialize,
        expires: UnixTime,
    ) -> Result<Zeroizing<String>, Fault> {
        self.latest.fetch_max(expires.as_secs(), Ordering::AcqRel);
        self.key.sign_jwt(ACCESS_TOKEN, claims)
    }

    /// What relying services fetch (RFC 7517 section 5).
    pub(crate) fn jwks(&self, now: UnixTime) -> Value {
        let retired = self.retired.iter().filter(|retired| retired.is_needed(now));
        let keys: Vec<_> = std::iter::once(self.key.public_jwk())
            .chain(retired.map(|retired| retired.jwk.clone()))
            .collect();
        json!({ "keys": keys })
    }
}

impl Retired {
    fn is_needed(&self, now: UnixTime) -> bool {
        self.latest.load(Ordering::Acquire) > now.as_secs()
    }
}

/// The verifier's keys are fixed: it has nothing to fetch, and cannot.
#[derive(Debug)]
struct NoTransport;

impl Transport for NoTransport {
    fn send(
        &self,
        _: http::Request<Bytes>,
    ) -> BoxFuture<'static, Result<http::Response<Bytes>, TransportError>> {
        Box::pin(std::future::ready(Err(TransportError::Connect)))
    }
}
