//! Streams that would outlive their tokens: each must end when its token does, and not before.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use hopguard_core::{Clock, Fingerprint, UnixTime, Withdrawal, seconds};
use hopguard_sts::UserToken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::callers::World;
use super::{ORDERS, SCOPE};

/// Between two words of whoever talks.
const BREATH: Duration = Duration::from_millis(20);
/// What a token lives, and how much of that a withdrawal leaves it.
const LIFE: u64 = 100;
const WITHDRAWN: u64 = 25;
/// How late, by the system's clock, the end of a stream may be seen on a machine that is busy with other things.
const LATE: u64 = 2;

/// Who goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// The service, without end.
    Talking,
    /// The service, after one word, with silence.
    Silent,
    /// The caller, whom the service listens to.
    Upload,
}

/// How many streams ended when they should.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) expired: AtomicU64,
    pub(super) withdrawn: AtomicU64,
}

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let word = || Ok::<_, Infallible>("word ");
    let talk = async move || {
        Body::from_stream(stream::repeat(()).then(move |()| async move {
            tokio::time::sleep(BREATH).await;
            word()
        }))
    };
    let silence = async move || Body::from_stream(stream::once(ready(word())).chain(stream::pending()));
    let listen = async |body: Body| {
        let mut frames = body.into_data_stream();
        while let Some(Ok(_)) = frames.next().await {}
        "heard"
    };
    Router::new().route("/talk", get(talk)).route("/silence", get(silence)).route("/upload", post(listen))
}

/// Opens one stream after the other; ended by being dropped.
pub(super) async fn open(world: Arc<World>, kind: Stream, withdrawn: bool) {
    for number in 0_u64.. {
        tokio::time::sleep(BREATH).await;
        let subject = format!("good-stream-{number}");
        let token = UserToken::new(&subject, ORDERS).scope(SCOPE).lifetime(seconds(LIFE));
        let token = world.sts.issue(&token).expect("a token");
        let began = world.clock.now();
        let end = if withdrawn { WITHDRAWN } else { LIFE };
        let (status, whole) = tokio::select! {
            run = run(&world, kind, &token) => match run {
                Ok(run) => run,
                Err(error) => {
                    world.promises.broke("every request is answered", || format!("{kind:?}: {error}"));
                    continue;
                }
            },
            () = withdraw(&world, &token, began, withdrawn) => unreachable!("it waits for the stream"),
        };
        let lasted = world.clock.now().since(began).map_or(0, |lasted| lasted.as_secs());
        let told = || format!("{kind:?} lasted {lasted} s of {end}, status {status}, whole: {whole}");
        // An upload has no answer yet, so that it gets one; a response is broken off.
        let fitting = if kind == Stream::Upload { status == 401 } else { status == 200 && !whole };
        world.promises.hold("no good request is refused", lasted + 2 >= end, told);
        world.promises.hold("what outlives its token is broken off", fitting, told);
        let late = u64::from(world.pace) * LATE;
        world.promises.hold("no stream outlives its token", lasted <= end + late, told);
        let ended = if withdrawn { &world.ended.withdrawn } else { &world.ended.expired };
        ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// Withdraws the token when it is time, if it is to be, and waits.
async fn withdraw(world: &World, token: &str, began: UnixTime, withdrawn: bool) {
    if withdrawn {
        tokio::time::sleep(seconds(WITHDRAWN) / world.pace).await;
        let what = Withdrawal::Token(Fingerprint::of_token(token));
        world.hop.withdraw(what, began.after(seconds(LIFE))).expect("room for a withdrawal");
    }
    std::future::pending().await
}

/// The status of the answer, and whether it looked whole when the connection was closed.
async fn run(world: &World, kind: Stream, token: &str) -> io::Result<(u16, bool)> {
    let request = match kind {
        Stream::Talking => "GET /talk",
        Stream::Silent => "GET /silence",
        Stream::Upload => "POST /upload",
    };
    let coding = if kind == Stream::Upload { "transfer-encoding: chunked\r\n" } else { "" };
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {}\r\n{coding}connection: close\r\nauthorization: Bearer {token}\r\n\r\n",
        world.service
    );
    let (mut from, mut to) = TcpStream::connect(world.service).await?.into_split();
    to.write_all(head.as_bytes()).await?;
    let words = async {
        // Whether a word arrives says nothing: the service may have closed already.
        while kind == Stream::Upload && to.write_all(b"5\r\nword \r\n").await.is_ok() {
            tokio::time::sleep(BREATH).await;
        }
        std::future::pending::<()>().await;
    };
    let mut read = Vec::new();
    let answer = async {
        loop {
            // A connection that is reset is as closed as any other.
            if from.read_buf(&mut read).await.unwrap_or(0) == 0 {
                return;
            }
            let kept = read.len().saturating_sub(4096);
            if kept > 0 {
                // The status line and the end are all that is looked at.
                read.drain(1024..1024 + kept);
            }
        }
    };
    tokio::select! {
        () = answer => {}
        () = words => {}
    }
    let text = String::from_utf8_lossy(&read);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("closed without an answer"))?;
    Ok((status, text.ends_with("0\r\n\r\n")))
}
