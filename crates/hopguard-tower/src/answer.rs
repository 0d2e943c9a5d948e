//! How a refusal is answered: status, challenge, event id, and the typed reason for whoever renders it.
//!
//! On the wire every refusal of a token that was not verified looks the same: what was wrong with it is for
//! the audit, not for whoever probes.

use hopguard_core::{Challenge, Denial, Id, Refusal};
use http::header::{CACHE_CONTROL, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Extensions, HeaderMap, HeaderValue, Response, StatusCode};

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
    /// The answer for this refusal, with an empty body, by a service of this name; an empty one is not told.
    #[must_use]
    pub fn into_response<B: Default>(self, realm: &str) -> Response<B> {
        self.respond(&Challenges::of(realm, None))
    }

    pub(crate) fn answer<B: Default>(self, hop: &Hop) -> Response<B> {
        self.respond(hop.challenges())
    }

    fn respond<B: Default>(self, challenges: &Challenges) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() =
            StatusCode::from_u16(self.refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.reserve(4);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::from_bytes(&self.event.digits()) {
            headers.insert(EVENT, id);
        }
        if let Refusal::Denial(denial) = &self.refusal
            && let Some(challenge) = challenges.value(denial)
        {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.refusal.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// In the extensions of an answer with [`Refused`] in them: whoever wrote it knows no realm, so that the stack which
/// the answer leaves through writes its challenge anew.
#[derive(Clone, Copy, Debug)]
pub struct RealmOfStack;

/// Writes the challenge of a refusal that a handler answers with in the words of `hop`'s service.
pub(crate) fn challenge_anew(hop: &Hop, extensions: &mut Extensions, headers: &mut HeaderMap) {
    if extensions.remove::<RealmOfStack>().is_some()
        && let Some(Refused { refusal: Refusal::Denial(denial), .. }) = extensions.get::<Refused>()
        && let Some(challenge) = hop.challenges().value(denial)
    {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
}

/// RFC 6750 section 3, and RFC 9728 section 5.1 where metadata is published, for one realm: written once, because a
/// refusal should cost whoever asks for it more than us.
#[derive(Debug)]
pub(crate) struct Challenges {
    /// The scheme and the realm, up to whatever comes next.
    start: String,
    /// What stands behind everything else: where the metadata is.
    tail: String,
    bare: Option<HeaderValue>,
    request: Option<HeaderValue>,
    token: Option<HeaderValue>,
}

impl Challenges {
    pub(crate) fn of(realm: &str, metadata: Option<&str>) -> Self {
        let harmless = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
        let realm = realm.chars().filter(harmless).collect::<String>();
        // RFC 6750 section 3: a realm may be left out.
        let start = if realm.is_empty() { "Bearer".to_owned() } else { format!("Bearer realm=\"{realm}\",") };
        let tail = metadata.map_or_else(String::new, |url| format!("resource_metadata=\"{url}\""));
        let mut all = Self { start, tail, bare: None, request: None, token: None };
        all.bare = all.with("");
        all.request = all.with("error=\"invalid_request\"");
        all.token = all.with("error=\"invalid_token\"");
        all
    }

    /// The challenge with these parameters between realm and metadata.
    fn with(&self, parameters: &str) -> Option<HeaderValue> {
        let Self { start, tail, .. } = self;
        let comma = if parameters.is_empty() || tail.is_empty() { "" } else { ", " };
        let text = format!("{start} {parameters}{comma}{tail}");
        HeaderValue::try_from(text.trim_end_matches([' ', ','])).ok()
    }

    fn value(&self, denial: &Denial) -> Option<HeaderValue> {
        match denial.challenge() {
            Challenge::None => None,
            Challenge::Bare => self.bare.clone(),
            Challenge::InvalidRequest => self.request.clone(),
            Challenge::InvalidToken => self.token.clone(),
            Challenge::InsufficientScope => {
                // Scopes are quoted as they are: RFC 6749 keeps quote and backslash out of them.
                let scope = denial.needed_scopes().map_or_else(String::new, |s| format!(", scope=\"{s}\""));
                self.with(&format!("error=\"insufficient_scope\"{scope}"))
            }
            Challenge::StepUp => {
                let asks = denial.step_up().map_or_else(String::new, hopguard_core::StepUp::parameters);
                self.with(&format!("error=\"insufficient_user_authentication\"{asks}"))
            }
        }
    }
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
    fn published_metadata_stands_in_every_challenge() {
        let url = "https://orders.internal/.well-known/oauth-protected-resource";
        for (denial, expected) in [
            (Denial::TokenMissing, Some(r#"Bearer realm="orders""#)),
            (Denial::TokenExpired, Some(r#"Bearer realm="orders", error="invalid_token""#)),
            (
                Denial::InsufficientScope(ScopeSet::parse("a").unwrap()),
                Some(r#"Bearer realm="orders", error="insufficient_scope", scope="a""#),
            ),
            (Denial::ScopeTooBroad, None),
        ] {
            let found = Challenges::of("orders", Some(url)).value(&denial);
            let expected = expected.map(|start| format!("{start}, resource_metadata=\"{url}\""));
            assert_eq!(found.as_ref().map(|value| value.to_str().unwrap()), expected.as_deref());
        }
    }

    #[test]
    fn who_has_no_name_tells_none() {
        for (denial, metadata, expected) in [
            (Denial::TokenMissing, None, "Bearer"),
            (Denial::TokenMissing, Some("https://a"), r#"Bearer resource_metadata="https://a""#),
            (Denial::SubjectExpired, None, r#"Bearer error="invalid_token""#),
        ] {
            let found = Challenges::of("", metadata).value(&denial).unwrap();
            assert_eq!(found.to_str().unwrap(), expected);
        }
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
