//! A queue and the threads that empty it: what every sink that writes on threads of its own is made of.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hopguard_core::Problems;

use super::queue::{Limits, Queue};
use super::writer::{self, Paper, Pen};

/// How long dropping a sink waits for a writer that hangs.
const LAST_LINES: Duration = Duration::from_secs(5);

pub(crate) struct Running {
    queue: Arc<Queue>,
    writers: Vec<JoinHandle<()>>,
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
    /// Starts the writers of `paper`; `cut` bytes of a torn line are told in the log itself.
    pub(crate) fn start<P: Paper + 'static>(limits: Limits, paper: P, cut: Option<u64>) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(limits, P::WRITERS));
        let pen = Arc::new(Mutex::new(Pen::new(paper, cut)));
        let mut running = Self { queue, writers: Vec::new() };
        for missing in (1..=P::WRITERS).rev() {
            let (queue, pen) = (running.queue.clone(), pen.clone());
            let thread = std::thread::Builder::new().name("hopguard-audit".into());
            let writer = thread.spawn(move || writer::run(&queue, &pen));
            // Nobody waits for those that never began.
            let writer = writer.inspect_err(|_| (0..missing).for_each(|_| running.queue.end()))?;
            running.writers.push(writer);
        }
        Ok(running)
    }

    pub(crate) const fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Drop for Running {
    /// Writes what is queued, then ends the writers; gives up on one that hangs.
    fn drop(&mut self) {
        if self.queue.stop(LAST_LINES) {
            for writer in self.writers.drain(..) {
                let _ = writer.join();
            }
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
