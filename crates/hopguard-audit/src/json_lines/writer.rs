//! What the writer's thread does: take a batch, turn it into lines, write them, until told to end.

use std::io::{self, ErrorKind, Write};

use hopguard_core::{Decision, Direction, Event, EventKind};

use super::queue::{Batch, Queue};

/// So many bytes of whole lines are written at once.
const CHUNK: usize = 64 * 1024;

/// What the writer writes on.
pub(crate) trait Paper: Write + Send {
    /// A batch was written: makes it durable, if that is promised. A failure is final: after a failed `fsync`
    /// nobody knows what is on the disk.
    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Signs what was written so far.
    fn seal(&mut self) {}
}

/// A file or stream that promises nothing beyond what the operating system does.
pub(super) struct Plain(pub(super) Box<dyn Write + Send>);

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Paper for Plain {}

/// Runs until the queue is stopped and empty. Whatever ends it, a panic included, the queue learns of it.
/// `cut` bytes of a torn line are told in the name of whoever writes first.
pub(crate) fn run(queue: &Queue, output: &mut dyn Paper, cut: Option<u64>) {
    struct Ended<'a>(&'a Queue);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.end();
        }
    }
    let _ended = Ended(queue);
    let lines = Vec::with_capacity(CHUNK + CHUNK / 4);
    let mut pen = Pen { queue, output, lines, known: 0, strangers: 0, cut };
    let mut batch = Batch::default();
    while queue.next(&mut batch) {
        if pen.write(&mut batch).is_none() {
            return;
        }
        if batch.due {
            pen.output.seal();
        }
        queue.finished(&batch);
    }
    pen.output.seal();
}

struct Pen<'a> {
    queue: &'a Queue,
    output: &'a mut dyn Paper,
    lines: Vec<u8>,
    /// How many events stand in `lines`.
    known: usize,
    strangers: usize,
    cut: Option<u64>,
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
        self.put_if(0)?;
        if let Err(error) = self.output.settle() {
            tracing::error!(error = %error.kind(), "the audit log cannot be made durable; it takes nothing more");
            return None;
        }
        Some(())
    }

    fn append(&mut self, event: &Event) {
        if let Some(bytes) = self.cut.take() {
            let mended = Decision::Allow("audit_mended");
            let mut notice = Event::new(
                event.time_millis,
                &event.origin,
                Direction::Internal,
                EventKind::Notice,
                "audit",
                mended,
            );
            notice.count = Some(bytes);
            self.append(&notice);
        }
        let start = self.lines.len();
        // JSON escapes line breaks, so that no value can begin a line of its own.
        match event.write_line(&mut self.lines) {
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
