//! Measures hopguard against its floors; it holds no benchmark yet and says so instead of succeeding.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("bench: there is no benchmark yet");
    ExitCode::FAILURE
}
