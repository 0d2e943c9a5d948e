//! The words and pure decisions of hopguard: evidence, guards, narrowing, the ledger, refusals and audit
//! events. This crate must never open a socket, read a clock, start a task or know about `tower`.
//!
//! A request's authority moves through this crate as *evidence*, each piece made from the one before:
//!
//! ```text
//! Presented -> Verified -> Bound -> Admitted            on the way in
//!                                   Admitted -> Granted on the way out
//! ```
//!
//! Guards ([`AudienceGuard`], [`TtlGuard`], [`ScopeGuard`], [`ActorGuard`]) are plain functions over evidence
//! and a time:
//!
//! ```
//! use hopguard_core::{AudienceGuard, Guard, minutes, Ttl};
//!
//! let audience = AudienceGuard::exactly("https://orders.internal");
//! let ttl = Ttl::lifetime_at_most(minutes(5));
//! assert_eq!(audience.name(), "audience");
//! assert_eq!(ttl.name(), "ttl");
//! ```
//!
//! # Security
//!
//! Evidence protects against accident: a forgotten layer, a wrong order, a route added later. It does not
//! protect against hostile code inside the same process, which can read memory anyway.

mod time;
mod token;
mod fingerprint;
mod scope;
mod actor;
mod confirmation;
mod facts;
mod evidence;
mod guard;
mod validity;
mod holder;
mod audience;
mod ttl;
mod scope_guard;
mod actor_guard;
mod waiver;
mod route;
mod narrowing;
mod own_grant;
mod withdrawal;
mod withdrawal_watch;
mod transaction;
mod expiries;
mod held;
mod keyed;
mod opaque_filter;
mod opaque;
mod ledger;
mod scan;
mod scan_text;
mod scan_body;
mod step_up;
mod denial;
mod fault;
mod refusal;
mod config_error;
mod codes;
mod hex;
mod id;
mod redact;
mod event;
mod acknowledgement;
mod audit;
#[cfg(test)]
mod costs;
#[cfg(test)]
mod evidence_for_tests;
#[cfg(test)]
mod told_tests;
#[cfg(test)]
mod ledger_edges_tests;
#[cfg(test)]
mod scan_edges_tests;

pub use acknowledgement::{Acknowledgement, Acknowledger};
pub use actor::{Actor, ActorChain};
pub use actor_guard::ActorGuard;
pub use audience::AudienceGuard;
pub use audit::{Audit, AuditFull, AuditSink, Reservation, Room, StrangerLimits};
pub use codes::{CodeEntry, CodeKind, codes};
pub use config_error::{ConfigErrors, ConfigProblem, Problems};
pub use confirmation::Confirmation;
pub use denial::{Challenge, Denial};
pub use event::{
    CacheState, Decision, Direction, Event, EventKind, Origin, Requested, SCHEMA_VERSION, TraceContext,
    Unverified, harmless_json, is_steering,
};
pub use evidence::{Admitted, Bound, Granted, PeerIdentity, Presented, StackId, Verified};
pub use facts::{Facts, MayAct};
pub use fault::Fault;
pub use fingerprint::Fingerprint;
pub use guard::Guard;
pub use holder::BearerOnly;
pub use id::Id;
pub use ledger::{Ledger, LedgerId, Overflow, Remembered};
pub use narrowing::{Bounds, Expectation, prove_narrowing};
pub use own_grant::{OwnExpectation, prove_own};
pub use redact::redacted;
pub use refusal::Refusal;
pub use route::{
    Anonymous, AsOurselves, Asked, Considered, Demand, Deny, Destination, Exchange, Explanation, Fit,
    IntoRule, InvalidRoute, Requires, Route, RouteChoice, RouteMap, RouteRule, Static, Unstated,
    is_ambiguous_path, parse_absolute, request_target_rejects,
};
pub use scan::{Finding, FindingKind, Place, Scanner};
pub use scan_body::{Beyond, BodyScanner, ScanLimits};
pub use scope::{InvalidScope, ScopeSet};
pub use scope_guard::ScopeGuard;
pub use step_up::StepUp;
pub use time::{Clock, Monotonic, UnixTime, minutes, seconds};
pub use token::{FormPart, RawToken, TokenForm};
pub use transaction::{TXN_TOKEN, Transaction};
pub use ttl::{Ttl, TtlGuard};
pub use validity::{Leeway, MAX_LEEWAY, check_validity};
pub use waiver::{Relaxation, Waived, Waiver};
pub use withdrawal::{Withdrawal, Withdrawals, WithdrawalsFull, WithdrawnAt};
pub use withdrawal_watch::WithdrawalWatch;
