//! On whose behalf a call is made.

use hopguard_core::Admitted;
use http::Extensions;

/// In an outgoing request's extensions: the call is made on behalf of this caller.
///
/// There is no ambient default: a call that names nobody can use routes only that need nobody. A task that
/// outlives the request takes the evidence along by value.
#[derive(Clone, Debug)]
pub struct OnBehalfOf(Admitted);

impl OnBehalfOf {
    /// On behalf of the caller that the inbound stack has admitted.
    #[must_use]
    pub fn caller(admitted: &Admitted) -> Self {
        Self(admitted.clone())
    }

    pub(crate) fn of(extensions: &Extensions) -> Option<&Admitted> {
        extensions.get::<Self>().map(|subject| &subject.0)
    }

    pub(crate) fn into_caller(self) -> Admitted {
        self.0
    }
}
