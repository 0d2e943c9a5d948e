//! What a writer's thread does: take events, turn them into lines, write them, make them durable, until told to end.

use std::io::{self, ErrorKind, Write};
use std::sync::Mutex;

use hopguard_core::{Decision, Direction, Event, EventKind};

use super::queue::{Batch, Next, Queue};

/// So many bytes of whole lines are written at once.
const CHUNK: usize = 64 * 1024;

/// What is written on.
pub(crate) trait Paper: Write + Send {
    /// How many threads take turns: with two, one writes while the other waits for the disk.
    const WRITERS: usize;
    /// What was written and is not durable yet.
    type Wet: Wet;

    /// What was written since this was asked last.
    fn lift(&mut self) -> Self::Wet;

    /// True if nothing more is to be written before the page is turned.
    fn is_full(&self) -> bool {
        false
    }

    /// Begins a new page. Everything that was lifted is durable.
    fn turn(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Signs what was written so far. Everything that was lifted is durable.
    fn seal(&mut self) {}
}

/// Something that becomes durable, if that is promised.
pub(crate) trait Wet {
    /// Waits until it is. A failure is final: after a failed `fsync` nobody knows what is on the disk.
    fn settle(self) -> io::Result<()>;
}

impl Wet for () {
    fn settle(self) -> io::Result<()> {
        Ok(())
    }
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

impl Paper for Plain {
    const WRITERS: usize = 1;
    type Wet = ();

    fn lift(&mut self) {}
}

/// Runs until the queue is stopped and empty. Whatever ends it, a panic included, the queue learns of it.
///
/// Whoever has the pen writes, until the disk is free for what was written. Then the pen passes on, and meanwhile the
/// batch is made durable.
pub(crate) fn run<P: Paper>(queue: &Queue, pen: &Mutex<Pen<P>>) {
    struct Ended<'a>(&'a Queue);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.end();
        }
    }
    let _ended = Ended(queue);
    // The pen of a writer that panicked is not taken up: its line may be half written.
    while let Ok(mut held) = pen.lock() {
        loop {
            match queue.next(&mut held.batch) {
                Next::Write if held.write(queue).is_some() => (),
                Next::Settle => break,
                Next::Done => return held.paper.seal(),
                Next::Write | Next::End => return,
            }
        }
        let (wet, due, full) = (held.paper.lift(), held.batch.due, held.paper.is_full());
        // Nothing is written past what is signed next, or into a file that is full.
        let kept = (due || full).then_some(held);
        if let Err(error) = wet.settle() {
            return lost(&error);
        }
        queue.finished();
        let Some(mut held) = kept else { continue };
        if full && let Err(error) = held.paper.turn() {
            return lost(&error);
        }
        if due {
            held.paper.seal();
        }
    }
}

fn lost(error: &io::Error) {
    tracing::error!(error = %error.kind(), "the audit log cannot be made durable; it takes nothing more");
}

/// Turns events into lines on paper.
pub(crate) struct Pen<P> {
    paper: P,
    batch: Batch,
    lines: Vec<u8>,
    /// How many events stand in `lines`.
    known: usize,
    strangers: usize,
    /// So many bytes of a torn line were cut, which is told in the name of whoever writes first.
    cut: Option<u64>,
}

impl<P: Paper> Pen<P> {
    pub(crate) fn new(paper: P, cut: Option<u64>) -> Self {
        let lines = Vec::with_capacity(CHUNK + CHUNK / 4);
        Self { paper, batch: Batch::default(), lines, known: 0, strangers: 0, cut }
    }

    /// Writes what was taken, or plenty of it; `None` if the writer has to end without having done so.
    fn write(&mut self, queue: &Queue) -> Option<()> {
        while let Some(event) = self.batch.known.pop_front() {
            self.append(queue, &event);
            self.known += 1;
            if self.lines.len() >= CHUNK {
                self.put(queue)?;
                if self.batch.is_plenty() {
                    return Some(());
                }
            }
        }
        while let Some(event) = self.batch.strangers.pop_front() {
            self.append(queue, &event);
            self.strangers += 1;
            if self.lines.len() >= CHUNK {
                self.put(queue)?;
            }
        }
        for event in std::mem::take(&mut self.batch.losses) {
            self.append(queue, &event);
        }
        self.put(queue)
    }

    fn append(&mut self, queue: &Queue, event: &Event) {
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
            self.append(queue, &notice);
        }
        let start = self.lines.len();
        // JSON escapes line breaks, so that no value can begin a line of its own.
        match event.write_line(&mut self.lines) {
            Ok(()) => self.lines.push(b'\n'),
            Err(_) => {
                self.lines.truncate(start);
                queue.unwritable(event);
            }
        }
    }

    /// Writes the lines, trying until it works or the writer has to end. What was written before a failure is not
    /// written again.
    fn put(&mut self, queue: &Queue) -> Option<()> {
        let mut written = 0;
        while let Err(error) = self.put_rest(&mut written) {
            if !queue.failed(&error) {
                return None;
            }
        }
        self.batch.bytes += written;
        self.lines.clear();
        queue.wrote(std::mem::take(&mut self.known), std::mem::take(&mut self.strangers));
        Some(())
    }

    fn put_rest(&mut self, written: &mut usize) -> io::Result<()> {
        while let Some(rest) = self.lines.get(*written..).filter(|rest| !rest.is_empty()) {
            match self.paper.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => *written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        self.paper.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::{Arc, Condvar};
    use std::task::{Context, Waker};
    use std::time::Duration;

    use hopguard_core::{Acknowledgement, AuditFull};

    use super::*;
    use crate::events_for_tests::numbered;
    use crate::json_lines::Promise;
    use crate::json_lines::queue::Limits;
    use crate::json_lines::running::Running;

    const SOON: Duration = Duration::from_secs(20);

    /// Paper of which a test sees what is written, and says when it is durable.
    #[derive(Clone, Default)]
    struct Slate(Arc<(Mutex<Marks>, Condvar)>);

    #[derive(Clone, Default, Debug)]
    struct Marks {
        /// Lines.
        written: usize,
        /// Lines that were written when each batch was lifted.
        lifted: Vec<usize>,
        /// Batches whose turn on the disk has begun, and is over.
        begun: usize,
        settled: usize,
        /// So many batches may become durable.
        may_settle: usize,
        fails: bool,
        /// Lines that were written at each signature.
        sealed: Vec<usize>,
    }

    impl Slate {
        fn change(&self, change: impl FnOnce(&mut Marks)) {
            change(&mut self.0.0.lock().unwrap());
            self.0.1.notify_all();
        }

        #[track_caller]
        fn until(&self, what: impl Fn(&Marks) -> bool) -> Marks {
            let marks = self.0.0.lock().unwrap();
            let (marks, late) = self.0.1.wait_timeout_while(marks, SOON, |marks| !what(marks)).unwrap();
            assert!(!late.timed_out(), "{marks:?}");
            marks.clone()
        }
    }

    impl Write for Slate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.change(|marks| marks.written += bytes.iter().filter(|byte| **byte == b'\n').count());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper for Slate {
        const WRITERS: usize = 2;
        type Wet = Self;

        fn lift(&mut self) -> Self {
            self.change(|marks| marks.lifted.push(marks.written));
            self.clone()
        }

        fn seal(&mut self) {
            self.change(|marks| {
                assert_eq!(marks.settled, marks.lifted.len(), "{marks:?}");
                assert_eq!(Some(&marks.written), marks.lifted.last(), "{marks:?}");
                marks.sealed.push(marks.written);
            });
        }
    }

    impl Wet for Slate {
        fn settle(self) -> io::Result<()> {
            self.change(|marks| {
                assert_eq!(marks.begun, marks.settled, "one at a time: {marks:?}");
                marks.begun += 1;
            });
            if self.until(|marks| marks.may_settle > marks.settled || marks.fails).fails {
                return Err(ErrorKind::Other.into());
            }
            self.change(|marks| marks.settled += 1);
            Ok(())
        }
    }

    fn running(places: usize, promise: Promise) -> (Slate, Running) {
        let slate = Slate::default();
        let running = Running::start(Limits { places, stranger_places: 2, promise }, slate.clone(), None);
        (slate, running.unwrap())
    }

    fn hand_over(running: &Running, number: u64) -> Acknowledgement {
        running.queue().reserve().unwrap();
        running.queue().commit_durably(numbered(number))
    }

    fn is_told(one: &mut Acknowledgement) -> bool {
        Pin::new(one).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_waits_is_told_after_the_disk_and_the_next_is_written_meanwhile() {
        let (slate, running) = running(64, Promise::BeforeAllow);
        let mut first = hand_over(&running, 0);
        slate.until(|marks| marks.begun == 1);
        let mut more: Vec<_> = (1..9).map(|number| hand_over(&running, number)).collect();
        slate.until(|marks| marks.written == 9);
        assert!(!is_told(&mut first) && !more.iter_mut().any(is_told));
        slate.change(|marks| marks.may_settle = 1);
        assert_eq!(first.wait(SOON), Ok(()));
        // All that came meanwhile is one batch.
        assert_eq!(slate.until(|marks| marks.begun == 2).lifted, [1, 9]);
        assert!(!more.iter_mut().any(is_told));
        slate.change(|marks| marks.may_settle = usize::MAX);
        assert!(more.into_iter().all(|one| one.wait(SOON).is_ok()));
        drop(running);
        assert_eq!(slate.until(|_| true).sealed, [9]);
    }

    /// What is written after it may have gone the same way.
    #[test]
    fn a_disk_that_failed_refuses_what_was_written_after_it_too() {
        let (slate, running) = running(64, Promise::BeforeAllow);
        let first = hand_over(&running, 0);
        slate.until(|marks| marks.begun == 1);
        let second = hand_over(&running, 1);
        slate.until(|marks| marks.written == 2);
        slate.change(|marks| marks.fails = true);
        assert_eq!((first.wait(SOON), second.wait(SOON)), (Err(AuditFull), Err(AuditFull)));
        assert_eq!(running.queue().reserve(), Err(AuditFull));
        drop(running);
        let marks = slate.until(|_| true);
        assert_eq!((marks.lifted, marks.sealed), (vec![1], vec![]));
    }

    /// Without a promise events are dropped from then on, and counted.
    #[test]
    fn what_comes_after_the_end_is_counted() {
        let (slate, running) = running(64, Promise::BestEffort);
        running.queue().commit(numbered(0));
        slate.until(|marks| marks.begun == 1);
        slate.change(|marks| marks.fails = true);
        let told = (0..SOON.as_millis()).any(|_| {
            std::thread::park_timeout(std::time::Duration::from_millis(1));
            running.queue().status().failures != 0
        });
        assert!(told, "it is not told that it has failed");
        (0..5000).for_each(|number| running.queue().commit(numbered(number)));
        (0..5).for_each(|number| running.queue().offer(numbered(number)));
        let status = running.queue().status();
        assert!(
            (5005..=5006).contains(&(status.lost + status.taken as u64)) && status.taken <= 1,
            "{status:?}"
        );
    }

    #[test]
    fn while_the_disk_hangs_no_more_is_taken_than_there_is_room_for() {
        let (slate, running) = running(4, Promise::Acknowledged);
        drop(hand_over(&running, 0));
        slate.until(|marks| marks.begun == 1);
        let tries = (1..100_000).filter(|_| {
            let has_room = running.queue().reserve().is_ok();
            if has_room {
                running.queue().commit(numbered(1));
            } else {
                std::thread::yield_now();
            }
            has_room
        });
        // One batch at the disk's door, which may have been one short of its end, and as many as wait.
        assert!((4..=3 + 4 + 4).contains(&tries.count()));
        slate.change(|marks| marks.may_settle = usize::MAX);
        assert!(running.queue().flush(SOON));
    }

    #[test]
    fn a_signature_waits_for_the_disk_and_the_pen_for_the_signature() {
        let (slate, running) = running(64, Promise::Acknowledged);
        for number in 0..50 {
            drop(hand_over(&running, number));
            running.queue().tick();
            slate.change(|marks| marks.may_settle += 1);
        }
        slate.change(|marks| marks.may_settle = usize::MAX);
        // Each signature has looked for itself. The last that was due may come before the last line; one more is signed
        // when the log ends.
        slate.until(|marks| !marks.sealed.is_empty());
        drop(running);
        slate.until(|marks| marks.sealed.last() == Some(&50));
    }

    /// Of more than is made durable at once, nobody is told before the last part is.
    #[test]
    fn a_part_of_a_batch_is_told_to_nobody() {
        let (slate, running) = running(8192, Promise::BeforeAllow);
        slate.change(|marks| marks.may_settle = usize::MAX);
        for round in 1..=10 {
            for number in 0..2000 {
                running.queue().reserve().unwrap();
                running.queue().commit(numbered(number));
            }
            hand_over(&running, 0).wait(SOON).unwrap();
            let marks = slate.until(|_| true);
            assert_eq!(marks.lifted.get(marks.settled - 1), Some(&(round * 2001)), "{marks:?}");
        }
    }
}
