//! What happened, which way, and what was decided.

use serde::Serialize;

use crate::{Denial, Fault};

/// Which way the request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Into this service.
    Inbound,
    /// Out of it.
    Outbound,
    /// Neither: keys, ledger, withdrawals.
    Internal,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A gate decided.
    Decision,
    /// An admitted request ended.
    Outcome,
    /// Refusals of strangers beyond the limit, counted.
    Count,
    /// Something about the process itself: keys, ledger, withdrawal.
    Notice,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, or done; the code says what.
    Allow(&'static str),
    /// Refused, the caller's fault.
    Deny(Denial),
    /// Failed, ours or an upstream's fault.
    Fault(Fault),
}

impl Decision {
    /// `allow`, `deny` or `fault`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Allow(_) => "allow",
            Self::Deny(_) => "deny",
            Self::Fault(_) => "fault",
        }
    }

    /// The code from the registry.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Allow(code) => code,
            Self::Deny(denial) => denial.code(),
            Self::Fault(fault) => fault.code(),
        }
    }
}

/// How a grant was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheState {
    /// From the cache.
    Hit,
    /// By an exchange of our own.
    Miss,
    /// By an exchange that another caller had begun.
    Coalesced,
}
