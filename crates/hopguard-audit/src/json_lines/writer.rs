//! What the writer's thread does: take a batch, turn it into lines, write them, until told to end.

use std::io::{self, ErrorKind, Write};

use hopguard_core::Event;

use super::queue::{Batch, Queue};

/// So many bytes of whole lines are written at once.
const CHUNK: usize = 64 * 1024;

/// Runs until the queue is stopped and empty. Whatever ends it, a panic included, the queue learns of it.
pub(super) fn run(queue: &Queue, output: Box<dyn Write + Send>) {
    struct Ended<'a>(&'a Queue);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.end();
        }
    }
    let _ended = Ended(queue);
    let mut pen = Pen { queue, output, lines: Vec::with_capacity(CHUNK + CHUNK / 4), known: 0, strangers: 0 };
    let mut batch = Batch::default();
    while queue.next(&mut batch) {
        if pen.write(&mut batch).is_none() {
            return;
        }
        queue.finished(&batch);
    }
}

struct Pen<'a> {
    queue: &'a Queue,
    output: Box<dyn Write + Send>,
    lines: Vec<u8>,
    /// How many events stand in `lines`.
    known: usize,
    strangers: usize,
}

impl Pen<'_> {
    /// Writes the batch; `None` if the writer has to end without having done so.
    fn write(&mut self, batch: &mut Batch) -> Option<()> {
        for event in batch.known.drain(..) {
            self.append(&event);
            self.known += 1;
            self.put_if(CHUNK)?;
        }
        for event in batch.strangers.drain(..) {
            self.append(&event);
            self.strangers += 1;
            self.put_if(CHUNK)?;
        }
        for event in batch.losses.drain(..) {
            self.append(&event);
        }
        self.put_if(0)
    }

    fn append(&mut self, event: &Event) {
        let start = self.lines.len();
        // JSON escapes line breaks, so that no value can begin a line of its own.
        match serde_json::to_writer(&mut self.lines, event) {
            Ok(()) => self.lines.push(b'\n'),
            Err(_) => {
                self.lines.truncate(start);
                self.queue.unwritable(event);
            }
        }
    }

    /// Writes the lines if there are at least `enough` bytes of them, trying until it works or the writer has
    /// to end. What was written before a failure is not written again.
    fn put_if(&mut self, enough: usize) -> Option<()> {
        if self.lines.len() < enough {
            return Some(());
        }
        let mut written = 0;
        while let Err(error) = self.put_rest(&mut written) {
            if !self.queue.failed(&error) {
                return None;
            }
        }
        self.lines.clear();
        self.queue.wrote(std::mem::take(&mut self.known), std::mem::take(&mut self.strangers));
        Some(())
    }

    fn put_rest(&mut self, written: &mut usize) -> io::Result<()> {
        while let Some(rest) = self.lines.get(*written..).filter(|rest| !rest.is_empty()) {
            match self.output.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => *written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        self.output.flush()
    }
}
