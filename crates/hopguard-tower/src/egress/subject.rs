//! On whose behalf a call is made.

use hopguard_core::Admitted;
use http::Extensions;

/// In an outgoing request's extensions: the call is made on behalf of this caller.
///
/// There is no ambient default: a call that names nobody can use routes only that need nobody. A task that
/// outlives the request takes the evidence along by value.
#[derive(Clone, Debug)]
pub struct OnBehalfOf(Whom);

#[derive(Clone, Debug)]
enum Whom {
    Caller(Admitted),
    Ourselves,
}

impl OnBehalfOf {
    /// On behalf of the caller that the inbound stack has admitted.
    #[must_use]
    pub fn caller(admitted: &Admitted) -> Self {
        Self(Whom::Caller(admitted.clone()))
    }

    /// On behalf of nobody but this service: for work that serves no request. Routes that exchange a caller's
    /// token stay closed, and so do those that demand something of callers and do not say that they serve
    /// ourselves as well ([`AsOurselves::or_ourselves`](hopguard_core::AsOurselves::or_ourselves)).
    #[must_use]
    pub const fn ourselves() -> Self {
        Self(Whom::Ourselves)
    }

    pub(crate) fn of(extensions: &Extensions) -> Option<&Admitted> {
        match extensions.get::<Self>() {
            Some(Self(Whom::Caller(admitted))) => Some(admitted),
            _ => None,
        }
    }

    /// The caller, and whether there is none because the call is our own.
    pub(crate) fn taken_from(extensions: &mut Extensions) -> (Option<Admitted>, bool) {
        match extensions.remove::<Self>() {
            Some(Self(Whom::Caller(admitted))) => (Some(admitted), false),
            Some(Self(Whom::Ourselves)) => (None, true),
            None => (None, false),
        }
    }

    pub(crate) fn is_ourselves(extensions: &Extensions) -> bool {
        matches!(extensions.get::<Self>(), Some(Self(Whom::Ourselves)))
    }
}
