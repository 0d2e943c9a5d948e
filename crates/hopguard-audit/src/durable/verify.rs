//! What a log shows to somebody who holds only the public key.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};

use hopguard_core::redacted;
use serde::Serialize;

use super::checkpoint::{Checkpoint, LogVerifier, Torn, notes};
use super::folder::{CHECKPOINT, CHECKPOINTS, LEAVES, each_record, segments};
use super::speaker;
use super::tree::{Hash, Tree};
use crate::json_lines::file;

/// More findings than this say nothing more.
const MOST_FINDINGS: usize = 100;

/// What was done to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A record was changed.
    Altered,
    /// A record is gone.
    Removed,
    /// A record stands where none was written.
    Inserted,
    /// A record stands twice.
    Duplicated,
    /// A record stands in another's place.
    Reordered,
    /// The end of the log is gone: it was cut, or an older copy was put in its place.
    Truncated,
    /// The file of hashes was changed; the records are those that were signed.
    HashAltered,
    /// Records were changed together with their hashes, somewhere in this range; the signature shows it.
    Rewritten,
    /// A checkpoint is not signed by this key, or stands where it cannot.
    CheckpointInvalid,
    /// No checkpoint covers any of the records, so that nothing is known of them: they may have been written
    /// anew. An empty log, too, has a checkpoint, unless it was emptied. Where the empty log's checkpoint is
    /// left, a log that is younger than the next one looks the same.
    Unsigned,
    /// A record in the name of a service that the log does not speak for, as its key says. The log was not changed:
    /// whoever writes it, wrote that.
    ServiceForeign,
}

impl FindingKind {
    /// The stable name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Removed => "removed",
            Self::Inserted => "inserted",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Truncated => "truncated",
            Self::HashAltered => "hash_altered",
            Self::Rewritten => "rewritten",
            Self::CheckpointInvalid => "checkpoint_invalid",
            Self::Unsigned => "unsigned",
            Self::ServiceForeign => "service_foreign",
        }
    }
}

/// One thing that was done, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// The records it is about, counted from 0; for a checkpoint, the number of records it speaks of.
    pub records: Range<u64>,
    /// The file to look at.
    pub file: PathBuf,
    /// The line in it, counted from 1.
    pub line: u64,
    /// What else is known.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.records;
        write!(f, "{}: ", self.kind.name())?;
        if end > start + 1 {
            write!(f, "records {start} to {}", end - 1)?;
        } else {
            write!(f, "record {start}")?;
        }
        write!(f, ", {} line {}: {}", self.file.display(), self.line, self.detail)
    }
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// Records in the log.
    pub records: u64,
    /// How many of them, from the first on, a genuine checkpoint covers.
    pub signed: u64,
    /// Genuine checkpoints of the log's own that were compared.
    pub checkpoints: u64,
    /// Genuine checkpoints held elsewhere that were compared.
    pub held: u64,
    /// What was done to the log; at most 100.
    pub findings: Vec<Finding>,
    /// What is worth knowing and no proof of anything.
    pub notes: Vec<String>,
    /// The files of records in their order, each with how many of its lines, from the first on, a genuine checkpoint
    /// covers. Whatever else is in the folder is nobody's word.
    #[serde(skip)]
    pub signed_files: Vec<(PathBuf, u64)>,
}

impl Verification {
    /// True if nothing was found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// True if nothing was found, or only that no record is signed yet, while the log has the checkpoint of no records
    /// that it was begun with: what a log looks like that was begun seconds ago, and one whose later checkpoints were
    /// deleted. Ask this only where the first is known.
    #[must_use]
    pub fn is_sound_or_young(&self) -> bool {
        let unsigned = |finding: &Finding| finding.kind == FindingKind::Unsigned;
        self.is_sound() || self.checkpoints > 0 && self.signed == 0 && self.findings.iter().all(unsigned)
    }
}

/// Verifies the log in `folder`. `against` are checkpoints held elsewhere, each text one or several notes: a
/// log that was cut, or set back to an older copy, shows only against them.
///
/// # Errors
///
/// What keeps the files from being read. What is wrong with their contents is a finding.
pub fn verify(
    folder: impl AsRef<Path>,
    verifier: &LogVerifier,
    against: &[&str],
) -> io::Result<Verification> {
    let signatures = Signatures::read(folder.as_ref())?;
    let mut log = Log::read(folder.as_ref(), verifier)?;
    let own = log.own_checkpoints(&signatures, verifier);
    let held = log.held_checkpoints(verifier, against);
    log.judge(&own, &held);
    for (service, records) in std::mem::take(&mut log.foreign) {
        let (service, spoken) = (redacted(&service), verifier.services().collect::<Vec<_>>().join(", "));
        let what =
            format!("told by {:.100}; the log speaks for {spoken}", service.escape_debug().to_string());
        log.add(FindingKind::ServiceForeign, records, None, &what);
    }
    log.torn();
    log.strays()?;
    log.found.findings.truncate(MOST_FINDINGS);
    log.found.signed_files = log.signed_files();
    Ok(log.found)
}

/// What is wrong with a note that the key did not sign. One in another log's name is told from a forged one: the wrong
/// key, or another log's checkpoints, were given by mistake.
fn not_signed(note: &str, verifier: &LogVerifier) -> String {
    let name = note.lines().next().unwrap_or_default();
    if name == verifier.origin() {
        return "is not signed by this key".to_owned();
    }
    let (name, own) = (redacted(name), verifier.origin());
    format!("is in the name of `{:.100}`, and the key in that of `{own}`", name.escape_debug().to_string())
}

/// The log's own checkpoints, as they stand in its files.
struct Signatures {
    newest: String,
    history: String,
}

impl Signatures {
    /// Read before what they speak of, and the newest before the history: of a log that is being written there is more
    /// of everything by the time it is read, and nothing seems to be cut.
    fn read(folder: &Path) -> io::Result<Self> {
        let text =
            |name| Ok::<_, io::Error>(String::from_utf8_lossy(&content(&folder.join(name))?).into_owned());
        let newest = text(CHECKPOINT)?;
        Ok(Self { newest, history: text(CHECKPOINTS)? })
    }
}

struct Log {
    folder: PathBuf,
    /// Each file of records with how many records stand before it.
    files: Vec<(usize, PathBuf)>,
    records: Vec<Hash>,
    leaves: Vec<Hash>,
    /// Files that do not end with a record, each with how many bytes stand behind the last one.
    torn: Vec<(PathBuf, usize)>,
    /// Records that are told by another service than the key names, in runs of the same one.
    foreign: Vec<(String, Range<usize>)>,
    found: Verification,
}

impl Log {
    fn read(folder: &Path, verifier: &LogVerifier) -> io::Result<Self> {
        let leaves = content(&folder.join(LEAVES))?.as_chunks::<32>().0.to_vec();
        let (mut files, mut records, mut torn) = (Vec::new(), Vec::new(), Vec::new());
        let mut foreign: Vec<(String, Range<usize>)> = Vec::new();
        let is_bound = verifier.services().next().is_some();
        for (_, path) in segments(folder)? {
            files.push((records.len(), path.clone()));
            let left = each_record(&path, |record, leaf| {
                let at = records.len();
                records.push(leaf);
                if !is_bound || foreign.len() > MOST_FINDINGS {
                    return;
                }
                let Some(service) = speaker::foreign(record, verifier) else { return };
                match foreign.last_mut() {
                    Some((last, range)) if *last == service && range.end == at => range.end = at + 1,
                    _ => foreign.push((service, at..at + 1)),
                }
            })?;
            if left > 0 {
                torn.push((path, left));
            }
        }
        let found = Verification { records: count(records.len()), ..Verification::default() };
        Ok(Self { folder: folder.to_owned(), files, records, leaves, torn, foreign, found })
    }

    /// The log's own checkpoints, by size.
    fn own_checkpoints(&mut self, signatures: &Signatures, verifier: &LogVerifier) -> Vec<Checkpoint> {
        let Signatures { newest, history } = signatures;
        let path = self.folder.join(CHECKPOINTS);
        let (all, torn) = notes(history);
        let mut checkpoints: Vec<Checkpoint> = Vec::new();
        for (line, note) in &all {
            match verifier.open(note) {
                Some(checkpoint) if checkpoints.last().is_none_or(|last| last.size <= checkpoint.size) => {
                    checkpoints.push(checkpoint);
                }
                Some(checkpoint) => self.invalid(&path, *line, checkpoint.size, "stands before an older one"),
                None => self.invalid(&path, *line, 0, &not_signed(note, verifier)),
            }
        }
        let newest_path = self.folder.join(CHECKPOINT);
        match verifier.open(newest) {
            // Killed after the very first checkpoint went into the history and before it got its own file.
            None if newest.is_empty() && all.len() <= 1 => (),
            None if newest.is_empty() => self.invalid(&newest_path, 1, 0, "is missing"),
            None => self.invalid(&newest_path, 1, 0, &not_signed(newest, verifier)),
            Some(checkpoint) if checkpoints.contains(&checkpoint) => (),
            // It is written after the history, so the history must hold it.
            Some(checkpoint) => {
                let line = torn.map_or(1, |torn| torn.line);
                self.invalid(&path, line, checkpoint.size, "the newest checkpoint is not in the history");
                checkpoints.push(checkpoint);
            }
        }
        if torn.is_some() {
            self.found.notes.push("the last checkpoint is torn, as after a crash".to_owned());
        }
        checkpoints.sort_by_key(|checkpoint| checkpoint.size);
        checkpoints
    }

    fn held_checkpoints(&mut self, verifier: &LogVerifier, against: &[&str]) -> Vec<Checkpoint> {
        let mut checkpoints = Vec::new();
        for (number, text) in against.iter().enumerate() {
            let (all, torn) = notes(text);
            let held = Path::new("held elsewhere");
            if let Some(Torn { line, .. }) = torn {
                let what = format!("text {} ends in what is no whole checkpoint", number + 1);
                self.invalid(held, line, 0, &what);
            } else if all.is_empty() {
                // Absence proves nothing: with a file that was emptied, a log that was set back would pass.
                let what = format!("text {} holds no checkpoint: nothing was compared with it", number + 1);
                self.add(FindingKind::Unsigned, 0..0, Some((held.to_owned(), 1)), &what);
            }
            for (line, note) in all {
                match verifier.open(note) {
                    Some(checkpoint) => checkpoints.push(checkpoint),
                    None => {
                        let what = format!("of text {} {}", number + 1, not_signed(note, verifier));
                        self.invalid(Path::new("held elsewhere"), line, 0, &what);
                    }
                }
            }
        }
        checkpoints.sort_by_key(|checkpoint| checkpoint.size);
        checkpoints
    }

    fn judge(&mut self, own: &[Checkpoint], held: &[Checkpoint]) {
        self.found.checkpoints = count(own.len());
        self.found.held = count(held.len());
        // The hashes tell where a change is; the signatures tell whether the hashes can be believed.
        let (mut hashes, mut agreed) = (self.leaves.clone(), agreement(&self.leaves, own));
        if self.leaves != self.records {
            let from_records = agreement(&self.records, own);
            if agreed.1.is_some() && from_records.1.is_none() && !own.is_empty() {
                let at = differs(&self.records, &self.leaves);
                let path = self.folder.join(LEAVES);
                self.add(FindingKind::HashAltered, at..at + 1, Some((path, 1)), "the records are as signed");
                (hashes, agreed) = (self.records.clone(), from_records);
            } else if self.continues() {
                // A process killed between the two files leaves records without hashes, never the reverse.
                let more = self.records.len() - self.leaves.len();
                self.found
                    .notes
                    .push(format!("records at the end without a hash yet, as after a crash: {more}"));
                hashes.clone_from(&self.records);
                agreed = agreement(&hashes, own);
            } else {
                self.compare();
            }
        }
        self.found.signed = agreed.0;
        let mut sound = agreed.0;
        // What is held elsewhere is mostly the log's own: the tree is not grown again for that.
        let good_too = |one: &Checkpoint| agreed.1.is_none() && own.contains(one);
        let theirs = if held.iter().all(good_too) { (0, None) } else { agreement(&hashes, held) };
        for ((good, bad), whose) in
            [(agreed, "the log's own checkpoint"), (theirs, "a checkpoint held elsewhere")]
        {
            sound = sound.max(good);
            let Some(bad) = bad else { continue };
            let length = count(hashes.len());
            if bad.size > length {
                let what = format!("{whose} speaks of {} records, the log holds {length}", bad.size);
                self.add(FindingKind::Truncated, index(length)..index(bad.size), None, &what);
            } else {
                let what = format!("{whose} of {} records has another root", bad.size);
                self.add(FindingKind::Rewritten, index(good)..index(bad.size), None, &what);
            }
        }
        self.found.signed = self.found.signed.max(if self.found.findings.is_empty() { sound } else { 0 });
        // Absence proves nothing: whoever can delete every checkpoint can write every record.
        let unsigned = self.found.signed == 0 && (self.found.records > 0 || own.is_empty());
        if unsigned && self.found.findings.is_empty() {
            let what = if own.is_empty() {
                "the log's checkpoints are gone: even an empty log is begun with one"
            } else {
                "no checkpoint covers any record: none but the empty log's was signed yet, or the later ones are gone"
            };
            self.add(FindingKind::Unsigned, 0..self.records.len(), None, what);
        }
        if self.found.signed < self.found.records {
            let unsigned = self.found.records - self.found.signed;
            self.found.notes.push(format!("records at the end that no good checkpoint covers: {unsigned}"));
        }
    }

    /// Only the file that is being written can end within a record. Nothing covers what stands there.
    fn torn(&mut self) {
        for (path, left) in std::mem::take(&mut self.torn) {
            let behind = self.files.iter().position(|(_, file)| *file == path).unwrap_or_default() + 1;
            let Some(&(at, _)) = self.files.get(behind) else {
                self.found.notes.push(format!("the last {left} bytes are no whole record, as after a crash"));
                continue;
            };
            let first = self.files.get(behind - 1).map_or(0, |(first, _)| *first);
            let place = Some((path, count(at - first + 1)));
            let what = format!("{left} bytes stand behind the last record of a file that another follows");
            self.add(FindingKind::Inserted, at..at + 1, place, &what);
        }
    }

    /// Files that look like records and are none of the log's.
    fn strays(&mut self) -> io::Result<()> {
        for entry in self.folder.read_dir()? {
            let path = entry?.path();
            let is_own = self.files.iter().any(|(_, own)| *own == path);
            if !is_own && path.extension().is_some_and(|extension| extension == "jsonl") {
                self.found.notes.push(format!("{} is no part of the log: nothing covers it", path.display()));
            }
        }
        Ok(())
    }

    fn signed_files(&self) -> Vec<(PathBuf, u64)> {
        let signed = index(self.found.signed);
        let ends = self.files.iter().skip(1).map(|(first, _)| *first).chain([self.records.len()]);
        let lines = |((first, path), end): (&(usize, PathBuf), usize)| {
            (path.clone(), count(end.min(signed).saturating_sub(*first)))
        };
        self.files.iter().zip(ends).map(lines).collect()
    }

    /// True if the records are those of the hashes and some more, none of which stood before.
    fn continues(&self) -> bool {
        let known: HashSet<&Hash> = self.leaves.iter().collect();
        let more = self.records.get(self.leaves.len()..).filter(|_| self.records.starts_with(&self.leaves));
        more.is_some_and(|more| !more.iter().any(|record| known.contains(record)))
    }

    /// Finds what was done to the records, by their hashes.
    fn compare(&mut self) {
        let at_of: HashMap<Hash, usize> =
            self.leaves.iter().enumerate().map(|(at, leaf)| (*leaf, at)).collect();
        let present: HashSet<Hash> = self.records.iter().copied().collect();
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        let (mut at, mut leaf) = (0, 0);
        loop {
            let (record, expected) = (self.records.get(at).copied(), self.leaves.get(leaf).copied());
            match (record, expected) {
                (None, None) => break,
                (Some(record), Some(expected)) if record == expected => {
                    seen.insert(record);
                    (at, leaf) = (at + 1, leaf + 1);
                }
                (record, Some(expected)) if !present.contains(&expected) => {
                    match record {
                        Some(record) if !at_of.contains_key(&record) => {
                            found.push((FindingKind::Altered, leaf, at));
                            at += 1;
                        }
                        None => found.push((FindingKind::Truncated, leaf, at)),
                        Some(_) => found.push((FindingKind::Removed, leaf, at)),
                    }
                    leaf += 1;
                }
                (Some(record), expected) => {
                    let known = at_of.contains_key(&record);
                    if known && seen.contains(&record) {
                        found.push((FindingKind::Duplicated, leaf, at));
                    } else if known {
                        found.push((FindingKind::Reordered, leaf, at));
                        seen.insert(record);
                        leaf += usize::from(expected.is_some());
                    } else if expected.is_some() || !found.is_empty() {
                        found.push((FindingKind::Inserted, leaf, at));
                    }
                    at += 1;
                }
                // Everything that is left has stood elsewhere already.
                (None, Some(_)) => leaf += 1,
            }
        }
        let mut runs: Vec<(FindingKind, Range<usize>, usize)> = Vec::new();
        for (kind, leaf, at) in found {
            match runs.last_mut() {
                Some((last, range, _)) if *last == kind && range.end == leaf => range.end = leaf + 1,
                _ => runs.push((kind, leaf..leaf + 1, at)),
            }
        }
        for (kind, range, at) in runs {
            let place = self.place(at);
            self.add(kind, range, Some(place), "by the record's hash");
        }
    }

    fn add(&mut self, kind: FindingKind, records: Range<usize>, place: Option<(PathBuf, u64)>, detail: &str) {
        let (file, line) = place.unwrap_or_else(|| self.place(records.start));
        let records = count(records.start)..count(records.end);
        self.found.findings.push(Finding { kind, records, file, line, detail: detail.to_owned() });
    }

    fn invalid(&mut self, path: &Path, line: usize, size: u64, what: &str) {
        let place = Some((path.to_owned(), count(line)));
        self.add(FindingKind::CheckpointInvalid, index(size)..index(size), place, what);
    }

    /// The file and line of the record that stands at `at`.
    fn place(&self, at: usize) -> (PathBuf, u64) {
        let file = self.files.iter().rev().find(|(first, _)| *first <= at);
        file.map_or_else(|| (self.folder.clone(), 1), |(first, path)| (path.clone(), count(at - first + 1)))
    }
}

/// Up to where these hashes agree with the checkpoints, and the first that they do not agree with.
fn agreement(hashes: &[Hash], checkpoints: &[Checkpoint]) -> (u64, Option<Checkpoint>) {
    let (mut tree, mut good, mut leaves) = (Tree::default(), 0, hashes.iter());
    for checkpoint in checkpoints {
        while tree.size() < checkpoint.size {
            let Some(leaf) = leaves.next() else { return (good, Some(*checkpoint)) };
            tree.push(*leaf);
        }
        if tree.root() != checkpoint.root {
            return (good, Some(*checkpoint));
        }
        good = checkpoint.size;
    }
    (good, None)
}

fn differs(one: &[Hash], other: &[Hash]) -> usize {
    one.iter().zip(other).position(|(one, other)| one != other).unwrap_or(one.len().min(other.len()))
}

/// What is in a file; nothing, if there is none.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    match file::regular(path).and_then(|()| std::fs::read(path)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
