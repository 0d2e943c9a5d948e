//! Files and environments, good and bad.

mod example;
mod builders;
mod problems;
mod environment;
mod secrets;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use hopguard_core::ConfigErrors;

use crate::Config;

const EXAMPLE: &str = include_str!("../../../../docs/hopguard.toml");
const KEY: &[u8] = include_bytes!("../../../hopguard-client/fixtures/localhost-key.der");

const SMALL: &str = r#"
service = "orders"
instance = "1"
audit.tracing = true
[inbound]
audience = "https://orders.internal"
ttl.lifetime_at_most = "5m"
scope.all_of = ["orders:read"]
[[inbound.issuer]]
url = "https://sts.internal"
"#;

const EGRESS: &str = r#"
[egress.sts]
issuer = "https://sts.internal"
client_id = "orders"
authentication = "client_secret_basic"
"#;

/// A folder that goes away again.
struct Folder(PathBuf);

impl Folder {
    fn fresh() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("hopguard-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A file for the eyes of its owner.
    fn secret(&self, name: &str, content: &[u8]) -> String {
        self.file(name, content, 0o600)
    }

    fn file(&self, name: &str, content: &[u8], mode: u32) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn none() -> [(String, String); 0] {
    []
}

fn read(toml: &str) -> Result<Config, ConfigErrors> {
    Config::read(toml, none())
}

#[track_caller]
fn told(errors: &ConfigErrors, expected: &[(&str, &str)]) {
    let found: Vec<_> =
        errors.problems().iter().map(|one| (one.setting.as_str(), one.problem.as_str())).collect();
    for (setting, part) in expected {
        let fits = |(at, problem): &&(&str, &str)| at == setting && problem.contains(part);
        assert_eq!(found.iter().filter(fits).count(), 1, "{setting}, {part}: {errors}");
    }
    assert_eq!(found.len(), expected.len(), "{errors}");
}

/// Fails unless this text in place of that one makes exactly this problem.
#[track_caller]
fn one(toml: &str, from: &str, to: &str, setting: &str, part: &str) {
    assert!(toml.contains(from), "{from}");
    match read(&toml.replacen(from, to, 1)) {
        Ok(_) => panic!("{to} is taken"),
        Err(errors) => told(&errors, &[(setting, part)]),
    }
}
