//! Which error codes of an authorization server mean the caller, and not us.
//!
//! RFC 8693 section 2.2.2 answers `invalid_request` alike for a subject token that is no longer good and for a
//! request that we wrote wrong. A caller that is sent to log in for a fault of ours logs in forever, so that 401
//! takes a code which nobody uses for anything else, and only the server's own manual says which that is.

use hopguard_core::{Denial, Refusal, StepUp};
use serde_json::Value;

/// Codes that can never mean the caller (RFC 6749 section 5.2, RFC 8693 section 2.2.2).
const OURS: [&str; 6] = [
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "server_error",
    "temporarily_unavailable",
];
/// What an error code may consist of is longer in no server (RFC 6749 section 5.2).
const LONGEST_CODE: usize = 64;

/// How one kind of authorization server tells the caller's fault from ours.
///
/// ```
/// use hopguard_exchange::StsProfile;
///
/// // A server whose manual says that only a dead subject token is answered so.
/// let profile = StsProfile::rfc8693().subject_refused_by("invalid_subject_token").step_up_by("mfa_required");
/// # let _ = profile;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsProfile {
    subject: Vec<Box<str>>,
    step_up: Vec<Box<str>>,
}

impl Default for StsProfile {
    fn default() -> Self {
        Self::rfc8693()
    }
}

impl StsProfile {
    /// By the specifications alone: no code means that the subject is no longer good, and
    /// `insufficient_user_authentication` (RFC 9470) asks for a step-up.
    #[must_use]
    pub fn rfc8693() -> Self {
        Self { subject: Vec::new(), step_up: vec!["insufficient_user_authentication".into()] }
    }

    /// Keycloak: `invalid_token` is answered for a subject token that is expired, revoked or of a session that
    /// has ended, and for nothing else.
    #[must_use]
    pub fn keycloak() -> Self {
        Self::rfc8693().subject_refused_by("invalid_token")
    }

    /// The error `code` says that the subject token is no longer good: the caller gets 401 `subject_refused`.
    #[must_use]
    pub fn subject_refused_by(mut self, code: &str) -> Self {
        self.subject.push(code.into());
        self
    }

    /// The error `code` asks for a step-up: the caller gets 401 `step_up_required` with the parameters beside it.
    #[must_use]
    pub fn step_up_by(mut self, code: &str) -> Self {
        self.step_up.push(code.into());
        self
    }

    /// What is wrong with it, as a sentence that reads on from the setting's name.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let all = || self.subject.iter().chain(&self.step_up);
        let is_code = |code: &str| {
            let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
            (1..=LONGEST_CODE).contains(&code.len()) && code.bytes().all(plain)
        };
        if !all().all(|code| is_code(code)) {
            return Some("names what is no error code");
        }
        if all().any(|code| OURS.contains(&&**code)) {
            return Some("blames the caller for a code that says we are at fault");
        }
        if self.subject.iter().any(|code| self.step_up.contains(code)) {
            return Some("gives one code two meanings");
        }
        None
    }

    /// What an error response means for the caller; `None` if it is none of the caller's business.
    pub(crate) fn blames(&self, error: &str, response: impl FnOnce() -> Value) -> Option<Refusal> {
        let names = |codes: &[Box<str>]| codes.iter().any(|code| **code == *error);
        if names(&self.step_up) {
            return Some(Denial::StepUpRequired(Box::new(StepUp::relayed(&response()))).into());
        }
        names(&self.subject).then(|| Denial::SubjectRefused.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_blames_nobody_for_what_we_did() {
        assert_eq!(StsProfile::rfc8693().problem(), None);
        assert_eq!(StsProfile::keycloak().problem(), None);
        let base = StsProfile::rfc8693;
        for wrong in [
            base().subject_refused_by(""),
            base().subject_refused_by("a b"),
            base().step_up_by("a\"b"),
            base().step_up_by(&"x".repeat(65)),
            base().subject_refused_by("invalid_client"),
            base().step_up_by("server_error"),
            base().subject_refused_by("insufficient_user_authentication"),
        ] {
            assert!(wrong.problem().is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn only_what_it_names_is_the_callers() {
        let profile = StsProfile::keycloak().step_up_by("interaction_required");
        let code = |error: &str| profile.blames(error, || Value::Null).map(|refusal| refusal.code());
        assert_eq!(code("invalid_token"), Some("subject_refused"));
        assert_eq!(code("interaction_required"), Some("step_up_required"));
        assert_eq!(code("insufficient_user_authentication"), Some("step_up_required"));
        for other in ["invalid_request", "invalid_grant", "Invalid_Token", ""] {
            assert_eq!(code(other), None, "{other}");
        }
        assert_eq!(StsProfile::rfc8693().blames("invalid_token", || Value::Null), None);
    }
}
