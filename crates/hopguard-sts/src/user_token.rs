//! The first token of a chain: what a person's login yields.

use std::time::Duration;

use hopguard_core::{ActorChain, Problems, ScopeSet, UnixTime, minutes};

use crate::exchange::Minted;

/// An access token (RFC 9068) to be issued without an exchange.
///
/// The server has no login of its own: whoever embeds it and has logged a person in says so here.
#[derive(Clone, Debug)]
#[must_use]
pub struct UserToken {
    subject: Box<str>,
    audience: Box<str>,
    scope: Box<str>,
    client: Box<str>,
    lifetime: Duration,
    may_act: Option<Box<str>>,
}

impl UserToken {
    /// A token of five minutes without scopes, for `subject` at the service `audience`.
    pub fn new(subject: &str, audience: &str) -> Self {
        Self {
            subject: subject.into(),
            audience: audience.into(),
            scope: "".into(),
            client: "login".into(),
            lifetime: minutes(5),
            may_act: None,
        }
    }

    /// The scopes it holds, as a space-delimited list.
    pub fn scope(mut self, scopes: &str) -> Self {
        self.scope = scopes.into();
        self
    }

    /// `client_id`: the application that the person uses; `login` unless set.
    pub fn client_id(mut self, client: &str) -> Self {
        self.client = client.into();
        self
    }

    /// How long it lives.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// `may_act`: the only client that may exchange it (RFC 8693 section 4.4).
    pub fn may_act(mut self, client: &str) -> Self {
        self.may_act = Some(client.into());
        self
    }

    pub(crate) fn check(&self, now: UnixTime, problems: &mut Problems) -> Minted {
        for (member, value) in
            [("subject", &self.subject), ("audience", &self.audience), ("client_id", &self.client)]
        {
            if value.is_empty() {
                problems.add(format!("user_token.{member}"), "is empty");
            }
        }
        if self.lifetime < Duration::from_secs(1) {
            problems.add("user_token.lifetime", "must be at least a second");
        }
        let scopes = ScopeSet::parse(&self.scope).unwrap_or_else(|_| {
            problems.add("user_token.scope", "is not written as RFC 6749 section 3.3 has scopes");
            ScopeSet::empty()
        });
        Minted {
            subject: (&*self.subject).into(),
            audience: self.audience.clone(),
            client: self.client.clone(),
            scopes,
            actors: ActorChain::empty(),
            issued: now,
            expires: now.after(self.lifetime),
            may_act: self.may_act.clone(),
        }
    }
}
