//! An answer as the caller sees it.

use std::net::SocketAddr;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Status, headers in their order, body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads `response` to its end.
    ///
    /// # Panics
    ///
    /// If its body fails.
    pub async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: body.collect().await.expect("a body that ends").to_bytes().to_vec(),
        }
    }

    /// Sends `request` byte by byte over a socket of its own, and reads the answer until the peer closes.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub async fn over_socket(address: SocketAddr, request: &Request<Bytes>) -> Self {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let mut bytes = format!(
            "{} {target} HTTP/1.1\r\nhost: orders.internal\r\nconnection: close\r\ncontent-length: {}\r\n",
            request.method(),
            request.body().len()
        )
        .into_bytes();
        for (name, value) in request.headers() {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(request.body());
        let mut stream = TcpStream::connect(address).await.expect("a listener");
        stream.write_all(&bytes).await.expect("a peer that reads");
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("a peer that answers");
        Self::parse(&read)
    }

    fn parse(read: &[u8]) -> Self {
        let end = read.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&read[..end]).expect("a head of text");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_owned(), value.to_owned())
        };
        Self {
            status: status.parse().expect("a status"),
            headers: lines.map(header).collect(),
            body: read[end + 4..].to_vec(),
        }
    }

    /// The only value of the header `name`; `None` if there is none.
    ///
    /// # Panics
    ///
    /// If it stands there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(found, _)| found == name);
        let one = all.next().map(|(_, value)| value.as_str());
        assert!(all.next().is_none(), "{name} was answered twice");
        one
    }

    /// The audit event that it names.
    pub fn event(&self) -> Option<&str> {
        self.header("hopguard-event")
    }

    /// The whole answer as bytes, with the event's id and the time left out: the two that may differ.
    pub fn masked(&self) -> String {
        let event = self.event().unwrap_or("no event").to_owned();
        let mut text = format!("{}\n", self.status);
        for (name, value) in self.headers.iter().filter(|(name, _)| name != "date") {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push_str(&String::from_utf8_lossy(&self.body));
        text.replace(&event, "EVENT")
    }
}
