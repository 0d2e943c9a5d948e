//! A service that was polled ready, kept with what it is to be called with until an event is safe.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hopguard_client::Durably;
use hopguard_core::{Acknowledgement, Fault};

/// What waits for the disk. On the heap, so that those who do not wait pay nothing for it.
pub struct Kept<S, T> {
    safe: Durably,
    service: S,
    with: T,
}

/// The service and what it is to be called with, if that may be done.
type Freed<S, T> = (Result<(), Fault>, S, T);

impl<S: Clone, T> Kept<S, T> {
    /// Takes `service`, which is ready, until it is safe to call it.
    pub(crate) fn until(safe: Acknowledgement, service: &mut S, with: T) -> Option<Box<Self>> {
        // The clone was never ready, and stays behind.
        let fresh = service.clone();
        let service = std::mem::replace(service, fresh);
        Some(Box::new(Self { safe: Durably::new(safe), service, with }))
    }
}

impl<S, T> Kept<S, T> {
    /// Empties `slot` once the disk has answered. An empty one has nothing to wait for, and is never ready.
    pub(crate) fn poll(slot: &mut Option<Box<Self>>, context: &mut Context<'_>) -> Poll<Freed<S, T>> {
        let Some(waiting) = slot.as_mut() else { return Poll::Pending };
        let safe = ready!(Pin::new(&mut waiting.safe).poll(context));
        let Some(kept) = slot.take() else { return Poll::Pending };
        let Self { service, with, .. } = *kept;
        // INVARIANT: I11 — what is not written down does not happen.
        Poll::Ready((safe.map_err(Fault::from), service, with))
    }
}
