//! What is wrong with a file, gathered while it is read.

use std::cell::RefCell;
use std::path::PathBuf;

use hopguard_core::{ConfigErrors, ConfigProblem, Problems, UnixTime};

use crate::tree::{Node, Table};

/// So many problems are told, and of each so many bytes: whoever wrote the wrong file altogether reads no more.
const MOST: usize = 100;
const LONGEST: usize = 1024;

/// Problems and warnings so far, and what every reader needs.
#[derive(Debug)]
pub(crate) struct Notes {
    problems: RefCell<Vec<ConfigProblem>>,
    warnings: RefCell<Vec<String>>,
    /// Where relative paths begin.
    pub(crate) base: PathBuf,
    /// To tell waivers that have ended.
    pub(crate) now: UnixTime,
}

impl Notes {
    pub(crate) fn new(base: PathBuf, now: UnixTime) -> Self {
        Self { problems: RefCell::default(), warnings: RefCell::default(), base, now }
    }

    /// Notes that `setting` is wrong.
    pub(crate) fn add(&self, setting: impl Into<String>, problem: impl Into<String>) {
        let (setting, problem) = (short(setting.into()), short(problem.into()));
        let mut problems = self.problems.borrow_mut();
        match problems.len() {
            ..MOST => problems.push(ConfigProblem { setting, problem }),
            MOST => problems.push(ConfigProblem {
                setting: "there".into(),
                problem: format!("are more than {MOST} problems: the rest is not shown"),
            }),
            _ => {}
        }
    }

    /// Notes what is no problem yet.
    pub(crate) fn warn(&self, setting: &str, warning: &str) {
        self.warnings.borrow_mut().push(format!("{setting} {warning}"));
    }

    /// Takes over what a builder found.
    pub(crate) fn absorb(&self, nested: &ConfigErrors) {
        nested.problems().iter().for_each(|one| self.add(&one.setting, &one.problem));
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.borrow().clone()
    }

    /// True if nothing was wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// The problems as they are, before there is a tree to find them in.
    pub(crate) fn into_errors(self) -> ConfigErrors {
        let mut problems = Problems::new();
        self.problems.into_inner().into_iter().for_each(|one| problems.add(one.setting, one.problem));
        problems.into_errors()
    }

    /// The problems as errors, each with the place in the file, or the variable, that it is about.
    pub(crate) fn into_result(self, root: &Table) -> Result<(), ConfigErrors> {
        let mut problems = Problems::new();
        for ConfigProblem { setting, problem } in self.problems.into_inner() {
            match origin(root, &setting) {
                Some(node) => problems.add(setting, format!("{problem} ({})", node.origin)),
                None => problems.add(setting, problem),
            }
        }
        problems.into_result(())
    }
}

fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

/// The innermost node on the way to `setting`, such as `egress.route[1].audience`.
fn origin<'a>(root: &'a Table, setting: &str) -> Option<&'a Node> {
    let steps = setting.split(['.', '[']).map(|step| step.trim_end_matches(']'));
    let (mut table, mut found): (Option<&Table>, Option<&Node>) = (Some(root), None);
    for step in steps {
        let inner = match (table, found) {
            (Some(table), _) => table.get(step),
            (None, Some(node)) => node.items().and_then(|items| items.get(step.parse::<usize>().ok()?)),
            (None, None) => None,
        };
        let Some(inner) = inner else { break };
        (table, found) = (inner.table(), Some(inner));
    }
    found
}
