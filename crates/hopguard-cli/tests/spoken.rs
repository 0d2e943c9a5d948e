//! Whose word a log is: what one service writes in another's name is not believed, once it is known who writes where.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests may")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hopguard_audit::{DurableLog, LogKey};
use serde_json::Value;

const SERVICES: [&str; 4] = ["gateway", "orders", "inventory", "sts"];
const THIEF: &str = "badbadbadbadbadbadbadbadbadbadba";

/// A command that begins while a log is open holds the log's lock for a moment, as every child of a process does.
static OPEN_LOGS: RwLock<()> = RwLock::new(());

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopguard"));
    command.arg("audit").args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = {
        let _none_is_open = OPEN_LOGS.read().unwrap();
        command.spawn().unwrap()
    };
    child.wait_with_output().unwrap()
}

#[track_caller]
fn text(output: &Output, code: i32) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    out.into_owned()
}

/// The kinds of suspicion, each with whose log it is of.
#[track_caller]
fn suspected(arguments: &[&str]) -> Vec<String> {
    let found = text(&run(&[&["trace", "--json", THIEF], arguments].concat()), 0);
    let found: Value = serde_json::from_str(&found).unwrap();
    let all = found["suspicions"].as_array().unwrap();
    all.iter().map(|one| format!("{} {}", one["kind"], one["service"]).replace('"', "")).collect()
}

/// The logs of the example `chain`, signed anew, each with a key that names its service.
struct Logs {
    folder: PathBuf,
    keys: String,
}

impl Drop for Logs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Logs {
    fn new(named: impl Fn(&str) -> String) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("hopguard-spoken-{}-{number}", std::process::id()));
        fs::create_dir_all(folder.join("logs")).unwrap();
        let logs = Self { keys: folder.join("keys").display().to_string(), folder };
        let mut keys = String::new();
        for service in SERVICES {
            let key = LogKey::generate(&named(service)).unwrap();
            keys.push_str(&format!("{}\n", key.verifier()));
            fs::write(logs.folder.join(service), key.dangerous_expose().as_bytes()).unwrap();
            logs.write(service, &honest(service));
        }
        fs::write(&logs.keys, keys).unwrap();
        logs
    }

    fn log(&self, service: &str) -> PathBuf {
        self.folder.join("logs").join(service)
    }

    /// As `service`, which has the key of its log, can write whatever it likes there.
    fn write(&self, service: &str, lines: &str) {
        let open = || {
            let _open = OPEN_LOGS.write().unwrap();
            let key = LogKey::from_file(self.folder.join(service)).unwrap();
            drop(DurableLog::at(self.log(service), key).open().unwrap());
        };
        open();
        let records = self.log(service).join("00000000000000000000.jsonl");
        let all = fs::read_to_string(&records).unwrap_or_default() + lines;
        fs::write(records, all).unwrap();
        // What is found there is signed.
        open();
    }

    fn key(&self, service: &str) -> String {
        let key = LogKey::from_file(self.folder.join(service)).unwrap();
        key.verifier().to_string()
    }
}

fn honest(service: &str) -> String {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/theft/logs").join(service);
    fs::read_to_string(log.join("00000000000000000000.jsonl")).unwrap()
}

/// The call by orders that would explain the token's use at inventory.
fn forged() -> String {
    let events = |service: &str| {
        let all = honest(service);
        all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let is_use = |event: &Value| event["trace_id"] == THIEF && event["kind"] == "decision";
    let stolen = events("inventory").into_iter().find(is_use).unwrap();
    let mut call = events("orders").into_iter().find(|event| event["code"] == "sent").unwrap();
    assert_eq!(call["grant"]["fingerprint"], stolen["token"]["fingerprint"]);
    for (member, value) in [("event_id", "e".repeat(32)), ("request_id", "f".repeat(32))] {
        call[member] = value.into();
    }
    (call["trace_id"], call["time_ms"]) = (THIEF.into(), stolen["time_ms"].clone());
    format!("{call}\n")
}

const THEFT: [&str; 4] = [
    "presentation_unmatched inventory",
    "two_peers inventory",
    "presentation_unmatched orders",
    "used_elsewhere orders",
];

/// Inventory tells of a call by orders, and the theft of orders' token looks like that call.
#[test]
fn a_theft_is_not_explained_by_a_call_that_another_log_tells_of() {
    let logs = Logs::new(|service| format!("chain.example/audit#{service}"));
    let root = logs.folder.join("logs").display().to_string();
    let with_keys = ["--key", &logs.keys, &root];
    let mut theft = suspected(&with_keys);
    assert_eq!(theft, THEFT);
    logs.write("inventory", &forged());
    assert!(!suspected(&[&root]).contains(&THEFT[0].to_owned()), "without keys everything is believed");
    let mut found = suspected(&with_keys);
    let foreign = "service_foreign inventory".to_owned();
    assert!(found.contains(&foreign), "{found:?}");
    found.retain(|one| *one != foreign);
    found.sort();
    theft.sort();
    assert_eq!(found, theft);
    // Each command says what it leaves out.
    for command in [&["find", "alice"][..], &["stats"]] {
        let output = run(&[command, &with_keys].concat());
        text(&output, 0);
        assert!(String::from_utf8_lossy(&output.stderr).contains("is told by orders"), "{output:?}");
    }

    let verified = run(&["verify", "--key", &logs.key("inventory"), logs.log("inventory").to_str().unwrap()]);
    let said = text(&verified, 1);
    assert!(
        said.contains("NOT ALL ITS OWN") && said.contains("service_foreign") && said.contains("orders"),
        "{said}"
    );
    let verified = run(&["verify", "--key", &logs.key("orders"), logs.log("orders").to_str().unwrap()]);
    assert!(text(&verified, 0).contains("sound"));
}

/// Logs that are not signed: the caller says who writes where.
#[test]
fn plain_logs_are_tied_to_their_services_by_name() {
    let logs = Logs::new(|service| format!("chain.example/audit#{service}"));
    let plain = |service: &str| {
        let path = logs.folder.join(format!("{service}.jsonl"));
        let more = if service == "inventory" { forged() } else { String::new() };
        fs::write(&path, honest(service) + &more).unwrap();
        path.display().to_string()
    };
    let paths = SERVICES.map(plain);
    let all: Vec<&str> = paths.iter().map(String::as_str).collect();
    assert!(!suspected(&all).contains(&THEFT[0].to_owned()), "nobody can tell");
    let tied: Vec<String> =
        SERVICES.iter().zip(&paths).map(|(name, path)| format!("{name}={path}")).collect();
    let tied: Vec<&str> = tied.iter().map(String::as_str).collect();
    let expected = [THEFT[0].to_owned(), "service_foreign inventory".to_owned()];
    let found = suspected(&tied);
    assert!(expected.iter().all(|one| found.contains(one)), "{found:?}");
    // To name whose call is in question is enough.
    let found = suspected(&[tied[1], all[0], all[2], all[3]]);
    assert!(
        found.contains(&expected[0]) && found.contains(&format!("service_foreign {}", all[2])),
        "{found:?}"
    );
}

#[test]
fn with_keys_a_log_that_does_not_verify_is_not_read() {
    let logs = Logs::new(|service| format!("chain.example/{service}"));
    let root = logs.folder.join("logs").display().to_string();
    // Keys that name no service tie nothing, and all verify.
    assert_eq!(suspected(&["--key", &logs.keys, &root]), THEFT);
    let fails = |arguments: &[&str], says: &str| {
        let output = run(&[&["trace", THIEF], arguments].concat());
        text(&output, 2);
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
    };
    fails(&["--key", &logs.key("orders"), &root], "does not verify by any of these keys");
    let records = logs.log("orders").join("00000000000000000000.jsonl");
    let changed = fs::read_to_string(&records).unwrap().replacen("\"time_ms\":1", "\"time_ms\":2", 1);
    fs::write(records, changed).unwrap();
    fails(&["--key", &logs.keys, &root], "orders does not verify by any of these keys");
    for file in ["checkpoint", "checkpoints"] {
        fs::remove_file(logs.log("orders").join(file)).unwrap();
    }
    fails(&["--key", &logs.keys, &root], "has lost its checkpoints");

    let logs = Logs::new(|service| format!("chain.example/audit#{service}"));
    let gateway = format!("orders={}", logs.log("gateway").display());
    fails(&["--key", &logs.keys, &gateway], "its key does not name orders");
}

/// With keys, what nobody signed is nobody's word: wherever it was put, and whatever was taken away.
#[test]
fn with_keys_what_is_not_signed_is_not_read() {
    let logs = || Logs::new(|service| format!("chain.example/audit#{service}"));
    let root = |logs: &Logs| logs.folder.join("logs").display().to_string();
    let first = |logs: &Logs| logs.log("orders").join("00000000000000000000.jsonl");
    let verified = |logs: &Logs, code: i32| {
        let verified = run(&["verify", "--key", &logs.key("orders"), logs.log("orders").to_str().unwrap()]);
        text(&verified, code)
    };

    // Beside the log's own files, in its folder.
    for stray in ["zz.jsonl", "99999999999999999999.jsonl"] {
        let logs = logs();
        fs::write(logs.log("orders").join(stray), forged()).unwrap();
        assert_eq!(suspected(&["--key", &logs.keys, &root(&logs)]), THEFT, "{stray}");
        assert!(verified(&logs, 0).contains(&format!("{stray} is no part of the log")));
    }
    // Behind its last record, as after a crash or a moment ago.
    for end in ["", "\n"] {
        let logs = logs();
        let old = fs::read_to_string(first(&logs)).unwrap();
        fs::write(first(&logs), old + forged().trim_end() + end).unwrap();
        let output = run(&["trace", "--json", THIEF, "--key", &logs.keys, &root(&logs)]);
        assert_eq!(suspected(&["--key", &logs.keys, &root(&logs)]), THEFT);
        let told = String::from_utf8_lossy(&output.stderr)
            .contains("records at the end that are not signed yet, and left out: 1");
        assert_eq!(told, end == "\n", "{output:?}");
        assert_eq!(verified(&logs, 0).contains("are no whole record"), end.is_empty());
    }
    // Behind the last record of a file that another follows.
    let cut = logs();
    let all = fs::read_to_string(first(&cut)).unwrap();
    let at = all.match_indices('\n').nth(2).unwrap().0 + 1;
    fs::write(first(&cut), all[..at].to_owned() + forged().trim_end()).unwrap();
    fs::write(cut.log("orders").join(format!("{:020}.jsonl", 3)), &all[at..]).unwrap();
    assert!(verified(&cut, 1).contains("stand behind the last record of a file that another follows"));

    let fails = |logs: &Logs, arguments: &[&str], says: &str| {
        let output = run(&[&["trace", THIEF, "--key", &logs.keys], arguments].concat());
        text(&output, 2);
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
    };
    fails(&cut, &[&root(&cut)], "orders does not verify by any of these keys");
    // A log of which only its lines are left, under another name; and in its service's name all the same.
    let bare = logs();
    fs::remove_dir_all(bare.log("orders")).unwrap();
    fs::write(bare.folder.join("logs/x.jsonl"), honest("orders") + &forged()).unwrap();
    fails(&bare, &[&root(&bare)], "logs holds records that are not signed");
    let named = format!("orders={}", bare.folder.join("logs/x.jsonl").display());
    fails(&bare, &[&named], "logs holds records that are not signed");
    // Of a service that no key names there is no signed log: it may be named.
    let named = format!("billing={}", bare.folder.join("logs/x.jsonl").display());
    let gateway = bare.log("gateway").display().to_string();
    text(&run(&["stats", "--key", &bare.key("gateway"), &gateway, &named]), 0);
    // In a folder of a log whose key names nobody.
    let nameless = Logs::new(|service| format!("chain.example/{service}"));
    fs::create_dir(nameless.log("inventory").join("below")).unwrap();
    fs::write(nameless.log("inventory").join("below/x.jsonl"), forged()).unwrap();
    fails(&nameless, &[&root(&nameless)], "below holds records that are not signed");
    let named = format!("inventory={}", nameless.log("inventory").join("below").display());
    fails(&nameless, &[&named], "below holds records that are not signed");
    // A log whose key is there and which is not; also where only its records are gone.
    let gone = logs();
    fs::remove_file(first(&gone)).unwrap();
    fails(&gone, &[&root(&gone)], "no log here is signed by chain.example/audit#orders");
    fs::remove_dir_all(gone.log("orders")).unwrap();
    fails(&gone, &[&root(&gone)], "no log here is signed by chain.example/audit#orders");
    // No key at all.
    let empty = logs();
    fs::write(&empty.keys, "\n").unwrap();
    fails(&empty, &[&root(&empty)], "holds no verifier key");
}

/// A thief who can write a service's files, and has not its key, does not make its log silent.
#[test]
fn a_log_that_was_set_back_is_not_believed_to_be_silent() {
    let logs = Logs::new(|service| format!("chain.example/audit#{service}"));
    let (root, orders) = (logs.folder.join("logs").display().to_string(), logs.log("orders"));
    let old = logs.folder.join("old");
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    copy(&orders, &old);
    logs.write("orders", &forged());
    let held = logs.folder.join("held");
    fs::copy(orders.join("checkpoint"), &held).unwrap();
    let held = held.to_str().unwrap();
    let with_keys = ["--key", &logs.keys, &root];
    let against = [&with_keys[..], &["--against", held]].concat();
    let fails = |arguments: &[&str], says: &str| {
        let output = run(&[&["trace", THIEF], arguments].concat());
        text(&output, 2);
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
    };
    text(&run(&[&["stats"][..], &against].concat()), 0);

    // To an older copy, which is whole: only who holds a checkpoint of it can tell.
    copy(&old, &orders);
    text(&run(&[&["stats"][..], &with_keys].concat()), 0);
    fails(&against, "orders does not verify by any of these keys");
    let gateway = logs.log("gateway").display().to_string();
    let others = ["--key", &logs.key("gateway"), &gateway, "--against", held];
    fails(&others, "holds no checkpoints of a log that is read here");

    // To its beginning.
    let history = fs::read_to_string(orders.join("checkpoints")).unwrap();
    let end = history.find("\n\u{2014} ").unwrap() + 1;
    let first = &history[..end + history[end..].find('\n').unwrap() + 1];
    for (file, text) in
        [("checkpoint", first), ("checkpoints", first), ("leaves", ""), ("00000000000000000000.jsonl", "")]
    {
        fs::write(orders.join(file), text).unwrap();
    }
    fails(&with_keys, "orders covers a record");
    fails(&against, "orders does not verify by any of these keys");
    // Where that is the reader's own wish, its calls are those of a service whose log is here and knows none.
    let young = [&with_keys[..], &["--dangerous-unsigned"]].concat();
    assert!(suspected(&young).contains(&THEFT[0].to_owned()));
}

/// A copy of a log tells nothing more: a theft in the honest call's trace is not explained by that call told twice.
#[test]
fn a_log_that_is_read_twice_is_one_log() {
    let logs = Logs::new(|service| format!("chain.example/audit#{service}"));
    let root = logs.folder.join("logs").display().to_string();
    let again = format!("{root}/../logs/orders");
    assert_eq!(suspected(&["--key", &logs.keys, &root, &again]), THEFT);
    let copy = logs.log("inventory").join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(logs.log("orders")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let count = |arguments: &[&str]| {
        let found = text(&run(&[&["find", "--json", "alice"], arguments].concat()), 0);
        found.lines().count()
    };
    let with_keys = ["--key", &logs.keys, &root];
    let copied = count(&with_keys);
    fs::remove_dir_all(copy).unwrap();
    assert_eq!(copied, count(&with_keys));
}

/// What lies in the folder where the command is run decides nothing.
#[test]
fn no_file_takes_the_place_of_what_was_said() {
    let logs = Logs::new(|service| format!("chain.example/audit#{service}"));
    let here = logs.folder.join("here");
    let within = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hopguard"));
        command.arg("audit").args(arguments).current_dir(&here).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = {
            let _none_is_open = OPEN_LOGS.read().unwrap();
            command.spawn().unwrap()
        };
        child.wait_with_output().unwrap()
    };
    // A key that is given in full is that key.
    let (own, other) = (logs.key("orders"), logs.key("gateway"));
    let planted = here.join(&own);
    fs::create_dir_all(planted.parent().unwrap()).unwrap();
    fs::write(planted, &other).unwrap();
    let orders = logs.log("orders").display().to_string();
    text(&within(&["verify", "--key", &own, &orders]), 0);
    // A tie is a tie.
    fs::create_dir_all(here.join("orders=plain")).unwrap();
    for file in ["orders=plain/x.jsonl", "plain.jsonl"] {
        fs::write(here.join(file), honest("orders")).unwrap();
    }
    fs::create_dir(here.join("plain")).unwrap();
    fs::write(here.join("plain/x.jsonl"), honest("orders")).unwrap();
    let output = within(&["stats", "orders=plain/x.jsonl"]);
    text(&output, 2);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("is a log of that name and names one"),
        "{output:?}"
    );
    text(&within(&["stats", "./orders=plain/x.jsonl", "orders=plain.jsonl"]), 0);
    // The name of a file alone is a file in this folder.
    for file in ["checkpoint", "checkpoints", "leaves"] {
        fs::remove_file(logs.log("orders").join(file)).unwrap();
    }
    for name in fs::read_dir(logs.log("orders")).unwrap() {
        let name = name.unwrap().file_name();
        fs::copy(logs.log("orders").join(&name), here.join(&name)).unwrap();
        let output = within(&["stats", "--key", &logs.keys, name.to_str().unwrap()]);
        text(&output, 2);
        text(&within(&["verify", name.to_str().unwrap()]), 2);
    }
}
