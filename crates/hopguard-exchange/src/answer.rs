//! What the authorization server answered (RFC 8693 section 2.2, RFC 6749 section 5), read strictly.
//!
//! Unknown and `null` members are tolerated, because real servers send them; a member that is known and given
//! twice, or of the wrong type, makes the whole answer unreadable.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use hopguard_client::TransportError;
use hopguard_core::{Denial, Fault, RawToken, Refusal, ScopeSet};
use http::{HeaderMap, Response, StatusCode, header};
use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

use crate::profile::StsProfile;
use crate::request::{ACCESS_TOKEN, JWT};

/// The longest answer that is read; a token of the longest length that verifies fits several times.
const LONGEST: usize = 64 * 1024;

/// A token response. Nothing is known about the token yet.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) token: Arc<RawToken>,
    pub(crate) expires_in: Option<u64>,
    // Judged only where the token cannot be read; a token that can says it itself.
    scope: Option<serde_json::Value>,
}

impl Answer {
    /// The scopes of the token as the answer tells them; what was asked for if it does not
    /// (RFC 8693 section 2.2.1).
    ///
    /// # Errors
    ///
    /// [`Fault::StsAnswerInvalid`] if `scope` is there and cannot be read.
    pub(crate) fn told_scopes(&self, asked: ScopeSet) -> Result<ScopeSet, Fault> {
        match &self.scope {
            None => Ok(asked),
            Some(serde_json::Value::String(scope)) => {
                ScopeSet::parse(scope).map_err(|_| Fault::StsAnswerInvalid)
            }
            Some(_) => Err(Fault::StsAnswerInvalid),
        }
    }
}

#[derive(Deserialize)]
struct Success<'a> {
    #[serde(borrow)]
    access_token: Cow<'a, str>,
    // `client_credentials` does not know it (RFC 6749 section 5.1).
    #[serde(default, borrow)]
    issued_token_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    token_type: Cow<'a, str>,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    scope: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    error: Cow<'a, str>,
}

/// What was asked, and so how the answer is to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reading<'a> {
    /// A caller's token was to be exchanged; the profile says which refusals are the caller's.
    OfExchange(&'a StsProfile),
    /// A token of our own was asked for: there is no caller to blame.
    OfOwn,
}

/// Reads the answer to a token request.
///
/// # Errors
///
/// [`Denial::ExchangeTargetRefused`] for `invalid_target` and `invalid_scope`, what the profile names for its
/// codes, [`Fault::StsRefused`] for any other refusal, [`Fault::StsUnavailable`] for 429 and 5xx,
/// [`Fault::GrantTypeUnexpected`] for a token of another type than asked, [`Fault::StsAnswerInvalid`] for
/// everything else that is no token response.
pub(crate) fn read_answer(response: Response<Bytes>, reading: &Reading<'_>) -> Result<Answer, Refusal> {
    let (head, body) = response.into_parts();
    let answer = match head.status {
        StatusCode::OK if is_json(&head.headers) => read_success(&body, reading).map_err(Refusal::from),
        // RFC 6749 section 5.2 writes 400 and, for the client's own fault, 401; some servers write 403.
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
            if is_json(&head.headers) =>
        {
            Err(read_failure(&body, head.status, reading))
        }
        status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            tracing::warn!(status = status.as_u16(), "the authorization server is unavailable");
            Err(Fault::StsUnavailable.into())
        }
        // INVARIANT: I12 — a redirect is one of these; the transport follows none.
        status => {
            tracing::warn!(
                status = status.as_u16(),
                "the authorization server's answer is no token response"
            );
            Err(Fault::StsAnswerInvalid.into())
        }
    };
    // The buffer held a token. Wiped where nobody else shares it.
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
    answer
}

/// Whose fault it is that no answer came.
pub(crate) fn transport_fault(error: TransportError) -> Fault {
    tracing::warn!(error = error.code(), "the authorization server could not be asked");
    match error {
        TransportError::TooLarge => Fault::StsAnswerInvalid,
        _ => Fault::StsUnavailable,
    }
}

/// True if the headers name JSON as the body's type, once.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return false };
    let essence = one.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn read_success(body: &[u8], reading: &Reading<'_>) -> Result<Answer, Fault> {
    if body.len() > LONGEST {
        return Err(Fault::StsAnswerInvalid);
    }
    let Success { access_token, issued_token_type, token_type, expires_in, scope } =
        serde_json::from_slice(body).map_err(|_| Fault::StsAnswerInvalid)?;
    let token = match access_token {
        Cow::Borrowed(text) => RawToken::new(text),
        // Written with escapes, so that reading made a copy.
        Cow::Owned(text) => RawToken::new(&Zeroizing::new(text)),
    };
    if token.is_empty() {
        return Err(Fault::StsAnswerInvalid);
    }
    let issued = match (issued_token_type, reading) {
        (Some(issued), _) => issued,
        (None, Reading::OfOwn) => Cow::Borrowed(ACCESS_TOKEN),
        (None, Reading::OfExchange(_)) => return Err(Fault::StsAnswerInvalid),
    };
    // `token_type` is compared without case (RFC 6749 section 5.1); a type URI is compared as it stands.
    // INVARIANT: I4 — nothing but what was asked: no `N_A`, no `DPoP` that we hold no key for.
    if !token_type.eq_ignore_ascii_case("Bearer") || ![ACCESS_TOKEN, JWT].contains(&issued.as_ref()) {
        return Err(Fault::GrantTypeUnexpected);
    }
    Ok(Answer { token, expires_in, scope })
}

fn read_failure(body: &[u8], status: StatusCode, reading: &Reading<'_>) -> Refusal {
    let failure = (body.len() <= LONGEST).then(|| serde_json::from_slice::<Failure<'_>>(body).ok()).flatten();
    let Some(Failure { error: said }) = failure else {
        tracing::warn!(status = status.as_u16(), "the authorization server's refusal is unreadable");
        return Fault::StsAnswerInvalid.into();
    };
    // INVARIANT: I10 — of the server's own words nothing is written down but a registered code.
    let error = registered(&said);
    tracing::warn!(status = status.as_u16(), error, "the authorization server refuses the exchange");
    let Reading::OfExchange(profile) = reading else { return Fault::StsRefused.into() };
    // The parameters beside the code; unreadable ones are none.
    let response = || serde_json::from_slice(body).unwrap_or_default();
    if let Some(refusal) = profile.blames(&said, response) {
        return refusal;
    }
    match error {
        // RFC 8693 section 2.2.2 and RFC 6749 section 5.2: what was asked for is not for this caller.
        "invalid_target" | "invalid_scope" => Denial::ExchangeTargetRefused.into(),
        // `invalid_request` and `invalid_grant` may mean the subject or us; a caller that is sent to log in
        // for a fault of ours logs in forever.
        _ => Fault::StsRefused.into(),
    }
}

/// `error` if it stands in the registry of RFC 6749 section 11.4 for token requests.
fn registered(error: &str) -> &'static str {
    const CODES: &[&str] = &[
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
        "invalid_token",
        "access_denied",
        "server_error",
        "temporarily_unavailable",
        "insufficient_user_authentication",
        "invalid_dpop_proof",
        "use_dpop_nonce",
    ];
    CODES.iter().find(|&&code| code == error).copied().unwrap_or("unregistered")
}

#[cfg(test)]
mod tests {
    use super::*;

    static PLAIN: std::sync::LazyLock<StsProfile> = std::sync::LazyLock::new(StsProfile::rfc8693);

    fn exchange() -> Reading<'static> {
        Reading::OfExchange(&PLAIN)
    }

    #[test]
    fn an_answer_for_ourselves_names_no_type_and_blames_nobody() {
        let own = |status, body: &str| {
            let answer = read_answer(response(status, &["application/json"], body), &Reading::OfOwn);
            answer.map(|_| ()).map_err(|refusal| refusal.code())
        };
        assert_eq!(own(200, &with("issued_token_type", "")), Ok(()));
        assert_eq!(own(200, &with("", "")), Ok(()));
        let refresh = r#""urn:ietf:params:oauth:token-type:refresh_token""#;
        assert_eq!(own(200, &with("issued_token_type", refresh)), Err("grant_type_unexpected"));
        assert_eq!(own(200, &with("token_type", r#""DPoP""#)), Err("grant_type_unexpected"));
        for error in ["invalid_target", "invalid_scope", "insufficient_user_authentication"] {
            assert_eq!(own(400, &format!(r#"{{"error":"{error}"}}"#)), Err("sts_refused"));
        }
    }

    #[test]
    fn a_step_up_is_relayed_by_an_allow_list() {
        let body = r#"{"error":"insufficient_user_authentication","error_description":"<script>",
            "acr_values":"phr","max_age":"60","scope":"a","claims":{"id_token":{"x":null}},"evil":"text"}"#;
        let refusal = read_answer(response(400, &["application/json"], body), &exchange()).unwrap_err();
        assert_eq!((refusal.code(), refusal.status()), ("step_up_required", 401));
        let Refusal::Denial(denial) = &refusal else { panic!("{refusal:?}") };
        let asks = denial.step_up().unwrap();
        assert_eq!((asks.acr_values().collect::<Vec<_>>(), asks.max_age()), (vec!["phr"], Some(60)));
        assert_eq!(asks.claims(), Some(r#"{"id_token":{"x":null}}"#));
        assert!(!format!("{refusal:?} {refusal} {}", asks.parameters()).contains("script"));
        // Parameters that cannot be read are left out; the demand stands.
        let bare = r#"{"error":"insufficient_user_authentication","acr_values":["phr"],"max_age":{}}"#;
        answer(401, bare, Err("step_up_required"));
    }

    #[test]
    fn what_a_profile_names_is_the_callers_and_nothing_else() {
        let profile = StsProfile::keycloak();
        let code = |error: &str| {
            let body = format!(r#"{{"error":"{error}"}}"#);
            let answer = response(400, &["application/json"], &body);
            read_answer(answer, &Reading::OfExchange(&profile)).unwrap_err().code()
        };
        assert_eq!(code("invalid_token"), "subject_refused");
        assert_eq!(code("invalid_grant"), "sts_refused");
        assert_eq!(code("invalid_client"), "sts_refused");
        answer(400, r#"{"error":"invalid_token"}"#, Err("sts_refused"));
    }

    fn response(status: u16, content_type: &[&str], body: &str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(body.to_owned()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for one in content_type {
            response.headers_mut().append(header::CONTENT_TYPE, one.parse().unwrap());
        }
        response
    }

    #[track_caller]
    fn answer(status: u16, body: &str, expected: Result<Option<u64>, &str>) {
        let found = read_answer(response(status, &["application/json"], body), &exchange());
        assert_eq!(found.as_ref().map(|a| a.expires_in).map_err(Refusal::code), expected, "{body}");
    }

    /// A good answer with one member written differently.
    fn with(member: &str, value: &str) -> String {
        let members = [
            ("access_token", r#""a.b.c""#),
            ("issued_token_type", r#""urn:ietf:params:oauth:token-type:access_token""#),
            ("token_type", r#""Bearer""#),
            ("expires_in", "300"),
        ];
        let written = members.map(|(name, usual)| {
            let value = if name == member { value } else { usual };
            if value.is_empty() { String::new() } else { format!(r#""{name}":{value},"#) }
        });
        format!(r#"{{{}"scope":null,"x":{{"y":[1]}}}}"#, written.concat())
    }

    #[test]
    fn a_token_response_is_read() {
        answer(200, &with("", ""), Ok(Some(300)));
        answer(200, &with("expires_in", ""), Ok(None));
        answer(200, &with("expires_in", "null"), Ok(None));
        answer(200, &with("expires_in", "0"), Ok(Some(0)));
        answer(200, &with("token_type", r#""bearer""#), Ok(Some(300)));
        answer(200, &with("issued_token_type", r#""urn:ietf:params:oauth:token-type:jwt""#), Ok(Some(300)));
        let escaped = read_answer(
            response(200, &["application/json"], &with("access_token", r#""a.b.\u0063""#)),
            &exchange(),
        );
        assert_eq!(escaped.unwrap().token.dangerous_expose(), "a.b.c");
    }

    #[test]
    fn the_longest_answer_is_read_and_a_longer_one_is_not() {
        let body = with("", "");
        let padded = |bytes: usize| format!("{body}{}", " ".repeat(bytes - body.len()));
        answer(200, &padded(65_536), Ok(Some(300)));
        answer(200, &padded(65_537), Err("sts_answer_invalid"));
    }

    #[test]
    fn an_unknown_member_is_skipped_however_deep_it_is() {
        let depth = 20_000;
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        answer(200, &with("", "").replace("[1]", &deep), Ok(Some(300)));
    }

    #[test]
    fn what_is_no_token_response_is_invalid() {
        for (member, value) in [
            ("access_token", ""),
            ("access_token", r#""""#),
            ("access_token", "null"),
            ("access_token", "7"),
            ("access_token", r#"["a.b.c"]"#),
            ("issued_token_type", ""),
            ("issued_token_type", "null"),
            ("token_type", ""),
            ("token_type", "null"),
            ("expires_in", r#""300""#),
            ("expires_in", "-1"),
            ("expires_in", "300.0"),
            ("expires_in", "18446744073709551616"),
            ("token_type", r#""Bearer","token_type":"Bearer""#),
            ("access_token", r#""a.b.c","access_\u0074oken":"d.e.f""#),
        ] {
            answer(200, &with(member, value), Err("sts_answer_invalid"));
        }
        for body in ["", "null", "[]", "{", "{}", "a.b.c", "<html>"] {
            answer(200, body, Err("sts_answer_invalid"));
        }
        answer(200, &format!("{}x", with("", "")), Err("sts_answer_invalid"));
        let padding = " ".repeat(LONGEST);
        answer(200, &format!("{padding}{}", with("", "")), Err("sts_answer_invalid"));
    }

    #[test]
    fn another_type_than_asked_has_its_own_code() {
        for (member, value) in [
            ("token_type", r#""N_A""#),
            ("token_type", r#""DPoP""#),
            ("token_type", r#""""#),
            ("issued_token_type", r#""urn:ietf:params:oauth:token-type:refresh_token""#),
            ("issued_token_type", r#""urn:ietf:params:oauth:token-type:id_token""#),
            ("issued_token_type", r#""URN:ietf:params:oauth:token-type:access_token""#),
        ] {
            answer(200, &with(member, value), Err("grant_type_unexpected"));
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        for (error, code) in [
            ("invalid_target", "exchange_target_refused"),
            ("invalid_scope", "exchange_target_refused"),
            ("invalid_request", "sts_refused"),
            ("invalid_client", "sts_refused"),
            ("invalid_grant", "sts_refused"),
            ("Invalid_Target", "sts_refused"),
            ("something of its own", "sts_refused"),
        ] {
            for status in [400, 401, 403] {
                let body = format!(r#"{{"error":"{error}","error_description":null,"error_uri":7}}"#);
                answer(status, &body, Err(code));
            }
        }
        for body in ["", "<html>", r#"{"error":null}"#, r#"{"error":"invalid_target","error":"x"}"#] {
            answer(400, body, Err("sts_answer_invalid"));
        }
    }

    #[test]
    fn every_other_status_is_trouble() {
        for status in [429, 500, 502, 503, 504, 599] {
            answer(status, &with("", ""), Err("sts_unavailable"));
        }
        for status in [201, 204, 206, 301, 302, 303, 307, 308, 404, 405, 415] {
            answer(status, &with("", ""), Err("sts_answer_invalid"));
        }
    }

    #[test]
    fn the_content_type_is_json_and_named_once() {
        let code = |types: &[&str]| {
            read_answer(response(200, types, &with("", "")), &exchange()).err().map(|e| e.code())
        };
        for good in [
            "application/json",
            "Application/JSON",
            "application/json;charset=UTF-8",
            "application/json ; x=y",
        ] {
            assert_eq!(code(&[good]), None, "{good}");
        }
        for bad in [
            &[][..],
            &["text/html"],
            &["application/jsonx"],
            &["application/jwt"],
            &["application/json", "application/json"],
            &["text/plain; application/json"],
            &[""],
        ] {
            assert_eq!(code(bad), Some("sts_answer_invalid"), "{bad:?}");
            // A refusal is one only as JSON: a page of something in between is no verdict about the caller.
            let refusal = read_answer(response(400, bad, r#"{"error":"invalid_target"}"#), &exchange());
            assert_eq!(refusal.err().map(|e| e.code()), Some("sts_answer_invalid"), "{bad:?}");
        }
    }

    #[test]
    fn a_transport_failure_is_the_servers() {
        assert_eq!(transport_fault(TransportError::TooLarge), Fault::StsAnswerInvalid);
        for error in [
            TransportError::Connect,
            TransportError::Timeout,
            TransportError::Broken,
            TransportError::Insecure,
        ] {
            assert_eq!(transport_fault(error), Fault::StsUnavailable);
        }
    }
}
