//! Refusals as `application/problem+json` (RFC 9457).
//!
//! The body says no more than the status and the event id do: what was wrong with a token is for the audit.

use axum::body::Body;
use axum::response::Response;
use hopguard_tower::Refused;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

/// Gives a refusal its body; every other response passes as it is.
pub(crate) fn render(mut response: Response) -> Response {
    let Some(refused) = response.extensions().get::<Refused>() else { return response };
    if response.headers().contains_key(CONTENT_TYPE) {
        return response;
    }
    // Without the header no audit holds the id: a client that failed has no event of its own.
    let audited = response.headers().contains_key("hopguard-event");
    let instance = audited.then(|| format!("urn:hopguard:event:{}", refused.event));
    let status = response.status();
    let mut problem = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Refused"),
        "status": status.as_u16(),
    });
    if let (Some(instance), Some(members)) = (instance, problem.as_object_mut()) {
        members.insert("instance".into(), instance.into());
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response.headers_mut().remove(CONTENT_LENGTH);
    response.map(|_| Body::from(problem.to_string()))
}
