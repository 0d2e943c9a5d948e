//! `hopguard audit key`: the key that signs a log's checkpoints.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use hopguard_audit::LogKey;
use hopguard_core::ConfigErrors;

use crate::{Ended, print_as_is};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The log's name: by convention a URL without its scheme, such as `orders.internal/audit`; the services that
    /// `--service` names are added to it
    #[arg(required_unless_present = "show", requires = "out")]
    origin: Option<String>,
    /// The service that the log speaks for, as `Audit::new` or the configuration names it. `verify` finds any other
    /// that speaks in it
    #[arg(long, value_name = "NAME", requires = "origin")]
    service: Vec<String>,
    /// The file for the private key; it must not be there yet
    #[arg(long, value_name = "FILE", requires = "origin")]
    out: Option<PathBuf>,
    /// Make none: print the verifier key of the private key in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["origin", "out", "service"])]
    show: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Ended, String> {
    let key = match (&arguments.origin, &arguments.out, &arguments.show) {
        (_, _, Some(file)) => LogKey::from_file(file).map_err(|errors| wrong(&errors))?,
        (Some(origin), Some(out), None) => made(origin, &arguments.service, out)?,
        _ => return Err("name the log and --out FILE, or --show FILE".to_owned()),
    };
    // A key may look like a token by chance; its name may not.
    print_as_is(&key.verifier().to_string())?;
    Ok(Ended::Well)
}

/// There is no configuration here whose settings could be named.
fn wrong(errors: &ConfigErrors) -> String {
    let problems: Vec<_> = errors.problems().iter().map(|one| format!("the key {}", one.problem)).collect();
    problems.join("; ")
}

fn made(origin: &str, services: &[String], out: &Path) -> Result<LogKey, String> {
    let origin =
        if services.is_empty() { origin.to_owned() } else { format!("{origin}#{}", services.join(",")) };
    let key = LogKey::generate(&origin).map_err(|errors| wrong(&errors))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let cannot = |error| format!("cannot write {}: {error}", out.display());
    let mut file = options.open(out).map_err(cannot)?;
    let text = key.dangerous_expose();
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(cannot)?;
    file.sync_all().map_err(cannot)?;
    Ok(key)
}
