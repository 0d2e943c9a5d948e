//! hopguard for `reqwest`: [`GuardedClient`], a client from a closed set of options behind an egress stack. It
//! must make no security decision.
//!
//! `reqwest` does things below every `tower` layer: it follows redirects, retries, keeps cookies, adds default
//! headers and a referer, and turns userinfo in a URL into a credential. A guarded client has none of these.
//!
//! ```no_run
//! use hopguard_core::Admitted;
//! use hopguard_reqwest::{GuardedClient, SendError};
//! use hopguard_tower::{Egress, EgressError};
//!
//! # async fn call(egress: Egress, caller: &Admitted) -> Result<(), Box<dyn std::error::Error>> {
//! let inventory = GuardedClient::builder().build(&egress)?;
//! let stock =
//!     inventory.on_behalf_of(caller).get("https://inventory.internal/stock/42").send().await?.text().await?;
//! # Ok(()) }
//! ```

mod client;
mod request;
mod body;
mod transport;

pub use body::Payload;
pub use client::{Calls, GuardedClient, GuardedClientBuilder};
pub use request::RequestBuilder;
pub use transport::{ReqwestTransport, SendError};
