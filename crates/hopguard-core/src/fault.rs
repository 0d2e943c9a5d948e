//! Failures that are ours or an upstream's, never the caller's.

use std::time::Duration;

use crate::codes::{CodeEntry, CodeKind};

macro_rules! faults {
    ($( $(#[doc = $doc:literal])+ $variant:ident $(($payload:ty))? = $code:literal, $status:literal, $retry:expr, $message:literal; )*) => {
        /// Ours or an upstream's fault: a 5xx answer.
        ///
        /// [`Fault::code`] is stable and is what logs, metrics, audit and tests use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum Fault {
            $( $(#[doc = $doc])+ #[error($message)] $variant $(($payload))?, )*
        }

        impl Fault {
            /// Every fault in the registry.
            pub(crate) const REGISTRY: &'static [CodeEntry] = &[
                $( CodeEntry { code: $code, kind: CodeKind::Fault, status: Some($status), meaning: concat!($($doc),+) }, )*
            ];

            /// The stable name of this failure.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $( Self::$variant { .. } => $code, )* }
            }

            /// The HTTP status that answers it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $( Self::$variant { .. } => $status, )* }
            }

            const fn usual_retry_after(self) -> Option<Duration> {
                match self { $( Self::$variant { .. } => $retry, )* }
            }
        }
    };
}

impl Fault {
    /// When the same request may succeed; `None` if it will not until something is mended.
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::StsBusy(wait) => Some(wait),
            other => other.usual_retry_after(),
        }
    }
}

const SOON: Option<Duration> = Some(Duration::from_secs(5));

faults! {
    /// A guard or handler ran without the evidence it needs: a layer is missing or stands in the wrong place.
    EvidenceMissing = "evidence_missing", 500, None, "a guard ran without evidence, a layer is missing";
    /// Evidence of another stack was shown.
    EvidenceForeign = "evidence_foreign", 500, None, "evidence of another stack was shown";
    /// A guard that stands alone was written down wrongly: what it would let pass, nobody meant.
    GuardMisconfigured = "guard_misconfigured", 500, None, "a guard was written down wrongly";
    /// The issuer's keys could not be had, so nothing can be said about the token.
    KeysUnavailable = "keys_unavailable", 503, SOON, "the issuer's keys are unavailable";
    /// The audit sink takes no more events, and what cannot be written down is not done.
    AuditUnavailable = "audit_unavailable", 503, SOON, "the audit log takes no more events";
    /// The ledger is full and set to refuse.
    LedgerFull = "ledger_full", 503, SOON, "the ledger of live credentials is full";
    /// The call goes to a destination that no route lists.
    DestinationUnlisted = "destination_unlisted", 500, None, "no route lists this destination";
    /// The request's URL cannot be read in one way only: no host, userinfo, dot segments; where routes of its origin go
    /// by path, a path with encoded separators.
    TargetUnreadable = "target_unreadable", 500, None, "the request target is ambiguous";
    /// The `Host` header names another host than the URL.
    HostMismatch = "host_mismatch", 500, None, "the host header differs from the request target";
    /// The client could not make a request of what the handler gave it: no URL, no header value; a header that frames
    /// the message, `CONNECT` or `TRACE`.
    RequestUnsendable = "request_unsendable", 500, None, "the outgoing request cannot be made";
    /// The request already carries a credential that no route attached.
    CredentialUnexpected = "credential_unexpected", 500, None, "the outgoing request carries a credential of its own";
    /// A received or foreign credential was about to leave.
    PassthroughBlocked = "passthrough_blocked", 500, None, "the outgoing request carries a credential not granted for its destination";
    /// A body was about to leave that cannot be looked through: too long, or compressed in a way that cannot be undone.
    BodyUnscannable = "body_unscannable", 500, None, "the outgoing body cannot be looked through";
    /// An answer to the caller carries a credential of this process: a received token, or a grant for a peer.
    ResponseLeak = "response_leak", 502, None, "the answer carries a credential";
    /// A token or assertion of our own could not be signed, or the system has no randomness for it.
    SigningFailed = "signing_failed", 500, None, "a token of our own could not be signed";
    /// An assertion or actor token of our own could not be read from its file.
    OwnCredentialUnavailable = "own_credential_unavailable", 503, SOON, "a credential of our own is unavailable";
    /// The caller's token was issued by another authorization server than the one it would be exchanged at.
    SubjectIssuerForeign = "subject_issuer_foreign", 500, None, "the token belongs to another authorization server";
    /// The memory of used client assertions is full, and what cannot be remembered could be replayed.
    ReplayMemoryFull = "replay_memory_full", 503, SOON, "the memory of used assertions is full";
    /// The authorization server could not be reached or did not answer in time.
    StsUnavailable = "sts_unavailable", 503, SOON, "the authorization server is unavailable";
    /// The authorization server asked not to be called for so long (`Retry-After`).
    StsBusy(Duration) = "sts_busy", 503, SOON, "the authorization server asks for patience";
    /// The authorization server refuses us or our request: nothing the caller could mend.
    StsRefused = "sts_refused", 500, None, "the authorization server refuses the exchange";
    /// The authorization server's answer is no token response (RFC 8693 section 2.2.1).
    StsAnswerInvalid = "sts_answer_invalid", 502, None, "the authorization server's answer is invalid";
    /// `token_type` or `issued_token_type` is not what was asked.
    GrantTypeUnexpected = "grant_type_unexpected", 502, None, "the grant is of another type than asked";
    /// The grant is opaque, encrypted, or does not verify.
    GrantUnreadable = "grant_unreadable", 502, None, "the grant cannot be verified";
    /// The grant was issued by someone else.
    GrantIssuerUnexpected = "grant_issuer_unexpected", 502, None, "the grant has another issuer";
    /// The grant's audience is not exactly the one asked.
    GrantAudienceWider = "grant_audience_wider", 502, None, "the grant is good for another audience";
    /// The grant holds a scope that was not asked.
    GrantScopeWider = "grant_scope_wider", 502, None, "the grant holds more scopes than asked";
    /// The grant lives longer than its parent.
    GrantOutlivesParent = "grant_outlives_parent", 502, None, "the grant lives longer than the token it was made from";
    /// The grant lives longer than the route's cap.
    GrantLifetimeTooLong = "grant_lifetime_too_long", 502, None, "the grant lives longer than the route allows";
    /// The grant is expired on arrival.
    GrantExpired = "grant_expired", 502, None, "the grant is expired";
    /// The grant is for another subject.
    GrantSubjectChanged = "grant_subject_changed", 502, None, "the grant is for another subject";
    /// The grant has no actor where the chain had to grow by one.
    GrantActorMissing = "grant_actor_missing", 502, None, "the grant does not name the acting service";
    /// The grant's actor chain is not the parent's and us.
    GrantActorChanged = "grant_actor_changed", 502, None, "the grant's actor chain is not the parent's and ours";
    /// The grant is bound to another key than asked.
    GrantHolderChanged = "grant_holder_changed", 502, None, "the grant is bound to another key";
    /// The grant, or every call of this client, needs a relaxation whose waiver has expired.
    WaiverExpired = "waiver_expired", 500, None, "the waiver that this call needs has expired";
    /// The grant was withdrawn.
    GrantWithdrawn = "grant_withdrawn", 502, None, "the grant was withdrawn";
    /// Too many callers wait for an exchange.
    ExchangeOverloaded = "exchange_overloaded", 503, SOON, "too many exchanges are under way";
    /// The peer answered with a redirect; no credential follows one.
    RedirectRefused = "redirect_refused", 502, None, "the peer answered with a redirect";
    /// The peer answered, and not as was asked: another status than success, no such JSON. Asking again mends
    /// nothing, as a rule.
    PeerAnswerUnexpected = "peer_answer_unexpected", 502, None, "the peer answered, and not as was asked";
    /// The peer could not be reached, or says itself that it may be later.
    PeerUnavailable = "peer_unavailable", 502, SOON, "the peer is unavailable";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_the_usual_one_unless_the_fault_says_more() {
        assert_eq!(Fault::StsUnavailable.retry_after(), SOON);
        assert_eq!(Fault::StsRefused.retry_after(), None);
        assert_eq!(Fault::StsBusy(Duration::from_secs(30)).retry_after(), Some(Duration::from_secs(30)));
        assert_eq!(Fault::StsBusy(Duration::ZERO).code(), "sts_busy");
    }
}
