//! The keys that sign, now, soon and until lately, and the verifier that knows them.

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
    next: Option<Next>,
    retired: Vec<Retired>,
    verifier: Verifier,
}

/// A key that is published and signs from a later moment on.
#[derive(Clone, Debug)]
struct Next {
    key: Arc<SigningKey>,
    from: UnixTime,
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
        let verifier = verifier([key.public_jwk()], issuer, clock, actors_at_most)?;
        Ok(Self { key, latest: Arc::default(), next: None, retired: Vec::new(), verifier })
    }

    /// The ring in which `key` is published, and signs from `from` on. A key that waited until now is dropped: it
    /// has signed nothing.
    pub(crate) fn rotated_to(
        &self,
        issuer: &str,
        key: Arc<SigningKey>,
        from: UnixTime,
        clock: &Arc<dyn Clock>,
        actors_at_most: usize,
    ) -> Result<Self, ConfigErrors> {
        let now = clock.now();
        let ours = self.ours();
        let known = std::iter::once(&ours).chain(&self.retired);
        if { known }.any(|known| known.jwk.get("kid") == Some(&key.key_id().into())) {
            let mut problems = Problems::new();
            problems.add(
                "sts.signing_key",
                "has the kid of a key that was in use: tokens could not tell them apart",
            );
            return Err(problems.into_errors());
        }
        // Room is left for the key that signs now, which will be one of them.
        let retired: Vec<_> =
            self.retired.iter().filter(|key| key.is_needed(now)).take(MOST_RETIRED - 1).cloned().collect();
        let jwks = [key.public_jwk(), ours.jwk].into_iter();
        let jwks = jwks.chain(retired.iter().map(|retired| retired.jwk.clone()));
        let rotated = Self {
            verifier: verifier(jwks, issuer, clock, actors_at_most)?,
            key: self.key.clone(),
            latest: self.latest.clone(),
            next: Some(Next { key, from }),
            retired,
        };
        Ok(rotated.promoted(now).unwrap_or(rotated))
    }

    /// True once the key that waits is to sign.
    pub(crate) fn is_due(&self, now: UnixTime) -> bool {
        self.next.as_ref().is_some_and(|next| next.from <= now)
    }

    /// The ring in which the key that waited signs, if its moment has come. Its verifier knew that key already.
    pub(crate) fn promoted(&self, now: UnixTime) -> Option<Self> {
        let next = self.next.as_ref().filter(|next| next.from <= now)?;
        // Whoever holds this ring may sign with it once more, so our own key stays whatever it has signed by now.
        let retired = self.retired.iter().filter(|retired| retired.is_needed(now)).cloned();
        Some(Self {
            key: next.key.clone(),
            latest: Arc::default(),
            next: None,
            retired: std::iter::once(self.ours()).chain(retired).collect(),
            verifier: self.verifier.clone(),
        })
    }

    fn ours(&self) -> Retired {
        Retired { jwk: self.key.public_jwk(), latest: self.latest.clone() }
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
            .chain(self.next.as_ref().map(|next| next.key.public_jwk()))
            .chain(retired.map(|retired| retired.jwk.clone()))
            .collect();
        json!({ "keys": keys })
    }
}

/// Trusts exactly these keys.
fn verifier(
    jwks: impl IntoIterator<Item = Value>,
    issuer: &str,
    clock: &Arc<dyn Clock>,
    actors_at_most: usize,
) -> Result<Verifier, ConfigErrors> {
    let keys: Vec<_> = jwks.into_iter().collect();
    let trusted = Issuer::at(issuer).keys_fixed(&json!({ "keys": keys }).to_string());
    Verifier::builder(Arc::new(NoTransport), clock.clone(), Spawn::current())
        .issuer(trusted)
        .actors_at_most(actors_at_most)
        .build()
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
