//! To whose key the token is bound: `cnf` (RFC 7800, RFC 8705 section 3.1, RFC 9449 section 6.1).

use hopguard_core::{Confirmation, Denial};

use super::{Text, filled, optional};
use crate::json::{Claim, Malformed, Shape, Source, names};

names!(CnfMember { Jkt = "jkt", X5t = "x5t#S256" });

/// `cnf` with its two known members.
#[derive(Clone, Debug, Default)]
pub(super) struct Cnf<'a> {
    jkt: Claim<Text<'a>>,
    certificate: Claim<Text<'a>>,
}

impl Cnf<'_> {
    pub(super) fn into_confirmation(self) -> Result<Confirmation, Denial> {
        let jkt = optional(self.jkt)?.map(filled).transpose()?;
        let certificate = optional(self.certificate)?.map(filled).transpose()?;
        match (jkt, certificate) {
            (Some(jkt), Some(certificate)) => Ok(Confirmation::Both { jkt, certificate }),
            (Some(jkt), None) => Ok(Confirmation::Jkt(jkt)),
            (None, Some(certificate)) => Ok(Confirmation::Certificate(certificate)),
            // A binding to nothing is not the absence of a binding.
            (None, None) => Err(Denial::ClaimInvalid),
        }
    }
}

impl<'de> Shape<'de> for Claim<Cnf<'de>> {
    fn wrong(&mut self) {
        *self = Self::Wrong;
    }

    fn object(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        let mut cnf = Cnf::default();
        let unknown = source.members(|name, source| match name {
            CnfMember::Jkt => source.value(&mut cnf.jkt),
            CnfMember::X5t => source.value(&mut cnf.certificate),
        })?;
        // INVARIANT: I15 — a binding that nobody here can check refuses.
        *self = if unknown == 0 { Self::Is(cnf) } else { Self::Wrong };
        Ok(())
    }
}
