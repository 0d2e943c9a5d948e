//! Programs that the tasks need beside the toolchain: pinned, built once, kept by version below `.tools`.

use std::{env, fs, path::PathBuf, time::Instant};

use crate::command;

/// Checks the dependency tree against `deny.toml`.
pub(crate) const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
/// Changes the code in small ways and looks whether a test notices.
pub(crate) const MUTANTS: Tool = Tool { name: "cargo-mutants", version: "27.1.0" };

/// Builds and drives the targets of `fuzz/`.
pub(crate) const FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };

/// One program, at the one version that the workspace is checked with.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

impl Tool {
    /// Where the program stands, after it was built if it was not there yet.
    pub(crate) fn installed(&self) -> Result<PathBuf, String> {
        let root = command::root();
        let home = root.join(".tools").join(format!("{}-{}", self.name, self.version));
        let binary = home.join("bin").join(format!("{}{}", self.name, env::consts::EXE_SUFFIX));
        if binary.is_file() {
            return Ok(binary);
        }
        println!("   {} {} is built once, which takes a few minutes", self.name, self.version);
        let began = Instant::now();
        let target = root.join("target").join("tools");
        let mut install =
            command::cargo(["install", self.name, "--version", self.version, "--locked", "--quiet"]);
        install
            .arg("--root")
            .arg(&home)
            .arg("--target-dir")
            .arg(&target)
            // It runs for seconds in a test of minutes, so the time to build it is what counts.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        command::run(install)?;
        // Only the program is kept. What is left over when this fails costs room and nothing else.
        let _ = fs::remove_dir_all(&target);
        if !binary.is_file() {
            return Err(format!("{} was installed but is not at {}", self.name, binary.display()));
        }
        println!("   {} {} was built in {:.0} s", self.name, self.version, began.elapsed().as_secs_f64());
        Ok(binary)
    }
}
