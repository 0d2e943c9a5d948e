//! A queue and the thread that empties it: what every sink that writes on a thread of its own is made of.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hopguard_core::Problems;

use super::queue::{Limits, Queue};
use super::writer::{self, Paper};

/// How long dropping a sink waits for a writer that hangs.
const LAST_LINES: Duration = Duration::from_secs(5);

pub(crate) struct Running {
    queue: Arc<Queue>,
    writer: Option<JoinHandle<()>>,
}

impl Limits {
    /// Notes the limits that are out of range.
    pub(crate) fn check(&self, problems: &mut Problems) {
        for (setting, places) in
            [("audit.places", self.places), ("audit.stranger_places", self.stranger_places)]
        {
            if !(1..=Self::MOST).contains(&places) {
                problems.add(setting, format!("is {places}: name a number from 1 to {}", Self::MOST));
            }
        }
    }
}

impl Running {
    /// Starts a writer on `paper`; `cut` bytes of a torn line are told in the log itself.
    pub(crate) fn start(
        limits: Limits,
        mut paper: impl Paper + 'static,
        cut: Option<u64>,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(limits));
        let writer = std::thread::Builder::new().name("hopguard-audit".into()).spawn({
            let queue = queue.clone();
            move || writer::run(&queue, &mut paper, cut)
        })?;
        Ok(Self { queue, writer: Some(writer) })
    }

    pub(crate) const fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Drop for Running {
    /// Writes what is queued, then ends the writer; gives up on one that hangs.
    fn drop(&mut self) {
        let ended = self.queue.stop(LAST_LINES);
        let Some(writer) = self.writer.take() else { return };
        if ended {
            let _ = writer.join();
        } else {
            tracing::error!("the audit writer hangs; its last lines may be lost");
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.queue.fmt(f)
    }
}
