//! Builds each feature of each crate alone, so that no feature leans on another one that happens to be on.

use crate::{command, metadata};

/// Builds every package without features and with each single one; all failures are named at the end.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    if let Some(argument) = arguments.first() {
        return Err(format!("`features` takes no arguments, but was given `{argument}`"));
    }
    let mut built = 0_usize;
    let mut failed = Vec::new();
    for member in metadata::members()? {
        let single = member.features.iter().filter(|feature| *feature != "default").map(String::as_str);
        for feature in std::iter::once("").chain(single) {
            let alone = if feature.is_empty() { "no feature" } else { feature };
            println!("== {}: {alone}", member.name);
            let mut check =
                command::cargo(["check", "--locked", "--package", &member.name, "--no-default-features"]);
            if !feature.is_empty() {
                check.args(["--features", feature]);
            }
            built += 1;
            if let Err(reason) = command::run(check) {
                failed.push(reason);
            }
        }
    }
    println!("== {built} builds, {} failed", failed.len());
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\nxtask: ")) }
}
