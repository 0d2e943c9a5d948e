//! The durable log: writing it beside a plain file with the same rhythm of `fsync`, verifying it beside the hash
//! alone, and reading its lineage beside a plain parse.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use hopguard_audit::lineage::{Lineage, log_files};
use hopguard_audit::{DurableLog, LogKey, Promise, verify};
use hopguard_core::{Audit, Event, Facts, Fingerprint, Ledger};
use serde_json::Value;

use crate::capture::decision;
use crate::clock::Whose;
use crate::egress::admit;
use crate::harness::{Group, Lane, Pace};
use crate::world::Key;

/// Events in one batch: what queues up in a busy service while the disk is at work.
const BATCH: usize = 2048;
/// Events of the log that is read.
const LOG: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// Events per second of wall time, on whatever disk the target folder is.
///
/// Both lanes write lines of the same bytes (but for ids and times). The plain file is synced twice a round, or sixteen
/// times one by one; so is the log one by one, and else whenever the disk is free for 256 KiB: `strace -f -c` counted
/// 235 `fdatasync` in 41 rounds of 2048 events, which are the log's loss. The slower the disk, the nearer to 1 is the
/// ratio: compare only runs whose floors are alike. The writers' own CPU time does not depend on the disk:
/// `perf record -g` over this row, and `perf report --sort comm,dso`.
pub(crate) fn written(_: Pace) -> Group {
    let mut group = Group::new(Whose::Wall);
    let facts = admit(&Key::es256(), &Ledger::bounded()).facts().clone();
    let folder = Rc::new(Folder::new("written"));

    // The writer takes the first event alone, and while that is made durable the others queue up; the plain file
    // is written and synced in the same two steps.
    let durable = |name: &str, promise| {
        let key = LogKey::generate("bench.internal/log").expect("a key");
        let log = DurableLog::at(folder.path.join(name), key).places(4 * BATCH).promise(promise).open();
        let log = Arc::new(log.expect("a log"));
        (Audit::new("orders", "1", log.clone()), log)
    };
    let (audit, log) = durable("group", Promise::Acknowledged);
    let (kept, told) = (folder.clone(), facts.clone());
    let grouped = group.lane(
        Lane::new("durable log", move || {
            let _folder = &kept;
            for _ in 0..BATCH {
                audit.write(decision(&audit, &told)).expect("a place");
            }
            assert!(log.flush(PATIENCE));
        })
        .fixed(1),
    );
    let lines = lines_of(&facts, BATCH);
    let mut plain = BufWriter::new(File::create(folder.path.join("plain")).expect("a file"));
    let batch = lines.clone();
    let floor = group.lane(
        Lane::new("BufWriter, synced as often", move || {
            let (first, rest) = batch.split_first().expect("lines");
            put(&mut plain, std::slice::from_ref(first));
            put(&mut plain, rest);
        })
        .fixed(1),
    );

    let (audit, log) = durable("single", Promise::BeforeAllow);
    let told = facts.clone();
    let single = group.lane(
        Lane::new("durable log, each event awaited", move || {
            let _log = &log;
            for _ in 0..16 {
                let safe = audit.write_durably(decision(&audit, &told)).expect("a place");
                safe.wait(PATIENCE).expect("durable");
            }
        })
        .fixed(1),
    );
    let mut plain = BufWriter::new(File::create(folder.path.join("plain-single")).expect("a file"));
    let alone = group.lane(
        Lane::new("BufWriter, each line synced", move || {
            lines.iter().take(16).for_each(|line| put(&mut plain, std::slice::from_ref(line)));
        })
        .fixed(1),
    );
    group.compare("audit durable: 2048 events, queued", grouped, floor, 2.0);
    group.compare("audit durable: before_allow, 16 events one by one", single, alone, None);
    group
}

fn put(file: &mut BufWriter<File>, lines: &[Vec<u8>]) {
    lines.iter().for_each(|line| file.write_all(line).expect("room"));
    file.flush().expect("room");
    file.get_ref().sync_data().expect("a disk");
}

fn lines_of(facts: &Arc<Facts>, count: usize) -> Vec<Vec<u8>> {
    let audit = crate::world::audit();
    let line = |_| {
        let mut line = Vec::new();
        decision(&audit, facts).write_line(&mut line).expect("a line");
        line.push(b'\n');
        line
    };
    (0..count).map(line).collect()
}

/// A log of exchanges, verified and traced.
pub(crate) fn read(_: Pace) -> Group {
    let mut group = Group::new(Whose::Process);
    let folder = Rc::new(Folder::new("read"));
    let key = LogKey::generate("bench.internal/log#orders").expect("a key");
    let verifier = key.verifier();
    let path = folder.path.join("log");
    let log = Arc::new(DurableLog::at(&path, key).places(4 * BATCH).open().expect("a log"));
    let audit = Audit::new("orders", "1", log.clone());
    let facts = admit(&Key::es256(), &Ledger::bounded()).facts().clone();
    for n in 0..LOG {
        audit.write(exchange(&audit, &facts, n)).expect("a place");
        if n % BATCH == 0 {
            assert!(log.flush(PATIENCE));
        }
    }
    drop(audit);
    drop(log);
    let files = log_files(&path).expect("files");
    let bytes: usize = files.iter().map(|file| contents(file).len()).sum();
    assert!(bytes > LOG * 500, "{bytes} bytes");

    let (at, kept) = (path.clone(), folder.clone());
    let verified = group.lane(Lane::new("audit verify", move || {
        let _folder = &kept;
        let found = verify(&at, &verifier, &[]).expect("a log");
        assert!(found.is_sound() && found.records >= LOG as u64);
    }));
    let all = files.clone();
    let hashed = group.lane(Lane::new("SHA-256 of the same files", move || {
        for file in &all {
            std::hint::black_box(digest::digest(&digest::SHA256, &contents(file)));
        }
    }));
    let all = files.clone();
    let parsed = group.lane(Lane::new("serde_json over the same lines", move || {
        for file in &all {
            for line in contents(file).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                std::hint::black_box(serde_json::from_slice::<Value>(line).expect("JSON"));
            }
        }
    }));
    let at = path.clone();
    let indexed = group.lane(Lane::new("the index", move || {
        std::hint::black_box(Lineage::read([at.as_path()]).expect("a log"));
    }));
    let lineage = Lineage::read([path.as_path()]).expect("a log");
    let asked = child(LOG / 2).to_string();
    let traced = group.lane(Lane::new("one tree of the index", move || {
        assert_eq!(lineage.trace(&asked).len(), 1);
    }));
    group.compare("audit verify", verified, hashed, 2.0);
    group.compare("audit trace: one tree, once indexed", traced, parsed, 3.0);
    group.compare("audit trace: reading and indexing", indexed, parsed, None);
    group
}

fn contents(file: &Path) -> Vec<u8> {
    fs::read(file).expect("a file")
}

fn child(n: usize) -> Fingerprint {
    Fingerprint::of_token(&format!("e30.child{n}.sig"))
}

/// The event of an exchange: tokens of a subject's own for another service.
fn exchange(audit: &Audit, facts: &Arc<Facts>, n: usize) -> Event {
    let told = |fingerprint| Arc::new(Facts { fingerprint, ..Facts::clone(facts) });
    let mut event = decision(audit, &told(Fingerprint::of_token(&format!("e30.parent{n}.sig"))));
    event.grant = Some(told(child(n)));
    event
}

/// A folder beside the build's own, gone when nobody uses it any more.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("../target/bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self { path }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over costs room in the build's folder and nothing else.
        let _ = fs::remove_dir_all(&self.path);
    }
}
