//! Who exchanged what for what, read from the logs of one or many services.
//!
//! Only verified tokens make lineage; what unverified ones claimed is never read.

mod graph;
mod record;
mod source;
mod suspicion;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;

pub use self::record::{ActorSeen, Record, RequestedSeen, TokenSeen, Unreadable};
pub use self::source::{Foreign, LogSource, log_files};
pub use self::suspicion::{Suspicion, SuspicionKind};
pub use self::tree::{Node, Presentation};

use self::source::{Voice, Voices, named};

/// A shorter beginning of a fingerprint could mean anything.
const SHORTEST_PREFIX: usize = 4;

/// The events of several logs, and the tokens in them.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    records: Vec<Record>,
    unreadable: Vec<Unreadable>,
    foreign: Vec<Foreign>,
    tokens: BTreeMap<String, TokenSeen>,
    children: BTreeMap<String, BTreeSet<String>>,
    parents: BTreeMap<String, BTreeSet<String>>,
    /// Who says that the second was made from the first.
    said: BTreeMap<(String, String), BTreeSet<String>>,
    /// Services whose logs were read, whether they tell anything or not.
    bound: BTreeSet<String>,
    /// The events in which a token was shown.
    shown: BTreeMap<String, Vec<usize>>,
}

/// Each event once. Those that only share an id stay: somebody may have told another story under it.
fn singly(records: Vec<Record>) -> Vec<Record> {
    let hash = RandomState::new();
    let mut last_of: HashMap<u64, usize> = HashMap::with_capacity(records.len());
    let mut kept: Vec<Record> = Vec::with_capacity(records.len());
    for record in records {
        let id = hash.hash_one((&record.service, &record.event_id));
        let before = last_of.get(&id).and_then(|at| kept.get(*at));
        if before != Some(&record) {
            last_of.insert(id, kept.len());
            kept.push(record);
        }
    }
    kept
}

impl Lineage {
    /// Reads logs: files of JSON Lines, or folders of them.
    ///
    /// # Errors
    ///
    /// What keeps a file from being read. A line that is no event is kept in [`Lineage::unreadable`].
    pub fn read<'a>(paths: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        Self::read_watched(paths, |_, _| ())
    }

    /// As [`Lineage::read`]; `progress` learns now and then how many bytes of how many are read.
    ///
    /// # Errors
    ///
    /// As [`Lineage::read`].
    pub fn read_watched<'a>(
        paths: impl IntoIterator<Item = &'a Path>,
        progress: impl FnMut(u64, u64),
    ) -> io::Result<Self> {
        Self::read_sources(&paths.into_iter().map(LogSource::at).collect::<Vec<_>>(), progress)
    }

    /// As [`Lineage::read_watched`], and of some logs it is known whose word they are. What they say in another's name
    /// is kept in [`Lineage::foreign`].
    ///
    /// # Errors
    ///
    /// As [`Lineage::read`].
    pub fn read_sources(sources: &[LogSource], mut progress: impl FnMut(u64, u64)) -> io::Result<Self> {
        let (voices, mut all) = (Voices::of(sources)?, 0);
        for file in voices.files.keys() {
            all += file.metadata().map_err(|error| named(file, &error))?.len();
        }
        let (mut records, mut unreadable, mut foreign, mut before) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for (path, Voice { speakers, at_most }) in &voices.files {
            let mut done = 0;
            let each = |line, record: Record| {
                if voices.believes(speakers, &record.service) {
                    return records.push(record);
                }
                let speaks_for = speakers.iter().cloned().collect();
                foreign.push(Foreign { file: path.clone(), line, speaks_for, record });
            };
            record::read(path, *at_most, each, &mut unreadable, |bytes| {
                done = bytes;
                progress(before + bytes, all);
            })
            .map_err(|error| named(path, &error))?;
            before += done;
        }
        progress(all, all);
        Ok(Self { unreadable, foreign, bound: voices.bound, ..Self::of(records) })
    }

    /// The lineage of these events. One that is there twice, as in a copy of a log, is one event.
    #[must_use]
    pub fn of(mut records: Vec<Record>) -> Self {
        records.sort_by_key(|record| record.time_ms);
        let records = singly(records);
        let mut lineage = Self::default();
        for record in &records {
            for token in [&record.token, &record.grant].into_iter().flatten() {
                lineage.tokens.entry(token.fingerprint.clone()).or_insert_with(|| token.clone());
            }
            if let (Some(parent), Some(child), true) = (&record.token, &record.grant, record.allowed()) {
                let (parent, child) = (parent.fingerprint.clone(), child.fingerprint.clone());
                lineage.children.entry(parent.clone()).or_default().insert(child.clone());
                lineage.parents.entry(child.clone()).or_default().insert(parent.clone());
                lineage.said.entry((parent, child)).or_default().insert(record.service.clone());
            }
        }
        for (at, token, _) in presentations(&records) {
            lineage.shown.entry(token.fingerprint.clone()).or_default().push(at);
        }
        lineage.records = records;
        lineage
    }

    /// Every event, by time.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Lines that are no event.
    #[must_use]
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Records in the name of a service that their log does not speak for.
    #[must_use]
    pub fn foreign(&self) -> &[Foreign] {
        &self.foreign
    }

    /// The events that `query` names: the beginning of a fingerprint, a token id, trace id, subject, request or
    /// event id.
    #[must_use]
    pub fn find(&self, query: &str) -> Vec<&Record> {
        self.records.iter().filter(|record| names(record, query)).collect()
    }

    /// The whole trees that the tokens named by `query` stand in. For a trace id, only what it touched.
    ///
    /// A tree begins at a token that was made from no other; where logs say that tokens were made from one another in a
    /// circle, at the one that was seen first. Each token is told once and mentioned wherever else it belongs, and a
    /// tree deeper than 32 goes on in another, so that no log makes the trees larger than itself.
    #[must_use]
    pub fn trace(&self, query: &str) -> Vec<Node> {
        let mut named: BTreeSet<String> = self
            .tokens
            .values()
            .filter(|token| is_named(token, query))
            .map(|t| t.fingerprint.clone())
            .collect();
        let mut only = None;
        if named.is_empty() {
            for record in self.records.iter().filter(|record| names(record, query)) {
                let tokens = [&record.token, &record.grant].into_iter().flatten();
                named.extend(tokens.map(|token| token.fingerprint.clone()));
            }
            only = Some(self.with_ancestors(&named));
        }
        let family = self.with_ancestors(&named);
        let family: Vec<&str> = self.seen().into_iter().filter(|token| family.contains(*token)).collect();
        tree::trees(self, &graph::sources_first(&family, &self.children), only.as_ref())
    }

    /// What in these events does not fit together.
    #[must_use]
    pub fn suspicions(&self) -> Vec<Suspicion> {
        suspicion::find(self)
    }

    fn with_ancestors(&self, tokens: &BTreeSet<String>) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut open: Vec<&String> = tokens.iter().collect();
        while let Some(token) = open.pop() {
            if all.insert(token.clone()) {
                open.extend(self.parents.get(token).into_iter().flatten());
            }
        }
        all
    }

    /// All tokens, the one first that was seen first.
    fn seen(&self) -> Vec<&str> {
        let mut fresh: BTreeSet<&str> = self.tokens.keys().map(String::as_str).collect();
        let tokens = self.records.iter().flat_map(|record| [&record.token, &record.grant]).flatten();
        tokens.map(|token| token.fingerprint.as_str()).filter(|token| fresh.remove(token)).collect()
    }
}

/// The edge that an event speaks of: parent, child.
fn edge(record: &Record) -> Option<(&str, &str)> {
    Some((&record.token.as_ref()?.fingerprint, &record.grant.as_ref()?.fingerprint))
}

/// Each verified token shown to a service, once per request.
fn presentations(records: &[Record]) -> impl Iterator<Item = (usize, &TokenSeen, &Record)> {
    let mut seen = BTreeSet::new();
    records.iter().enumerate().filter_map(move |(at, record)| {
        let token = record.token.as_ref()?;
        let shown = record.direction == "inbound" && record.is_decision() && !record.is_exchange();
        let request = record.request_id.as_deref().unwrap_or(&record.event_id);
        (shown && seen.insert((record.service.as_str(), request))).then_some((at, token, record))
    })
}

fn is_named(token: &TokenSeen, query: &str) -> bool {
    let query_is_hex = query.len() >= SHORTEST_PREFIX && query.bytes().all(|byte| byte.is_ascii_hexdigit());
    (query_is_hex && token.fingerprint.starts_with(&query.to_ascii_lowercase()))
        || token.token_id.as_deref() == Some(query)
        || token.subject == query
}

fn names(record: &Record, query: &str) -> bool {
    let ids = [&record.trace_id, &record.request_id];
    let tokens = [&record.token, &record.grant];
    ids.into_iter().flatten().any(|id| id == query)
        || record.event_id == query
        || tokens.into_iter().flatten().any(|token| is_named(token, query))
}
