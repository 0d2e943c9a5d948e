//! To whose key the token is bound: `cnf` (RFC 7800, RFC 8705 section 3.1, RFC 9449 section 6.1).

use hopguard_core::{Confirmation, Denial};

use super::{filled, optional};
use crate::json::{Value, names};

names!(CnfMember { Jkt = b"jkt", X5t = b"x5t#S256" });

/// `cnf` with its two known members.
pub(super) fn confirmation(cnf: Value<'_>) -> Result<Confirmation, Denial> {
    let Some(cnf) = optional(cnf.object())? else { return Ok(Confirmation::None) };
    // INVARIANT: I15 — a binding that nobody here can check refuses.
    if cnf.others > 0 {
        return Err(Denial::ClaimInvalid);
    }
    let jkt = optional(cnf.of(CnfMember::Jkt).text())?.map(filled).transpose()?;
    let certificate = optional(cnf.of(CnfMember::X5t).text())?.map(filled).transpose()?;
    match (jkt, certificate) {
        (Some(jkt), Some(certificate)) => Ok(Confirmation::Both { jkt, certificate }),
        (Some(jkt), None) => Ok(Confirmation::Jkt(jkt)),
        (None, Some(certificate)) => Ok(Confirmation::Certificate(certificate)),
        // A binding to nothing is not the absence of a binding.
        (None, None) => Err(Denial::ClaimInvalid),
    }
}
