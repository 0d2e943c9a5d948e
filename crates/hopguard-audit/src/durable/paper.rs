//! What the writer's thread writes on: records, their hashes, checkpoints.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    leaves: Arc<Mutex<HashFile>>,
    tree: Tree,
    lines: Leaves,
    /// Hashes of records that are written and not durable yet.
    fresh: Vec<Hash>,
    signed: u64,
    /// The history holds a checkpoint of so many records.
    noted: Option<u64>,
    /// Signed, and not yet where `ship_to` says.
    unshipped: Option<String>,
    complained: bool,
    /// A new file is due and could not be begun.
    delayed: bool,
}

impl LogPaper {
    pub(super) fn new(settings: Settings, found: Found) -> io::Result<Self> {
        let length = found.records.metadata()?.len();
        let mut paper = Self {
            settings,
            records: Arc::new(found.records),
            length,
            leaves: Arc::new(Mutex::new(HashFile {
                file: found.leaves,
                held: found.tree.size(),
                waiting: Vec::new(),
            })),
            tree: found.tree,
            lines: Leaves::new(),
            fresh: Vec::new(),
            signed: found.signed.unwrap_or(0),
            noted: None,
            unshipped: None,
            complained: false,
            delayed: false,
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
        HashFile::lock(&self.leaves).make_durable()?;
        let note = self.settings.key.sign(self.tree.size(), self.tree.root());
        let folder = &self.settings.folder;
        // Not once more, if only the newest could not be put in its place.
        if self.noted != Some(self.tree.size()) {
            folder::append(&folder.join(CHECKPOINTS), &note)?;
            self.noted = Some(self.tree.size());
        }
        folder::put_newest(folder, &note)?;
        self.signed = self.tree.size();
        self.unshipped = Some(note);
        self.ship()
    }

    /// Appends the newest checkpoint where nobody who writes the log can, unless it is there.
    fn ship(&mut self) -> io::Result<()> {
        if let (Some(path), Some(note)) = (&self.settings.ship, &self.unshipped) {
            let at = path.display();
            folder::append(path, note)
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
        Fresh { records: self.records.clone(), leaves: self.leaves.clone(), hashes }
    }

    fn is_full(&self) -> bool {
        self.length >= self.settings.rotate_at
    }

    fn turn(&mut self) -> io::Result<()> {
        let filled = HashFile::lock(&self.leaves).fill();
        let path = folder::segment(&self.settings.folder, self.tree.size());
        let opened = filled.map_err(|error| error.to_string()).and_then(|()| file::open(&path));
        let records = match opened {
            Ok((records, _)) => records,
            // A disk that is full for a while ends nothing: until then the file is longer than it should be.
            Err(problem) if is_nothing(&path) => {
                if !std::mem::replace(&mut self.delayed, true) {
                    tracing::error!(problem, "a new file of the audit log cannot be begun yet");
                }
                return Ok(());
            }
            Err(problem) => return Err(io::Error::other(problem)),
        };
        HashFile::lock(&self.leaves).file.sync_data()?;
        folder::sync_folder(&self.settings.folder)?;
        (self.records, self.length, self.delayed) = (Arc::new(records), 0, false);
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

/// True if nothing is at `path`, or was begun there and holds nothing; then it is gone afterwards.
fn is_nothing(path: &Path) -> bool {
    match path.symlink_metadata() {
        Ok(found) => found.is_file() && found.len() == 0 && std::fs::remove_file(path).is_ok(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// The file of hashes. They follow from the records, so that those for which it has no room yet can wait.
struct HashFile {
    file: File,
    /// So many it holds.
    held: u64,
    waiting: Vec<Hash>,
}

impl HashFile {
    /// So many may wait, 32 bytes each.
    const MOST: usize = 1 << 20;

    fn lock(one: &Mutex<Self>) -> MutexGuard<'_, Self> {
        one.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits. After a failure the same is written to the same place.
    fn fill(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.held * 32))?;
        self.file.write_all(self.waiting.as_flattened())?;
        self.held += u64::try_from(self.waiting.len()).unwrap_or(0);
        self.waiting.clear();
        Ok(())
    }

    fn make_durable(&mut self) -> io::Result<()> {
        self.fill()?;
        self.file.sync_data()
    }
}

/// Records that are written and not durable yet, and their hashes.
pub(super) struct Fresh {
    records: Arc<File>,
    leaves: Arc<Mutex<HashFile>>,
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
        let mut leaves = HashFile::lock(&self.leaves);
        let is_first = leaves.waiting.is_empty();
        leaves.waiting.extend(self.hashes);
        match leaves.fill() {
            Err(error) if leaves.waiting.len() > HashFile::MOST => Err(error),
            Err(error) if is_first => {
                tracing::error!(error = %error.kind(), "the audit log has no room for its hashes; they wait");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::verify;
    use super::*;
    use crate::json_lines::tests::Folder;

    const LINE: &[u8] = br#"{"version":1,"time_ms":7,"event_id":"00","decision":"allow","code":"admitted"}"#;

    fn paper(folder: &Path, key: &Arc<LogKey>) -> LogPaper {
        let settings = Settings { folder: folder.to_owned(), key: key.clone(), ship: None, rotate_at: 1 };
        let found = folder::open(folder, &key.verifier(), None).unwrap();
        LogPaper::new(settings, found).unwrap()
    }

    fn key() -> Arc<LogKey> {
        Arc::new(LogKey::generate("orders.internal/audit").unwrap())
    }

    fn write(paper: &mut LogPaper, number: usize) {
        let line = String::from_utf8_lossy(LINE).replace("00", &format!("{number:02}"));
        paper.write_all(format!("{line}\n").as_bytes()).unwrap();
        paper.lift().settle().unwrap();
    }

    /// A disk that is full for a moment ends nothing, and nothing is signed meanwhile.
    #[test]
    fn hashes_wait_until_there_is_room() {
        let (folder, key) = (Folder::new(), key());
        let mut paper = paper(&folder.0, &key);
        let leaves = folder.0.join(folder::LEAVES);
        let full = |paper: &LogPaper, full: bool| {
            let file = folder::private().read(true).write(!full).open(&leaves).unwrap();
            HashFile::lock(&paper.leaves).file = file;
        };
        write(&mut paper, 0);
        full(&paper, true);
        (1..4).for_each(|number| write(&mut paper, number));
        assert_eq!(HashFile::lock(&paper.leaves).waiting.len(), 3);
        paper.seal();
        assert_eq!(paper.signed, 0, "no checkpoint speaks of hashes that are not there");
        paper.turn().unwrap();
        assert_eq!(folder::segments(&folder.0).unwrap().len(), 1, "nor does a new file begin behind them");
        full(&paper, false);
        write(&mut paper, 4);
        paper.turn().unwrap();
        write(&mut paper, 5);
        paper.seal();
        assert_eq!((paper.signed, folder::segments(&folder.0).unwrap().len()), (6, 2));
        drop(paper);
        let found = verify::verify(&folder.0, &key.verifier(), &[]).unwrap();
        assert!(found.is_sound() && found.signed == 6, "{found:?}");
    }

    #[test]
    fn more_hashes_than_may_wait_are_the_end() {
        let (folder, key) = (Folder::new(), key());
        let mut paper = paper(&folder.0, &key);
        HashFile::lock(&paper.leaves).file = File::open(folder.0.join(folder::LEAVES)).unwrap();
        HashFile::lock(&paper.leaves).waiting = vec![[0; 32]; HashFile::MOST];
        paper.write_all(b"{}\n").unwrap();
        assert!(paper.lift().settle().is_err());
    }

    /// What stands where the next file would begin is nobody's to take away.
    #[test]
    fn a_file_in_the_way_is_the_end_and_an_empty_one_is_not() {
        for (content, ends) in [("", false), ("something else\n", true)] {
            let (folder, key) = (Folder::new(), key());
            let mut paper = paper(&folder.0, &key);
            write(&mut paper, 0);
            let path = folder::segment(&folder.0, 1);
            std::fs::write(&path, content).unwrap();
            let held = folder::private().read(true).open(&path).unwrap();
            held.lock().unwrap();
            assert_eq!(paper.turn().is_err(), ends);
            assert_eq!(path.exists(), ends);
        }
    }

    /// The newest checkpoint cannot be put in its place: the history does not grow by the same one each time.
    #[test]
    fn a_checkpoint_stands_in_the_history_once() {
        let (folder, key) = (Folder::new(), key());
        let mut paper = paper(&folder.0, &key);
        write(&mut paper, 0);
        let beside = folder.0.join("checkpoint.new");
        std::fs::create_dir(&beside).unwrap();
        (0..3).for_each(|_| paper.seal());
        std::fs::remove_dir(&beside).unwrap();
        paper.seal();
        let history = std::fs::read_to_string(folder.0.join(CHECKPOINTS)).unwrap();
        assert_eq!(super::super::checkpoint::notes(&history).0.len(), 2);
        drop(paper);
        assert!(verify::verify(&folder.0, &key.verifier(), &[]).unwrap().is_sound());
    }

    /// Behind a checkpoint that a full disk tore, where nothing can be taken back, the next one is read all the same.
    #[test]
    fn a_torn_checkpoint_spoils_no_other() {
        let (folder, key) = (Folder::new(), key());
        let history = folder.0.join(CHECKPOINTS);
        let torn = key.sign(1, [0; 32]);
        for cut in [1, 30, torn.len() - 20] {
            let mut paper = paper(&folder.0, &key);
            let mut file = folder::private().append(true).open(&history).unwrap();
            file.write_all(&torn.as_bytes()[..cut]).unwrap();
            write(&mut paper, cut);
            paper.seal();
            drop(paper);
            let found = verify::verify(&folder.0, &key.verifier(), &[]).unwrap();
            assert!(found.is_sound(), "{cut}: {found:?}");
        }
    }
}
