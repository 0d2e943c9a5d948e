//! The files of a log and how a log is found again after whatever ended its writer.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, LogVerifier, notes};
use super::tree::{Hash, Leaves, Tree};
use crate::json_lines::Mended;
use crate::json_lines::file::{self, LONGEST_LINE};

/// Hashes of the records, 32 bytes each.
pub(crate) const LEAVES: &str = "leaves";
/// Every checkpoint, one after the other.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// The newest checkpoint alone.
pub(crate) const CHECKPOINT: &str = "checkpoint";
const SEGMENT: &str = ".jsonl";

/// The file of records that begins with record number `first`.
pub(crate) fn segment(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}{SEGMENT}"))
}

/// The files of records, oldest first, each with the number of its first record.
pub(crate) fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let digits = name.and_then(|name| name.strip_suffix(SEGMENT)).filter(|digits| digits.len() == 20);
        if let Some(first) = digits.and_then(|digits| digits.parse().ok()) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a file's records, each with its hash. An end without a line break is no record: returns how long it is.
pub(crate) fn each_record(path: &Path, mut each: impl FnMut(&[u8], Hash)) -> io::Result<usize> {
    file::regular(path)?;
    let (mut reader, mut leaves) = (BufReader::with_capacity(1 << 18, File::open(path)?), Leaves::new());
    loop {
        let bytes = reader.fill_buf()?;
        let length = bytes.len();
        if length == 0 {
            return Ok(leaves.left());
        }
        leaves.feed(bytes, &mut each);
        reader.consume(length);
        if u64::try_from(leaves.left()).is_ok_and(|left| left > LONGEST_LINE) {
            return Err(io::Error::other("it has a line that is longer than any record"));
        }
    }
}

/// A log as it was found, ready to be continued.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) records: File,
    pub(crate) leaves: File,
    pub(crate) tree: Tree,
    /// How many records the newest checkpoint covers; there is none of a log that begins.
    pub(crate) signed: Option<u64>,
    pub(crate) mended: Option<Mended>,
}

/// Opens or begins the log in `folder`. The error reads on from the folder's name.
///
/// A torn end is cut, in every file. What is signed must be there, unchanged: nothing is ever continued that
/// has lost a part of itself.
pub(crate) fn open(folder: &Path, verifier: &LogVerifier, shipped: Option<&Path>) -> Result<Found, String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("cannot {what}: {error}")
    };
    make_folder(folder).map_err(failed("be made"))?;
    let mut leaves = private()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join(LEAVES))
        .map_err(failed("be opened"))?;
    match leaves.try_lock() {
        Ok(()) => (),
        Err(TryLockError::WouldBlock) => return Err("is being written by another sink or process".to_owned()),
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => (),
        Err(TryLockError::Error(error)) => return Err(format!("cannot be locked: {error}")),
    }
    let files = segments(folder).map_err(failed("be listed"))?;
    let (first, path) = files.into_iter().next_back().unwrap_or_else(|| (0, segment(folder, 0)));
    let (records, mended) =
        file::open(&path).map_err(|problem| format!("holds `{}`, which {problem}", path.display()))?;
    let mut newest = Vec::new();
    each_record(&path, |_, leaf| newest.push(leaf)).map_err(failed("be read"))?;

    let mut known = Vec::new();
    leaves.read_to_end(&mut known).map_err(failed("be read"))?;
    let mut known: Vec<Hash> = known.as_chunks::<32>().0.to_vec();
    let start = usize::try_from(first).map_err(|_| "is too large".to_owned())?;
    let Some(overlap) = known.get(start..) else {
        return Err(format!("lacks hashes of records before {first}; verify it and name another folder"));
    };
    if let Some(at) = overlap.iter().zip(&newest).position(|(known, found)| known != found) {
        return Err(format!(
            "was altered at record {}; keep it as evidence and name another folder",
            start + at
        ));
    }
    // A loss of power can leave hashes of records that never arrived; a killed process, records without hashes.
    known.truncate(start + newest.len());
    let more = newest.get(known.len() - start..).unwrap_or_default();
    if !more.is_empty() {
        let before: HashSet<&Hash> = known.iter().collect();
        if let Some(at) = more.iter().position(|leaf| before.contains(leaf)) {
            let at = known.len() + at;
            return Err(format!("repeats a record at {at}; keep it as evidence and name another folder"));
        }
    }
    known.extend(more);

    let mut checks = checkpoints(&folder.join(CHECKPOINTS), verifier)?;
    checks.extend(checkpoints(&folder.join(CHECKPOINT), verifier)?);
    if let Some(shipped) = shipped {
        // Absence refuses: without what was shipped nobody sees that the whole log was set back.
        if !checks.is_empty() && matches!(std::fs::exists(shipped), Ok(false)) {
            return Err(format!(
                "is signed, and `ship_to`, `{}`, is not there; if nothing was shipped yet, make the file, empty",
                shipped.display()
            ));
        }
        checks.extend(checkpoints(shipped, verifier)?.into_iter().next_back());
    }
    checks.sort_by_key(|checkpoint| checkpoint.size);
    let mut tree = Tree::default();
    let mut checks = checks.into_iter().peekable();
    let mut signed = None;
    for at in 0..=known.len() {
        while let Some(checkpoint) = checks.next_if(|checkpoint| checkpoint.size == tree.size()) {
            if checkpoint.root != tree.root() {
                return Err(format!(
                    "disagrees with its checkpoint of {} records; keep it as evidence and name another folder",
                    checkpoint.size
                ));
            }
            signed = Some(checkpoint.size);
        }
        if let Some(leaf) = known.get(at) {
            tree.push(*leaf);
        }
    }
    if let Some(checkpoint) = checks.next() {
        return Err(format!(
            "holds {} records, its checkpoint {}: it was cut or set back; keep it as evidence and name another folder",
            tree.size(),
            checkpoint.size
        ));
    }
    // The empty log was signed before its first record was written.
    if signed.is_none() && tree.size() > 0 {
        return Err(
            "holds records and no checkpoint: all are gone; keep it as evidence and name another folder"
                .to_owned(),
        );
    }
    let unsigned = tree.size().saturating_sub(signed.unwrap_or(0));
    if unsigned > 0 {
        // A kill leaves as many as were written since the last checkpoint; more were never signed, or their checkpoints
        // were cut away, which only those shipped elsewhere can show.
        tracing::warn!(unsigned, "the audit log goes on behind records that no checkpoint of it covers");
    }
    let length = u64::try_from(known.len() * 32).map_err(|_| "is too large".to_owned())?;
    leaves.set_len(length).map_err(failed("be mended"))?;
    leaves.seek(SeekFrom::Start(0)).map_err(failed("be mended"))?;
    io::Write::write_all(&mut leaves, known.as_flattened()).map_err(failed("be mended"))?;
    restore_newest(folder).map_err(failed("be mended"))?;
    records.sync_all().and_then(|()| sync_folder(folder)).map_err(failed("be made durable"))?;
    Ok(Found { records, leaves, tree, signed, mended })
}

/// Makes `checkpoint` the last of the history again: a kill between the two leaves the one before.
fn restore_newest(folder: &Path) -> io::Result<()> {
    match std::fs::read_to_string(folder.join(CHECKPOINTS)) {
        Ok(history) => notes(&history).0.last().map_or(Ok(()), |(_, note)| put_newest(folder, note)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Appends a note to a file of them. Behind one that was torn by a full disk it begins on a line of its own, with an
/// empty one before, so that readers can tell the two apart.
pub(crate) fn append(path: &Path, note: &str) -> io::Result<()> {
    let mut file = private().append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    let apart = if length > 0 && ends_torn(path)? { "\n\n" } else { "" };
    let written = io::Write::write_all(&mut file, format!("{apart}{note}").as_bytes());
    if let Err(error) = written {
        // Where nothing can be taken back, the next one stands apart.
        let _only_appends = file.set_len(length);
        return Err(error);
    }
    file.sync_data()
}

/// True if the last line of a file of notes is no signature, or none with an end.
fn ends_torn(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(1024)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let last =
        end.strip_suffix(b"\n").map(|lines| lines.rsplit(|&byte| byte == b'\n').next().unwrap_or_default());
    Ok(!last.is_some_and(|line| line.starts_with("—".as_bytes())))
}

/// Puts a note into `checkpoint`, at once and whole.
pub(crate) fn put_newest(folder: &Path, note: &str) -> io::Result<()> {
    let beside = folder.join("checkpoint.new");
    let mut file = private().write(true).create(true).truncate(true).open(&beside)?;
    io::Write::write_all(&mut file, note.as_bytes())?;
    std::fs::rename(beside, folder.join(CHECKPOINT))
}

/// The genuine checkpoints in a file of them. A torn last one is cut; any other that does not verify refuses.
fn checkpoints(path: &Path, verifier: &LogVerifier) -> Result<Vec<Checkpoint>, String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("has checkpoints that cannot be read: {error}")),
    };
    let text = String::from_utf8_lossy(&bytes);
    let (all, torn) = notes(&text);
    if let Some(torn) = torn {
        let whole = u64::try_from(torn.at.min(bytes.len())).unwrap_or(u64::MAX);
        let cut = OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(whole));
        cut.map_err(|error| format!("has a torn checkpoint that cannot be cut: {error}"))?;
        tracing::warn!("the audit log's last checkpoint was torn; it was cut off");
    }
    all.into_iter()
        .map(|(line, note)| {
            verifier.open(note).ok_or_else(|| {
                format!("has a checkpoint on line {line} of `{}` that this key did not sign", path.display())
            })
        })
        .collect()
}

/// Options for a file that only its owner reads.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Makes the names in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
