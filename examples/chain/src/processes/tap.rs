//! A careless proxy: it passes bytes on, both ways, and keeps the credentials that it sees. Such things write
//! access logs.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

use crate::system::{Failure, bind};

/// More than this of a request is not looked at.
const LOOKED_AT: usize = 64 * 1024;

pub(super) struct Tap {
    pub(super) url: String,
    kept: Arc<Mutex<Option<String>>>,
}

impl Tap {
    /// A tap that passes everything on to the server at `url`.
    pub(super) async fn before(url: &str) -> Result<Self, Failure> {
        let behind = url.strip_prefix("http://").ok_or("not a plain URL")?.to_owned();
        let (listener, url) = bind(0, "the tap").await?;
        let kept = Arc::new(Mutex::new(None));
        hopguard::Spawn::current().spawn(accept(listener, behind, kept.clone()));
        Ok(Self { url, kept })
    }

    /// The value of the last `Authorization` that passed.
    pub(super) fn credential(&self) -> Option<String> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: TcpListener, behind: String, kept: Arc<Mutex<Option<String>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (behind, kept) = (behind.clone(), kept.clone());
        hopguard::Spawn::current().spawn(async move {
            // A connection that breaks is its two ends' concern.
            let _broken = pass(stream, &behind, &kept).await;
        });
    }
}

async fn pass(front: TcpStream, behind: &str, kept: &Mutex<Option<String>>) -> std::io::Result<()> {
    let (mut from, mut to) = front.into_split();
    let (mut answer, mut onward) = TcpStream::connect(behind).await?.into_split();
    hopguard::Spawn::current().spawn(async move {
        let _ended = copy(&mut answer, &mut to).await;
    });
    let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let count = from.read(&mut bytes).await?;
        let Some(read) = bytes.get(..count).filter(|read| !read.is_empty()) else { return Ok(()) };
        if seen.len() < LOOKED_AT {
            seen.extend_from_slice(read);
        }
        if let Some(found) = authorization(&String::from_utf8_lossy(&seen)) {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        }
        onward.write_all(read).await?;
    }
}

/// The value of the last complete `Authorization` line.
fn authorization(text: &str) -> Option<String> {
    let lines = text.split_inclusive("\r\n").filter_map(|line| line.strip_suffix("\r\n"));
    let values = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("authorization").then(|| value.trim().to_owned())
    });
    values.last()
}
