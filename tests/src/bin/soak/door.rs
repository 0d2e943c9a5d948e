//! A server that can be killed and started again at its address: a socket in front of it that is really closed.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// The way to a server. Closed: connecting is refused, and what was connected is cut.
#[derive(Debug)]
pub(crate) struct Door {
    address: SocketAddr,
    /// Bound and not listening: keeps the port from others while the door is closed.
    _place: TcpSocket,
    behind: Option<SocketAddr>,
    guard: JoinSet<()>,
}

impl Door {
    /// A closed door on a port of its own.
    pub(crate) fn hung() -> io::Result<Self> {
        let place = socket("127.0.0.1:0".parse().expect("an address"))?;
        Ok(Self { address: place.local_addr()?, _place: place, behind: None, guard: JoinSet::new() })
    }

    /// The URL of the server behind it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts the server behind it.
    pub(crate) fn lead_to(&mut self, address: SocketAddr) {
        self.behind = Some(address);
    }

    pub(crate) fn open(&mut self) -> io::Result<()> {
        let Some(behind) = self.behind else { return Err(io::Error::other("nothing is behind it")) };
        let listener = socket(self.address)?.listen(1024)?;
        self.guard.spawn(async move {
            // Dropping the set cuts every connection.
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((mut outside, _)) = accepted else { continue };
                        connections.spawn(async move {
                            let Ok(mut inside) = TcpStream::connect(behind).await else { return };
                            let _either_ended = copy_bidirectional(&mut outside, &mut inside).await;
                        });
                    }
                    Some(_ended) = connections.join_next() => {}
                }
            }
        });
        Ok(())
    }

    /// When this returns, connecting is refused.
    pub(crate) async fn close(&mut self) {
        self.guard.shutdown().await;
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves `router` on a port of its own until `tasks` ends.
pub(crate) async fn serve(tasks: &mut JoinSet<()>, router: Router) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tasks.spawn(async move {
        let _never = axum::serve(listener, router).await;
    });
    Ok(address)
}
