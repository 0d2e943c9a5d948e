//! How a refusal is answered: status, challenge, event id, and the typed reason for whoever renders it.
//!
//! On the wire every refusal of a token that was not verified looks the same: what was wrong with it is for
//! the audit, not for whoever probes.

use hopguard_core::{Challenge, Denial, Id, Refusal};
use http::header::{CACHE_CONTROL, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

use crate::Hop;

/// The header that names the audit event of a refusal.
pub(crate) const EVENT: HeaderName = HeaderName::from_static("hopguard-event");

/// In a response's extensions: this answer is a refusal by hopguard, and why.
///
/// Renderers and tests read it; the wire does not show the code.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// The audit event that says so.
    pub event: Id,
}

impl Refused {
    /// The answer for this refusal, with an empty body.
    #[must_use]
    pub fn into_response<B: Default>(self, realm: &str) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() =
            StatusCode::from_u16(self.refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::try_from(self.event.to_string()) {
            headers.insert(EVENT, id);
        }
        if let Refusal::Denial(denial) = &self.refusal
            && let Some(challenge) = challenge(denial, realm)
        {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.refusal.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response.extensions_mut().insert(self);
        response
    }

    pub(crate) fn answer<B: Default>(self, hop: &Hop) -> Response<B> {
        self.into_response(hop.audit().service())
    }
}

/// RFC 6750 section 3. Scopes are quoted as they are: RFC 6749 keeps quote and backslash out of them.
fn challenge(denial: &Denial, realm: &str) -> Option<HeaderValue> {
    let error = match denial.challenge() {
        Challenge::None => return None,
        Challenge::Bare => "",
        Challenge::InvalidRequest => ", error=\"invalid_request\"",
        Challenge::InvalidToken => ", error=\"invalid_token\"",
        Challenge::InsufficientScope => ", error=\"insufficient_scope\"",
        Challenge::StepUp => ", error=\"insufficient_user_authentication\"",
    };
    // Written in one go: a refusal should cost whoever asks for it more than us.
    let mut value = String::with_capacity(128);
    value.push_str("Bearer realm=\"");
    value.extend(realm.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')));
    value.extend(["\"", error]);
    if let Some(needed) = denial.needed_scopes() {
        value.extend([", scope=\"", &needed.to_string(), "\""]);
    }
    if let Some(step_up) = denial.step_up() {
        value.push_str(&step_up.parameters());
    }
    HeaderValue::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use hopguard_core::{Fault, ScopeSet};

    use super::*;

    #[track_caller]
    fn answer(refusal: impl Into<Refusal>, status: u16, challenge: Option<&str>, retry: Option<&str>) {
        let event = Id::fresh();
        let response: Response<String> =
            Refused { refusal: refusal.into(), event }.into_response("or\"ders\n");
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(header(WWW_AUTHENTICATE).as_deref(), challenge);
        assert_eq!(header(RETRY_AFTER).as_deref(), retry);
        assert_eq!(header(EVENT), Some(event.to_string()));
        assert!(response.body().is_empty());
    }

    #[test]
    fn the_wire_shows_no_code() {
        answer(Denial::TokenMissing, 401, Some(r#"Bearer realm="orders""#), None);
        for denial in [Denial::SignatureInvalid, Denial::TokenExpired, Denial::AudienceMismatch] {
            answer(denial, 401, Some(r#"Bearer realm="orders", error="invalid_token""#), None);
        }
        let needed = ScopeSet::parse("b a").unwrap();
        let scope = r#"Bearer realm="orders", error="insufficient_scope", scope="a b""#;
        answer(Denial::InsufficientScope(needed), 403, Some(scope), None);
        answer(Denial::ScopeTooBroad, 403, None, None);
        let said =
            serde_json::json!({"acr_values": "phr", "max_age": 5, "error_description": "do not repeat"});
        let step_up = Denial::StepUpRequired(Box::new(hopguard_core::StepUp::relayed(&said)));
        let asks = concat!(
            r#"Bearer realm="orders", error="insufficient_user_authentication", "#,
            r#"acr_values="phr", max_age="5""#
        );
        answer(step_up, 401, Some(asks), None);
        answer(Denial::SubjectRefused, 401, Some(r#"Bearer realm="orders", error="invalid_token""#), None);
        answer(Fault::KeysUnavailable, 503, None, Some("5"));
        answer(Fault::EvidenceMissing, 500, None, None);
    }
}
