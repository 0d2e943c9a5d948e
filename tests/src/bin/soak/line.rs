//! A caller with one connection that is kept, writing requests byte by byte.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer.
const LONGEST: usize = 1024 * 1024;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// One caller.
#[derive(Debug)]
pub(crate) struct Line {
    to: SocketAddr,
    connection: Option<TcpStream>,
}

impl Line {
    pub(crate) fn to(to: SocketAddr) -> Self {
        Self { to, connection: None }
    }

    /// Sends `GET path` with these headers, each ended by CR LF.
    pub(crate) async fn get(&mut self, path: &str, headers: &str) -> io::Result<Reply> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", self.to);
        let sent = tokio::time::timeout(PATIENCE, self.call(request.as_bytes())).await;
        let reply = sent.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
        if reply.is_err() {
            self.connection = None;
        }
        reply
    }

    async fn call(&mut self, request: &[u8]) -> io::Result<Reply> {
        // A kept connection may have been closed in the meantime, which says nothing about this request.
        if let Some(mut kept) = self.connection.take()
            && let Ok((reply, keep)) = exchange(&mut kept, request).await
        {
            self.connection = keep.then_some(kept);
            return Ok(reply);
        }
        let mut fresh = TcpStream::connect(self.to).await?;
        fresh.set_nodelay(true)?;
        let (reply, keep) = exchange(&mut fresh, request).await?;
        self.connection = keep.then_some(fresh);
        Ok(reply)
    }
}

/// The answer, and whether the connection can be used again.
async fn exchange(connection: &mut TcpStream, request: &[u8]) -> io::Result<(Reply, bool)> {
    connection.write_all(request).await?;
    let mut read = Vec::new();
    let head = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        more(connection, &mut read).await?;
    };
    let text = String::from_utf8_lossy(&read[..head]).to_ascii_lowercase();
    let header = |name: &str| {
        text.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("no status"))?;
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
    let keep = length.is_some() && header("connection") != Some("close");
    let whole = head + length.unwrap_or(0).min(LONGEST);
    while read.len() < whole {
        more(connection, &mut read).await?;
    }
    let body = String::from_utf8_lossy(&read[head..whole]).into_owned();
    Ok((Reply { status, body }, keep))
}

async fn more(connection: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<()> {
    let count = connection.read_buf(read).await?;
    if count == 0 || read.len() > LONGEST {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(())
}
