//! What the writer's thread writes on: records, their hashes, checkpoints.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::LogKey;
use super::folder::{self, CHECKPOINTS, Found};
use super::tree::{Hash, Leaves, Tree};
use crate::json_lines::file;
use crate::json_lines::writer::{Paper, Wet};

/// Where a log is written and how.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) folder: PathBuf,
    pub(super) key: Arc<LogKey>,
    pub(super) ship: Option<PathBuf>,
    pub(super) rotate_at: u64,
}

pub(super) struct LogPaper {
    settings: Settings,
    records: Arc<File>,
    /// Bytes in the file of records.
    length: u64,
    leaves: Arc<File>,
    tree: Tree,
    lines: Leaves,
    /// Hashes of records that are written, while their own file does not hold them.
    fresh: Vec<Hash>,
    signed: u64,
    /// Signed, and not yet where `ship_to` says.
    unshipped: Option<String>,
    complained: bool,
}

impl LogPaper {
    pub(super) fn new(settings: Settings, found: Found) -> io::Result<Self> {
        let length = found.records.metadata()?.len();
        let mut paper = Self {
            settings,
            records: Arc::new(found.records),
            length,
            leaves: Arc::new(found.leaves),
            tree: found.tree,
            lines: Leaves::new(),
            fresh: Vec::new(),
            signed: found.signed.unwrap_or(0),
            unshipped: None,
            complained: false,
        };
        if found.signed.is_none() {
            // From now on a log without checkpoints has lost them.
            paper.sign()?;
            folder::sync_folder(&paper.settings.folder)?;
        }
        Ok(paper)
    }

    fn sign(&mut self) -> io::Result<()> {
        // A checkpoint must not survive what it speaks of.
        self.leaves.sync_data()?;
        let note = self.settings.key.sign(self.tree.size(), self.tree.root());
        let folder = &self.settings.folder;
        append(&folder.join(CHECKPOINTS), &note)?;
        folder::put_newest(folder, &note)?;
        self.signed = self.tree.size();
        self.unshipped = Some(note);
        self.ship()
    }

    /// Appends the newest checkpoint where nobody who writes the log can, unless it is there.
    fn ship(&mut self) -> io::Result<()> {
        if let (Some(path), Some(note)) = (&self.settings.ship, &self.unshipped) {
            let at = path.display();
            append(path, note)
                .map_err(|e| io::Error::new(e.kind(), format!("`ship_to` cannot append to `{at}`: {e}")))?;
        }
        self.unshipped = None;
        Ok(())
    }
}

impl Write for LogPaper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.records.write(bytes)?;
        self.length += u64::try_from(count).unwrap_or(0);
        let Self { tree, fresh, lines, .. } = self;
        lines.feed(bytes.get(..count).unwrap_or_default(), |_, leaf| {
            tree.push(leaf);
            fresh.push(leaf);
        });
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper for LogPaper {
    const WRITERS: usize = 2;
    type Wet = Fresh;

    fn lift(&mut self) -> Fresh {
        let hashes = std::mem::take(&mut self.fresh);
        let first = self.tree.size() - u64::try_from(hashes.len()).unwrap_or(0);
        Fresh { records: self.records.clone(), leaves: self.leaves.clone(), first, hashes }
    }

    fn is_full(&self) -> bool {
        self.length >= self.settings.rotate_at
    }

    fn turn(&mut self) -> io::Result<()> {
        self.leaves.sync_data()?;
        let path = folder::segment(&self.settings.folder, self.tree.size());
        let (records, _) = file::open(&path).map_err(io::Error::other)?;
        folder::sync_folder(&self.settings.folder)?;
        (self.records, self.length) = (Arc::new(records), 0);
        Ok(())
    }

    fn seal(&mut self) {
        if !self.fresh.is_empty() {
            return;
        }
        // The records are safe without it; it is tried again when the next one is due.
        let sealed = if self.signed == self.tree.size() { self.ship() } else { self.sign() };
        match sealed {
            Ok(()) => self.complained = false,
            Err(error) if !std::mem::replace(&mut self.complained, true) => {
                let shipping = self.unshipped.is_some();
                tracing::error!(
                    error = %error.kind(),
                    setting = if shipping { "ship_to" } else { "folder" },
                    "a checkpoint of the audit log cannot be written"
                );
            }
            Err(_) => (),
        }
    }
}

/// Records that are written and not durable yet, and their hashes, which their own file does not hold.
pub(super) struct Fresh {
    records: Arc<File>,
    leaves: Arc<File>,
    first: u64,
    hashes: Vec<Hash>,
}

impl Wet for Fresh {
    fn settle(self) -> io::Result<()> {
        if self.hashes.is_empty() {
            return Ok(());
        }
        // One fsync for the whole batch. The hashes follow from the records: their file need not be durable
        // before a checkpoint speaks of it.
        self.records.sync_data()?;
        let mut leaves = &*self.leaves;
        leaves.seek(SeekFrom::Start(self.first * 32))?;
        leaves.write_all(self.hashes.as_flattened())
    }
}

fn append(path: &Path, note: &str) -> io::Result<()> {
    let mut file = folder::private().append(true).create(true).open(path)?;
    file.write_all(note.as_bytes())?;
    file.sync_data()
}
