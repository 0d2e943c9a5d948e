//! Long jobs, some of which have a name before they have a program; to ask for one of those must never succeed.

use crate::{command, metadata};

/// The package whose binaries the jobs are.
const PACKAGE: &str = "hopguard-tests";

/// A long job: the binary of the same name in `tests/`.
pub(crate) struct Job {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
}

/// Every job that has a name.
pub(crate) const JOBS: &[Job] = &[
    Job {
        name: "soak",
        what: "the way in or out under load while things go wrong: `soak inbound --minutes 10`",
    },
    Job { name: "crash", what: "the audit log of a process that is killed while it writes" },
    Job { name: "interop", what: "the chain against servers that are not ours" },
];

/// The job of this name, if the name is one.
pub(crate) fn find(name: &str) -> Option<&'static Job> {
    JOBS.iter().find(|job| job.name == name)
}

impl Job {
    /// Runs the job's binary, optimised, with these arguments.
    pub(crate) fn run(&self, arguments: &[String]) -> Result<(), String> {
        let members = metadata::members()?;
        let exists = members
            .iter()
            .any(|member| member.name == PACKAGE && member.binaries.iter().any(|binary| binary == self.name));
        if !exists {
            return Err(format!(
                "there is no {} job yet: `tests/` has no binary of that name, so nothing was run",
                self.name
            ));
        }
        let mut job = command::cargo(["run", "--quiet", "--release", "--locked", "--package", PACKAGE]);
        job.args(["--bin", self.name, "--"]).args(arguments);
        command::run(job)
    }
}
