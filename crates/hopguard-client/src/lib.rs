//! Talks to authorization servers: a bounded transport, client authentication, signing, the system's clock
//! and the one place each that starts tasks and that waits. This crate must never follow a redirect, use a
//! proxy, send a credential over plain HTTP to another host, or show a secret in `Debug`.
//!
//! ```
//! use hopguard_client::{ClientAuth, HttpTransport, SigningKey};
//! use hopguard_core::seconds;
//!
//! let transport = HttpTransport::builder().timeout(seconds(3)).build()?;
//! let auth = ClientAuth::private_key_jwt("orders", SigningKey::generate_es256()?);
//! assert_eq!(auth.client_id(), "orders");
//! # let _ = transport;
//! # Ok::<(), hopguard_core::ConfigErrors>(())
//! ```
//!
//! # Security
//!
//! The transport trusts the machine's root certificates and its name resolution; `localhost` is taken for
//! loopback. Headers that carry a client secret are marked sensitive, but the bytes live in buffers of the HTTP
//! stack until those are freed.

mod transport;
mod http;
mod authentication;
mod token_file;
mod signing;
mod clock;
mod spawn;
mod timer;
mod durable;

pub use authentication::ClientAuth;
pub use clock::SystemClock;
pub use durable::Durably;
pub use http::{HttpTransport, HttpTransportBuilder};
pub use signing::{Algorithm, SigningKey, random_jti};
pub use spawn::Spawn;
pub use timer::{SystemTimer, Timer};
pub use token_file::TokenFile;
pub use transport::{BoxFuture, Transport, TransportError};
