//! One guarded request, as a `reqwest` user expects to write it.

use hopguard_tower::{EgressError, EgressService, OnBehalfOf};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use serde::Serialize;
use tower::ServiceExt;

use crate::body::Payload;
use crate::transport::{ReqwestTransport, SendError};

/// Collects a request; the first mistake is told by [`send`](Self::send).
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    service: EgressService<ReqwestTransport>,
    subject: Option<OnBehalfOf>,
    method: Method,
    url: Result<reqwest::Url, SendError>,
    headers: HeaderMap,
    payload: Payload,
}

impl RequestBuilder {
    pub(crate) fn new(
        service: EgressService<ReqwestTransport>,
        subject: Option<OnBehalfOf>,
        method: Method,
        url: &str,
    ) -> Self {
        let url = reqwest::Url::parse(url).map_err(|_| SendError::Url);
        Self { service, subject, method, url, headers: HeaderMap::new(), payload: Payload::default() }
    }

    fn fail(mut self, error: SendError) -> Self {
        if self.url.is_ok() {
            self.url = Err(error);
        }
        self
    }

    /// Adds a header. A credential of one's own refuses the request.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
                self
            }
            _ => self.fail(SendError::Header),
        }
    }

    /// Adds query parameters, percent-encoded.
    pub fn query(mut self, pairs: &[(&str, &str)]) -> Self {
        if let Ok(url) = &mut self.url {
            url.query_pairs_mut().extend_pairs(pairs);
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

    /// Sends it through the egress stack.
    ///
    /// # Errors
    ///
    /// [`EgressError::Refused`] if the call may not be made or its answer not be used; nothing was sent unless
    /// the code is `redirect_refused`. [`EgressError::Unsendable`] if what was collected makes no request,
    /// [`EgressError::Peer`] if the client failed.
    pub async fn send(self) -> Result<reqwest::Response, EgressError<SendError>> {
        let url = self.url.map_err(EgressError::Unsendable)?;
        let uri: Uri = url.as_str().parse().map_err(|_| EgressError::Unsendable(SendError::Url))?;
        let mut request = Request::new(self.payload);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        // For the client at the other end, which needs it in this form.
        request.extensions_mut().insert(url);
        if let Some(subject) = self.subject {
            request.extensions_mut().insert(subject);
        }
        let response = self.service.oneshot(request).await?;
        Ok(response.map(reqwest::Body::wrap).into())
    }
}
