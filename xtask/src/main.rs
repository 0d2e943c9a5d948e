//! Runs the workspace's own tasks (`cargo xtask NAME`); no crate of the workspace may ever need it.

use std::{env, ffi::OsString, process::ExitCode};

mod bench;
mod command;
mod edges;
mod features;
mod fuzz;
mod jobs;
mod metadata;
mod mutants;
mod test;
mod tools;

fn main() -> ExitCode {
    let ran = env::args_os()
        .skip(1)
        .map(OsString::into_string)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|argument| format!("the argument {argument:?} is not valid UTF-8"))
        .and_then(|arguments| dispatch(&arguments));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Hands the arguments after the first to the task that the first one names.
fn dispatch(arguments: &[String]) -> Result<(), String> {
    let Some((task, rest)) = arguments.split_first() else {
        return Err(format!("name a task\n\n{}", help()));
    };
    match task.as_str() {
        "test" => test::run(rest),
        "bench" => bench::run(rest),
        "features" => features::run(rest),
        "mutants" => mutants::run(rest),
        "fuzz" => fuzz::run(rest),
        "help" | "--help" | "-h" => {
            println!("{}", help());
            Ok(())
        }
        name => match jobs::find(name) {
            Some(job) => job.run(rest),
            None => Err(format!("there is no task `{name}`\n\n{}", help())),
        },
    }
}

/// What `cargo xtask help` prints; the parts of `test` come from their own list.
fn help() -> String {
    let mut text = String::from(
        "cargo xtask TASK\n\n  \
         test [PART]...         what must pass before a change lands; each part alone by its name:\n",
    );
    for part in test::PARTS {
        text.push_str(&format!("    {:<20} {}\n", part.name, part.what));
    }
    text.push_str(
        "  bench [NAME] [--json]  the benchmarks, which rewrite PERFORMANCE.md; `bench peers` those of others\n  \
         features               builds each feature of each crate alone; run it with every change to a manifest\n  \
         mutants [K/N]          mutates the crates that decide: all, or shard K (from 0) of N\n  \
         fuzz [TARGET]...       the parsers of attacker bytes, 60 s each; --seconds N for another time\n",
    );
    for job in jobs::JOBS {
        text.push_str(&format!("  {:<22} {}\n", job.name, job.what));
    }
    text.push_str("  help                   this text");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(arguments: &[&str], reason: &str) {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let problem = dispatch(&arguments).unwrap_err();
        assert!(problem.contains(reason), "{problem}");
    }

    #[test]
    fn an_unknown_name_is_never_a_success() {
        refused(&[], "name a task");
        refused(&["tset"], "there is no task `tset`");
        refused(&["test", "clipy"], "`test` has no part `clipy`");
        refused(&["features", "tls"], "takes no arguments");
        refused(&["mutants", "4/4"], "below");
        refused(&["mutants", "0"], "K/N");
    }

    #[test]
    fn help_names_every_part_and_job() {
        let help = help();
        for name in test::PARTS.iter().map(|part| part.name).chain(jobs::JOBS.iter().map(|job| job.name)) {
            assert!(help.contains(&format!("  {name} ")), "{name} is missing");
        }
    }
}
