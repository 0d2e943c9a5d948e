//! Decides whether an access token is genuine: signed by an issuer that is trusted, meant as an access token,
//! strictly well formed, and valid now. This crate must never let a token choose its own key or algorithm, take
//! an unverified claim for a fact, or keep a byte of a token.
//!
//! ```
//! use hopguard_client::{HttpTransport, Spawn, SystemClock};
//! use hopguard_verify::{Issuer, Verifier};
//! use std::sync::Arc;
//!
//! let transport = Arc::new(HttpTransport::builder().build()?);
//! let verifier = Verifier::builder(transport, SystemClock::shared(), Spawn::current())
//!     .issuer(Issuer::at("https://sts.internal")) // no I/O here
//!     .build()?;
//! assert!(!verifier.is_ready()); // until `warm_up`, or the first token
//! # Ok::<(), hopguard_core::ConfigErrors>(())
//! ```
//!
//! # The steps
//!
//! Shape (three canonical base64url segments), the memory of verified tokens, header (RFC 7515, RFC 8725), claims
//! as strict JSON, issuer by exact `iss`, type (RFC 9068, or the issuer's [`Profile`]), key by `kid` and `alg`, **one
//! signature check**, claims by their types (RFC 9068 section 2.2), time, withdrawals. Whatever can refuse without a
//! signature check stands before it.
//!
//! # Issuers
//!
//! | | |
//! | --- | --- |
//! | keys through metadata (RFC 8414, OpenID Connect Discovery) | [`Issuer::at`] |
//! | keys from a URL, a file, the configuration | [`Issuer::jwks_url`], [`Issuer::jwks_file`], [`Issuer::keys_fixed`] |
//! | tokens that are not as RFC 9068 has them | [`Issuer::profile`] |
//! | fewer algorithms, or what keys without `alg` serve | [`Issuer::algorithms`] |
//! | is it ready, how old are the keys | [`Verifier::is_ready`], [`Verifier::key_sets`] |
//!
//! # Security
//!
//! A genuine token may still be meant for somebody else, live too long, grant nothing, or be bound to a key that
//! was not proven: the guards of `hopguard-core` judge that. A remembered verdict dies at `exp`, with the key it
//! rests on, and by withdrawal; while an issuer does not answer, its keys serve for at most an hour.

mod verifier;
mod builder;
mod compact;
mod json;
mod header;
mod algorithm;
mod alike;
mod claims;
mod profile;
mod extra;
mod issuer;
mod metadata;
mod key_store;
mod pace;
mod jwks_file;
mod flight;
mod keys;
mod jwk;
mod point;
mod roca;
mod memory;
mod universal;
mod familiar;
mod footprint;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod tests;

pub use algorithm::Algorithm;
pub use builder::VerifierBuilder;
pub use issuer::Issuer;
pub use key_store::KeySetStatus;
pub use profile::Profile;
pub use verifier::{Check, KeysWanted, Verifier};
