//! The seam through which everything is asked of an authorization server.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;

/// A boxed future: the seam is a trait object, so the future cannot be named.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sends one request to an authorization server and reads the whole answer.
///
/// Whoever implements it bounds the answer and the time, follows no redirect (a 3xx is returned as it is),
/// and refuses plain `http` to anything but loopback. An answer of any status is `Ok`: what it means is the
/// caller's business.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Sends `request`, whose URI is absolute. The future does not borrow from the transport, so that it can
    /// outlive its caller.
    ///
    /// # Errors
    ///
    /// A [`TransportError`], if there is no whole answer.
    fn send(
        &self,
        request: ::http::Request<Bytes>,
    ) -> BoxFuture<'static, Result<::http::Response<Bytes>, TransportError>>;
}

/// Why there is no answer. It says nothing about the peer's text, which is not to be echoed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The URL is not absolute, is plain `http` to another host than loopback, or carries userinfo: nothing
    /// was sent.
    #[error("the url is not one that credentials may be sent to")]
    Insecure,
    /// No connection: refused, unreachable, unknown name, or the certificate does not verify.
    #[error("the server cannot be reached")]
    Connect,
    /// The whole answer did not arrive in time.
    #[error("the server did not answer in time")]
    Timeout,
    /// The answer is longer than the bound.
    #[error("the answer is too large")]
    TooLarge,
    /// The answer ended early or is not HTTP.
    #[error("the answer is broken")]
    Broken,
}

impl TransportError {
    /// The stable name of this failure.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Insecure => "transport_insecure",
            Self::Connect => "transport_connect",
            Self::Timeout => "transport_timeout",
            Self::TooLarge => "transport_too_large",
            Self::Broken => "transport_broken",
        }
    }
}
