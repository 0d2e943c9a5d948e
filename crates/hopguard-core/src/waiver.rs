//! Who allowed a check to be relaxed, why, and until when (I16).
//!
//! Every setting that weakens a check of a grant takes a [`Waiver`]. From its date on the check is as strict as
//! ever, so that a workaround which everybody forgot fails where it can be seen; while it holds, each use of it
//! is on the [`Granted`](crate::Granted) it was needed for, to be written down.

use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::UnixTime;
use crate::redact::Redacted;

/// A permission to relax one check, with its reason, its owner and its end.
///
/// ```
/// use hopguard_core::{UnixTime, Waiver};
///
/// let until = UnixTime::from_secs(1_830_297_600); // 2028-01-01
/// let waiver = Waiver::new("Keycloak 26.2 writes no act, upgrade is ticket 4711", "payments team", until);
/// assert!(waiver.holds(UnixTime::from_secs(1_830_297_599)));
/// assert!(!waiver.holds(until));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver(Arc<Terms>);

#[derive(PartialEq, Eq)]
struct Terms {
    reason: Box<str>,
    owner: Box<str>,
    until: UnixTime,
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reason, owner) = (Redacted(&self.reason), Redacted(&self.owner));
        f.debug_struct("Terms")
            .field("reason", &reason)
            .field("owner", &owner)
            .field("until", &self.until)
            .finish()
    }
}

impl Waiver {
    /// A waiver that holds before `until`; `owner` answers for it. What is empty is refused where a route is
    /// made of it.
    #[must_use]
    pub fn new(reason: &str, owner: &str, until: UnixTime) -> Self {
        Self(Arc::new(Terms { reason: reason.into(), owner: owner.into(), until }))
    }

    /// Why the check is relaxed.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// Who answers for it.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.0.owner
    }

    /// From when on it holds no more.
    #[must_use]
    pub fn until(&self) -> UnixTime {
        self.0.until
    }

    /// True before its end.
    #[must_use]
    pub fn holds(&self, now: UnixTime) -> bool {
        now < self.0.until
    }

    /// True before its end, if it names reason and owner: without them it waives nothing.
    #[must_use]
    pub fn is_in_force(&self, now: UnixTime) -> bool {
        self.is_complete() && self.holds(now)
    }

    pub(crate) fn is_complete(&self) -> bool {
        !self.0.reason.trim().is_empty() && !self.0.owner.trim().is_empty()
    }
}

/// One point of the narrowing proof that a route may relax, or the passthrough block. Each relaxes that point and
/// no other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Relaxation {
    /// The grant has no `act` at all. One that has an `act` must still have the right one.
    WithoutActor,
    /// The grant names this audience beside the one that is expected.
    ForeignAudience(Box<str>),
    /// The grant expires later than its parent; here it dies with it all the same.
    LaterExpiry,
    /// A token that comes in names this audience beside ours.
    TokenForeignAudience(Box<str>),
    /// The grant is opaque: only what the answer says of it can be judged.
    Opaque,
    /// What the passthrough block finds may leave. No grant needs it.
    Passthrough,
    /// A token that is bound to a key goes past the verifier without proof, to a holder check further in.
    HolderOpen,
    /// The passthrough block knows nothing of what comes in. No grant needs it.
    Unlinked,
    /// What a client does below the block is its maker's. No grant needs it.
    ForeignClient,
}

impl Relaxation {
    /// The stable name, for audit and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::WithoutActor => "grant_without_actor",
            Self::ForeignAudience(_) => "grant_foreign_audience",
            Self::LaterExpiry => "grant_later_expiry",
            Self::TokenForeignAudience(_) => "token_foreign_audience",
            Self::Opaque => "grant_opaque",
            Self::Passthrough => "passthrough",
            Self::HolderOpen => "holder_open",
            Self::Unlinked => "unlinked",
            Self::ForeignClient => "foreign_client",
        }
    }

    /// The audience that is tolerated, where that is what is relaxed.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        match self {
            Self::ForeignAudience(audience) | Self::TokenForeignAudience(audience) => Some(audience),
            _ => None,
        }
    }
}

impl Serialize for Waived {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("relaxation", self.relaxation.name())?;
        if let Some(audience) = self.relaxation.audience() {
            map.serialize_entry("audience", audience)?;
        }
        map.serialize_entry("reason", self.waiver.reason())?;
        map.serialize_entry("owner", self.waiver.owner())?;
        map.serialize_entry("until", &self.waiver.until().as_secs())?;
        map.end()
    }
}

/// A relaxation and the waiver it rests on: one that a route allows, or one that a grant needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waived {
    /// What is relaxed.
    pub relaxation: Relaxation,
    /// On what grounds.
    pub waiver: Waiver,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_force_are_complete_ones_before_their_end() {
        let (before, end) = (UnixTime::from_secs(99), UnixTime::from_secs(100));
        for (reason, owner, now, expected) in [
            ("why", "who", before, true),
            ("why", "who", end, false),
            (" ", "who", before, false),
            ("why", "", before, false),
            ("", "", end, false),
        ] {
            assert_eq!(
                Waiver::new(reason, owner, end).is_in_force(now),
                expected,
                "{reason:?} {owner:?} {now:?}"
            );
        }
    }
}
