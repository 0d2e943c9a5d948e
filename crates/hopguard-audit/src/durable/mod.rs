//! A log on disk that shows what was done to it: an append-only file of JSON Lines, the Merkle tree over its
//! records (RFC 6962), and checkpoints of that tree, signed every few seconds (`c2sp.org/tlog-checkpoint`).

mod tree;
pub(crate) mod checkpoint;
pub(crate) mod folder;
mod paper;
mod speaker;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use hopguard_core::{ConfigErrors, Problems};

pub use self::checkpoint::{LogKey, LogVerifier};
pub use self::verify::{Finding, FindingKind, Verification, verify};

use self::paper::{LogPaper, Settings};
use crate::json_lines::Mended;
use crate::json_lines::queue::Limits;
use crate::json_lines::running::{Running, cannot_start, queued};

/// A file of records smaller than this would be one of thousands.
const SMALLEST_FILE: u64 = 4096;

/// A log on disk that shows what was done to it: each audit event a record, the Merkle tree over the records
/// (RFC 6962), and checkpoints of that tree, signed every few seconds (`c2sp.org/tlog-checkpoint`).
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("hopguard-doc-durable-{}", std::process::id()));
/// use std::time::Duration;
///
/// use hopguard_audit::{DurableLog, LogKey, Promise, verify};
///
/// let key = LogKey::generate("orders.internal/audit")?; // in earnest: LogKey::from_file("/run/secrets/audit-key")?
/// let verifier = key.verifier();
/// let log = DurableLog::at(&folder, key)
///     .promise(Promise::BeforeAllow)
///     .checkpoint_every(Duration::from_secs(10))
///     .open()?;
/// drop(log);
/// assert!(verify(&folder, &verifier, &[])?.is_sound());
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// | file | holds |
/// | --- | --- |
/// | `00000000000000000000.jsonl`, ... | the records; the name is the number of the first one |
/// | `leaves` | their RFC 6962 leaf hashes, 32 bytes each: the level 0 tiles of `c2sp.org/tlog-tiles` end to end |
/// | `checkpoints` | every signed checkpoint; `checkpoint` is the newest alone |
///
/// # What is promised
///
/// Events are written in batches, and each batch costs one `fsync`, while the next one is written. With
/// [`Promise::BeforeAllow`] nothing is allowed before the `fsync` that covers it. [`Promise::Acknowledged`] and
/// [`Promise::BestEffort`] are as with [`JsonLines`](crate::JsonLines); so are the strangers' lane and the counted
/// losses, which stand in the log itself. A failed `fsync` ends the log until the process starts anew.
///
/// [`Promise::BeforeAllow`]: crate::Promise::BeforeAllow
/// [`Promise::Acknowledged`]: crate::Promise::Acknowledged
/// [`Promise::BestEffort`]: crate::Promise::BestEffort
///
/// Killed at any instant, a log is continued by the next [`DurableLogBuilder::open`]: the torn end is cut, and
/// the cut stands in the log as `audit_mended`. A log that lost or changed anything that was signed is not
/// continued.
///
/// # Security
///
/// Whoever can write the files but has not the key can change nothing before the newest checkpoint unseen;
/// records after it, until the next one, and for good if the service starts again before: it signs what it
/// finds. Whoever has the key, or the service's process, can write what they
/// like from then on, and rewrite the past too, unless a checkpoint is held where they cannot write:
/// [`DurableLogBuilder::ship_to`] a place on another machine, and verify against it. To set the whole folder
/// back to an older copy shows only against such a checkpoint.
pub struct DurableLog {
    running: Running,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
    mended: Option<Mended>,
    verifier: LogVerifier,
}

/// What a [`DurableLog`] is made from.
#[derive(Debug)]
#[must_use = "nothing is opened until `open` is called"]
pub struct DurableLogBuilder {
    settings: Settings,
    limits: Limits,
    every: Duration,
}

impl DurableLog {
    /// A log in `folder`, which is made if it is not there, signed with `key`.
    pub fn at(folder: impl Into<PathBuf>, key: LogKey) -> DurableLogBuilder {
        let settings =
            Settings { folder: folder.into(), key: Arc::new(key), ship: None, rotate_at: 256 << 20 };
        DurableLogBuilder { settings, limits: Limits::default(), every: Duration::from_secs(10) }
    }
}

queued!(
    DurableLog,
    DurableLogBuilder,
    fn problem(&self, service: &str) -> Option<String> {
        self.verifier.problem(service)
    }
);

impl DurableLogBuilder {
    /// How often a checkpoint is signed while there are new records; every ten seconds unless said. One more
    /// is signed when the log is dropped.
    pub const fn checkpoint_every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Also appends every checkpoint to the file at `path`, which belongs where whoever can write the log
    /// cannot: another machine's disk. It is read at the start: a log older than it is not continued, and one that is
    /// signed already not without it. What cannot be shipped is shipped as soon as it can be.
    pub fn ship_to(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.ship = Some(path.into());
        self
    }

    /// From how many bytes on a new file of records is begun; 256 MiB unless said.
    pub const fn rotate_at(mut self, bytes: u64) -> Self {
        self.settings.rotate_at = bytes;
        self
    }

    /// Opens the log, mends its end if need be, and starts the writer.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if a setting is out of range, or the folder cannot be opened, is in use, or holds a log
    /// that has lost or changed what was signed, or that another key signed.
    pub fn open(self) -> Result<DurableLog, ConfigErrors> {
        let mut problems = Problems::new();
        self.limits.check(&mut problems);
        if self.every.is_zero() {
            problems.add("audit.checkpoint_every", "is nothing: name a time");
        }
        if self.settings.rotate_at < SMALLEST_FILE {
            problems.add("audit.rotate_at", format!("is below {SMALLEST_FILE} bytes"));
        }
        let Settings { folder, key, ship, .. } = &self.settings;
        let found = folder::open(folder, &key.verifier(), ship.as_deref());
        let found = match found {
            Ok(found) => found,
            Err(problem) => {
                problems.add("audit.folder", format!("`{}` {problem}", folder.display()));
                return Err(problems.into_errors());
            }
        };
        // A log that was begun and could not ship its first checkpoint would be one that lost what it shipped.
        let begins = ship.as_ref().filter(|_| found.signed.is_none());
        if let Some(Err(error)) = begins.map(|path| folder::private().append(true).create(true).open(path)) {
            let path = begins.map(|path| path.display().to_string()).unwrap_or_default();
            problems.add("audit.ship_to", format!("cannot append to `{path}`: {error}"));
        }
        problems.into_result(())?;
        let mended = found.mended;
        let verifier = self.settings.key.verifier();
        let paper = LogPaper::new(self.settings, found).map_err(|error| cannot_start(&error))?;
        let cut = match mended {
            Some(Mended::Cut(bytes)) => Some(bytes),
            Some(Mended::Ended) | None => None,
        };
        let running = Running::start(self.limits, paper, cut)?;
        let queue = running.queue().clone();
        let mut log = DurableLog { running, ticker: None, mended, verifier };
        let (end, ended) = mpsc::channel::<()>();
        let ticker = std::thread::Builder::new().name("hopguard-audit-tick".into()).spawn(move || {
            while ended.recv_timeout(self.every) == Err(RecvTimeoutError::Timeout) {
                queue.tick();
            }
        });
        log.ticker = Some((end, ticker.map_err(|error| cannot_start(&error))?));
        Ok(log)
    }
}

impl Drop for DurableLog {
    /// No checkpoint is due any more; the writer signs the last one when it ends.
    fn drop(&mut self) {
        if let Some((end, ticker)) = self.ticker.take() {
            drop(end);
            let _ = ticker.join();
        }
    }
}

#[cfg(test)]
mod tests;
