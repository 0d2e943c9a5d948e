//! What is asked of the authorization server for a route, and what its grant is held against.

use std::sync::Arc;
use std::time::Duration;

use crate::{InvalidScope, Relaxation, ScopeSet, Waived, Waiver, minutes};

/// The parameters of a token request that a route chooses, and the relaxations of the proof of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    audience: Arc<str>,
    asks_audience: bool,
    expected_audience: Option<Arc<str>>,
    resources: Vec<Box<str>>,
    scopes: Result<ScopeSet, InvalidScope>,
    lifetime: Duration,
    relaxed: Vec<Waived>,
}

impl Asked {
    pub(super) fn audience(audience: &str) -> Self {
        Self {
            audience: audience.into(),
            asks_audience: true,
            expected_audience: None,
            resources: Vec::new(),
            scopes: Ok(ScopeSet::empty()),
            lifetime: minutes(5),
            relaxed: Vec::new(),
        }
    }

    pub(super) fn resource_only(resource: &str) -> Self {
        Self { asks_audience: false, resources: vec![resource.into()], ..Self::audience(resource) }
    }

    pub(super) fn neither(expected: &str) -> Self {
        Self { asks_audience: false, ..Self::audience(expected) }
    }

    pub(super) fn add_scope(&mut self, scopes: &str) {
        let before = std::mem::replace(&mut self.scopes, Err(InvalidScope));
        self.scopes = match (before, ScopeSet::parse(scopes)) {
            (Ok(before), Ok(more)) => ScopeSet::from_tokens(before.iter().chain(more.iter())),
            (Err(invalid), _) | (_, Err(invalid)) => Err(invalid),
        };
    }

    pub(super) fn add_resource(&mut self, resource: &str) {
        self.resources.push(resource.into());
    }

    pub(super) fn expect_audience(&mut self, audience: &str) {
        self.expected_audience = Some(audience.into());
    }

    pub(super) const fn cap(&mut self, longest: Duration) {
        self.lifetime = longest;
    }

    pub(super) fn relax(&mut self, relaxation: Relaxation, waiver: Waiver) {
        self.relaxed.push(Waived { relaxation, waiver });
    }

    /// The `audience` parameter; `None` if the target is named by `resource` or by scopes alone.
    #[must_use]
    pub fn asked_audience(&self) -> Option<&Arc<str>> {
        self.asks_audience.then_some(&self.audience)
    }

    /// The audience or, where none is asked for, what stands for it: the first resource, or the audience expected.
    #[must_use]
    pub const fn target_audience(&self) -> &Arc<str> {
        &self.audience
    }

    /// The audience that the grant must have.
    #[must_use]
    pub fn expected_audience(&self) -> &Arc<str> {
        self.expected_audience.as_ref().unwrap_or(&self.audience)
    }

    /// The resource indicators that are sent (RFC 8707).
    #[must_use]
    pub fn resources(&self) -> &[Box<str>] {
        &self.resources
    }

    /// The scopes that are asked for; the grant may hold no others. Nothing where they could not be read.
    #[must_use]
    pub fn scopes(&self) -> ScopeSet {
        self.scopes.clone().unwrap_or_default()
    }

    /// The longest life of a grant.
    #[must_use]
    pub const fn longest_life(&self) -> Duration {
        self.lifetime
    }

    /// What is relaxed, each with its waiver.
    #[must_use]
    pub fn relaxed(&self) -> &[Waived] {
        &self.relaxed
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.audience.is_empty() {
            return Some("asks for an empty audience: name the destination's own URI");
        }
        if self.expected_audience.as_ref().is_some_and(|audience| audience.is_empty()) {
            return Some("expects an empty audience");
        }
        if self.resources.iter().any(|resource| resource.is_empty()) {
            return Some("asks for an empty resource");
        }
        if self.relaxed.iter().any(|one| !one.waiver.is_complete()) {
            return Some("relaxes a check without saying why, or who answers for it");
        }
        if self.relaxed.iter().any(|one| one.relaxation.audience() == Some("")) {
            return Some("tolerates an empty audience");
        }
        if self.scopes.is_err() {
            return Some("asks for a malformed scope");
        }
        if self.lifetime < Duration::from_secs(1) {
            return Some("allows grants of less than a second");
        }
        None
    }
}
