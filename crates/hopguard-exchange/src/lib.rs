//! Exchanges the caller's token for a narrower one (RFC 8693), proves that it is narrower, and keeps it for
//! as long as that holds. This crate must never hand out a token that it has not verified and proven, never
//! send a token to anybody but its own issuer's token endpoint, and never fall back to the caller's token.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use hopguard_client::{ClientAuth, Spawn, SystemClock, Transport};
//! # use hopguard_core::{Admitted, ConfigErrors, Destination, Exchange, Ledger, Refusal, minutes};
//! # use hopguard_exchange::Exchanger;
//! # use hopguard_verify::Verifier;
//! # fn build(ledger: &Ledger, verifier: Verifier, transport: Arc<dyn Transport>) -> Result<Exchanger, ConfigErrors> {
//! let auth = ClientAuth::client_secret_basic("orders", "from a secret store");
//! let exchanger =
//!     Exchanger::builder("https://sts.internal", auth, verifier, transport, SystemClock::shared(), Spawn::current(), ledger)
//!         .build()?; // no I/O: the token endpoint is discovered at first use
//! # Ok(exchanger)
//! # }
//! # async fn use_it(exchanger: Exchanger, caller: Admitted, inventory: Destination) -> Result<(), Refusal> {
//! let target = Exchange::audience("https://inventory.internal")
//!     .scope("stock:read")
//!     .lifetime_at_most(minutes(2))
//!     .requires("orders:read");
//! let stock = exchanger.prepare(&target, &inventory);
//! let (grant, _from) = exchanger.grant(&caller, &stock).await?;
//! let _value = grant.authorization()?; // for the request to `inventory` and nothing else
//! # Ok(())
//! # }
//! ```
//!
//! # What is proven of every answer
//!
//! The token is verified like any token (signature, `typ`, time), then held against what the route expects:
//! issuer, subject, audience, scopes, expiry against the parent's and the route's cap, actor chain, holder
//! key ([`hopguard_core::prove_narrowing`]). Each point that fails has its own fault code, and nothing that
//! failed is kept.
//!
//! A route may relax single points for a product that cannot do better (`dangerous_*` of
//! [`hopguard_core::Exchange`]), each by a [`hopguard_core::Waiver`] with a reason, an owner and an end. What a
//! grant needed stands on it ([`hopguard_core::Granted::waived`]), so that each use can be written down, and
//! the grant is used no longer than its waivers hold.
//!
//! # What is kept, and for how long
//!
//! A grant is kept under every dimension of the request that it answers (I7). It is served until the least of
//! `expires_in`, its own `exp`, its parent's `exp` and the route's cap, less a margin of a tenth of that life
//! and at most 30 s; expiry and withdrawal are judged again at every use (I13, I18).
//!
//! A use in the second half of its life, a minute before its end at most, begins to fetch its successor while
//! the grant is served on; but only if its parent lives longer than it does. An unused grant is never renewed.
//!
//! # When the authorization server is in trouble
//!
//! What was not processed (no connection, 429, 502, 503, 504) is tried again, three times in all and within
//! five seconds; `Retry-After` of up to two seconds is waited for. Retries are paid from a budget that answered
//! requests fill, so an outage does not multiply the load. After five failures in a row the server is left
//! alone, for a second at first, and then one request finds out whether it is back; a server that says for how
//! long it wants to be left alone is believed for up to a minute. Grants in the cache are served meanwhile.
//!
//! # Errors
//!
//! The caller is told only what it can mend: [`SubjectExpired`](hopguard_core::Denial::SubjectExpired) and
//! [`ExchangeTargetRefused`](hopguard_core::Denial::ExchangeTargetRefused), a step-up that the server demands
//! ([`StepUpRequired`](hopguard_core::Denial::StepUpRequired)), and
//! [`SubjectRefused`](hopguard_core::Denial::SubjectRefused) for codes that [`StsProfile`] names. Whatever
//! else the authorization server refuses is our fault and is not held against the caller. Its text is never
//! repeated; its `error` is logged only if it is one of the registered codes.
//!
//! # Security
//!
//! Whether a call may be made at all is the route map's decision; whether the grant leaves for the right
//! destination is the passthrough block's. The exchanger refuses callers whose token another ledger knows,
//! because that block would not recognise it.

mod exchanger;
mod prepared;
mod own;
mod builder;
mod profile;
mod key;
mod cache;
mod sync;
mod status;
mod flight;
mod breaker;
mod retry;
mod patience;
mod endpoint;
mod actor;
mod request;
mod answer;
mod proof;
#[cfg(test)]
mod rig_for_tests;
#[cfg(test)]
mod flight_tests;
#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod crowd_tests;
#[cfg(test)]
mod trouble_tests;
#[cfg(test)]
mod renewal_tests;
#[cfg(test)]
mod waiver_tests;
#[cfg(test)]
mod own_tests;
#[cfg(test)]
mod status_tests;

pub use actor::ActorToken;
pub use builder::ExchangerBuilder;
pub use exchanger::Exchanger;
pub use prepared::Prepared;
pub use profile::StsProfile;
pub use status::ExchangeStatus;
