//! What THREATS.md and ARCHITECTURE.md name is there: tests, files, corpus cases, codes. A table of attacks that points
//! to a test which was renamed away says that something is shown when nothing is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const THREATS: &str = include_str!("../../THREATS.md");
const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");

/// What of the repository names can point to.
#[derive(Default)]
struct Repository {
    root: PathBuf,
    /// From the root, with slashes.
    files: BTreeSet<String>,
    functions: BTreeSet<String>,
    tests: BTreeSet<String>,
    /// What stands in quotes in the sources: names of suspicions, of other protocols' errors.
    texts: BTreeSet<String>,
    codes: BTreeSet<&'static str>,
}

impl Repository {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let codes = hopguard_core::codes().map(|entry| entry.code).collect();
        let mut repository = Self { root: root.clone(), codes, ..Self::default() };
        repository.walk(&root, "");
        repository
    }

    fn walk(&mut self, folder: &Path, below: &str) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with('.') || ["target", "generated"].contains(&&*name) {
                continue;
            }
            let path = format!("{below}{name}");
            if entry.file_type().unwrap().is_dir() {
                self.walk(&entry.path(), &format!("{path}/"));
            } else {
                // Names of crates of others.
                if path == "Cargo.lock" {
                    self.source(&fs::read_to_string(entry.path()).unwrap());
                }
                // This file names what is not there.
                if name.ends_with(".rs") && name != "papers.rs" {
                    self.source(&fs::read_to_string(entry.path()).unwrap());
                }
                self.files.insert(path);
            }
        }
    }

    fn source(&mut self, text: &str) {
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("//") || line.starts_with("#[") && !line.contains("test") {
                continue;
            }
            if line.starts_with("#[") {
                is_test = line.contains("test]") || line.contains("test(");
                continue;
            }
            if let Some(name) = function(line) {
                self.functions.insert(name.to_owned());
                if is_test {
                    self.tests.insert(name.to_owned());
                }
            }
            // Properties are written inside of a macro, each with its own attribute before it.
            is_test = false;
            self.texts
                .extend(line.split('"').skip(1).step_by(2).filter(|text| is_name(text)).map(str::to_owned));
        }
    }

    fn has_file(&self, name: &str) -> bool {
        self.files.iter().any(|file| file == name || file.ends_with(&format!("/{name}")))
    }

    fn has_corpus(&self, name: &str) -> bool {
        match name.strip_suffix('*') {
            Some(start) => self.files.iter().any(|file| file.starts_with(&format!("tests/corpus/{start}"))),
            None => self.files.contains(&format!("tests/corpus/{name}.toml")),
        }
    }

    fn has_code(&self, name: &str) -> bool {
        match name.strip_suffix('*') {
            Some(start) => self.codes.iter().any(|code| code.starts_with(start)),
            None => self.codes.contains(name),
        }
    }
}

/// The name of the function that begins in this line.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async"];
    let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    (before.split_whitespace().all(|word| words.contains(&word)) && !name.is_empty()).then_some(name)
}

/// `several_words`, perhaps with a star at its end.
fn is_name(text: &str) -> bool {
    let bare = text.trim_end_matches('*');
    bare.contains('_')
        && bare.starts_with(|c: char| c.is_ascii_lowercase())
        && bare.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// `A1-alg-list`, `E10-*`.
fn is_corpus(text: &str) -> bool {
    let (row, rest) = text.split_once('-').unwrap_or_default();
    row.starts_with(['A', 'E', 'G', 'I']) && row[1..].parse::<u8>().is_ok() && !rest.is_empty()
}

/// What is named in `paper` and is not there, each with its line.
fn missing(paper: &str, repository: &Repository) -> Vec<String> {
    let mut missing = Vec::new();
    for (at, line) in paper.lines().enumerate() {
        let mut add = |what: &str, name: &str| missing.push(format!("line {}: no {what} `{name}`", at + 1));
        let shown = line.trim_end_matches([' ', '|']).rsplit_once('|').filter(|_| line.starts_with('|'));
        for (place, name) in
            line.match_indices('`').collect::<Vec<_>>().chunks(2).filter_map(|pair| match pair {
                [(from, _), (to, _)] => Some((*from, &line[from + 1..*to])),
                _ => None,
            })
        {
            if is_corpus(name) && !repository.has_corpus(name) {
                add("corpus case", name);
            }
            // In the column of what shows it a sentence is the name of a test.
            let is_sentence = name.split('_').count() > 3 && !name.contains('*');
            let in_shown = shown.is_some_and(|(before, _)| place > before.len());
            if is_name(name) && !repository.has_code(name) {
                if is_sentence && in_shown && !repository.tests.contains(name) {
                    add("test", name);
                } else if !repository.functions.contains(name) && !repository.texts.contains(name) {
                    add("function, code or word of the sources", name);
                }
            }
        }
        // `[name](target)`: the target is looked for, from the root.
        let links: Vec<_> = line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        for link in links.iter().filter(|link| !link.contains("://")) {
            if !repository.root.join(link).exists() {
                add("file", link);
            }
        }
        let words = line.split(|c: char| !c.is_ascii_alphanumeric() && !"_/-.[]".contains(c));
        for word in words.filter(|word| !word.contains(['[', ']'])).map(|word| word.trim_end_matches('.')) {
            if word.ends_with(".rs") && !links.contains(&word) && !repository.has_file(word) {
                add("file", word);
            }
        }
    }
    missing
}

#[test]
fn what_the_papers_name_is_there() {
    let repository = Repository::read();
    for (name, paper) in [("THREATS.md", THREATS), ("ARCHITECTURE.md", ARCHITECTURE)] {
        let missing = missing(paper, &repository);
        assert!(missing.is_empty(), "{name}:\n{}", missing.join("\n"));
    }
}

#[test]
fn every_corpus_case_has_its_row() {
    let repository = Repository::read();
    for file in
        repository.files.iter().filter_map(|file| file.strip_prefix("tests/corpus/")?.strip_suffix(".toml"))
    {
        let row = file.split('-').next().unwrap();
        let told = THREATS.contains(&format!("\n| {row} |")) || THREATS.contains(&format!("`{row}-*`"));
        assert!(told, "{file} belongs to no row of THREATS.md");
    }
}

#[test]
fn what_is_not_there_is_found() {
    let repository = Repository::read();
    let paper = "| A1 | attack | [gone.rs](crates/gone.rs) | `no_such_code_at_all` | `what_nobody_ever_wrote_down`, \
                 gone.rs; corpus `A1-*`, `A99-*`, `A1-gone`; `codes` |\n\
                 | A2 | `check_open_to` | [lib.rs](crates/hopguard-core/src/lib.rs) | `token_expired`, `grant_*`, `nobody_*` | \
                 `what_the_papers_name_is_there_not`, `the_edges_are_exact`, `is_sentence_in_shown_of` |\n";
    assert_eq!(
        missing(paper, &repository),
        [
            "line 1: no function, code or word of the sources `no_such_code_at_all`",
            "line 1: no test `what_nobody_ever_wrote_down`",
            "line 1: no corpus case `A99-*`",
            "line 1: no corpus case `A1-gone`",
            "line 1: no file `crates/gone.rs`",
            "line 1: no file `gone.rs`",
            "line 2: no function, code or word of the sources `nobody_*`",
            "line 2: no test `what_the_papers_name_is_there_not`",
            "line 2: no test `is_sentence_in_shown_of`",
        ]
    );
}
