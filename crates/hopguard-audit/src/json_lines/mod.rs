//! An append-only file with one JSON object per line, written by a thread of its own.

pub(crate) mod file;
pub(crate) mod queue;
pub(crate) mod running;
pub(crate) mod writer;

use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use hopguard_core::{ConfigErrors, Problems};

use self::queue::Limits;
use self::running::{Running, queued};

/// What happens to an event that finds no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promise {
    /// It cannot come to that: reserving fails first, and what would be written down does not happen.
    #[default]
    Acknowledged,
    /// As [`Promise::Acknowledged`], and an event that allows something is written before it is allowed: by a
    /// [`DurableLog`](crate::DurableLog) to the disk, by [`JsonLines`] to the operating system.
    BeforeAllow,
    /// It is dropped and counted, and the count is written.
    BestEffort,
}

/// What was done to a file whose last line had no end, as after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    /// The last line was whole and only its line break was missing; it was added.
    Ended,
    /// The last line was torn and was cut off: so many bytes.
    Cut(u64),
}

/// How the queue in front of a log stands, for metrics and whoever looks after them.
///
/// ```
/// let log = hopguard_audit::JsonLines::to(std::io::sink()).open()?;
/// assert_eq!((log.status().taken, log.status().lost), (0, 0));
/// # Ok::<(), hopguard_core::ConfigErrors>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatus {
    /// How many events may be reserved, queued or under the writer's pen at once.
    pub places: usize,
    /// How many of these places are taken.
    pub taken: usize,
    /// The same for the refusals of strangers.
    pub stranger_places: usize,
    /// How many of those are taken.
    pub strangers_taken: usize,
    /// How many events found no place since the start. The log itself counts them too.
    pub lost: u64,
    /// How often the writer failed since the start.
    pub failures: u64,
}

/// An append-only file with one JSON object per line for each audit event, written by a thread of its own.
///
/// A request only moves its event into a queue; the writer turns it into text. The queue has a fixed number
/// of places, and a place is free again when its line is written, so that memory is bounded even while the
/// disk hangs.
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("hopguard-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("audit.jsonl");
/// use std::time::Duration;
///
/// use hopguard_audit::{JsonLines, Promise};
///
/// let file = JsonLines::at(&path).places(10_000).promise(Promise::Acknowledged).open()?;
/// assert!(file.flush(Duration::from_secs(5)));
/// # drop(file);
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is promised
///
/// [`Promise::Acknowledged`], the default: whoever has reserved a place gets the line written. When every
/// place is taken, or the last write failed, reservations are refused and with them the requests, until the
/// writer, which tries again every second, gets through. [`Promise::BestEffort`]: nobody is refused; what
/// finds no place is counted, and the count becomes a line of its own (`audit_lost`).
/// [`Promise::BeforeAllow`]: acknowledged, and nothing is allowed before its line is written.
///
/// Refusals of strangers have their own few places. They take none from anybody else, and what finds none
/// is counted in the same way.
///
/// # Security
///
/// One process writes one file: it is locked. The file is created readable by its owner only. It can be
/// altered by whoever can write it; nothing here would show that.
pub struct JsonLines {
    running: Running,
    mended: Option<Mended>,
}

/// What a [`JsonLines`] is made from.
#[must_use = "nothing is opened until `open` is called"]
pub struct JsonLinesBuilder {
    target: Target,
    limits: Limits,
}

enum Target {
    Path(PathBuf),
    Writer(Box<dyn Write + Send>),
}

impl JsonLines {
    /// Appends to the file at `path`, which is made if it is not there.
    pub fn at(path: impl Into<PathBuf>) -> JsonLinesBuilder {
        JsonLinesBuilder::new(Target::Path(path.into()))
    }

    /// Writes to `writer`, such as standard output or a pipe. It may block: it is called by the writer's
    /// thread only.
    pub fn to(writer: impl Write + Send + 'static) -> JsonLinesBuilder {
        JsonLinesBuilder::new(Target::Writer(Box::new(writer)))
    }
}

queued!(JsonLines, JsonLinesBuilder);

impl JsonLinesBuilder {
    fn new(target: Target) -> Self {
        Self { target, limits: Limits::default() }
    }

    /// Opens the file and starts the writer.
    ///
    /// A file whose last line is torn is mended first, which [`JsonLines::mended`] and a `tracing` event tell.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if a setting is out of range or the file cannot be opened, is locked by another
    /// writer, or ends in something that is no audit event.
    pub fn open(self) -> Result<JsonLines, ConfigErrors> {
        let mut problems = Problems::new();
        self.limits.check(&mut problems);
        let mut opened: Option<(Box<dyn Write + Send>, Option<Mended>)> = None;
        match self.target {
            Target::Writer(writer) => opened = Some((writer, None)),
            Target::Path(path) => match file::open(&path) {
                Ok((file, mended)) => opened = Some((Box::new(file), mended)),
                Err(problem) => problems.add("audit.path", format!("`{}` {problem}", path.display())),
            },
        }
        let Some((output, mended)) = opened else { return Err(problems.into_errors()) };
        problems.into_result(())?;
        Ok(JsonLines { running: Running::start(self.limits, writer::Plain(output), None)?, mended })
    }
}

impl fmt::Debug for JsonLinesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLinesBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
