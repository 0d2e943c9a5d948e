//! Which client may exchange which token for which audience, with which scopes, and for how long.

use std::time::Duration;

use hopguard_core::{Problems, ScopeSet, minutes};

const LONGEST_LIFE: Duration = minutes(60);

/// One permission. What no rule allows is refused.
///
/// ```
/// use hopguard_core::minutes;
/// use hopguard_sts::Rule;
///
/// // Orders may take a token that was meant for itself and turn it into one for inventory. The new token may
/// // read stock if the old one may read orders, and lives two minutes at most.
/// let rule = Rule::for_client("orders")
///     .subject_audience("https://orders.internal")
///     .audience("https://inventory.internal")
///     .scope("stock:read", "orders:read")
///     .lifetime_at_most(minutes(2));
/// # let _ = rule;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Rule {
    client: Box<str>,
    subject_audience: Box<str>,
    audience: Box<str>,
    scopes: Vec<(Box<str>, Box<str>)>,
    lifetime: Duration,
}

impl Rule {
    /// A rule for the client `client`. Subject audience and audience must follow; without a scope the new token
    /// holds none.
    pub fn for_client(client: &str) -> Self {
        Self {
            client: client.into(),
            subject_audience: "".into(),
            audience: "".into(),
            scopes: Vec::new(),
            lifetime: minutes(5),
        }
    }

    /// The one audience that the subject token must have: the client itself, as a service.
    pub fn subject_audience(mut self, audience: &str) -> Self {
        self.subject_audience = audience.into();
        self
    }

    /// The one audience of the new token.
    pub fn audience(mut self, audience: &str) -> Self {
        self.audience = audience.into();
        self
    }

    /// The new token may hold `derived` if the subject token holds all scopes of the space-delimited list
    /// `required`, which names at least one.
    pub fn scope(mut self, derived: &str, required: &str) -> Self {
        self.scopes.push((derived.into(), required.into()));
        self
    }

    /// How long the new token lives at most; five minutes unless set, an hour at most. It never outlives the
    /// subject token.
    pub fn lifetime_at_most(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Checks the rule by itself; what it says about clients is the builder's to check.
    pub(crate) fn check(&self, setting: &str, issuer: &str, problems: &mut Problems) -> Checked {
        let mut wrong = |member: &str, problem: &str| problems.add(format!("{setting}.{member}"), problem);
        if self.subject_audience.is_empty() {
            wrong("subject_audience", "is empty: name the audience of the tokens that may be exchanged");
        }
        if self.audience.is_empty() {
            wrong("audience", "is empty: name the service that the new token is for");
        } else if self.audience == self.subject_audience {
            wrong("audience", "is the subject token's own: an exchange leads to another service");
        } else if &*self.audience == issuer {
            wrong("audience", "is this authorization server, which takes no access tokens");
        }
        if self.lifetime < Duration::from_secs(1) || self.lifetime > LONGEST_LIFE {
            wrong("lifetime_at_most", "must be at least a second and at most an hour");
        }
        let mut derived = Vec::new();
        for (at, (scope, required)) in self.scopes.iter().enumerate() {
            match (ScopeSet::from_tokens([&**scope]), ScopeSet::parse(required)) {
                (Ok(_), Ok(required)) if required.is_empty() => {
                    wrong(
                        &format!("scope[{at}]"),
                        "requires nothing of the subject token: name at least one scope",
                    );
                }
                (Ok(_), Ok(required)) => derived.push((scope.clone(), required)),
                _ => wrong(&format!("scope[{at}]"), "is not written as RFC 6749 section 3.3 has scopes"),
            }
        }
        Checked {
            client: self.client.clone(),
            subject_audience: self.subject_audience.clone(),
            audience: self.audience.clone(),
            derived,
            lifetime: self.lifetime,
        }
    }
}

/// A rule that was checked.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) client: Box<str>,
    pub(crate) subject_audience: Box<str>,
    pub(crate) audience: Box<str>,
    derived: Vec<(Box<str>, ScopeSet)>,
    pub(crate) lifetime: Duration,
}

impl Checked {
    /// True if every scope of `requested` may be derived from `held`.
    pub(crate) fn derives(&self, requested: &ScopeSet, held: &ScopeSet) -> bool {
        requested.iter().all(|scope| {
            self.derived.iter().any(|(derived, required)| **derived == *scope && required.is_subset_of(held))
        })
    }

    /// True if both rules speak about the same exchange.
    pub(crate) fn is_for_same(&self, other: &Self) -> bool {
        self.client == other.client
            && self.subject_audience == other.subject_audience
            && self.audience == other.audience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule::for_client("orders").subject_audience("orders").audience("inventory")
    }

    #[track_caller]
    fn checked(rule: &Rule, expected: &[&str]) -> Checked {
        let mut problems = Problems::new();
        let checked = rule.check("rule", "https://sts", &mut problems);
        let found = problems.into_result(()).err();
        let found: Vec<_> =
            found.iter().flat_map(|errors| errors.problems()).map(|p| p.setting.as_str()).collect();
        assert_eq!(found, expected);
        checked
    }

    #[test]
    fn what_can_never_work_is_named() {
        checked(&rule(), &[]);
        checked(&Rule::for_client("x"), &["rule.subject_audience", "rule.audience"]);
        checked(&rule().audience("orders"), &["rule.audience"]);
        checked(&rule().audience("https://sts"), &["rule.audience"]);
        checked(&rule().lifetime_at_most(Duration::ZERO), &["rule.lifetime_at_most"]);
        checked(&rule().lifetime_at_most(minutes(61)), &["rule.lifetime_at_most"]);
        checked(
            &rule().scope("a b", "c").scope("a", "").scope("", "c"),
            &["rule.scope[0]", "rule.scope[1]", "rule.scope[2]"],
        );
    }

    #[test]
    fn scopes_derive_from_what_is_held_and_from_nothing_else() {
        let rule = checked(
            &rule().scope("stock:read", "orders:read").scope("stock:write", "orders:read orders:write"),
            &[],
        );
        #[track_caller]
        fn derives(rule: &Checked, requested: &str, held: &str, expected: bool) {
            let (requested, held) = (ScopeSet::parse(requested).unwrap(), ScopeSet::parse(held).unwrap());
            assert_eq!(rule.derives(&requested, &held), expected, "{requested} from {held}");
        }
        derives(&rule, "stock:read", "orders:read", true);
        derives(&rule, "stock:read", "orders:read other", true);
        derives(&rule, "stock:read", "", false);
        derives(&rule, "stock:read", "stock:read", false);
        derives(&rule, "stock:write", "orders:write", false);
        derives(&rule, "stock:read stock:write", "orders:read orders:write", true);
        derives(&rule, "stock:read stock:write", "orders:read", false);
        derives(&rule, "orders:read", "orders:read", false);
        derives(&rule, "", "", true);
    }
}
