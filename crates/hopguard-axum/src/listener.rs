//! A listener whose connections the stack can close, so that axum's own `WebSocketUpgrade` works behind it.

use std::io;

use axum::serve::Listener;
use hopguard_tower::TimedConnection;
use hyper_util::rt::TokioIo;

/// A connection of a [`TimedListener`]'s.
pub(crate) type TimedSocket = TokioIo<TimedConnection>;

/// Another listener, whose connections end with the token of the request that was upgraded over them. Behind any other,
/// axum's `WebSocketUpgrade` refuses with 426, because nobody could end what it makes. Over HTTP/2 it does so here too:
/// several requests share a connection.
///
/// ```no_run
/// use axum::extract::ws::{WebSocket, WebSocketUpgrade};
/// use axum::response::Response;
/// use axum::{Router, routing::any};
/// use hopguard_axum::{Protect, TimedListener};
/// use hopguard_tower::{Inbound, OpenPaths};
///
/// async fn feed(upgrade: WebSocketUpgrade) -> Response {
///     upgrade.on_upgrade(|mut socket: WebSocket| async move {
///         // Fails once the token has expired or was withdrawn; the connection is closed by then.
///         while let Some(Ok(message)) = socket.recv().await {
///             if socket.send(message).await.is_err() {
///                 break;
///             }
///         }
///     })
/// }
///
/// # async fn serve(guard: Inbound) -> std::io::Result<()> {
/// let service = guard.protect(Router::new().route("/feed", any(feed)), OpenPaths::none());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
/// axum::serve(TimedListener::over(listener), service).await
/// # }
/// ```
#[derive(Debug)]
pub struct TimedListener<L>(L);

impl<L> TimedListener<L> {
    /// A listener over this one: TCP, or TLS over it.
    pub const fn over(listener: L) -> Self {
        Self(listener)
    }
}

impl<L: Listener> Listener for TimedListener<L> {
    type Io = TokioIo<TimedConnection>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (io, address) = self.0.accept().await;
        (TokioIo::new(TimedConnection::over(TokioIo::new(io))), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}
