//! A clock that runs faster than the system's, so that a run sees many changes of keys.

use std::sync::Arc;
use std::time::Duration;

use hopguard_client::{BoxFuture, SystemClock, Timer};
use hopguard_core::{Clock, Monotonic};

/// Runs `pace` times as fast as the system's clock, from now on.
#[derive(Debug)]
pub(crate) struct Paced {
    pace: u32,
    began_unix: u64,
    began: Monotonic,
}

impl Paced {
    pub(crate) fn begin(pace: u32) -> Arc<Self> {
        Arc::new(Self { pace, began_unix: SystemClock.unix_millis(), began: SystemClock.monotonic() })
    }

    /// What has passed by this clock.
    pub(crate) fn passed(&self) -> Duration {
        SystemClock.monotonic().since(self.began) * self.pace
    }

    /// Waits until so much has passed by this clock.
    pub(crate) async fn until(&self, point: Duration) {
        let left = point.saturating_sub(self.passed());
        tokio::time::sleep(left / self.pace).await;
    }
}

impl Clock for Paced {
    fn unix_millis(&self) -> u64 {
        self.began_unix + u64::try_from(self.passed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_origin(self.passed())
    }
}

impl Timer for Paced {
    fn wait(&self, span: Duration) -> BoxFuture<'static, ()> {
        let span = span / self.pace;
        Box::pin(async move { tokio::time::sleep(span).await })
    }
}
