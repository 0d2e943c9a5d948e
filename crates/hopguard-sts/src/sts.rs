//! The server as a value: what it was built with, and what may be asked of it from inside the process.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use hopguard_client::SigningKey;
use hopguard_core::{Audit, Clock, ConfigErrors, Ledger, Problems, Withdrawals};

use crate::authentication::Clients;
use crate::builder::StsBuilder;
use crate::key_ring::KeyRing;
use crate::rule::Checked;
use crate::user_token::UserToken;

/// An authorization server. Cloning shares it. See the crate's documentation.
#[derive(Clone)]
pub struct Sts(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) issuer: Arc<str>,
    pub(crate) token_endpoint: Box<str>,
    /// The issuer's path without its last slash; empty if it has none.
    pub(crate) path: Box<str>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) audit: Option<Audit>,
    pub(crate) clients: Clients,
    pub(crate) rules: Vec<Checked>,
    pub(crate) actors_at_most: usize,
    pub(crate) ledger: Ledger,
    pub(crate) publish_ahead: Duration,
    pub(crate) keys: RwLock<Arc<KeyRing>>,
}

impl Inner {
    /// The keys as they are now: a new one takes over with the first use past its moment.
    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        let now = self.clock.now();
        let ring = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !ring.is_due(now) {
            return ring;
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(promoted) = keys.promoted(now) {
            *keys = Arc::new(promoted);
        }
        keys.clone()
    }
}

impl Sts {
    /// A server known as `issuer`: its URL without query or fragment, `https` or loopback (RFC 8414 section 2).
    pub fn builder(issuer: &str, clock: Arc<dyn Clock>) -> StsBuilder {
        StsBuilder::new(issuer, clock)
    }

    /// The issuer's URL, which is `iss` of every token.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The URL of the token endpoint: the issuer's and `/token`.
    #[must_use]
    pub fn token_endpoint(&self) -> &str {
        &self.0.token_endpoint
    }

    /// The three endpoints, to be served at the root of the issuer's host. If the issuer has a path, token endpoint
    /// and key set lie below it, and the metadata has it inserted (RFC 8414 section 3.1).
    pub fn router(&self) -> Router {
        crate::router::router(self.clone())
    }

    /// The public keys as a JWK set, as `GET /jwks` answers it.
    #[must_use]
    pub fn jwks(&self) -> String {
        self.0.ring().jwks(self.0.clock.now()).to_string()
    }

    /// Publishes a new ES256 key now, and signs with it once everyone could have fetched it: see
    /// [`StsBuilder::publish_ahead`]. A key that was still waiting for that is dropped. The old one is published
    /// until its last token has expired; of more than eight such keys the oldest is dropped with its tokens.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if the system has no randomness.
    pub fn rotate_key(&self) -> Result<(), ConfigErrors> {
        self.rotate_to(SigningKey::generate_es256()?)
    }

    /// Publishes `key` now and signs with it later; see [`Sts::rotate_key`].
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if a key that was in use has the same `kid`.
    pub fn rotate_to(&self, key: impl Into<Arc<SigningKey>>) -> Result<(), ConfigErrors> {
        let Inner { issuer, clock, actors_at_most, publish_ahead, .. } = &*self.0;
        let from = clock.now().after(*publish_ahead);
        let mut keys = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        // A key whose moment has come signs from it on, used or not.
        let due = keys.promoted(clock.now());
        let current = due.as_ref().unwrap_or(&keys);
        let rotated = current.rotated_to(issuer, key.into(), from, clock, *actors_at_most)?;
        *keys = Arc::new(rotated);
        Ok(())
    }

    /// Issues the first token of a chain.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with everything that is wrong with `token`.
    pub fn issue(&self, token: &UserToken) -> Result<String, ConfigErrors> {
        let mut problems = Problems::new();
        let minted = token.check(self.0.clock.now(), &mut problems);
        problems.into_result(())?;
        self.0.sign(&minted).map(|signed| signed.text.to_string()).map_err(|fault| {
            let mut problems = Problems::new();
            problems.add("sts.signing_key", fault.to_string());
            problems.into_errors()
        })
    }

    /// What was taken back before its expiry: such a token is exchanged no more.
    #[must_use]
    pub fn withdrawals(&self) -> &Withdrawals {
        self.0.ledger.withdrawals()
    }
}

impl fmt::Debug for Sts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sts")
            .field("issuer", &self.0.issuer)
            .field("clients", &self.0.clients.len())
            .field("rules", &self.0.rules.len())
            .finish_non_exhaustive()
    }
}
