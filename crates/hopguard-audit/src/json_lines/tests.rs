use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use hopguard_core::{AuditFull, AuditSink};
use proptest::prelude::*;
use serde_json::Value;

use super::queue::Queue;
use super::*;
use crate::events_for_tests::{admitted, decided, hostile, numbered};

const SOON: Duration = Duration::from_secs(20);

/// A folder of its own for each test, gone afterwards.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hopguard-audit-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("audit.jsonl")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A disk that can be made to hang or to fail, and keeps what it got.
#[derive(Clone, Default)]
struct Disk(Arc<(Mutex<DiskState>, Condvar)>);

#[derive(Default)]
struct DiskState {
    bytes: Vec<u8>,
    hangs: bool,
    /// Takes so many more bytes, then fails.
    room: Option<usize>,
    panics: bool,
}

impl Disk {
    fn hanging() -> Self {
        let disk = Self::default();
        disk.set(|state| state.hangs = true);
        disk
    }

    fn set(&self, change: impl FnOnce(&mut DiskState)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn lines(&self) -> Vec<Value> {
        parsed(std::str::from_utf8(&self.0.0.lock().unwrap().bytes).unwrap())
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = self.0.0.lock().unwrap();
        let mut state = self.0.1.wait_while(state, |state| state.hangs).unwrap();
        assert!(!state.panics, "told to");
        let taken = state.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.room = state.room.map(|room| room - taken);
        state.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[track_caller]
fn parsed(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The numbers of the numbered events, in the order of their lines.
fn numbers(lines: &[Value]) -> Vec<u64> {
    let single = lines.iter().filter(|line| line["code"] == "audience_mismatch");
    single.map(|line| line["time_ms"].as_u64().unwrap()).collect()
}

/// What the counted lines of `gate` add up to.
fn lost(lines: &[Value], gate: &str) -> u64 {
    let counts = lines.iter().filter(|line| line["code"] == "audit_lost" && line["gate"] == gate);
    counts.map(|line| line["count"].as_u64().unwrap()).sum()
}

#[test]
fn events_become_lines_in_their_order() {
    let folder = Folder::new();
    let sink = JsonLines::at(folder.file()).open().unwrap();
    for number in 0..1000 {
        sink.reserve().unwrap();
        sink.commit(numbered(number));
    }
    assert!(sink.flush(SOON));
    let lines = parsed(&std::fs::read_to_string(folder.file()).unwrap());
    assert_eq!(numbers(&lines), (0..1000).collect::<Vec<_>>());
    assert_eq!(lines[0]["code"], "audience_mismatch");
}

#[test]
fn a_sink_that_is_dropped_has_written_everything_and_the_next_one_appends() {
    let folder = Folder::new();
    for number in 0..3 {
        let sink = JsonLines::at(folder.file()).open().unwrap();
        sink.reserve().unwrap();
        sink.commit(numbered(number));
        drop(sink);
    }
    assert_eq!(numbers(&parsed(&std::fs::read_to_string(folder.file()).unwrap())), [0, 1, 2]);
}

#[test]
fn a_full_queue_refuses_and_loses_nothing() {
    let disk = Disk::hanging();
    let sink = JsonLines::to(disk.clone()).places(3).open().unwrap();
    for _ in 0..3 {
        assert_eq!(sink.reserve(), Ok(()));
    }
    assert_eq!(sink.reserve(), Err(AuditFull));
    sink.release();
    assert_eq!(sink.reserve(), Ok(()));
    // Handed over, and even under the writer's pen, an event keeps its place.
    for number in 0..3 {
        sink.commit(numbered(number));
        assert_eq!(sink.reserve(), Err(AuditFull));
    }
    assert!(!sink.flush(Duration::from_millis(5)));
    assert_eq!(sink.reserve(), Err(AuditFull));
    disk.set(|state| state.hangs = false);
    assert!(sink.flush(SOON));
    assert_eq!(sink.reserve(), Ok(()));
    assert_eq!(numbers(&disk.lines()), [0, 1, 2]);
}

/// Under each promise, and while the disk hangs.
#[test]
fn strangers_take_no_room_from_others_and_are_counted() {
    for promise in [Promise::Acknowledged, Promise::BeforeAllow, Promise::BestEffort] {
        let disk = Disk::hanging();
        let sink = JsonLines::to(disk.clone()).places(2).stranger_places(4).promise(promise).open().unwrap();
        for number in 100..150 {
            sink.offer(numbered(number));
        }
        let mut suppressed = decided(hopguard_core::Decision::Allow("suppressed"));
        suppressed.count = Some(7);
        sink.offer(suppressed);
        let known: Vec<_> = (0..2)
            .map(|number| {
                assert_eq!(sink.reserve(), Ok(()), "{promise:?}");
                sink.commit_durably(numbered(number))
            })
            .collect();
        let waits = promise == Promise::BeforeAllow;
        assert!(known.iter().all(|safe| safe.is_done() != waits), "{promise:?}");
        disk.set(|state| state.hangs = false);
        assert!(known.into_iter().all(|safe| safe.wait(SOON).is_ok()), "{promise:?}");
        assert!(sink.flush(SOON));
        let lines = disk.lines();
        let written = numbers(&lines);
        assert_eq!(written.iter().filter(|&&number| number >= 100).count(), 4, "{promise:?}");
        assert_eq!(written.iter().filter(|&&number| number < 100).count(), 2, "{promise:?}");
        let counted = (lost(&lines, "audit_strangers"), lost(&lines, "audit"));
        assert_eq!(counted, (46 + 7, 0), "{promise:?}");
    }
}

#[test]
fn best_effort_drops_and_counts() {
    let disk = Disk::hanging();
    let sink = JsonLines::to(disk.clone()).places(5).promise(Promise::BestEffort).open().unwrap();
    for number in 0..20 {
        assert_eq!(sink.reserve(), Ok(()));
        sink.commit(numbered(number));
    }
    sink.reserve().unwrap();
    sink.release();
    disk.set(|state| state.hangs = false);
    assert!(sink.flush(SOON));
    let lines = disk.lines();
    assert_eq!((numbers(&lines), lost(&lines, "audit")), (vec![0, 1, 2, 3, 4], 15));
}

#[test]
fn a_full_disk_refuses_until_it_has_room_and_tears_nothing() {
    let disk = Disk::default();
    disk.set(|state| state.room = Some(100));
    let sink = JsonLines::to(disk.clone()).open().unwrap();
    sink.reserve().unwrap();
    sink.reserve().unwrap();
    sink.commit(numbered(0));
    assert!(!sink.flush(SOON));
    assert_eq!(sink.reserve(), Err(AuditFull));
    // What was reserved before the failure is still taken.
    sink.commit(numbered(1));
    assert!(!sink.flush(SOON));
    disk.set(|state| state.room = None);
    assert!(sink.flush(SOON));
    assert_eq!(sink.reserve(), Ok(()));
    assert_eq!(numbers(&disk.lines()), [0, 1]);
}

#[test]
fn best_effort_outlives_a_full_disk() {
    let disk = Disk::default();
    disk.set(|state| state.room = Some(0));
    let sink = JsonLines::to(disk.clone()).places(2).promise(Promise::BestEffort).open().unwrap();
    sink.commit(numbered(0));
    assert!(!sink.flush(SOON));
    assert_eq!(sink.reserve(), Ok(()));
    for number in 1..5 {
        sink.commit(numbered(number));
    }
    disk.set(|state| state.room = None);
    assert!(sink.flush(SOON));
    let lines = disk.lines();
    assert_eq!((numbers(&lines), lost(&lines, "audit")), (vec![0, 1], 3));
}

#[test]
fn a_writer_that_dies_refuses_for_good() {
    let disk = Disk::default();
    disk.set(|state| state.panics = true);
    let sink = JsonLines::to(disk).open().unwrap();
    sink.reserve().unwrap();
    sink.commit(numbered(0));
    assert!(!sink.flush(SOON));
    assert_eq!(sink.reserve(), Err(AuditFull));
}

#[test]
fn a_failure_is_said_once() {
    let said = Arc::new(AtomicUsize::new(0));
    let layer = {
        let said = said.clone();
        tracing_subscriber::fmt()
            .with_writer(move || {
                said.fetch_add(1, Ordering::Relaxed);
                io::sink()
            })
            .finish()
    };
    tracing::subscriber::with_default(layer, || {
        let limits = Limits { places: 1, stranger_places: 1, promise: Promise::Acknowledged };
        let queue = Queue::new(limits, 1);
        assert!(!queue.stop(Duration::ZERO));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        for _ in 0..3 {
            assert!(!queue.failed(&full));
        }
        assert_eq!(said.load(Ordering::Relaxed), 1);
        queue.wrote(0, 0);
        queue.wrote(0, 0);
        assert_eq!(said.load(Ordering::Relaxed), 2);
        queue.failed(&full);
        assert_eq!(said.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn committing_without_a_reservation_stays_bounded() {
    let disk = Disk::hanging();
    let sink = JsonLines::to(disk.clone()).places(2).open().unwrap();
    for number in 0..9 {
        sink.commit(numbered(number));
    }
    disk.set(|state| state.hangs = false);
    assert!(sink.flush(SOON));
    let lines = disk.lines();
    assert_eq!((numbers(&lines), lost(&lines, "audit")), (vec![0, 1], 7));
}

#[test]
fn no_value_begins_a_line_of_its_own() {
    let disk = Disk::default();
    let sink = JsonLines::to(disk.clone()).open().unwrap();
    for event in [hostile(), admitted()] {
        sink.reserve().unwrap();
        sink.commit(event);
    }
    sink.offer(hostile());
    assert!(sink.flush(SOON));
    let lines = disk.lines();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line["version"] == 1 && line["gate"] == "inbound"));
    assert_eq!(lines[0]["token"]["subject"], "x\n{\"version\":1,\"code\":\"admitted\"}\r\n");
}

#[test]
fn a_torn_line_is_told() {
    let folder = Folder::new();
    std::fs::write(folder.file(), format!("{}\n{{\"version\":1,\"ti", file::tests::WHOLE)).unwrap();
    let sink = JsonLines::at(folder.file()).open().unwrap();
    assert_eq!(sink.mended(), Some(Mended::Cut(16)));
    sink.reserve().unwrap();
    sink.commit(numbered(3));
    drop(sink);
    let lines = parsed(&std::fs::read_to_string(folder.file()).unwrap());
    assert_eq!((lines.len(), numbers(&lines)), (2, vec![3]));
    assert_eq!(JsonLines::at(folder.file()).open().unwrap().mended(), None);
}

#[test]
fn every_wrong_setting_is_named() {
    let folder = Folder::new();
    let errors = JsonLines::at(&folder.0).places(0).stranger_places(usize::MAX).open().unwrap_err();
    let settings: Vec<_> = errors.problems().iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(settings, ["audit.places", "audit.stranger_places", "audit.path"]);
    let errors = JsonLines::at(folder.0.join("none/audit.jsonl")).open().unwrap_err();
    assert_eq!(errors.problems().len(), 1);
    assert_eq!(errors.problems()[0].setting, "audit.path");
}

/// Many requests at once: never more places than there are, and every place that was filled is a line.
#[test]
fn concurrent_reservations_keep_the_bound_and_lose_nothing() {
    const PLACES: usize = 16;
    let disk = Disk::default();
    let sink = JsonLines::to(disk.clone()).places(PLACES).open().unwrap();
    let held = AtomicUsize::new(0);
    let committed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (sink, held, committed) = (&sink, &held, &committed);
            scope.spawn(move || {
                for turn in 0..500 {
                    if sink.reserve().is_err() {
                        std::thread::yield_now();
                        continue;
                    }
                    assert!(held.fetch_add(1, Ordering::SeqCst) < PLACES);
                    held.fetch_sub(1, Ordering::SeqCst);
                    if turn % 3 == 0 {
                        sink.release();
                    } else {
                        let number = thread * 1000 + turn;
                        sink.commit(numbered(number));
                        committed.lock().unwrap().push(number);
                    }
                    sink.offer(admitted());
                }
            });
        }
    });
    assert!(sink.flush(SOON));
    let mut expected = committed.into_inner().unwrap();
    let lines = disk.lines();
    let mut written = numbers(&lines);
    expected.sort_unstable();
    written.sort_unstable();
    assert!(!expected.is_empty());
    assert_eq!((written, lost(&lines, "audit")), (expected, 0));
    for _ in 0..PLACES {
        assert_eq!(sink.reserve(), Ok(()));
    }
    assert_eq!(sink.reserve(), Err(AuditFull));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Reserve,
    Release,
    Commit,
    Offer,
    Drain,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a model: in any order of steps a reservation is granted exactly when there is a place.
    #[test]
    fn places_are_counted_right(
        places in 1usize..5,
        steps in prop::collection::vec(
            prop_oneof![Just(Step::Reserve), Just(Step::Release), Just(Step::Commit), Just(Step::Offer), Just(Step::Drain)],
            0..60,
        ),
    ) {
        let disk = Disk::hanging();
        let sink = JsonLines::to(disk.clone()).places(places).stranger_places(1).open().unwrap();
        let (mut reserved, mut queued, mut next) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Reserve => {
                    let granted = sink.reserve().is_ok();
                    prop_assert_eq!(granted, reserved + queued < places);
                    reserved += usize::from(granted);
                }
                Step::Release if reserved > 0 => {
                    sink.release();
                    reserved -= 1;
                }
                Step::Commit if reserved > 0 => {
                    sink.commit(numbered(next));
                    (reserved, queued, next) = (reserved - 1, queued + 1, next + 1);
                }
                Step::Release | Step::Commit => (),
                Step::Offer => sink.offer(hostile()),
                Step::Drain => {
                    disk.set(|state| state.hangs = false);
                    prop_assert!(sink.flush(SOON));
                    disk.set(|state| state.hangs = true);
                    queued = 0;
                }
            }
        }
        disk.set(|state| state.hangs = false);
        prop_assert!(sink.flush(SOON));
        let lines = disk.lines();
        prop_assert_eq!(numbers(&lines), (0..next).collect::<Vec<u64>>());
        prop_assert_eq!(lost(&lines, "audit"), 0);
    }
}
