//! An RFC 8693 authorization server: it exchanges an access token for a narrower one, by policy, and publishes its
//! keys. It must never issue a token that is wider than the one it was shown, nor to a client that was not proven.
//!
//! It is a library over axum: build an [`Sts`], take its [`router`](Sts::router), and serve that.
//!
//! ```
//! use hopguard_client::{SigningKey, SystemClock};
//! use hopguard_core::minutes;
//! use hopguard_sts::{Client, Rule, Sts, UserToken};
//!
//! let gateway = SigningKey::generate_es256()?; // lives with the gateway; only its public half comes here
//! let sts = Sts::builder("https://sts.internal", SystemClock::shared())
//!     .client(Client::private_key_jwt("gateway", &gateway.public_jwk()))
//!     .rule(
//!         Rule::for_client("gateway")
//!             .subject_audience("https://gateway.internal")
//!             .audience("https://orders.internal")
//!             .scope("orders:read", "shop:read")
//!             .lifetime_at_most(minutes(5)),
//!     )
//!     .build()?;
//! let router = sts.router(); // POST /token, GET /jwks, GET /.well-known/oauth-authorization-server
//!
//! let token = sts.issue(&UserToken::new("alice", "https://gateway.internal").scope("shop:read"))?;
//! # let _ = (router, token);
//! # Ok::<(), hopguard_core::ConfigErrors>(())
//! ```
//!
//! # What an exchange asks
//!
//! In this order, each with a code of its own: a strict form; exactly one client authentication
//! (`private_key_jwt`, RFC 7523, or `client_secret_basic`); a rule that names this client and this audience; a
//! genuine subject token of this server, unexpired, not withdrawn, bound to no key; whose one audience is the one
//! the rule names; whose `may_act`, if any, names the client; whose actor chain does not hold the client yet and is
//! not too deep; and scopes that the rule derives from the subject token's.
//!
//! The new token has the same subject, the one audience, the scopes that were asked (none, if none were), expires no
//! later than the subject token and the rule's cap, and says in `act` that the client acts, before whoever acted
//! until then.
//!
//! # Errors
//!
//! RFC 6749 section 5.2 and RFC 8693 section 2.2.2, as JSON. `error_description` is a code of the registry in
//! `hopguard_core::codes`, but for a client that was not proven, who learns nothing more. The [`Refusal`] itself
//! travels in the response's extensions and, with an [`Audit`], is written down; an exchange that cannot be
//! written down does not happen.
//!
//! # Security
//!
//! Serve it over TLS, or on loopback only. Keys are made at start and live as long as the process unless they are
//! given ([`StsBuilder::signing_key`]). Used assertions are remembered in this process: two instances behind one
//! name would each accept an assertion once. Guessing of client secrets is not slowed down: prefer keys.
//!
//! [`Audit`]: hopguard_core::Audit
//! [`Refusal`]: hopguard_core::Refusal

mod router;
mod form;
mod authentication;
mod client;
mod assertion;
mod replay;
mod rule;
mod exchange;
mod key_ring;
mod user_token;
mod answer;
mod metadata;
mod sts;
mod builder;
#[cfg(test)]
mod tests;

pub use builder::StsBuilder;
pub use client::Client;
pub use rule::Rule;
pub use sts::Sts;
pub use user_token::UserToken;
