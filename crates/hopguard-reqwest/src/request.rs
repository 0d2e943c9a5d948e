//! One guarded request, as a `reqwest` user expects to write it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hopguard_core::redacted;
use hopguard_tower::{EgressError, EgressService, OnBehalfOf};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt;

use crate::body::Payload;
use crate::transport::{Longest, ReqwestTransport, SendError};

/// Everything but the unreserved characters (RFC 3986 section 2.3) is escaped.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

type Sent<T> = Result<T, EgressError<SendError>>;

/// Collects a request; the first mistake is told when it is sent.
///
/// The URL is judged as it was written: nothing resolves `..` or rewrites it on the way to the route map. Put
/// what comes from a caller into [`segment`](Self::segment) and [`query`](Self::query), which encode it.
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    service: EgressService<ReqwestTransport>,
    subject: Option<OnBehalfOf>,
    method: Method,
    url: String,
    query: String,
    mistake: Option<SendError>,
    headers: HeaderMap,
    payload: Payload,
    timeout: Option<Duration>,
}

impl fmt::Debug for RequestBuilder {
    /// Shows where the request goes and what it is made of, and no value that may hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // INVARIANT: I10 — a handler may have put a token anywhere.
        f.debug_struct("RequestBuilder")
            .field("method", &redacted(self.method.as_str()))
            .field("url", &redacted(&self.url))
            .field("headers", &self.headers.len())
            .field("mistake", &self.mistake)
            .finish_non_exhaustive()
    }
}

impl RequestBuilder {
    pub(crate) fn new(
        service: EgressService<ReqwestTransport>,
        subject: Option<OnBehalfOf>,
        method: Method,
        url: &str,
    ) -> Self {
        Self {
            service,
            subject,
            method,
            url: url.into(),
            query: String::new(),
            mistake: None,
            headers: HeaderMap::new(),
            payload: Payload::default(),
            timeout: None,
        }
    }

    fn fail(mut self, error: SendError) -> Self {
        self.mistake.get_or_insert(error);
        self
    }

    /// Adds one path segment, encoded, so that no slash, question mark or escape in it means anything. `.` and
    /// `..`, which no encoding hides, are mistakes, and so is an empty one.
    pub fn segment(mut self, text: &str) -> Self {
        if matches!(text, "" | "." | "..") || self.url.contains(['?', '#']) {
            return self.fail(SendError::Url);
        }
        if !self.url.ends_with('/') {
            self.url.push('/');
        }
        self.url.extend(utf8_percent_encode(text, RESERVED));
        self
    }

    /// Adds a header. A credential of one's own refuses the request when it is sent (`credential_unexpected`).
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
                self
            }
            _ => self.fail(SendError::Header),
        }
    }

    /// Adds all of these headers. A credential of one's own refuses the request.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// The longest that the peer may take, its answer's body included, in place of the client's own limit. What the
    /// authorization server may take is the egress stack's.
    pub fn timeout(mut self, longest: Duration) -> Self {
        self.timeout = Some(longest);
        self
    }

    /// Adds query parameters, encoded.
    pub fn query(mut self, pairs: &[(&str, &str)]) -> Self {
        for (name, value) in pairs {
            self.query.push(if self.query.is_empty() && !self.url.contains('?') { '?' } else { '&' });
            self.query.extend(utf8_percent_encode(name, RESERVED));
            self.query.push('=');
            self.query.extend(utf8_percent_encode(value, RESERVED));
        }
        self
    }

    /// Sets the body: bytes, text, or a stream of `reqwest`'s.
    pub fn body(mut self, body: impl Into<Payload>) -> Self {
        self.payload = body.into();
        self
    }

    /// Sets the body to `value` as JSON.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => {
                self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                self.body(bytes)
            }
            Err(error) => self.fail(SendError::Json(error)),
        }
    }

    /// Sets the body to these parameters as a form.
    ///
    /// ```
    /// # use hopguard_reqwest::Calls;
    /// # fn of(calls: Calls) {
    /// let request = calls.post("https://inventory.internal/search").form(&[("name", "a & b"), ("page", "2")]);
    /// # drop(request);
    /// # }
    /// ```
    pub fn form(mut self, pairs: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (name, value) in pairs {
            if !text.is_empty() {
                text.push('&');
            }
            text.extend(utf8_percent_encode(name, RESERVED));
            text.push('=');
            text.extend(utf8_percent_encode(value, RESERVED));
        }
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        self.headers.insert(CONTENT_TYPE, kind);
        self.body(text)
    }

    /// Sends it through the egress stack. The answer may have any status: see [`success`](Self::success).
    ///
    /// # Errors
    ///
    /// [`EgressError::Refused`] if the call may not be made or its answer not be used; nothing was sent unless
    /// the code is `redirect_refused`. [`EgressError::Unsendable`] if what was collected makes no request: that is the
    /// program's mistake, and no event of the audit. [`EgressError::Peer`] if the client failed.
    pub async fn send(self) -> Sent<reqwest::Response> {
        if let Some(mistake) = self.mistake {
            return Err(EgressError::Unsendable(mistake));
        }
        let url = self.url + &self.query;
        let uri: Uri = url.parse().map_err(|_| EgressError::Unsendable(SendError::Url))?;
        let mut request = Request::new(self.payload);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        if let Some(subject) = self.subject {
            request.extensions_mut().insert(subject);
        }
        if let Some(longest) = self.timeout {
            request.extensions_mut().insert(Longest(longest));
        }
        let response = self.service.oneshot(request).await?;
        Ok(response.map(reqwest::Body::wrap).into())
    }

    /// Sends it and demands a 2xx answer, so that a peer's refusal cannot be taken for its result.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`SendError::Status`] for any other status: [`EgressError::Peer`] for
    /// 408, 425, 429, 502, 503 and 504, [`EgressError::Unexpected`] for all others.
    pub async fn success(self) -> Sent<reqwest::Response> {
        let response = self.send().await?;
        let status = response.status();
        let refusal = SendError::Status(status.as_u16());
        match status.as_u16() {
            200..=299 => Ok(response),
            // RFC 6585 section 4, RFC 8470 section 5.2, RFC 9110 sections 15.5.9 and 15.6.3 to 15.6.5: it may
            // be otherwise later.
            408 | 425 | 429 | 502..=504 => Err(EgressError::Peer(refusal)),
            _ => Err(EgressError::Unexpected(refusal)),
        }
    }

    /// Sends it, demands a 2xx answer, and reads its body as text.
    ///
    /// # Errors
    ///
    /// As [`success`](Self::success), and [`SendError::Client`] if the body breaks off.
    pub async fn text(self) -> Sent<String> {
        self.success().await?.text().await.map_err(broken)
    }

    /// Sends it, demands a 2xx answer, and reads its whole body.
    ///
    /// # Errors
    ///
    /// As [`text`](Self::text).
    pub async fn bytes(self) -> Sent<Bytes> {
        self.success().await?.bytes().await.map_err(broken)
    }

    /// Sends it, demands a 2xx answer, and reads its body as JSON.
    ///
    /// # Errors
    ///
    /// As [`text`](Self::text), and [`EgressError::Unexpected`] for what is no such JSON.
    pub async fn read_json<T: DeserializeOwned>(self) -> Sent<T> {
        let body = self.bytes().await?;
        // INVARIANT: I10 — what `serde_json` says of it quotes it, and it may hold a token.
        serde_json::from_slice(&body).map_err(|error| {
            EgressError::Unexpected(SendError::NoSuchJson { line: error.line(), column: error.column() })
        })
    }
}

fn broken(error: reqwest::Error) -> EgressError<SendError> {
    EgressError::Peer(SendError::Client(error.without_url()))
}
