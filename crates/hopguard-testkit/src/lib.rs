//! What hopguard's tests stand on: minting, an authorization server that can be told to misbehave, probes, the
//! leak check, recorders and the attack corpus. This crate is never published and must never be a dependency of
//! a library; it panics where a test should fail.
//!
//! | for | use |
//! | --- | --- |
//! | a clock that stands still | [`FakeClock`] |
//! | tokens, well-formed or not, made without hopguard's own code | [`mint`] |
//! | the attacks as data | [`corpus`] |
//! | an authorization server, honest or hostile | [`MisbehavingSts`] |
//! | what really left on the wire | [`WireRecorder`] |
//! | answers without a wire | [`ScriptedTransport`] |
//! | what was audited | [`MemorySink`] |
//! | does a layer respect readiness? | [`ready`] |
//! | does it survive its caller's going away? | [`cancel`] |
//! | do token bytes show anywhere? | [`leak`] |

mod clock;
pub mod mint;
pub mod corpus;
mod audit;
pub mod ready;
pub mod cancel;
pub mod leak;
pub mod wire;
mod transport;
mod misbehave;

pub use audit::MemorySink;
pub use clock::FakeClock;
pub use misbehave::{MisbehavingSts, Misbehaviour};
pub use transport::ScriptedTransport;
pub use wire::{WireAnswer, WireRecorder, WireRequest};
