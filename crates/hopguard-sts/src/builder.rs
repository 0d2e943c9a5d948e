//! What a server is built from.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use hopguard_client::SigningKey;
use hopguard_core::{
    ActorChain, Audit, Clock, ConfigErrors, Ledger, Overflow, Problems, is_ambiguous_path, minutes,
    parse_absolute,
};

use crate::client::Client;
use crate::key_ring::KeyRing;
use crate::rule::{Checked, Rule};
use crate::sts::{Inner, Sts};

const REMEMBERED_ASSERTIONS: usize = 100_000;

/// Collects a server's settings; see the crate's documentation.
#[must_use]
pub struct StsBuilder {
    issuer: Box<str>,
    clock: Arc<dyn Clock>,
    audit: Option<Audit>,
    clients: Vec<Client>,
    rules: Vec<Rule>,
    key: Option<Arc<SigningKey>>,
    publish_ahead: Duration,
    actors_at_most: usize,
    assertions_at_most: usize,
}

impl StsBuilder {
    pub(crate) fn new(issuer: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            issuer: issuer.into(),
            clock,
            audit: None,
            clients: Vec::new(),
            rules: Vec::new(),
            key: None,
            publish_ahead: minutes(1),
            actors_at_most: ActorChain::DEFAULT_DEPTH,
            assertions_at_most: REMEMBERED_ASSERTIONS,
        }
    }

    /// Knows this client; may be said several times.
    pub fn client(mut self, client: Client) -> Self {
        self.clients.push(client);
        self
    }

    /// Allows this exchange; may be said several times.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Writes every decision here. An exchange that cannot be written down is refused.
    pub fn audit(mut self, audit: &Audit) -> Self {
        self.audit = Some(audit.clone());
        self
    }

    /// Signs with this key instead of one made at start.
    pub fn signing_key(mut self, key: impl Into<Arc<SigningKey>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// How long a new key is published before it signs: a minute unless set, which is how long the key set may be
    /// kept by a cache. With less, services that have just fetched the keys may refuse tokens of the new one for a
    /// while, because they ask for unknown keys rarely.
    ///
    /// ```
    /// # use hopguard_client::SystemClock;
    /// # use hopguard_core::minutes;
    /// # use hopguard_sts::{Sts, UserToken};
    /// let sts = Sts::builder("https://sts.internal", SystemClock::shared()).publish_ahead(minutes(10)).build()?;
    /// let before = sts.jwks();
    /// sts.rotate_key()?;
    /// assert_ne!(sts.jwks(), before); // published now, and signs in ten minutes
    /// # Ok::<(), hopguard_core::ConfigErrors>(())
    /// ```
    pub fn publish_ahead(mut self, lead: Duration) -> Self {
        self.publish_ahead = lead;
        self
    }

    /// The longest actor chain of an issued token: 8 unless set.
    pub fn actors_at_most(mut self, depth: usize) -> Self {
        self.actors_at_most = depth;
        self
    }

    /// How many used assertions are remembered per client: 100 000 unless set, about 10 MB when full. An assertion
    /// lives five minutes at most; a client that uses more in that time is refused until one has expired.
    pub fn assertions_at_most(mut self, entries: usize) -> Self {
        self.assertions_at_most = entries;
        self
    }

    /// The server. No I/O is done.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with everything that is wrong.
    pub fn build(self) -> Result<Sts, ConfigErrors> {
        let mut problems = Problems::new();
        let path = path(&self.issuer).unwrap_or_else(|problem| {
            problems.add("sts.issuer", problem);
            "".into()
        });
        if let Some(audit) = &self.audit {
            audit.check(&mut problems);
        }
        if !(1..=ActorChain::DEFAULT_DEPTH).contains(&self.actors_at_most) {
            problems.add("sts.actors_at_most", "must lie between 1 and 8");
        }
        if self.assertions_at_most == 0 {
            problems.add("sts.assertions_at_most", "must be at least 1");
        }
        let mut clients = HashMap::new();
        for (at, client) in self.clients.iter().enumerate() {
            let setting = format!("sts.client[{at}]");
            let registered = client.register(&setting, self.assertions_at_most, &mut problems);
            if clients.insert(client.id().into(), registered).is_some() {
                problems.add(format!("{setting}.id"), "is registered twice: add the second key to the first");
            }
        }
        let mut rules: Vec<Checked> = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let setting = format!("sts.rule[{at}]");
            let checked = rule.check(&setting, &self.issuer, &mut problems);
            if !clients.contains_key(&checked.client) {
                problems.add(format!("{setting}.client"), "is no client of this server: register it");
            }
            if rules.iter().any(|known| known.is_for_same(&checked)) {
                problems.add(setting, "is for the same exchange as another: put its scopes into one rule");
            }
            rules.push(checked);
        }
        // What follows needs a sound issuer.
        problems.into_result(())?;
        let key = match self.key {
            Some(key) => key,
            None => Arc::new(SigningKey::generate_es256()?),
        };
        let ring = KeyRing::new(&self.issuer, key, &self.clock, self.actors_at_most)?;
        Ok(Sts(Arc::new(Inner {
            token_endpoint: format!("{}/token", self.issuer.trim_end_matches('/')).into(),
            issuer: self.issuer.into(),
            path,
            clock: self.clock,
            audit: self.audit,
            clients,
            rules,
            actors_at_most: self.actors_at_most,
            // Only its list of withdrawals is used.
            publish_ahead: self.publish_ahead,
            ledger: Ledger::with_bound(1, Overflow::EvictWithEvent),
            keys: RwLock::new(Arc::new(ring)),
        })))
    }
}

impl fmt::Debug for StsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StsBuilder")
            .field("issuer", &self.issuer)
            .field("clients", &self.clients)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// The issuer's path, if the issuer is one (RFC 8414 section 2) and the path can be routed.
fn path(issuer: &str) -> Result<Box<str>, &'static str> {
    let url = parse_absolute(issuer)?;
    if issuer.contains(['?', '#']) {
        return Err("has a query or a fragment: RFC 8414 section 2 allows an issuer neither");
    }
    let path = url.path().trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~');
    if is_ambiguous_path(path) || !path.bytes().all(plain) {
        return Err("has a path with more than letters, digits, `-`, `.`, `_`, `~` and single slashes");
    }
    Ok(path.into())
}
