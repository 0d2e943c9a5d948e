//! Waits between attempts: the one place that does so, and the seam for tests whose time is their own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::BoxFuture;

/// Waits. What was waited for is judged by the clock afterwards, never by the wait itself.
pub trait Timer: fmt::Debug + Send + Sync + 'static {
    /// Ready once `span` has passed.
    fn wait(&self, span: Duration) -> BoxFuture<'static, ()>;
}

/// The timer of the Tokio runtime in which the wait is polled.
///
/// ```
/// # use std::time::Duration;
/// use hopguard_client::{SystemTimer, Timer};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # runtime.block_on(async {
/// SystemTimer::shared().wait(Duration::from_millis(1)).await;
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemTimer(());

impl SystemTimer {
    /// The timer, shared.
    #[must_use]
    pub fn shared() -> Arc<dyn Timer> {
        Arc::new(Self(()))
    }
}

impl Timer for SystemTimer {
    fn wait(&self, span: Duration) -> BoxFuture<'static, ()> {
        // Made when polled, because the runtime's timer must be current by then and not before.
        Box::pin(async move { tokio::time::sleep(span).await })
    }
}
