//! What goes back: a token response (RFC 8693 section 2.2.1) or an error (RFC 6749 section 5.2).

use axum::body::Body;
use bytes::Bytes;
use hopguard_core::{Denial, Fault, Refusal};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::exchange::Exchanged;

#[derive(Serialize)]
struct TokenResponse<'a> {
    access_token: &'a str,
    issued_token_type: &'static str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

/// The answer to an exchange that was allowed.
pub(crate) fn granted(exchanged: &Exchanged) -> Result<Response<Body>, Fault> {
    let facts = &exchanged.token.facts;
    let answer = TokenResponse {
        access_token: &exchanged.token.text,
        issued_token_type: exchanged.issued_token_type,
        token_type: "Bearer",
        expires_in: facts.expires.since(exchanged.now).map_or(0, |left| left.as_secs()),
        scope: (!facts.scopes.is_empty()).then(|| facts.scopes.to_string()),
    };
    // Room for everything, so that growing leaves no unwiped copy of the token behind.
    let mut body = Zeroizing::new(Vec::with_capacity(exchanged.token.text.len() + 1024));
    serde_json::to_writer(&mut *body, &answer).map_err(|_| Fault::SigningFailed)?;
    Ok(uncached(StatusCode::OK, Body::from(Bytes::from_owner(body))))
}

/// The answer to everything else. The refusal travels in the extensions, for tests and for layers around.
pub(crate) fn refused(refusal: Refusal) -> Response<Body> {
    let (status, error) = oauth(&refusal);
    // Whoever is not proven to be a client learns no more than that.
    let body = match error {
        "invalid_client" => json!({ "error": error }),
        _ => json!({ "error": error, "error_description": refusal.code() }),
    };
    let mut answer = uncached(status, Body::from(body.to_string()));
    let headers = answer.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        headers
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"token\", charset=\"UTF-8\""));
    }
    if let Some(after) = refusal.retry_after() {
        headers.insert(RETRY_AFTER, after.as_secs().into());
    }
    answer.extensions_mut().insert(refusal);
    answer
}

/// The status and the error code of RFC 6749 section 5.2, RFC 8693 section 2.2.2 and RFC 8707 section 2.
pub(crate) fn oauth(refusal: &Refusal) -> (StatusCode, &'static str) {
    let bad = StatusCode::BAD_REQUEST;
    match refusal {
        Refusal::Fault(Fault::SigningFailed) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        Refusal::Fault(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
        Refusal::Denial(denial) => match denial {
            Denial::GrantTypeUnsupported => (bad, "unsupported_grant_type"),
            Denial::ClientNotAllowed => (bad, "unauthorized_client"),
            Denial::ExchangeTargetRefused => (bad, "invalid_target"),
            Denial::ScopeRefused => (bad, "invalid_scope"),
            Denial::RequestTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request"),
            Denial::ClientMissing
            | Denial::ClientUnknown
            | Denial::ClientMethodMismatch
            | Denial::ClientSecretWrong
            | Denial::AssertionMalformed
            | Denial::AssertionTypeMismatch
            | Denial::AssertionAlgorithmRefused
            | Denial::AssertionKeyUnknown
            | Denial::AssertionSignatureInvalid
            | Denial::AssertionPartyMismatch
            | Denial::AssertionAudienceMismatch
            | Denial::AssertionExpired
            | Denial::AssertionLifetimeTooLong
            | Denial::AssertionReplayed => (StatusCode::UNAUTHORIZED, "invalid_client"),
            // RFC 8693 section 2.2.2: a subject token that is invalid, or not acceptable, is this too.
            _ => (bad, "invalid_request"),
        },
    }
}

fn uncached(status: StatusCode, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}
