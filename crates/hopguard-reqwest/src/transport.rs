//! A `reqwest::Client` as the innermost service of an egress stack.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, Ready, ready};
use hopguard_tower::ScannedBody;
use http::{Request, Response, Uri};
use reqwest::ResponseBuilderExt;
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
    /// The peer's answer is not the JSON that was asked for; where that shows, both counted from 1.
    #[error("the answer is no such JSON: see line {line}, column {column}")]
    NoSuchJson {
        /// The line.
        line: usize,
        /// The byte in it.
        column: usize,
    },
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

type Answer = Result<Response<reqwest::Body>, SendError>;

impl Service<Request<ScannedBody<Payload>>> for ReqwestTransport {
    type Response = Response<reqwest::Body>;
    type Error = SendError;
    type Future = Either<Pin<Box<dyn Future<Output = Answer> + Send>>, Ready<Answer>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ScannedBody<Payload>>) -> Self::Future {
        match convert(request) {
            // Boxed as `reqwest` itself hides the type of what it awaits; beside a network call.
            Ok(request) => Either::Left(Box::pin(send(self.0.execute(request)))),
            Err(error) => Either::Right(ready(Err(error))),
        }
    }
}

async fn send(pending: impl Future<Output = Result<reqwest::Response, reqwest::Error>>) -> Answer {
    let answer = pending.await.map_err(|error| SendError::Client(error.without_url()))?;
    // What `reqwest::Response::url` shows, once the answer has been through the stack.
    let url = Response::builder().url(answer.url().clone());
    let mut answer: Response<reqwest::Body> = answer.into();
    if let Some(url) = url.extensions_ref() {
        answer.extensions_mut().extend(url.clone());
    }
    Ok(answer)
}

/// The same request for `reqwest`, provided that its URL is the one that was judged.
fn convert(request: Request<ScannedBody<Payload>>) -> Result<reqwest::Request, SendError> {
    let (mut parts, mut payload) = request.into_parts();
    let url = reqwest::Url::parse(&parts.uri.to_string()).map_err(|_| SendError::Url)?;
    // INVARIANT: I2 — two readers of a URL may differ; the route was chosen by the other one.
    if !is_same(&url, &parts.uri) {
        return Err(SendError::UrlChanged);
    }
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

/// True if the other reader sees what we see, letter by letter, but for capitals in the host and a port that goes
/// without saying.
fn is_same(url: &reqwest::Url, judged: &Uri) -> bool {
    let usual = if url.scheme() == "https" { ":443" } else { ":80" };
    let same_place = judged.authority().is_some_and(|place| {
        let place = place.as_str();
        let place = url.port().map_or_else(|| place.strip_suffix(usual), |_| None).unwrap_or(place);
        !place.contains('@') && place.eq_ignore_ascii_case(url.authority())
    });
    same_place
        && matches!(url.scheme(), "https" | "http")
        && judged.scheme_str() == Some(url.scheme())
        && judged.path() == url.path()
        && judged.query() == url.query()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[track_caller]
    fn converts(uri: &str, expected: bool) {
        let request = Request::builder().uri(uri).body(ScannedBody::default()).unwrap();
        assert_eq!(convert(request).is_ok(), expected, "{uri}");
    }

    #[test]
    fn what_was_judged_is_what_is_sent() {
        converts("https://a.internal/x?y=1", true);
        converts("https://a.internal", true);
        converts("https://A.Internal:443/x", true);
        converts("http://a.internal:80/x", true);
        converts("https://a.internal:80/x", true);
        converts("http://a.internal:443/x", true);
        converts("https://a.internal:8443/x", true);
        converts("https://[::1]:8443/x", true);
        converts("https://a.internal:08443/x", false);
        converts("https://a.internal:00443/x", false);
        converts("https://a.internal:/x", false);
        converts("https://u@a.internal/x", false);
        converts("https://@a.internal/x", false);
        converts("https://[0::1]/x", false);
        converts("https://a.internal/x/../admin", false);
        converts("https://a.internal/./x", false);
        converts("https://a.internal/%2e%2e/x", false);
        converts("https://0x7f.1/x", false);
        converts("ftp://a.internal/x", false);
        converts("/relative", false);
    }

    #[tokio::test]
    async fn an_answer_names_the_url_that_was_called() {
        let peer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x?y=1", peer.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = peer.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        };
        let request = Request::builder().uri(&url).body(ScannedBody::default()).unwrap();
        let call = ReqwestTransport(reqwest::Client::builder().no_proxy().build().unwrap()).call(request);
        let ((), answer) = tokio::join!(serve, call);
        assert_eq!(reqwest::Response::from(answer.unwrap()).url().as_str(), url);
    }
}
