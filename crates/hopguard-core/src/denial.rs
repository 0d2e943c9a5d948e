//! Refusals that are the caller's fault.

use crate::codes::{CodeEntry, CodeKind};
use crate::{ScopeSet, StepUp};

/// What a refusal asks of the caller in `WWW-Authenticate` (RFC 6750 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// No credential was shown: the challenge carries no error code.
    Bare,
    /// `invalid_request`.
    InvalidRequest,
    /// `invalid_token`.
    InvalidToken,
    /// `insufficient_scope`.
    InsufficientScope,
    /// `insufficient_user_authentication` (RFC 9470 section 3).
    StepUp,
    /// The caller can do nothing with another token of its own: no challenge.
    None,
}

macro_rules! denials {
    ($( $(#[doc = $doc:literal])+ $variant:ident $(($payload:ty))? = $code:literal, $status:literal, $challenge:ident, $message:literal; )*) => {
        /// The caller's fault: a 4xx answer.
        ///
        /// [`Denial::code`] is stable and is what logs, metrics, audit and tests use.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum Denial {
            $( $(#[doc = $doc])+ #[error($message)] $variant $(($payload))?, )*
        }

        impl Denial {
            /// Every denial in the registry.
            pub(crate) const REGISTRY: &'static [CodeEntry] = &[
                $( CodeEntry { code: $code, kind: CodeKind::Denial, status: Some($status), meaning: concat!($($doc),+) }, )*
            ];

            /// The stable name of this refusal.
            #[must_use]
            pub const fn code(&self) -> &'static str {
                match self { $( Self::$variant { .. } => $code, )* }
            }

            /// The HTTP status that answers it.
            #[must_use]
            pub const fn status(&self) -> u16 {
                match self { $( Self::$variant { .. } => $status, )* }
            }

            /// What the answer asks for.
            #[must_use]
            pub const fn challenge(&self) -> Challenge {
                match self { $( Self::$variant { .. } => Challenge::$challenge, )* }
            }
        }
    };
}

denials! {
    /// No `Authorization` header was sent.
    TokenMissing = "token_missing", 401, Bare, "no access token was sent";
    /// More than one credential was sent: a second `Authorization` header, or a list in one header.
    CredentialAmbiguous = "credential_ambiguous", 400, InvalidRequest, "more than one credential was sent";
    /// `Authorization` holds something other than a `Bearer` token.
    CredentialUnsupported = "credential_unsupported", 401, Bare, "the authorization scheme is not supported";
    /// The `Authorization` header is not a well-formed credential (RFC 6750 section 2.1).
    CredentialMalformed = "credential_malformed", 401, InvalidToken, "the credential is malformed";
    /// The token is longer than this service reads.
    TokenTooLarge = "token_too_large", 401, InvalidToken, "the token is too large";
    /// The token is not a signed JWT in compact form, or its header or claims are not strict JSON.
    TokenMalformed = "token_malformed", 401, InvalidToken, "the token is malformed";
    /// A claim has the wrong type or a value out of range.
    ClaimInvalid = "claim_invalid", 401, InvalidToken, "a claim of the token is invalid";
    /// A claim that must be there is not.
    ClaimMissing = "claim_missing", 401, InvalidToken, "a required claim is missing from the token";
    /// `typ` is not that of an access token (RFC 9068 section 4): an ID token, a logout token, a proof.
    TokenTypeMismatch = "token_type_mismatch", 401, InvalidToken, "this is not an access token";
    /// `alg` is none, symmetric, unknown, or not the one that the chosen key serves.
    AlgorithmRefused = "algorithm_refused", 401, InvalidToken, "the signature algorithm is not accepted";
    /// The header holds `crit`, and nothing critical is understood (RFC 7515 section 4.1.11).
    CriticalHeader = "critical_header", 401, InvalidToken, "the token demands an extension that is not supported";
    /// The header brings or points to a key of its own: `jwk`, `jku`, `x5c`, `x5u`.
    KeyInHeader = "key_in_header", 401, InvalidToken, "the token brings its own key";
    /// `iss` is not an issuer that this service trusts.
    IssuerUnknown = "issuer_unknown", 401, InvalidToken, "the issuer is not trusted";
    /// The issuer publishes no key that fits the token's `kid`.
    KeyUnknown = "key_unknown", 401, InvalidToken, "the signing key is not known";
    /// The signature does not verify.
    SignatureInvalid = "signature_invalid", 401, InvalidToken, "the signature is invalid";
    /// At or past `exp`.
    TokenExpired = "token_expired", 401, InvalidToken, "the token is expired";
    /// Before `nbf`, leeway included.
    TokenNotYetValid = "token_not_yet_valid", 401, InvalidToken, "the token is not valid yet";
    /// `iat` lies in the future, leeway included.
    TokenFromFuture = "token_from_future", 401, InvalidToken, "the token was issued in the future";
    /// The key, issuer, subject or token was withdrawn.
    TokenWithdrawn = "token_withdrawn", 401, InvalidToken, "the token was withdrawn";
    /// The token expired while the request was served: what was running was ended, body, upload or upgrade (I13).
    StreamExpired = "stream_expired", 401, InvalidToken, "the token expired while the request was served";
    /// The token was withdrawn while the request was served: what was running was ended (I13).
    StreamWithdrawn = "stream_withdrawn", 401, InvalidToken, "the token was withdrawn while the request was served";
    /// The token is bound to a key, and nobody proved to hold it.
    HolderUnproven = "holder_unproven", 401, InvalidToken, "the token is bound to a key that was not proven";
    /// `aud` does not name this service.
    AudienceMismatch = "audience_mismatch", 401, InvalidToken, "the token is meant for another audience";
    /// `aud` names this service and others.
    AudienceNotSole = "audience_not_sole", 401, InvalidToken, "the token is meant for several audiences";
    /// `exp - iat` is above the cap.
    LifetimeTooLong = "lifetime_too_long", 401, InvalidToken, "the token was issued for too long a life";
    /// `now - iat` is above the cap.
    TokenTooOld = "token_too_old", 401, InvalidToken, "the token was issued too long ago";
    /// `exp - now` is above the cap.
    RemainingTooLong = "remaining_too_long", 401, InvalidToken, "the token stays valid for too long";
    /// A rule judges `iat`, and the token has none.
    IssuedAtMissing = "issued_at_missing", 401, InvalidToken, "the token does not say when it was issued";
    /// A scope that is needed is not held. Carries what would have been enough.
    InsufficientScope(ScopeSet) = "insufficient_scope", 403, InsufficientScope, "the token lacks a scope that is needed";
    /// The token holds a scope that this service never needs.
    ScopeTooBroad = "scope_too_broad", 403, None, "the token holds scopes that are not meant for this service";
    /// Who acts with the token, its outermost actor or else its client, is not on this service's list.
    ActorUnlisted = "actor_unlisted", 403, None, "the acting party may not call this service";
    /// The token came through more hands than this service allows.
    ActorsTooMany = "actors_too_many", 403, None, "the token came through too many hands";
    /// The party that acts must show the token itself, and the transport does not say who its other end is.
    PeerUnproven = "peer_unproven", 403, None, "the sender did not prove who it is";
    /// The transport's other end is not the party that acts with the token.
    PeerNotActor = "peer_not_actor", 403, None, "the sender is not the acting party";
    /// The transaction token is about another subject than the caller's access token.
    TransactionForeign = "transaction_foreign", 403, None, "the transaction is about another subject";
    /// A rule of this service's own refuses the caller; the event's gate says which.
    PolicyRefused = "policy_refused", 403, None, "a rule of this service refuses the caller";
    /// The caller's token lacks a scope that the route out of this service demands (I6).
    RouteRequiresScope(ScopeSet) = "route_requires_scope", 403, InsufficientScope, "the caller may not make this call onwards";
    /// The caller's token expired before it could be exchanged.
    SubjectExpired = "subject_expired", 401, InvalidToken, "the token expired while the request was served";
    /// The authorization server says that the caller's token is no longer good, by a code that its profile names.
    SubjectRefused = "subject_refused", 401, InvalidToken, "the authorization server refuses the caller's token";
    /// The authorization server demands that the user authenticates anew or better (RFC 9470).
    StepUpRequired(Box<StepUp>) = "step_up_required", 401, StepUp, "the user has to authenticate anew or better";
    /// The authorization server refuses this audience or these scopes for this caller.
    ExchangeTargetRefused = "exchange_target_refused", 403, None, "the authorization server refuses this call onwards";
    /// A token request is not a form as RFC 6749 appendix B has it, or carries parameters in its URL.
    RequestMalformed = "request_malformed", 400, None, "the token request is malformed";
    /// A token request is longer than the server reads.
    RequestTooLarge = "request_too_large", 413, None, "the token request is too large";
    /// A token request holds a parameter twice (RFC 6749 section 3.2).
    ParameterRepeated = "parameter_repeated", 400, None, "a parameter of the token request is repeated";
    /// A token request lacks a parameter that its grant type needs.
    ParameterMissing = "parameter_missing", 400, None, "a parameter of the token request is missing";
    /// The server does not serve this `grant_type`.
    GrantTypeUnsupported = "grant_type_unsupported", 400, None, "the grant type is not supported";
    /// `subject_token_type` or `requested_token_type` is none that the server exchanges (RFC 8693 section 3).
    TokenTypeUnsupported = "token_type_unsupported", 400, None, "the token type is not supported";
    /// The request brings an actor token, which is refused rather than overlooked: the client is the actor.
    ActorTokenUnsupported = "actor_token_unsupported", 400, None, "an actor token is not supported";
    /// A token request shows no client authentication.
    ClientMissing = "client_missing", 401, None, "no client authentication was sent";
    /// A token request authenticates its client in two ways (RFC 6749 section 2.3), or names two clients.
    ClientAmbiguous = "client_ambiguous", 400, None, "the client is authenticated in more than one way";
    /// No client of this name is registered.
    ClientUnknown = "client_unknown", 401, None, "the client is not known";
    /// The client is registered for another way to authenticate.
    ClientMethodMismatch = "client_method_mismatch", 401, None, "the client may not authenticate in this way";
    /// The client secret is wrong or malformed.
    ClientSecretWrong = "client_secret_wrong", 401, None, "the client secret is wrong";
    /// The client assertion is no signed JWT, or a claim of it is missing or of the wrong type.
    AssertionMalformed = "assertion_malformed", 401, None, "the client assertion is malformed";
    /// The client assertion is a token of another kind, by its `typ`.
    AssertionTypeMismatch = "assertion_type_mismatch", 401, None, "this is not a client assertion";
    /// The client assertion is not signed with the algorithm of the client's registered key.
    AssertionAlgorithmRefused = "assertion_algorithm_refused", 401, None, "the client assertion's algorithm is not accepted";
    /// None of the client's registered keys fits the assertion.
    AssertionKeyUnknown = "assertion_key_unknown", 401, None, "the client assertion's key is not known";
    /// The client assertion's signature does not verify.
    AssertionSignatureInvalid = "assertion_signature_invalid", 401, None, "the client assertion's signature is invalid";
    /// `iss`, `sub` and `client_id` do not all name the same client (RFC 7523 section 3).
    AssertionPartyMismatch = "assertion_party_mismatch", 401, None, "the client assertion speaks for another client";
    /// The client assertion is meant for another server, or for several.
    AssertionAudienceMismatch = "assertion_audience_mismatch", 401, None, "the client assertion is meant for another server";
    /// The client assertion is at or past `exp`, or not valid yet.
    AssertionExpired = "assertion_expired", 401, None, "the client assertion is not valid now";
    /// The client assertion lives longer than the server accepts.
    AssertionLifetimeTooLong = "assertion_lifetime_too_long", 401, None, "the client assertion lives too long";
    /// The client assertion was used before.
    AssertionReplayed = "assertion_replayed", 401, None, "the client assertion was used before";
    /// No rule lets this client exchange anything.
    ClientNotAllowed = "client_not_allowed", 400, None, "the client may not exchange tokens";
    /// A scope was asked that this exchange does not derive from the subject token's scopes.
    ScopeRefused = "scope_refused", 400, None, "a requested scope is not granted";
    /// `may_act` of the subject token does not name this client (RFC 8693 section 4.4).
    ActorNotAllowed = "actor_not_allowed", 400, None, "the subject token does not let this client act";
    /// The client stands in the subject token's actor chain already.
    ActorRepeated = "actor_repeated", 400, None, "the client acts for this subject already";
    /// The actor chain is as deep as the server allows.
    ActorChainTooDeep = "actor_chain_too_deep", 400, None, "the actor chain is too deep";
}

impl Denial {
    /// The scopes that would have been enough, where that is what was missing.
    #[must_use]
    pub const fn needed_scopes(&self) -> Option<&ScopeSet> {
        match self {
            Self::InsufficientScope(scopes) | Self::RouteRequiresScope(scopes) => Some(scopes),
            _ => None,
        }
    }

    /// What the user has to do first, where that is what was missing.
    #[must_use]
    pub fn step_up(&self) -> Option<&StepUp> {
        match self {
            Self::StepUpRequired(step_up) => Some(step_up),
            _ => None,
        }
    }
}
