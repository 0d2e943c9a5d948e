//! A transport without a wire: a closure answers.

use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hopguard_client::{BoxFuture, Transport, TransportError};
use http::{Request, Response};

type Script = dyn Fn(&Request<Bytes>) -> Result<Response<Bytes>, TransportError> + Send + Sync;

/// Answers every request from a closure, and keeps what was asked.
///
/// ```
/// use hopguard_testkit::ScriptedTransport;
///
/// let transport = ScriptedTransport::json(|_| r#"{"keys":[]}"#.to_owned());
/// assert_eq!(transport.count(), 0);
/// ```
pub struct ScriptedTransport {
    script: Box<Script>,
    requests: Mutex<Vec<(String, Bytes)>>,
}

impl ScriptedTransport {
    /// Answers with what `script` returns.
    #[must_use]
    pub fn new(
        script: impl Fn(&Request<Bytes>) -> Result<Response<Bytes>, TransportError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), requests: Mutex::default() })
    }

    /// Answers 200 with the JSON that `script` returns for a URL.
    #[must_use]
    pub fn json(script: impl Fn(&str) -> String + Send + Sync + 'static) -> Arc<Self> {
        Self::new(move |request| {
            let body = Bytes::from(script(&request.uri().to_string()));
            Ok(Response::builder().header("content-type", "application/json").body(body).unwrap())
        })
    }

    /// Never gets an answer.
    #[must_use]
    pub fn failing(error: TransportError) -> Arc<Self> {
        Self::new(move |_| Err(error))
    }

    /// How many requests were sent.
    #[must_use]
    pub fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// How many requests were sent to a URL that ends in `path`.
    #[must_use]
    pub fn count_of(&self, path: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|(url, _)| url.ends_with(path)).count()
    }

    /// The URLs and bodies that were sent.
    #[must_use]
    pub fn requests(&self) -> Vec<(String, Bytes)> {
        self.requests.lock().unwrap().clone()
    }
}

impl Transport for ScriptedTransport {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, TransportError>> {
        self.requests.lock().unwrap().push((request.uri().to_string(), request.body().clone()));
        let answer = (self.script)(&request);
        Box::pin(async move {
            // A real transport is never ready at once; callers must not come to rely on it.
            tokio::task::yield_now().await;
            answer
        })
    }
}

impl fmt::Debug for ScriptedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScriptedTransport({} requests)", self.count())
    }
}
