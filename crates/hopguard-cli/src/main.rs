//! The `hopguard` command. It reads what services wrote; it must never print text from a log that could steer
//! a terminal.
//!
//! ```text
//! hopguard audit key      orders.internal/audit --service orders --out audit-key    a key for a log
//! hopguard audit verify   LOG --key VERIFIER --against CHECKPOINT    was it changed?
//! hopguard audit trace    FINGERPRINT LOG... --key VERIFIERS         who exchanged what for what
//! hopguard audit find     SUBJECT LOG...                             the events
//! hopguard audit stats    LOG...                                     how many of what
//! ```
//!
//! Exit code 0: all is well. 1: `verify` found something, `trace` or `find` nothing. 2: it could not be done.

mod html;
mod key;
mod logs;
mod progress;
mod show;
mod sources;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hopguard_core::redacted;

#[derive(Debug, Parser)]
#[command(
    name = "hopguard",
    version,
    about = "Guards tokens from hop to hop, and tells what happened to them"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What services wrote down
    #[command(subcommand)]
    Audit(Audit),
}

#[derive(Debug, Subcommand)]
enum Audit {
    /// Make a key for a log's checkpoints, and print the verifier key
    Key(key::Arguments),
    /// Find out whether a log was changed, and where
    Verify(verify::Arguments),
    /// Show the whole tree of who exchanged what for what
    Trace(logs::Trace),
    /// List the events of a token, subject, trace or request
    Find(logs::Find),
    /// Count what happened
    Stats(logs::Stats),
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    /// A log was changed.
    Changed,
    /// What was looked for is not there.
    Nothing,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(said) => return told(&said),
    };
    let Command::Audit(command) = arguments.command;
    let ended = match command {
        Audit::Key(arguments) => key::run(&arguments),
        Audit::Verify(arguments) => verify::run(&arguments),
        Audit::Trace(arguments) => logs::trace(&arguments),
        Audit::Find(arguments) => logs::find(&arguments),
        Audit::Stats(arguments) => logs::stats(&arguments),
    };
    match ended {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Changed | Ended::Nothing) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("hopguard: {}", show::plain(&problem));
            ExitCode::from(2)
        }
    }
}

/// Help, or what is wrong with the arguments: these are quoted, and one of them may be a token.
fn told(said: &clap::Error) -> ExitCode {
    let text = said.render().to_string();
    if said.use_stderr() {
        eprint!("{}", redacted(&text));
    } else if print(text.trim_end()).is_err() {
        return ExitCode::from(2);
    }
    ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2))
}

/// Writes to standard output, whatever looks like a token redacted: logs may come from elsewhere.
fn print(text: &str) -> Result<(), String> {
    // INVARIANT: I10 — everything but a key of ours and JSON goes through here.
    print_as_is(&redacted(text))
}

/// Writes JSON, of which whatever hurts is escaped while it is made: a token that is cut out of a finished text could
/// take a quotation mark along.
fn print_json(value: &(impl serde::Serialize + ?Sized)) -> Result<(), String> {
    print_as_is(&hopguard_core::harmless_json(value).map_err(|error| error.to_string())?)
}

/// Writes to standard output; a reader that went away, as `head` does, is no failure.
fn print_as_is(text: &str) -> Result<(), String> {
    use std::io::{ErrorKind, Write};
    let mut output = std::io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.write_all(b"\n"));
    match written.and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write: {error}")),
        _ => Ok(()),
    }
}
