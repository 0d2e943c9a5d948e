//! Starts other programs: always at the workspace's root, never with what cargo told this program about itself.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// A program to be run at the root of the workspace.
pub(crate) fn program(path: impl AsRef<Path>) -> Command {
    let mut command = Command::new(path.as_ref());
    command.current_dir(root());
    // `cargo run` describes this package in the environment. Build scripts that watch such a variable would run
    // again, and all that depends on them, whenever a build is started from here instead of from a shell.
    for (name, _) in env::vars_os() {
        let describes_us = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
                || matches!(name, "CARGO_BIN_NAME" | "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE")
        });
        if describes_us {
            command.env_remove(name);
        }
    }
    command
}

/// The cargo that started this program, with these arguments.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = program(env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from));
    command.args(arguments);
    command
}

/// Runs the program to its end and takes any end but success for a failure.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|error| not_started(&command, &error))?;
    judge(&command, status)
}

/// Runs the program, passes its standard output on as it comes, and shows each line to `see`.
pub(crate) fn run_watched(mut command: Command, mut see: impl FnMut(&str)) -> Result<(), String> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| not_started(&command, &error))?;
    let mut lost = None;
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            match lines.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {
                    see(&String::from_utf8_lossy(&line));
                    // Output that nobody reads any more is no reason to leave the program half done.
                    let _ = std::io::stdout().write_all(&line);
                }
                Err(error) => {
                    lost = Some(format!("its output could not be read: {error}"));
                    break;
                }
            }
        }
    }
    let status = child.wait().map_err(|error| not_started(&command, &error))?;
    judge(&command, status)?;
    lost.map_or(Ok(()), Err)
}

/// Runs the program and returns what it wrote to standard output; its standard error stays visible.
pub(crate) fn output(mut command: Command) -> Result<Vec<u8>, String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| not_started(&command, &error))?;
    judge(&command, output.status)?;
    Ok(output.stdout)
}

fn judge(command: &Command, status: ExitStatus) -> Result<(), String> {
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", shown(command))) }
}

fn not_started(command: &Command, error: &std::io::Error) -> String {
    format!("`{}` could not be run: {error}", shown(command))
}

/// The command as a person would type it: the program's name without its folder, then its arguments.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_stem().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}
