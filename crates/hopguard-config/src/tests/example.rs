//! The example of `docs/`: it loads, and holds every setting.

use std::collections::BTreeSet;

use hopguard_audit::LogKey;

use super::*;

/// The example's secrets and logs in a folder that is there.
fn placed(folder: &Folder) -> Vec<(String, String)> {
    let log_key = LogKey::generate("orders.internal/audit#orders").unwrap();
    [
        ("EGRESS__STS__PRIVATE_KEY_FILE", folder.secret("key", KEY)),
        ("AUDIT__DURABLE_LOG__KEY_FILE", folder.secret("log-key", log_key.dangerous_expose().as_bytes())),
        ("AUDIT__DURABLE_LOG__FOLDER", folder.at("log")),
        ("AUDIT__DURABLE_LOG__SHIP_TO", folder.at("checkpoints")),
        ("AUDIT__JSON_LINES__PATH", folder.at("lines.jsonl")),
        ("EGRESS__ROUTE__3__SECRET_FILE", folder.secret("mail-key", b"hunter2-hunter2-hunter2")),
    ]
    .map(|(name, value)| (format!("HOPGUARD_{name}"), value))
    .into()
}

#[test]
fn the_example_loads_and_builds() {
    let folder = Folder::fresh();
    let config = Config::read(EXAMPLE, placed(&folder)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.warnings(), [] as [&str; 0]);
    let parts = config.build().unwrap_or_else(|errors| panic!("{errors}"));
    assert!(parts.egress.is_some());
    assert_eq!(parts.audit.service(), "orders");
    let published = parts.inbound.resource_metadata().unwrap();
    assert_eq!(published.url(), "https://orders.internal/.well-known/oauth-protected-resource/v1");
    assert!(parts.flush(std::time::Duration::from_secs(5)));
    assert!(fs::exists(folder.at("lines.jsonl")).unwrap() && fs::exists(folder.at("log")).unwrap());
}

/// Else each record would be one that the log does not speak for.
#[test]
fn the_key_of_another_services_log_is_refused() {
    let folder = Folder::fresh();
    let with_key = |name: &str| {
        let mut variables = placed(&folder);
        let key = LogKey::generate(name).unwrap();
        let path = folder.secret(name, key.dangerous_expose().as_bytes());
        variables.push(("HOPGUARD_AUDIT__DURABLE_LOG__KEY_FILE".into(), path));
        variables.push(("HOPGUARD_AUDIT__DURABLE_LOG__FOLDER".into(), folder.at(&format!("of-{name}"))));
        variables
            .push(("HOPGUARD_AUDIT__DURABLE_LOG__SHIP_TO".into(), folder.at(&format!("shipped-{name}"))));
        Config::read(EXAMPLE, variables).unwrap_or_else(|errors| panic!("{errors}")).build()
    };
    told(&with_key("log#inventory").unwrap_err(), &[("audit.durable_log.key_file", "other services")]);
    with_key("log#inventory,orders").unwrap_or_else(|errors| panic!("{errors}"));
    with_key("log").unwrap_or_else(|errors| panic!("{errors}"));
}

/// Every setting that the loader knows, by its path without places in lists.
pub(super) fn known() -> BTreeSet<String> {
    let folder = Folder::fresh();
    // A setting that nobody knows in every table makes each of them tell what it knows.
    let mut probing = "zzz = 1\n".to_owned();
    for line in EXAMPLE.lines() {
        // Tables that the example only shows, too.
        let line = line.strip_prefix("# [").map_or(line.to_owned(), |heading| format!("[{heading}"));
        probing.push_str(&line);
        probing.push_str(if line.starts_with('[') { "\nzzz = 1\n" } else { "\n" });
    }
    let mut all = BTreeSet::new();
    for method in
        ["private_key_jwt", "client_secret_post", "client_secret_basic", "assertion_file", "jwt_svid_file"]
    {
        let mut variables = placed(&folder);
        variables.push(("HOPGUARD_EGRESS__STS__AUTHENTICATION".into(), method.into()));
        let errors = Config::read(&probing, variables).unwrap_err();
        for problem in errors.problems() {
            let Some(told) = problem.problem.strip_prefix("names no setting of ") else { continue };
            let (table, keys) = told.split_once(':').unwrap();
            let (_, keys) = keys.split_once(" there are: ").unwrap();
            let table = table.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest));
            let table: String = table.collect();
            let path = |key| if table == "the file" { String::from(key) } else { format!("{table}.{key}") };
            all.extend(keys.split(", ").map(path));
        }
    }
    all
}

#[test]
fn the_example_holds_every_setting() {
    let (mut documented, mut table) = (BTreeSet::new(), String::new());
    for line in EXAMPLE.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if line.starts_with('[') {
            table = format!("{}.", line.trim_matches(['[', ']']));
            documented.insert(table.trim_end_matches('.').to_owned());
        } else if let Some((key, _)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
        {
            documented.insert(format!("{table}{key}"));
        }
    }
    let known = known();
    // Secrets themselves have no place in the file.
    let secrets = [
        "egress.sts.client_secret",
        "egress.sts.private_key",
        "audit.durable_log.key",
        "egress.route.secret",
    ];
    // The one table only points to the other.
    let elsewhere = |key: &String| key.replace("egress.sts.access_token.", "inbound.issuer.access_token.");
    let known: BTreeSet<_> = known.iter().map(elsewhere).collect();
    let missing: Vec<_> =
        known.difference(&documented).filter(|key| !secrets.contains(&key.as_str())).collect();
    assert!(missing.is_empty(), "not in the example: {missing:?}");
    let stale: Vec<_> = documented.difference(&known).collect();
    assert!(stale.is_empty(), "in the example, and nobody knows it: {stale:?}");
    assert!(known.len() > 150, "{}", known.len());
}
