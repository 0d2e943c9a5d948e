//! A refusal of either kind, for steps that can fail by the caller's fault and by ours.

use std::time::Duration;

use crate::{Decision, Denial, Fault};

/// Why a request goes no further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The caller's fault.
    #[error(transparent)]
    Denial(#[from] Denial),
    /// Ours or an upstream's.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Refusal {
    /// The stable name, from the registry.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Denial(denial) => denial.code(),
            Self::Fault(fault) => fault.code(),
        }
    }

    /// The HTTP status that answers it.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Denial(denial) => denial.status(),
            Self::Fault(fault) => fault.status(),
        }
    }

    /// When the same request may succeed, for faults that pass.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Denial(_) => None,
            Self::Fault(fault) => fault.retry_after(),
        }
    }
}

impl From<Refusal> for Decision {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denial(denial) => Self::Deny(denial),
            Refusal::Fault(fault) => Self::Fault(fault),
        }
    }
}
