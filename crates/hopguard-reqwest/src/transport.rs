//! A `reqwest::Client` as the innermost service of an egress stack.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, MapErr, MapOk, Ready, TryFutureExt, ready};
use hopguard_core::Destination;
use hopguard_tower::ScannedBody;
use http::{Request, Response, Uri};
use tower_service::Service;

use crate::Payload;

/// Why a guarded request brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The URL is not one.
    #[error("the URL is invalid")]
    Url,
    /// A header's name or value is not one.
    #[error("a header is invalid")]
    Header,
    /// The body could not be written as JSON.
    #[error("the body cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    /// The URL that was judged is not the URL that would be sent.
    #[error("the URL changed on its way to the client")]
    UrlChanged,
    /// The peer answered with another status than 2xx, where success was demanded.
    #[error("the peer answered {0}")]
    Status(u16),
    /// The client failed: no connection, a timeout, a broken answer.
    #[error("the request failed")]
    Client(#[source] reqwest::Error),
}

/// Sends judged requests with `reqwest`.
#[derive(Clone)]
pub struct ReqwestTransport(pub(crate) reqwest::Client);

impl fmt::Debug for ReqwestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReqwestTransport")
    }
}

/// In a request's extensions: the longest that the peer may take.
#[derive(Clone, Copy)]
pub(crate) struct Longest(pub(crate) Duration);

type Pending = Pin<Box<dyn Future<Output = Result<reqwest::Response, reqwest::Error>> + Send>>;
type Sent =
    MapOk<MapErr<Pending, fn(reqwest::Error) -> SendError>, fn(reqwest::Response) -> Response<reqwest::Body>>;

impl Service<Request<ScannedBody<Payload>>> for ReqwestTransport {
    type Response = Response<reqwest::Body>;
    type Error = SendError;
    type Future = Either<Sent, Ready<Result<Response<reqwest::Body>, SendError>>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ScannedBody<Payload>>) -> Self::Future {
        match convert(request) {
            Ok(request) => {
                // Boxed as `reqwest` itself hides the type of what it awaits; beside a network call.
                let client = self.0.clone();
                let pending: Pending = Box::pin(async move { client.execute(request).await });
                let failed: fn(reqwest::Error) -> SendError = |error| SendError::Client(error.without_url());
                let sent: fn(reqwest::Response) -> Response<reqwest::Body> = Into::into;
                Either::Left(pending.map_err(failed).map_ok(sent))
            }
            Err(error) => Either::Right(ready(Err(error))),
        }
    }
}

/// The same request for `reqwest`, provided that its URL is the one that was judged.
fn convert(request: Request<ScannedBody<Payload>>) -> Result<reqwest::Request, SendError> {
    let (mut parts, mut payload) = request.into_parts();
    // INVARIANT: I2 — two readers of a URL may differ; the route was chosen by the other one.
    let known = parts.extensions.remove::<reqwest::Url>();
    let url = match known.map(|url| is_same(&url, &parts.uri).map(|same| (url, same))) {
        // Read once already, and nobody has changed the request's URL since.
        Some(Ok((url, true))) => url,
        _ => {
            let url = reqwest::Url::parse(&parts.uri.to_string()).map_err(|_| SendError::Url)?;
            if !is_same(&url, &parts.uri)? {
                return Err(SendError::UrlChanged);
            }
            url
        }
    };
    let mut converted = reqwest::Request::new(parts.method, url);
    *converted.timeout_mut() = parts.extensions.remove::<Longest>().map(|longest| longest.0);
    *converted.headers_mut() = parts.headers;
    *converted.body_mut() = match payload.take_whole() {
        Some(bytes) if bytes.is_empty() => None,
        Some(bytes) => Some(bytes.into()),
        None => Some(reqwest::Body::wrap(payload)),
    };
    Ok(converted)
}

/// True if the other reader sees what we see, letter by letter.
fn is_same(url: &reqwest::Url, judged: &Uri) -> Result<bool, SendError> {
    let reread: Uri = url.as_str().parse().map_err(|_| SendError::Url)?;
    let same_place = Destination::of(judged).is_some_and(|judged| judged.is_of(&reread));
    Ok(same_place && reread.path() == judged.path() && reread.query() == judged.query())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn converts(uri: &str, expected: bool) {
        let request = Request::builder().uri(uri).body(ScannedBody::default()).unwrap();
        assert_eq!(convert(request).is_ok(), expected, "{uri}");
        // Whatever URL was read before, the one that is sent is the one that was judged.
        let mut request = Request::builder().uri(uri).body(ScannedBody::default()).unwrap();
        request.extensions_mut().insert(reqwest::Url::parse("https://elsewhere.internal/").unwrap());
        let converted = convert(request);
        assert_eq!(converted.is_ok(), expected, "{uri}");
        assert!(converted.is_ok_and(|sent| sent.url().host_str() == Some("a.internal")) || !expected);
    }

    #[test]
    fn what_was_judged_is_what_is_sent() {
        converts("https://a.internal/x?y=1", true);
        converts("https://a.internal", true);
        converts("https://a.internal:8443/x", true);
        converts("https://a.internal/x/../admin", false);
        converts("https://a.internal/./x", false);
        converts("https://a.internal/%2e%2e/x", false);
        converts("https://0x7f.1/x", false);
        converts("/relative", false);
    }
}
