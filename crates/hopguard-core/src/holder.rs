//! Does whoever shows the token hold the key that it is bound to?

use crate::{Bound, Denial, Verified};

/// Admits tokens that are bound to no key, and refuses the rest.
///
/// A bound token shown without proof is a stolen token or a downgrade (RFC 9449 section 7.2, RFC 8705
/// section 3). Until a stack checks proofs, it must refuse such tokens rather than overlook the binding.
#[derive(Clone, Copy, Debug, Default)]
pub struct BearerOnly;

impl BearerOnly {
    /// Takes an unbound token.
    ///
    /// # Errors
    ///
    /// [`Denial::HolderUnproven`] if the token has a `cnf`.
    pub fn bind(self, token: Verified) -> Result<Bound, Denial> {
        self.try_bind(token).map_err(|(denial, _)| denial)
    }

    /// As [`BearerOnly::bind`]; a token that is refused is given back, for the record.
    ///
    /// # Errors
    ///
    /// [`Denial::HolderUnproven`] and the token, if it has a `cnf`.
    pub fn try_bind(self, token: Verified) -> Result<Bound, (Denial, Verified)> {
        // INVARIANT: I15 — a binding that is not checked refuses.
        if token.facts().confirmation.is_none() {
            Ok(Bound::assert_held(token))
        } else {
            Err((Denial::HolderUnproven, token))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Confirmation;
    use crate::evidence_for_tests::verified_with;

    #[test]
    fn a_bound_token_without_proof_is_refused() {
        assert!(BearerOnly.bind(verified_with(|_| ())).is_ok());
        for confirmation in [
            Confirmation::Jkt("k".into()),
            Confirmation::Certificate("c".into()),
            Confirmation::Both { jkt: "k".into(), certificate: "c".into() },
        ] {
            let bound = verified_with(|facts| facts.confirmation = confirmation);
            assert_eq!(BearerOnly.bind(bound).unwrap_err().code(), "holder_unproven");
        }
    }
}
