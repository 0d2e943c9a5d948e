//! A call in our own name, with a token of our own (RFC 6749 section 4.4).

use std::sync::Arc;
use std::time::Duration;

use super::asked::Asked;
use super::demand::{Demand, Requires, Unstated};
use crate::{OwnExpectation, Relaxation, Waiver};

/// Calls to this route are made as ourselves: by a token that the client credentials grant gives us.
///
/// The peer sees this service and no user, so whoever may cause such a call is for
/// [`requires`](AsOurselves::requires) to say: without it the rule is no route.
///
/// ```
/// use hopguard_core::{AsOurselves, minutes};
///
/// let route = AsOurselves::audience("https://ledger.internal")
///     .scope("entries:write")
///     .lifetime_at_most(minutes(10))
///     .requires("orders:write");
/// # let _ = route;
/// ```
#[derive(Clone, Debug)]
pub struct AsOurselves<R = Demand> {
    asked: Asked,
    subject: Option<Arc<str>>,
    demand: R,
}

impl AsOurselves<Unstated> {
    /// Ask for a token whose only audience is `audience`.
    ///
    /// RFC 6749 knows no such parameter; for servers that select the audience by `resource` or by scope there are
    /// [`for_resource`](Self::for_resource) and [`by_scope_for`](Self::by_scope_for).
    #[must_use]
    pub fn audience(audience: &str) -> Self {
        Self { asked: Asked::audience(audience), subject: None, demand: Unstated }
    }

    /// Ask for a token for `resource` (RFC 8707) and name no audience. The grant's audience must be `resource`,
    /// unless [`expects_audience`](Self::expects_audience) names another.
    #[must_use]
    pub fn for_resource(resource: &str) -> Self {
        Self { asked: Asked::resource_only(resource), subject: None, demand: Unstated }
    }

    /// Name neither audience nor resource, for servers that select the audience by scope. The grant's audience
    /// must be `audience`.
    #[must_use]
    pub fn by_scope_for(audience: &str) -> Self {
        Self { asked: Asked::neither(audience), subject: None, demand: Unstated }
    }

    /// Open to callers whose token holds all of the space-delimited `scopes`, and to no call that is made for
    /// nobody.
    #[must_use]
    pub fn requires(self, scopes: &str) -> AsOurselves {
        self.state(Requires::all_of(scopes))
    }

    /// Open to every admitted caller, and to calls that are made for nobody.
    #[must_use]
    pub fn requires_none(self) -> AsOurselves {
        self.state(Requires::Nothing)
    }

    fn state(self, requires: Requires) -> AsOurselves {
        let Self { asked, subject, demand: Unstated } = self;
        AsOurselves { asked, subject, demand: Demand::new(requires) }
    }
}

impl<R> AsOurselves<R> {
    /// Ask for the space-delimited `scopes`, beside those asked already.
    #[must_use]
    pub fn scope(mut self, scopes: &str) -> Self {
        self.asked.add_scope(scopes);
        self
    }

    /// Also send `resource` (RFC 8707). May be said several times.
    #[must_use]
    pub fn resource(mut self, resource: &str) -> Self {
        self.asked.add_resource(resource);
        self
    }

    /// The grant's audience is `audience`, whatever was asked for. No other passes, the one asked for included.
    #[must_use]
    pub fn expects_audience(mut self, audience: &str) -> Self {
        self.asked.expect_audience(audience);
        self
    }

    /// The grant's `sub` is `subject`. Unless set it is our client id, as RFC 9068 section 2.2 has it; some
    /// servers write the name of a service account.
    #[must_use]
    pub fn expects_subject(mut self, subject: &str) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// A grant that was issued for longer than `longest` is refused. Five minutes unless set.
    #[must_use]
    pub const fn lifetime_at_most(mut self, longest: Duration) -> Self {
        self.asked.cap(longest);
        self
    }

    /// Takes a grant that names `audience` beside the one expected, from a server that always adds it.
    ///
    /// Whoever gets the grant can use it there too.
    #[must_use]
    pub fn dangerous_foreign_audience(mut self, audience: &str, waiver: Waiver) -> Self {
        self.asked.relax(Relaxation::ForeignAudience(audience.into()), waiver);
        self
    }

    /// Takes an opaque grant, from a server that has no other.
    ///
    /// Nothing of it can be proven but what the answer says beside it: its life, which must be told
    /// (`expires_in`), and its scopes. What looks like a JWS is verified as ever.
    #[must_use]
    pub fn dangerous_opaque(mut self, waiver: Waiver) -> Self {
        self.asked.relax(Relaxation::Opaque, waiver);
        self
    }
}

impl AsOurselves {
    /// Open, beside the callers that it is open to, to calls that are made for nobody: those of a task that
    /// serves no request.
    #[must_use]
    pub fn or_ourselves(self) -> Self {
        Self { demand: self.demand.or_ourselves(), ..self }
    }

    /// What is asked of the authorization server.
    #[must_use]
    pub const fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Who may cause such a call.
    #[must_use]
    pub const fn demand(&self) -> &Demand {
        &self.demand
    }

    /// The `sub` that the grant must have, where it is not the client's name.
    #[must_use]
    pub const fn expected_subject(&self) -> Option<&Arc<str>> {
        self.subject.as_ref()
    }

    /// What the grant is held against; `issuer` is the authorization server and `client` our name there.
    #[must_use]
    pub fn expectation(&self, issuer: &Arc<str>, client: &Arc<str>) -> OwnExpectation {
        OwnExpectation {
            issuer: Arc::clone(issuer),
            subject: Arc::clone(self.subject.as_ref().unwrap_or(client)),
            audience: Arc::clone(self.asked.expected_audience()),
            scopes: self.asked.scopes(),
            lifetime: self.asked.longest_life(),
            relaxed: self.asked.relaxed().to_vec(),
        }
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.subject.as_ref().is_some_and(|subject| subject.is_empty()) {
            return Some("expects an empty subject");
        }
        self.asked.problem().or_else(|| self.demand.required().problem())
    }
}
