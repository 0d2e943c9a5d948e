//! What must pass before a change lands: named parts, run in order, the first failure ends the run.

use std::{
    env,
    time::{Duration, Instant},
};

use crate::{command, edges, metadata, tools};

/// One part of the test run, which can also be run alone.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    check: fn(&mut Tally) -> Result<(), String>,
}

/// Every part, in the order in which they run: cheap ones first.
pub(crate) const PARTS: &[Part] = &[
    Part { name: "fmt", what: "formatting", check: fmt },
    Part { name: "clippy", what: "clippy on every target, warnings denied", check: clippy },
    Part { name: "edges", what: "which crate may depend on which", check: crate_edges },
    Part { name: "deny", what: "banned crates, licences, sources", check: deny },
    Part { name: "test", what: "unit, integration and doc tests", check: tests },
    Part { name: "doc", what: "the documentation, warnings denied", check: doc },
];

/// Runs the named parts, or all of them.
pub(crate) fn run(names: &[String]) -> Result<(), String> {
    let parts = chosen(names)?;
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut ended: Vec<(&Part, Duration)> = Vec::new();
    let mut failure = None;
    for part in &parts {
        println!("\n== {}: {}", part.name, part.what);
        let began = Instant::now();
        let checked = (part.check)(&mut tally);
        let took = began.elapsed();
        ended.push((part, took));
        match checked {
            Ok(()) => println!("== {}: ok, {}", part.name, seconds(took)),
            Err(reason) => {
                println!("== {}: FAILED, {}", part.name, seconds(took));
                failure = Some((part.name, reason));
                break;
            }
        }
    }

    println!("\n== summary, {}", seconds(started.elapsed()));
    for (place, part) in parts.iter().enumerate() {
        let (verdict, took) = match ended.get(place) {
            None => ("not run", String::new()),
            Some((_, took)) if failure.is_some() && place + 1 == ended.len() => ("FAILED", seconds(*took)),
            Some((_, took)) => ("ok", seconds(*took)),
        };
        println!("{}", format!("   {:<8} {verdict:<8} {took:>9}", part.name).trim_end());
    }
    if tally.ran() {
        println!("tests: {} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
        match tally.vectors {
            0 => println!("vectors: SKIPPED, HOPGUARD_VECTORS names no folder that holds them"),
            cases => println!("vectors: {cases} cases run"),
        }
    }
    match failure {
        None => Ok(()),
        Some((name, reason)) => {
            Err(format!("`{name}` failed: {reason}\nxtask: to run this part alone: cargo xtask test {name}"))
        }
    }
}

/// The parts of these names in the order of the list, whatever order they were named in.
fn chosen(names: &[String]) -> Result<Vec<&'static Part>, String> {
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|part| part.name != name.as_str())) {
        let known: Vec<_> = PARTS.iter().map(|part| part.name).collect();
        return Err(format!("`test` has no part `{unknown}`; its parts are {}", known.join(", ")));
    }
    Ok(PARTS.iter().filter(|part| names.is_empty() || names.iter().any(|name| name == part.name)).collect())
}

fn fmt(_: &mut Tally) -> Result<(), String> {
    command::run(command::cargo(["fmt", "--all", "--check"]))
}

fn clippy(_: &mut Tally) -> Result<(), String> {
    command::run(command::cargo([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn crate_edges(_: &mut Tally) -> Result<(), String> {
    edges::check(&metadata::members()?)
}

/// Advisories are left out: their database lives in a git repository, and a test must not fail for a network.
fn deny(_: &mut Tally) -> Result<(), String> {
    let mut deny = command::program(tools::DENY.installed()?);
    deny.args(["--locked", "--workspace", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
    command::run(deny)
}

fn tests(tally: &mut Tally) -> Result<(), String> {
    let all = command::cargo(["test", "--locked", "--workspace", "--no-fail-fast"]);
    command::run_watched(all, |line| tally.add(line))?;
    // A run that found nothing to test proves nothing, and cargo calls it a success.
    if tally.passed == 0 {
        return Err("no test was run".to_owned());
    }
    tally.vectors_were_run(env::var_os("HOPGUARD_VECTORS").is_some())
}

fn doc(_: &mut Tally) -> Result<(), String> {
    let mut doc = command::cargo(["doc", "--locked", "--workspace", "--no-deps"]);
    let flags = env::var("RUSTDOCFLAGS").unwrap_or_default();
    doc.env("RUSTDOCFLAGS", format!("{flags} -D warnings").trim_start());
    command::run(doc)
}

/// How many tests ended how, over all the test programs of a run.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Cases of the vectors of others, which lie outside of the repository.
    vectors: u64,
}

impl Tally {
    /// As many as the files of Wycheproof hold: 401 signatures, 26 keys, 83 key sets, and 21 spellings of base64.
    const VECTORS: u64 = 401 + 26 + 83 + 21;

    /// Whoever has the vectors runs them all.
    fn vectors_were_run(&self, named: bool) -> Result<(), String> {
        let (run, all) = (self.vectors, Self::VECTORS);
        if named && run != all {
            return Err(format!("HOPGUARD_VECTORS is set, and {run} cases were run in place of {all}"));
        }
        Ok(())
    }

    /// Adds what a line of a test program's output says, if it is the line that sums one up.
    fn add(&mut self, line: &str) {
        // The test program says it on a line of its own for each file.
        if let Some((count, _)) =
            line.strip_prefix("vectors: ").and_then(|rest| rest.split_once(" cases run"))
        {
            self.vectors += count.parse().unwrap_or(0);
        }
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for (count, word) in counts.split(';').filter_map(|one| one.trim().split_once(' ')) {
            let count = count.parse().unwrap_or(0);
            match word {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }

    fn ran(&self) -> bool {
        *self != Self::default()
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn tallied(output: &str, passed: u64, failed: u64, skipped: u64) {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.add(line));
        assert_eq!(tally, Tally { passed, failed, skipped, vectors: 0 });
    }

    #[test]
    fn results_add_up_over_all_test_programs() {
        tallied("running 0 tests\n", 0, 0, 0);
        tallied("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n", 0, 0, 0);
        tallied(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s\n\
             test a ... ok\n\
             test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2s\n",
            16,
            2,
            1,
        );
    }

    #[test]
    fn vectors_that_are_there_and_were_not_run_fail() {
        let mut tally = Tally::default();
        assert!(tally.vectors_were_run(false).is_ok());
        assert!(tally.vectors_were_run(true).is_err());
        for line in [
            "vectors: 401 cases run of a.json",
            "vectors: 26 cases run of b.json",
            "test a ... ok",
            "vectors: skipped: x",
        ] {
            tally.add(line);
        }
        assert!(tally.vectors_were_run(true).unwrap_err().contains("427 cases"));
        for line in ["vectors: 83 cases run of c.json", "vectors: 21 cases run of a.json, as base64"] {
            tally.add(line);
        }
        assert!(tally.vectors_were_run(true).is_ok());
    }

    #[test]
    fn parts_run_in_their_own_order() {
        let names = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            chosen(&wanted).map(|parts| parts.iter().map(|part| part.name).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(names(&[]).as_deref(), Ok("fmt clippy edges deny test doc"));
        assert_eq!(names(&["doc", "fmt"]).as_deref(), Ok("fmt doc"));
        assert!(names(&["fmt", "tests"]).is_err());
    }
}
