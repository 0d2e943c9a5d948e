//! What really left: a peer on loopback that keeps every byte it received.
//!
//! [`WireRecorder::answering`] answers by itself, [`WireRecorder::in_front_of`] passes everything on to
//! another server. Both keep the bytes of each connection, so that a test looks at the wire and not at what a
//! library says it sent.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use hopguard_testkit::{WireAnswer, WireRecorder};
//!
//! let peer = WireRecorder::answering(|request| WireAnswer::text(200, &request.target)).await;
//! assert!(peer.url("/stock").starts_with("http://127.0.0.1:"));
//! assert!(!peer.saw("x-api-key"));
//! # });
//! ```

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hopguard_client::Spawn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// A server on loopback that keeps what it received. It stops when it is dropped.
#[derive(Debug)]
pub struct WireRecorder {
    address: SocketAddr,
    recorded: Recorded,
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
}

type Recorded = Arc<Mutex<Vec<Vec<u8>>>>;
type Handler = Arc<dyn Fn(&WireRequest) -> WireAnswer + Send + Sync>;

/// One request as it stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireRequest {
    /// The method.
    pub method: String,
    /// The request target: path and query, or whatever was sent.
    pub target: String,
    /// Names as they were sent, and values.
    pub headers: Vec<(String, String)>,
    /// The body, without the framing of chunks.
    pub body: Vec<u8>,
}

impl WireRequest {
    /// The only value of the header `name`; `None` if there is none.
    ///
    /// # Panics
    ///
    /// If it stands there twice.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        let one = all.next().map(|(_, value)| value.as_str());
        assert!(all.next().is_none(), "{name} was sent twice");
        one
    }

    /// The body as text.
    ///
    /// # Panics
    ///
    /// If it is no UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }
}

/// What is answered, byte by byte.
#[derive(Clone, Debug)]
pub struct WireAnswer {
    bytes: Vec<u8>,
    close: bool,
    hold: Option<Arc<Semaphore>>,
}

impl WireAnswer {
    /// Exactly these bytes, after which the connection is closed.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), close: true, hold: None }
    }

    /// A whole answer with a body of the type `content_type`; the connection stays open.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: &[u8]) -> Self {
        let mut bytes = format!(
            "HTTP/1.1 {status} Status\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        Self { bytes, close: false, hold: None }
    }

    /// Plain text.
    #[must_use]
    pub fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain", body.as_bytes())
    }

    /// JSON.
    #[must_use]
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", body.to_string().as_bytes())
    }

    /// A redirect to `location`.
    #[must_use]
    pub fn redirect(status: u16, location: &str) -> Self {
        let head = format!("HTTP/1.1 {status} Status\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        Self { bytes: head.into_bytes(), close: false, hold: None }
    }

    /// Adds a header to a whole answer.
    ///
    /// # Panics
    ///
    /// If the answer has no head.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let head = find(&self.bytes, b"\r\n").expect("a head") + 2;
        self.bytes.splice(head..head, format!("{name}: {value}\r\n").into_bytes());
        self
    }

    /// The same answer without its last quarter, after which the connection is closed.
    #[must_use]
    pub fn cut_short(mut self) -> Self {
        self.bytes.truncate(self.bytes.len().saturating_sub(self.bytes.len() / 4));
        self.close = true;
        self
    }

    /// The same answer, sent when `gate` has a permit.
    #[must_use]
    pub fn held_by(mut self, gate: Arc<Semaphore>) -> Self {
        self.hold = Some(gate);
        self
    }
}

impl WireRecorder {
    /// A peer that answers each request with what `handler` returns.
    ///
    /// # Panics
    ///
    /// If there is no free port on loopback.
    pub async fn answering(handler: impl Fn(&WireRequest) -> WireAnswer + Send + Sync + 'static) -> Self {
        let handler: Handler = Arc::new(handler);
        Self::start(move |stream, recorded, number| answer(stream, recorded, number, handler.clone())).await
    }

    /// A proxy that passes every byte on to `upstream`, and back.
    ///
    /// # Panics
    ///
    /// If there is no free port on loopback.
    pub async fn in_front_of(upstream: SocketAddr) -> Self {
        Self::start(move |stream, recorded, number| pass_on(stream, recorded, number, upstream)).await
    }

    async fn start<F>(serve: impl Fn(TcpStream, Recorded, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Option<()>> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let recorded = Recorded::default();
        let (stop, mut told) = watch::channel(false);
        let (ended, stopped) = watch::channel(false);
        let kept = recorded.clone();
        Spawn::current().spawn(async move {
            // Dropping the set ends every connection.
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    _ = told.changed() => break,
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        let number = {
                            let mut all = kept.lock().unwrap();
                            all.push(Vec::new());
                            all.len() - 1
                        };
                        connections.spawn(serve(stream, kept.clone(), number));
                    }
                }
            }
            drop(listener);
            connections.shutdown().await;
            ended.send_replace(true);
        });
        Self { address, recorded, stop, stopped }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of `path` at this peer.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections were made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.recorded.lock().unwrap().len()
    }

    /// The bytes received on each connection.
    #[must_use]
    pub fn per_connection(&self) -> Vec<Vec<u8>> {
        self.recorded.lock().unwrap().clone()
    }

    /// All bytes received, one connection after the other.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.recorded.lock().unwrap().concat()
    }

    /// True if `text` stands in what was received on one connection.
    #[must_use]
    pub fn saw(&self, text: &str) -> bool {
        self.recorded.lock().unwrap().iter().any(|bytes| find(bytes, text.as_bytes()).is_some())
    }

    /// The whole requests that were received, per connection in order.
    #[must_use]
    pub fn requests(&self) -> Vec<WireRequest> {
        let recorded = self.recorded.lock().unwrap();
        let mut all = Vec::new();
        for bytes in recorded.iter() {
            let mut rest = bytes.as_slice();
            while let Some((request, length)) = parse(rest) {
                all.push(request);
                rest = &rest[length..];
            }
        }
        all
    }

    /// Stops listening and closes every connection; when this returns, connecting is refused.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        // The task may have gone down with its runtime: then it has stopped as well.
        let _ = self.stopped.clone().wait_for(|stopped| *stopped).await;
    }
}

/// Answers requests on one connection until it is closed.
async fn answer(mut stream: TcpStream, recorded: Recorded, number: usize, handler: Handler) -> Option<()> {
    let mut unread = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        while let Some((request, length)) = parse(&unread) {
            unread.drain(..length);
            let answer = handler(&request);
            if let Some(gate) = &answer.hold {
                gate.acquire().await.ok()?.forget();
            }
            stream.write_all(&answer.bytes).await.ok()?;
            if answer.close {
                return stream.shutdown().await.ok();
            }
        }
        let count = stream.read(&mut buffer).await.ok().filter(|&count| count > 0)?;
        unread.extend_from_slice(&buffer[..count]);
        recorded.lock().unwrap()[number].extend_from_slice(&buffer[..count]);
    }
}

/// Passes one connection on, keeping what goes towards `upstream`.
async fn pass_on(stream: TcpStream, recorded: Recorded, number: usize, upstream: SocketAddr) -> Option<()> {
    let (mut from, mut to) = stream.into_split();
    let (mut back, mut on) = TcpStream::connect(upstream).await.ok()?.into_split();
    let forth = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = from.read(&mut buffer).await.unwrap_or(0);
            if count == 0 {
                return on.shutdown().await.ok();
            }
            recorded.lock().unwrap()[number].extend_from_slice(&buffer[..count]);
            on.write_all(&buffer[..count]).await.ok()?;
        }
    };
    let answers = async {
        copy(&mut back, &mut to).await.ok()?;
        to.shutdown().await.ok()
    };
    tokio::join!(forth, answers);
    Some(())
}

/// The request at the start of `bytes` and its length; `None` while it is not whole.
fn parse(bytes: &[u8]) -> Option<(WireRequest, usize)> {
    let head_end = find(bytes, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..head_end]);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next().unwrap_or_default().to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let value = |wanted: &str| {
        headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
    };
    let rest = &bytes[head_end..];
    let (body, length) = if value("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        unchunked(rest)?
    } else {
        let length = value("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        (rest.get(..length)?.to_vec(), length)
    };
    Some((WireRequest { method, target, headers, body }, head_end + length))
}

/// The body in chunks (RFC 9112 section 7.1) at the start of `bytes`, and its length on the wire.
fn unchunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line_end = at + find(&bytes[at..], b"\r\n")?;
        let line = std::str::from_utf8(&bytes[at..line_end]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        at = line_end + 2;
        if size == 0 {
            // Trailers end with an empty line, as a head does.
            let end = if bytes[at..].starts_with(b"\r\n") { 2 } else { find(&bytes[at..], b"\r\n\r\n")? + 4 };
            return Some((body, at + end));
        }
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size + 2;
        bytes.get(..at)?;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_answers_and_keeps_the_bytes() {
        let peer = WireRecorder::answering(|request| WireAnswer::text(200, request.text())).await;
        let sent = "POST /a?b=c HTTP/1.1\r\nHost: x\r\nX-Secret: s3cret\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\n\r\n";
        let answer = exchange(peer.address(), sent).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 2);
        assert!(answer.contains("\r\n\r\nhi"));
        assert_eq!(peer.bytes(), sent.as_bytes());
        assert!(peer.saw("X-Secret: s3cret") && !peer.saw("x-api-key"));
        let requests = peer.requests();
        assert_eq!((requests.len(), requests[0].target.as_str()), (2, "/a?b=c"));
        assert_eq!(requests[0].header("x-secret"), Some("s3cret"));
    }

    #[tokio::test]
    async fn a_proxy_passes_on_and_keeps_too() {
        let peer = WireRecorder::answering(|_| WireAnswer::text(200, "behind").with_header("x-a", "b")).await;
        let proxy = WireRecorder::in_front_of(peer.address()).await;
        let sent = "PUT /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let answer = exchange(proxy.address(), sent).await;
        assert!(answer.contains("x-a: b\r\n") && answer.ends_with("behind"), "{answer}");
        assert_eq!((peer.bytes(), proxy.bytes()), (sent.as_bytes().to_vec(), sent.as_bytes().to_vec()));
        assert_eq!(proxy.requests()[0].body, b"abcde");
    }

    #[tokio::test]
    async fn half_an_answer_and_a_stopped_peer() {
        let peer = WireRecorder::answering(|_| WireAnswer::text(200, &"x".repeat(100)).cut_short()).await;
        let answer = exchange(peer.address(), "GET / HTTP/1.1\r\n\r\n").await;
        assert!(answer.contains("content-length: 100") && answer.len() < 150, "{answer}");
        peer.stop().await;
        assert!(TcpStream::connect(peer.address()).await.is_err());
    }

    #[tokio::test]
    async fn an_answer_waits_for_its_gate() {
        let gate = Arc::new(Semaphore::new(0));
        let held = gate.clone();
        let peer = WireRecorder::answering(move |_| WireAnswer::text(200, "").held_by(held.clone())).await;
        let answer = exchange(peer.address(), "GET / HTTP/1.1\r\n\r\n");
        let opener = async {
            while peer.requests().is_empty() {
                tokio::task::yield_now().await;
            }
            gate.add_permits(1);
        };
        assert!(tokio::join!(answer, opener).0.starts_with("HTTP/1.1 200"));
    }
}
