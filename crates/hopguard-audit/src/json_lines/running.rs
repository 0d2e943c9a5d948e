//! A queue and the threads that empty it: what every sink that writes on threads of its own is made of.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hopguard_core::{ConfigErrors, Problems};

use super::Promise;
use super::queue::{Limits, Queue};
use super::writer::{self, Paper, Pen};

/// How long dropping a sink waits for a writer that hangs.
const LAST_LINES: Duration = Duration::from_secs(5);

pub(crate) struct Running {
    queue: Arc<Queue>,
    writers: Vec<JoinHandle<()>>,
}

/// What a sink that could not start its threads says.
pub(crate) fn cannot_start(error: &std::io::Error) -> ConfigErrors {
    let mut problems = Problems::new();
    problems.add("audit", format!("cannot start its writer: {error}"));
    problems.into_errors()
}

impl Default for Limits {
    fn default() -> Self {
        Self { places: 8192, stranger_places: 512, promise: Promise::default() }
    }
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
    pub(crate) fn start<P: Paper + 'static>(
        limits: Limits,
        paper: P,
        cut: Option<u64>,
    ) -> Result<Self, ConfigErrors> {
        let queue = Arc::new(Queue::new(limits, P::WRITERS));
        let pen = Arc::new(Mutex::new(Pen::new(paper, cut)));
        let mut running = Self { queue, writers: Vec::new() };
        for missing in (1..=P::WRITERS).rev() {
            let (queue, pen) = (running.queue.clone(), pen.clone());
            let thread = std::thread::Builder::new().name("hopguard-audit".into());
            let writer = thread.spawn(move || writer::run(&queue, &pen));
            // Nobody waits for those that never began.
            let writer = writer.map_err(|error| {
                (0..missing).for_each(|_| running.queue.end());
                cannot_start(&error)
            })?;
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

/// What every such sink is to those who use it, and the settings that its builder has because of it. The sink has
/// `running` and `mended`, the builder `limits`. `$more` is what this one does otherwise as an `AuditSink`.
macro_rules! queued {
    ($sink:ident, $builder:ident $(, $more:item)*) => {
        impl $sink {
            /// Waits until everything handed over before this call is written, by a
            /// [`DurableLog`](crate::DurableLog) to the disk, at most for `at_most`. Blocks the thread: for shutdown
            /// and tests.
            ///
            /// False if the time was up, or if the writer tried and failed.
            #[must_use]
            pub fn flush(&self, at_most: std::time::Duration) -> bool {
                self.running.queue().flush(at_most)
            }

            /// How the queue stands.
            #[must_use]
            pub fn status(&self) -> crate::QueueStatus {
                self.running.queue().status()
            }

            /// What was done to the last line of the file when it was opened; `None` if it was whole.
            #[must_use]
            pub const fn mended(&self) -> Option<crate::Mended> {
                self.mended
            }
        }

        impl $builder {
            /// How many events may be reserved, queued or under the writer's pen at once; 8192 unless said.
            pub const fn places(mut self, places: usize) -> Self {
                self.limits.places = places;
                self
            }

            #[doc = concat!("As [`", stringify!($builder), "::places`], for the refusals of strangers; 512 unless said.")]
            pub const fn stranger_places(mut self, places: usize) -> Self {
                self.limits.stranger_places = places;
                self
            }

            /// What is promised, and what happens when there is no place;
            /// [`Promise::Acknowledged`](crate::Promise::Acknowledged) unless said.
            pub const fn promise(mut self, promise: crate::Promise) -> Self {
                self.limits.promise = promise;
                self
            }
        }

        impl hopguard_core::AuditSink for $sink {
            fn reserve(&self) -> Result<(), hopguard_core::AuditFull> {
                self.running.queue().reserve()
            }

            fn release(&self) {
                self.running.queue().release();
            }

            fn commit(&self, event: hopguard_core::Event) {
                self.running.queue().commit(event);
            }

            fn commit_durably(&self, event: hopguard_core::Event) -> hopguard_core::Acknowledgement {
                self.running.queue().commit_durably(event)
            }

            fn offer(&self, event: hopguard_core::Event) {
                self.running.queue().offer(event);
            }

            $($more)*
        }

        impl std::fmt::Debug for $sink {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($sink))
                    .field("queue", &self.running)
                    .field("mended", &self.mended)
                    .finish()
            }
        }
    };
}
pub(crate) use queued;
