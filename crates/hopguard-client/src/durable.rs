//! Awaits that an event is safe, for five seconds and no longer: a disk that hangs must not hold requests for ever.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hopguard_core::{Acknowledgement, Audit, AuditFull};

use crate::{BoxFuture, SystemTimer};

/// An [`Acknowledgement`] that is awaited for at most [`Audit::LONGEST_WAIT`], without blocking a thread.
///
/// ```
/// use hopguard_client::Durably;
/// use hopguard_core::Acknowledgement;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # runtime.block_on(async {
/// assert!(Durably::new(Acknowledgement::done()).await.is_ok());
/// # });
/// ```
#[must_use = "what the event allows must not happen before"]
pub struct Durably {
    acknowledgement: Acknowledgement,
    at_most: Duration,
    /// Made when there is something to wait for.
    late: Option<BoxFuture<'static, ()>>,
}

impl Durably {
    /// Waits for this.
    pub const fn new(acknowledgement: Acknowledgement) -> Self {
        Self { acknowledgement, at_most: Audit::LONGEST_WAIT, late: None }
    }
}

impl Future for Durably {
    type Output = Result<(), AuditFull>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(safe) = Pin::new(&mut this.acknowledgement).poll(context) {
            return Poll::Ready(safe);
        }
        let late = this.late.get_or_insert_with(|| SystemTimer::shared().wait(this.at_most));
        late.as_mut().poll(context).map(|()| Err(AuditFull))
    }
}

impl fmt::Debug for Durably {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durably").field("acknowledgement", &self.acknowledgement).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sink_that_hangs_is_not_waited_for_for_ever() {
        let (kept, acknowledgement) = Acknowledgement::pair();
        let mut hanging = Durably::new(acknowledgement);
        assert_eq!(hanging.at_most, Audit::LONGEST_WAIT);
        hanging.at_most = Duration::from_millis(1);
        assert_eq!(hanging.await, Err(AuditFull));
        kept.acknowledge();
    }

    #[tokio::test]
    async fn it_ends_with_the_acknowledgement() {
        let (writer, acknowledgement) = Acknowledgement::pair();
        let mut waiting = Durably::new(acknowledgement);
        let polled = std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut waiting).poll(context))).await;
        assert_eq!(polled, Poll::Pending);
        writer.acknowledge();
        assert_eq!(waiting.await, Ok(()));
    }
}
