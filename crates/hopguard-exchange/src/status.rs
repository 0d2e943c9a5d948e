//! How an exchanger fares, for metrics and whoever looks after them.

use std::sync::atomic::{AtomicU64, Ordering};

/// How an [`Exchanger`](crate::Exchanger) fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExchangeStatus {
    /// Grants in the cache.
    pub kept: usize,
    /// Exchanges under way.
    pub under_way: usize,
    /// Callers that wait for one.
    pub waiting: usize,
    /// Exchanges begun since the start because a caller needed a grant.
    pub begun: u64,
    /// Exchanges begun since the start to replace a grant before its end.
    pub renewals: u64,
    /// How many of both ended without a grant.
    pub failed: u64,
}

/// Counted where an exchange begins and ends, never where a grant is served from the cache.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    begun: AtomicU64,
    renewals: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn renew(&self) {
        self.renewals.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn status(&self, kept: usize, (under_way, waiting): (usize, usize)) -> ExchangeStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ExchangeStatus {
            kept,
            under_way,
            waiting,
            begun: count(&self.begun),
            renewals: count(&self.renewals),
            failed: count(&self.failed),
        }
    }
}
