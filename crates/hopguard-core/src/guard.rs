//! What every guard has in common.

use std::sync::Arc;

use crate::{Denial, UnixTime, Verified, Waived};

/// A pure decision over a verified token and a time.
///
/// Implement it for a rule of your own; `hopguard_tower::GuardExt::layer` then makes it a `tower` layer. It
/// is pure: no I/O, no clock, the same answer for the same arguments.
///
/// ```
/// use hopguard_core::{Denial, Guard, UnixTime, Verified};
///
/// /// Admits people only, by a naming rule of this company.
/// struct NoServiceAccounts;
///
/// impl Guard for NoServiceAccounts {
///     fn name(&self) -> &'static str {
///         "no_service_accounts"
///     }
///
///     fn check(&self, token: &Verified, _now: UnixTime) -> Result<(), Denial> {
///         let robot = token.facts().subject.starts_with("service-");
///         if robot { Err(Denial::PolicyRefused) } else { Ok(()) }
///     }
/// }
/// ```
pub trait Guard {
    /// The name under which the audit writes this guard's decisions, snake_case.
    fn name(&self) -> &'static str;

    /// Decides.
    ///
    /// # Errors
    ///
    /// The [`Denial`] that says why not.
    fn check(&self, token: &Verified, now: UnixTime) -> Result<(), Denial>;

    /// What is wrong with how this guard was written down, if anything: told at start, and reads on from a setting's
    /// name. No stack is built with such a guard; alone, as a layer, it lets nobody pass.
    fn problem(&self) -> Option<&'static str> {
        None
    }

    /// The id of the policy that this guard decides by, for the audit: of a set of rules that changes, one for each
    /// version. `None` where the guard's name says all there is.
    fn policy(&self) -> Option<&Arc<str>> {
        None
    }

    /// The relaxations without which [`check`](Self::check) would have refused this token at `now`; the gate writes
    /// each down (I16).
    fn waived(&self, token: &Verified, now: UnixTime) -> Vec<&Waived> {
        let _strict = (token, now);
        Vec::new()
    }
}
