//! Trees of tokens for people and programs to read, made of a graph that may be forged.

use std::collections::{BTreeSet, VecDeque};

use serde::Serialize;

use super::{Lineage, TokenSeen};

/// Tokens below one another in one tree. No delegation is as deep; what a forged log makes deeper goes on in a tree of
/// its own, so that no reader of trees runs out of stack.
const DEEPEST: usize = 32;

/// A token, what was done with it, and what was made from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// The token.
    pub token: TokenSeen,
    /// Whose logs say that it was made from its parent.
    pub said_by: Vec<String>,
    /// Each time it was shown to a service.
    pub presentations: Vec<Presentation>,
    /// What it was exchanged for.
    pub children: Vec<Node>,
    /// True if presentations and children stand with another mention of the token: each is told once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub told_elsewhere: bool,
}

/// A token was shown to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Presentation {
    /// When, in milliseconds.
    pub time_ms: u64,
    /// To whom.
    pub service: String,
    /// The verdict.
    pub code: String,
    /// From where.
    pub peer: Option<String>,
    /// In which trace.
    pub trace_id: Option<String>,
    /// The event that says so.
    pub event_id: String,
}

/// The trees that begin at `roots`, and at whatever they leave out for being too deep.
pub(super) fn trees<'a>(
    lineage: &'a Lineage,
    roots: &[&'a str],
    only: Option<&BTreeSet<String>>,
) -> Vec<Node> {
    let mut walk = Walk { lineage, only, told: BTreeSet::new(), further: VecDeque::new() };
    let mut trees = Vec::new();
    for root in roots {
        walk.further.push_back(root);
        while let Some(root) = walk.further.pop_front() {
            if !walk.told.contains(root) {
                trees.extend(walk.node(root, None, 0));
            }
        }
    }
    trees
}

/// Makes trees, each token told once in all of them.
struct Walk<'a> {
    lineage: &'a Lineage,
    only: Option<&'a BTreeSet<String>>,
    told: BTreeSet<&'a str>,
    /// Mentioned where a tree became too deep.
    further: VecDeque<&'a str>,
}

impl<'a> Walk<'a> {
    /// The tree that begins at `fingerprint`; never called deeper than [`DEEPEST`].
    fn node(&mut self, fingerprint: &'a str, parent: Option<&str>, depth: usize) -> Option<Node> {
        let lineage = self.lineage;
        if self.only.is_some_and(|only| !only.contains(fingerprint)) {
            return None;
        }
        let token = lineage.tokens.get(fingerprint)?.clone();
        let said = parent.and_then(|parent| lineage.said.get(&(parent.to_owned(), fingerprint.to_owned())));
        let said_by = said.into_iter().flatten().cloned().collect();
        if depth >= DEEPEST {
            self.further.push_back(fingerprint);
        }
        if depth >= DEEPEST || !self.told.insert(fingerprint) {
            return Some(Node {
                token,
                said_by,
                presentations: Vec::new(),
                children: Vec::new(),
                told_elsewhere: true,
            });
        }
        let below = lineage.children.get(fingerprint).into_iter().flatten();
        let children = below.filter_map(|child| self.node(child, Some(fingerprint), depth + 1)).collect();
        let presentations = presentations(lineage, fingerprint);
        Some(Node { token, said_by, presentations, children, told_elsewhere: false })
    }
}

fn presentations(lineage: &Lineage, fingerprint: &str) -> Vec<Presentation> {
    let shown = lineage.shown.get(fingerprint).into_iter().flatten();
    shown
        .filter_map(|at| lineage.records.get(*at))
        .map(|record| Presentation {
            time_ms: record.time_ms,
            service: record.service.clone(),
            code: record.code.clone(),
            peer: record.peer.clone(),
            trace_id: record.trace_id.clone(),
            event_id: record.event_id.clone(),
        })
        .collect()
}
