//! Fuzzes the parsers of attacker bytes: each target of `fuzz/` for a minute, from its committed seeds.

use std::{fs, path::Path};

use crate::{command, tools};

/// How long each target runs.
const SECONDS: u32 = 60;
/// The longest input: a token may have 16 KiB.
const LONGEST: u32 = 20_000;

/// Runs every target, or the named one; `--seconds N` for another time.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let root = command::root();
    let all = targets(&root)?;
    let (chosen, seconds) = chosen(arguments, &all)?;
    let driver = tools::FUZZ.installed()?;
    let target = root.join("target").join("fuzz");
    for name in chosen {
        println!("\n== {name}: {seconds} s");
        let corpus = root.join("fuzz").join("corpus").join(name);
        // What is found goes below the seeds, into a folder that is not committed.
        let found = corpus.join("generated");
        fs::create_dir_all(&found).map_err(|error| format!("`{}`: {error}", found.display()))?;
        let mut fuzz = command::program(&driver);
        // The sanitizers want a nightly compiler and look for what safe code cannot do; the targets' own assertions
        // and overflow checks are what finds defects here, and they run on the toolchain in use.
        fuzz.args(["fuzz", "run", "--sanitizer", "none", "--target-dir"]).arg(&target).arg(name);
        fuzz.arg(&found).arg(&corpus).arg("--");
        fuzz.args([format!("-max_total_time={seconds}"), format!("-max_len={LONGEST}")]);
        fuzz.args(["-timeout=10", "-print_final_stats=1", "-verbosity=0"]);
        command::run(fuzz)?;
    }
    Ok(())
}

/// The targets are the files that hold them.
fn targets(root: &Path) -> Result<Vec<String>, String> {
    let folder = root.join("fuzz").join("fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|error| format!("`{}`: {error}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    // To fuzz nothing is no success.
    if names.is_empty() { Err(format!("`{}` holds no target", folder.display())) } else { Ok(names) }
}

fn chosen<'a>(arguments: &'a [String], all: &'a [String]) -> Result<(Vec<&'a str>, u32), String> {
    let (mut names, mut seconds) = (Vec::new(), SECONDS);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--seconds" {
            let value = rest.next().and_then(|value| value.parse().ok()).filter(|value| *value > 0);
            seconds = value.ok_or("`--seconds` wants a number above 0")?;
        } else if all.contains(argument) {
            names.push(argument.as_str());
        } else {
            return Err(format!("`fuzz` has no target `{argument}`; its targets are {}", all.join(", ")));
        }
    }
    if names.is_empty() {
        names = all.iter().map(String::as_str).collect();
    }
    Ok((names, seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn choice(arguments: &[&str], expected: Result<(&[&str], u32), &str>) {
        let all = ["claims".to_owned(), "header".to_owned()];
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        match (chosen(&arguments, &all), expected) {
            (Ok((names, seconds)), Ok(expected)) => assert_eq!((names.as_slice(), seconds), expected),
            (Err(problem), Err(part)) => assert!(problem.contains(part), "{problem}"),
            (found, expected) => panic!("{found:?}, {expected:?}"),
        }
    }

    #[test]
    fn a_target_that_does_not_exist_is_no_success() {
        choice(&[], Ok((&["claims", "header"], 60)));
        choice(&["header", "--seconds", "5"], Ok((&["header"], 5)));
        choice(&["headers"], Err("no target `headers`"));
        choice(&["--seconds"], Err("wants a number"));
        choice(&["--seconds", "0"], Err("wants a number"));
    }

    #[test]
    fn every_target_has_seeds_and_is_built() {
        let fuzz = command::root().join("fuzz");
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        for name in targets(&command::root()).unwrap() {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not built");
            let seeds = fs::read_dir(fuzz.join("corpus").join(&name)).unwrap();
            assert!(
                seeds.filter(|seed| seed.as_ref().unwrap().path().is_file()).count() > 0,
                "{name} has no seed"
            );
        }
    }
}
