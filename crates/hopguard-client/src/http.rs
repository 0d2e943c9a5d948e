//! The transport over real sockets: hyper's pooled client with rustls.
//!
//! What it does not do is the point: no redirects, no proxy, no cookies, no decompression, HTTP/1.1 only. Each
//! request is checked to go over `https`, or to loopback; the time covers everything from the connection to the
//! last byte, and the body is read piece by piece so that one that is too long is dropped at the bound, whatever
//! its `Content-Length` promises.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ::http::{Request, Response};
use bytes::{Bytes, BytesMut};
use hopguard_core::{ConfigErrors, Problems, parse_absolute, seconds};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::{BoxFuture, Spawn, Transport, TransportError};

type Pool = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Sends requests over HTTP/1.1. Cloning shares the connections.
#[derive(Clone)]
pub struct HttpTransport {
    pool: Pool,
    timeout: Duration,
    response_at_most: usize,
}

impl HttpTransport {
    /// A transport with the defaults: 10 seconds, 512 KiB, the machine's root certificates.
    pub fn builder() -> HttpTransportBuilder {
        HttpTransportBuilder { timeout: seconds(10), response_at_most: 512 * 1024, roots: Vec::new() }
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("timeout", &self.timeout)
            .field("response_at_most", &self.response_at_most)
            .finish_non_exhaustive()
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, TransportError>> {
        let Self { pool, timeout, response_at_most } = self.clone();
        Box::pin(async move {
            // INVARIANT: I2 — judged for each request, since the URL may come from discovered metadata.
            parse_absolute(&request.uri().to_string()).map_err(|_| TransportError::Insecure)?;
            let whole = exchange(&pool, request.map(Full::new), response_at_most);
            tokio::time::timeout(timeout, whole).await.map_err(|_| TransportError::Timeout)?
        })
    }
}

async fn exchange(
    pool: &Pool,
    request: Request<Full<Bytes>>,
    at_most: usize,
) -> Result<Response<Bytes>, TransportError> {
    let answer = pool.request(request).await;
    let answer =
        answer.map_err(|e| if e.is_connect() { TransportError::Connect } else { TransportError::Broken })?;
    let (head, body) = answer.into_parts();
    Ok(Response::from_parts(head, read(body, at_most).await?))
}

/// Reads the body up to `at_most` bytes. Dropping it early closes the connection.
async fn read(mut body: Incoming, at_most: usize) -> Result<Bytes, TransportError> {
    // INVARIANT: I17 — an announced length is believed only where it refuses.
    if body.size_hint().lower() > at_most as u64 {
        return Err(TransportError::TooLarge);
    }
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| TransportError::Broken)?;
        let Some(piece) = frame.data_ref() else { continue };
        if all.len() + piece.len() > at_most {
            return Err(TransportError::TooLarge);
        }
        all.extend_from_slice(piece);
    }
    Ok(all.freeze())
}

/// Configures an [`HttpTransport`].
#[derive(Clone)]
#[must_use]
pub struct HttpTransportBuilder {
    timeout: Duration,
    response_at_most: usize,
    roots: Vec<Vec<u8>>,
}

impl HttpTransportBuilder {
    /// How long one request may take, from connecting to the last byte of the answer.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long an answer's body may be, in bytes.
    pub fn response_at_most(mut self, bytes: usize) -> Self {
        self.response_at_most = bytes;
        self
    }

    /// Trusts this root certificate (DER) beside the machine's.
    pub fn extra_root(mut self, der: &[u8]) -> Self {
        self.roots.push(der.to_vec());
        self
    }

    /// Makes the transport. Reads the machine's root certificates once per process; opens no socket. On a
    /// machine without any, every `https` request fails with [`TransportError::Connect`].
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] with every setting that is wrong.
    pub fn build(self) -> Result<HttpTransport, ConfigErrors> {
        let mut problems = Problems::new();
        if self.timeout.is_zero() || self.timeout > LONGEST_TIMEOUT {
            problems.add("transport.timeout", "must be more than nothing and at most 5 minutes");
        }
        if self.response_at_most == 0 || self.response_at_most > LARGEST_RESPONSE {
            problems.add("transport.response_at_most", "must be at least 1 byte and at most 16 MiB");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(MACHINE_ROOTS.iter().cloned());
        for (at, der) in self.roots.iter().enumerate() {
            if roots.add(CertificateDer::from_slice(der).into_owned()).is_err() {
                let setting = format!("transport.extra_root[{at}]");
                problems.add(setting, "is not a root certificate: give one X.509 certificate in DER");
            }
        }
        let Some(tls) = tls(roots) else {
            problems.add("transport", "has no TLS version in common with its provider of cryptography");
            return Err(problems.into_errors());
        };
        problems.into_result(HttpTransport {
            pool: pool(tls),
            timeout: self.timeout,
            response_at_most: self.response_at_most,
        })
    }
}

impl fmt::Debug for HttpTransportBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransportBuilder")
            .field("timeout", &self.timeout)
            .field("response_at_most", &self.response_at_most)
            .field("roots", &self.roots.len())
            .finish()
    }
}

const LONGEST_TIMEOUT: Duration = seconds(300);
const LARGEST_RESPONSE: usize = 16 * 1024 * 1024;
const MOST_HEADERS: usize = 64;
const LONGEST_HEAD: usize = 64 * 1024;

/// Reading and parsing them takes milliseconds, so that it is done once.
static MACHINE_ROOTS: LazyLock<Vec<CertificateDer<'static>>> =
    LazyLock::new(|| rustls_native_certs::load_native_certs().certs);

fn tls(roots: RootCertStore) -> Option<ClientConfig> {
    // Named here, so that no process-wide default provider can replace it.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(config.with_root_certificates(roots).with_no_client_auth())
}

fn pool(tls: ClientConfig) -> Pool {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    Client::builder(Spawn::current())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(seconds(30))
        .pool_max_idle_per_host(32)
        .http1_max_buf_size(LONGEST_HEAD)
        .http1_max_headers(MOST_HEADERS)
        .build(connector.wrap_connector(tcp))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const ROOT: &[u8] = include_bytes!("../fixtures/root.der");
    const LEAF: &[u8] = include_bytes!("../fixtures/localhost.der");
    const LEAF_KEY: &[u8] = include_bytes!("../fixtures/localhost-key.der");

    /// What the server does after it has written its bytes.
    #[derive(Clone, Copy)]
    enum Then {
        Close,
        Hang,
    }

    async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8], then: Then) {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => seen.push(byte),
                Err(_) => return,
            }
        }
        // The client may hang up at its bound before everything is written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        match then {
            Then::Close => drop(stream.shutdown().await),
            Then::Hang => std::future::pending().await,
        }
    }

    /// A server that answers every request with exactly these bytes; counts its connections.
    async fn server(bytes: Vec<u8>, then: Then, tls: Option<TlsAcceptor>) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        Spawn::current().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (bytes, tls) = (bytes.clone(), tls.clone());
                Spawn::current().spawn(async move {
                    match tls {
                        None => serve(stream, &bytes, then).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &bytes, then).await;
                            }
                        }
                    }
                });
            }
        });
        (port, count)
    }

    async fn get(transport: &HttpTransport, url: &str) -> Result<Response<Bytes>, TransportError> {
        transport.send(Request::get(url).body(Bytes::new()).unwrap()).await
    }

    fn small() -> HttpTransport {
        HttpTransport::builder().response_at_most(100).timeout(seconds(20)).build().unwrap()
    }

    /// Sends one request to a server that answers `bytes`; expects a status, or a code.
    async fn answer(bytes: impl Into<Vec<u8>>, expected: Result<u16, &str>) {
        let bytes = bytes.into();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let (port, count) = server(bytes, Then::Close, None).await;
        let found = get(&small(), &format!("http://127.0.0.1:{port}/token")).await;
        let found = found.map(|answer| answer.status().as_u16()).map_err(TransportError::code);
        assert_eq!(found, expected, "{shown}");
        assert_eq!(count.load(Ordering::SeqCst), 1, "{shown}");
    }

    #[tokio::test]
    async fn whole_answers_of_any_status_are_returned() {
        answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", Ok(200)).await;
        answer("HTTP/1.1 200 OK\r\n\r\nuntil the end", Ok(200)).await;
        answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Ok(200)).await;
        answer("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", Ok(503)).await;
    }

    #[tokio::test]
    async fn a_redirect_is_returned_and_not_followed() {
        let (port, count) = server(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), Then::Close, None).await;
        for status in ["301", "302", "307", "308"] {
            let moved = format!(
                "HTTP/1.1 {status} Moved\r\nlocation: http://127.0.0.1:{port}/\r\ncontent-length: 0\r\n\r\n"
            );
            answer(moved, Ok(status.parse().unwrap())).await;
        }
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn bodies_are_cut_at_the_bound() {
        let long = |head: &str, length| [head.as_bytes(), &vec![b'x'; length]].concat();
        answer(long("HTTP/1.1 200 OK\r\n\r\n", 100), Ok(200)).await;
        answer(long("HTTP/1.1 200 OK\r\n\r\n", 101), Err("transport_too_large")).await;
        answer(long("HTTP/1.1 200 OK\r\n\r\n", 4_000_000), Err("transport_too_large")).await;
        answer("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nx", Err("transport_too_large")).await;
        answer("HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\nhalf", Err("transport_broken")).await;
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        answer(format!("{chunked}2\r\nhi\r\n"), Err("transport_broken")).await;
        answer(long(&format!("{chunked}fffffff\r\n"), 500), Err("transport_too_large")).await;
    }

    #[tokio::test]
    async fn what_is_not_http_is_broken() {
        answer("", Err("transport_broken")).await;
        answer("SSH-2.0-x\r\n\r\n", Err("transport_broken")).await;
        answer("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", Err("transport_broken")).await;
        answer(
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nhi",
            Err("transport_broken"),
        )
        .await;
        answer(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1_000_000)), Err("transport_broken"))
            .await;
        answer(format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(65)), Err("transport_broken")).await;
    }

    #[tokio::test]
    async fn the_time_covers_connection_head_and_body() {
        let quick = HttpTransport::builder().timeout(Duration::from_millis(30)).build().unwrap();
        for bytes in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
            let (port, _) = server(bytes.into(), Then::Hang, None).await;
            let found = get(&quick, &format!("http://localhost:{port}/")).await;
            assert_eq!(found.unwrap_err().code(), "transport_timeout", "{bytes}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_a_failed_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let found = get(&small(), &format!("http://127.0.0.1:{port}/")).await;
        assert_eq!(found.unwrap_err().code(), "transport_connect");
    }

    #[tokio::test]
    async fn only_https_or_loopback_is_sent_to() {
        for url in [
            "http://sts.invalid/",
            "http://10.0.0.1/",
            "http://user:pass@127.0.0.1/",
            "/token",
            "ftp://localhost/",
        ] {
            assert_eq!(get(&small(), url).await.unwrap_err().code(), "transport_insecure", "{url}");
        }
    }

    #[tokio::test]
    async fn a_certificate_must_verify() {
        let key = PrivateKeyDer::try_from(LEAF_KEY).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(LEAF)], key)
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec();
        let (port, _) = server(bytes, Then::Close, Some(tls)).await;
        let trusting = HttpTransport::builder().extra_root(ROOT).build().unwrap();
        let code = async |transport: &HttpTransport, host: &str| {
            get(transport, &format!("https://{host}:{port}/"))
                .await
                .map(|it| it.status().as_u16())
                .map_err(TransportError::code)
        };
        assert_eq!(code(&trusting, "localhost").await, Ok(200));
        assert_eq!(code(&trusting, "127.0.0.1").await, Err("transport_connect"));
        assert_eq!(code(&small(), "localhost").await, Err("transport_connect"));
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let wrong = HttpTransport::builder().timeout(Duration::ZERO).response_at_most(0).extra_root(b"no");
        let errors = wrong.build().unwrap_err();
        let settings: Vec<_> = errors.problems().iter().map(|problem| problem.setting.as_str()).collect();
        assert_eq!(settings, ["transport.timeout", "transport.response_at_most", "transport.extra_root[0]"]);
    }
}
