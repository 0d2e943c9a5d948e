//! The command over real logs: those of the example `chain`, one good request through three services.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helper functions of tests may")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use hopguard_audit::{DurableLog, LogKey};
use hopguard_core::{Audit, Decision, Denial, Direction, EventKind};
use serde_json::Value;

const USER: &str = "77c18db5fe58";
const TO_INVENTORY: &str = "1565abafa03fb283ad68486af28e1ef928e5ca4d7ab0818c825119c159a2ce5f";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hopguard-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn chain() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chain")
}

/// A command that begins while a log is open holds the log's lock for a moment, as every child of a process does.
static OPEN_LOGS: RwLock<()> = RwLock::new(());

fn run(arguments: &[&str], paths: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopguard"));
    command.arg("audit").args(arguments).args(paths);
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

#[track_caller]
fn json(arguments: &[&str], paths: &[&Path]) -> Value {
    let output = run(&[arguments, &["--json"]].concat(), paths);
    serde_json::from_str(&text(&output, 0)).unwrap()
}

#[track_caller]
fn reasons(logs: &Path, query: &str) -> Vec<String> {
    let found = json(&["trace", query], &[logs]);
    let all = found["suspicions"].as_array().unwrap();
    all.iter()
        .map(|s| format!("{} {}", s["kind"].as_str().unwrap(), &s["fingerprint"].as_str().unwrap()[..12]))
        .collect()
}

/// The logs of the chain, one of them changed.
fn changed(service: &str, change: impl FnOnce(String) -> String) -> Folder {
    let folder = Folder::new();
    for name in ["gateway", "orders", "inventory", "sts"] {
        let file = format!("{name}.jsonl");
        std::fs::copy(chain().join(&file), folder.0.join(&file)).unwrap();
    }
    let path = folder.0.join(format!("{service}.jsonl"));
    std::fs::write(&path, change(std::fs::read_to_string(&path).unwrap())).unwrap();
    folder
}

#[test]
fn the_whole_tree_is_found_from_any_end() {
    let logs = chain();
    for query in [USER, &TO_INVENTORY[..8], TO_INVENTORY, "alice", TRACE, "jlNEJ_WwQ8RKDwsHDOWH2g"] {
        let found = json(&["trace", query], &[&logs]);
        let mut node = &found["trees"][0];
        for (holder, said_by, shown_to) in [
            ("web-app", vec![], "gateway"),
            ("gateway", vec!["gateway", "sts"], "orders"),
            ("orders", vec!["orders", "sts"], "inventory"),
        ] {
            let token = &node["token"];
            let held = token["actors"][0]["subject"].as_str().or(token["client"].as_str());
            assert_eq!(held, Some(holder), "{query}");
            assert_eq!(node["said_by"], serde_json::json!(said_by));
            assert_eq!(node["presentations"][0]["service"], shown_to);
            node = &node["children"][0];
        }
        assert_eq!(
            (found["trees"].as_array().unwrap().len(), &found["suspicions"]),
            (1, &serde_json::json!([]))
        );
    }
    let table = text(&run(&["trace", USER], &[&logs]), 0);
    assert!(table.contains("└─ 79d4d3870a99") && table.contains("   └─ 1565abafa03f"), "{table}");
    let dot = text(&run(&["trace", USER, "--dot"], &[&logs]), 0);
    assert!(dot.starts_with("digraph") && dot.matches(" -> ").count() == 2, "{dot}");
}

/// As with `grep`: 0 for what was found, 1 for nothing, 2 for what went wrong.
#[test]
fn what_is_not_found_ends_with_1() {
    let logs = chain();
    for how in [
        &["find"][..],
        &["find", "--json"],
        &["trace"],
        &["trace", "--json"],
        &["trace", "--dot"],
        &["trace", "--html"],
    ] {
        text(&run(&[how, &["alice"]].concat(), &[&logs]), 0);
        let nothing = run(&[how, &["nobody"]].concat(), &[&logs]);
        let shown = text(&nothing, 1);
        let empty = if how == ["trace", "--json"] {
            "{\"query\":\"nobody\",\"suspicions\":[],\"trees\":[]}\n"
        } else {
            ""
        };
        assert_eq!(shown, empty, "{how:?}");
        assert!(String::from_utf8_lossy(&nothing.stderr).contains("is named by `nobody`"), "{nothing:?}");
        text(&run(&[how, &["alice"]].concat(), &[&logs.join("not-there")]), 2);
        // A line that cannot be read is told, and changes nothing.
        let torn = changed("sts", |log| format!("{log}{{\"torn\":"));
        text(&run(&[how, &["alice"]].concat(), &[&torn.0]), 0);
    }
}

/// Inventory's grant is copied and shown once more, from elsewhere.
#[test]
fn a_theft_is_told_from_delegation() {
    let again = |log: String| {
        let shown = log.lines().next().unwrap();
        let mut theft: Value = serde_json::from_str(shown).unwrap();
        theft["peer"] = "203.0.113.9:4711".into();
        theft["request_id"] = "f".repeat(32).into();
        theft["event_id"] = "e".repeat(32).into();
        theft["trace_id"] = "d".repeat(32).into();
        theft["time_ms"] = (theft["time_ms"].as_u64().unwrap() + 9000).into();
        format!("{log}{theft}\n")
    };
    let logs = changed("inventory", again);
    assert_eq!(reasons(&logs.0, USER), ["presentation_unmatched 1565abafa03f", "two_peers 1565abafa03f"]);
    let stats = json(&["stats"], &[&logs.0]);
    assert_eq!(stats["suspicions"], serde_json::json!({ "presentation_unmatched": 1, "two_peers": 1 }));
}

/// The logs of `cargo run -p chain -- --processes`: four processes, one honest request, and a theft.
fn theft() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/theft")
}

/// One log of each process, signed with its own key and held against the checkpoints that were shipped.
#[test]
fn the_logs_of_four_processes_verify_and_tell_the_theft() {
    let folder = theft();
    let keys = std::fs::read_to_string(folder.join("keys")).unwrap();
    for (name, key) in ["gateway", "orders", "inventory", "sts"].iter().zip(keys.lines()) {
        let (log, held) = (folder.join("logs").join(name), folder.join("shipped").join(name));
        let arguments = ["verify", "--key", key, "--against", held.to_str().unwrap()];
        assert!(text(&run(&arguments, &[&log]), 0).contains("sound"));
    }
    let logs = folder.join("logs");
    let found = json(&["trace", TRACE], &[&logs]);
    assert_eq!(found["trees"].as_array().unwrap().len(), 1);
    let stolen = &found["trees"][0]["children"][0]["children"][0]["token"]["fingerprint"];
    let suspicions = found["suspicions"].as_array().unwrap();
    assert!(suspicions.iter().all(|suspicion| suspicion["fingerprint"] == *stolen), "{suspicions:?}");
    let kinds: Vec<_> = suspicions
        .iter()
        .map(|s| format!("{} {}", s["kind"].as_str().unwrap(), s["service"].as_str().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [
            "presentation_unmatched inventory",
            "two_peers inventory",
            "presentation_unmatched orders",
            "used_elsewhere orders"
        ]
    );
    // The thief's own trace leads to the whole tree of the token that was stolen, and to both uses.
    let thief = "badbadbadbadbadbadbadbadbadbadba";
    assert_eq!(json(&["trace", thief], &[&logs])["trees"][0], found["trees"][0]);
    let events = text(&run(&["find", thief, "--json"], &[&logs]), 0);
    let codes: Vec<_> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["kind"] == "decision")
        .map(|event| format!("{} {}", event["service"].as_str().unwrap(), event["code"].as_str().unwrap()))
        .collect();
    assert_eq!(codes, ["inventory admitted", "orders audience_mismatch"]);
}

#[test]
fn a_page_holds_the_tree_the_timeline_and_the_events() {
    let logs = theft().join("logs");
    let page = text(&run(&["trace", TRACE, "--html"], &[&logs]), 0);
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert!(page.contains("Content-Security-Policy") && page.contains("default-src 'none'"));
    for part in ["<details", "<circle", "used_elsewhere", "https://inventory.chain.example", "id=\"filters\""]
    {
        assert!(page.contains(part), "{part}");
    }
    let events = page.matches("<tr id=\"e-").count();
    // Every event that speaks of a token; the fetching of keys does not.
    let all = text(&run(&["find", "alice", "--json"], &[&logs]), 0).lines().count();
    assert_eq!((events, page.matches("<circle").count()), (all, all));
    assert!(all > 10);
    // Nothing is fetched: no element that loads, and every link leads into the page.
    for loads in ["<img", "<link", "<iframe", " src=", "url(", "@import", "fetch("] {
        assert!(!page.contains(loads), "{loads}");
    }
    assert_eq!(page.matches(" href=\"").count(), page.matches(" href=\"#e-").count());
}

#[test]
fn other_stories_have_other_reasons() {
    let logs = changed("orders", |log| {
        log.lines().filter(|line| !line.contains("\"sent\"")).map(|line| format!("{line}\n")).collect()
    });
    assert_eq!(reasons(&logs.0, TO_INVENTORY), ["presentation_unmatched 1565abafa03f"]);
    let logs = changed("sts", |log| log.lines().next().map(|line| format!("{line}\n")).unwrap());
    assert_eq!(reasons(&logs.0, TO_INVENTORY), ["edge_contradicted 1565abafa03f"]);
    let logs = changed("inventory", |log| {
        log.replace("\"allow\",\"code\":\"admitted\"", "\"deny\",\"code\":\"audience_mismatch\"")
    });
    assert_eq!(reasons(&logs.0, TO_INVENTORY), ["used_elsewhere 1565abafa03f"]);
    let logs = changed("inventory", |log| log.replace("\"time_ms\":1795", "\"time_ms\":1796"));
    assert_eq!(reasons(&logs.0, TO_INVENTORY), ["used_after_expiry 1565abafa03f"]);
}

/// Logs of services that are not ours may hold tokens, and so may the arguments: none comes out, in any form.
#[test]
fn no_token_comes_out_of_the_command() {
    let encode = |text: &str| base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, text);
    let (mut number, mut tokens) = (0, Vec::new());
    let mut token = || {
        number += 1;
        let payload =
            format!("{{\"sub\":\"somebody, number {number}\",\"iss\":\"https://elsewhere.example\"}}");
        let signature = encode(&format!("{number:064}"));
        let made = format!("{}.{}.{signature}", encode("{\"alg\":\"ES256\"}"), encode(&payload));
        tokens.push(made.clone());
        made
    };
    let logs = changed("orders", |log| {
        let mut lines = String::new();
        for line in log.lines() {
            let mut event: Value = serde_json::from_str(line).unwrap();
            for member in ["service", "instance", "gate", "code", "event_id", "destination", "peer", "place"]
            {
                event[member] = token().into();
            }
            for of_token in ["subject", "client", "issuer", "token_id"] {
                event["token"][of_token] = token().into();
            }
            event["token"]["audiences"] = [token()].as_slice().into();
            event["token"]["scopes"] = [token()].as_slice().into();
            event["token"]["actors"] = serde_json::json!([{ "subject": token(), "issuer": token() }]);
            lines.push_str(&format!("{event}\n"));
        }
        lines
    });
    let (stranger, elsewhere) = (token(), logs.0.join(token()));
    let all: &[&[&str]] = &[
        &["trace", TRACE],
        &["trace", TRACE, "--json"],
        &["trace", TRACE, "--dot"],
        &["trace", TRACE, "--html"],
        &["find", TRACE],
        &["find", TRACE, "--json"],
        &["stats"],
        &["stats", "--json"],
        &["trace", &stranger],
        &["trace", &stranger, "--json"],
        &["trace", &stranger, "--html"],
        &["find", &stranger],
        &["verify"],
        &["verify", "--json"],
        &["verify", "--key", &stranger],
        &["verify", "--against", &stranger],
        &[&stranger],
        &["stats", &format!("--{stranger}")],
        &["key", &stranger, "--out", &stranger],
    ];
    let mut said = Vec::new();
    for arguments in all {
        for path in [&logs.0, &elsewhere] {
            let output = run(arguments, &[path]);
            said.push((
                arguments.first(),
                String::from_utf8([output.stdout, output.stderr].concat()).unwrap(),
            ));
        }
    }
    assert!(said.iter().any(|(_, text)| text.contains("[token ")));
    for (command, text) in said {
        for part in tokens.iter().flat_map(|token| token.split('.').skip(1)) {
            assert!(
                !text.contains(&part[..24]) && !text.contains(&part[part.len() - 24..]),
                "{command:?}: {text}"
            );
        }
    }
    // A token itself is a name for what is known of it.
    let known = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
    let print = hopguard_core::Fingerprint::of_token(known).to_string();
    let old = "77c18db5fe58";
    let logs = changed("gateway", |log| {
        let at = log.find(old).unwrap();
        log.replace(&log[at..at + 64], &print)
    });
    assert_eq!(json(&["trace", known], &[&logs.0])["trees"][0]["token"]["fingerprint"], print.as_str());
}

#[test]
fn events_are_found_and_counted() {
    let logs = chain();
    let found = run(&["find", &TO_INVENTORY[..8], "--json"], &[&logs]);
    assert_eq!(text(&found, 0).lines().count(), 4);
    let stats = json(&["stats"], &[&logs]);
    assert_eq!(stats["events"], 12);
    let exchanged =
        stats["counts"].as_array().unwrap().iter().find(|row| row["code"] == "exchanged").unwrap();
    assert_eq!(exchanged["count"], 2);
}

#[test]
fn nothing_in_a_log_steers_the_terminal() {
    let logs = changed("sts", |log| log.replace("alice", "al\\u001b[2Jice\\n\\u202e"));
    for arguments in [
        &["trace", TRACE][..],
        &["trace", USER, "--dot"],
        &["trace", USER, "--html"],
        &["find", TRACE],
        &["stats"],
    ] {
        let shown = text(&run(arguments, &[&logs.0]), 0);
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
    }
    for arguments in [&["trace", TRACE, "--json"][..], &["find", TRACE, "--json"], &["stats", "--json"]] {
        let logs = changed("gateway", |log| log.replace("\"gateway\"", "\"g\u{9b}2J\u{202e}w\""));
        let shown = text(&run(arguments, &[&logs.0]), 0);
        assert!(!shown.contains(['\u{9b}', '\u{202e}']), "{shown}");
        assert!(shown.contains("g\\u009b2J\\u202ew"), "{shown}");
        assert!(shown.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{shown}");
    }
    // What looks like a token is cut out of its string, and the string's end is not.
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw";
    let logs = changed("gateway", |log| log.replace("alice", token));
    let shown = text(&run(&["find", TRACE, "--json"], &[&logs.0]), 0);
    assert!(!shown.contains("c2lnbmF0dXJl"), "{shown}");
    assert!(shown.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{shown}");
    let logs = changed("sts", |log| format!("{log}{{\"torn\":"));
    assert!(String::from_utf8_lossy(&run(&["stats"], &[&logs.0]).stderr).contains("line 3 is no event"));
}

#[test]
fn a_durable_log_is_verified_with_the_public_key_alone() {
    let folder = Folder::new();
    let (key_file, log) = (folder.0.join("key"), folder.0.join("log"));
    let made = run(&["key", "orders.internal/audit", "--out"], &[&key_file]);
    let verifier = text(&made, 0).trim().to_owned();
    assert_eq!(run(&["key", "orders.internal/audit", "--out"], &[&key_file]).status.code(), Some(2));
    assert_eq!(text(&run(&["key", "--show"], &[&key_file]), 0).trim(), verifier, "had again");
    assert_eq!(run(&["key", "orders.internal/audit", "--show"], &[&key_file]).status.code(), Some(2));
    assert_eq!(run(&["key"], &[]).status.code(), Some(2));
    let bound = folder.0.join("bound");
    let made = run(
        &["key", "orders.internal/audit", "--service", "orders", "--service", "batch", "--out"],
        &[&bound],
    );
    assert!(text(&made, 0).starts_with("orders.internal/audit#orders,batch+"));
    assert!(text(&run(&["key", "--show"], &[&bound]), 0).starts_with("orders.internal/audit#orders,batch+"));
    let empty = folder.0.join("empty");
    let refused = run(&["key", "orders.internal/audit", "--service", "", "--out"], &[&empty]);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2));
    assert!(told.starts_with("hopguard: the key has a name that is empty"), "{told}");
    assert!(told.ends_with('\n') && !told.contains("\\u"), "{told}");
    let write = |count| {
        let _open = OPEN_LOGS.write().unwrap();
        let sink = DurableLog::at(&log, LogKey::from_file(&key_file).unwrap()).open().unwrap();
        let audit = Audit::new("orders", "1", Arc::new(sink));
        for number in 0..count {
            let denied = Decision::Deny(Denial::AudienceMismatch);
            let event = audit.event(number, Direction::Inbound, EventKind::Decision, "inbound", denied);
            audit.write(event).unwrap();
        }
    };
    write(3);
    let old = folder.0.join("old");
    std::fs::create_dir(&old).unwrap();
    for file in std::fs::read_dir(&log).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), old.join(file.file_name())).unwrap();
    }
    write(4);
    let held = log.join("checkpoint");
    let held = held.to_str().unwrap();
    let verify = |arguments: &[&str], path: &Path| {
        run(&[&["verify", "--key", &verifier], arguments].concat(), &[path])
    };
    let sound = text(&verify(&["--against", held], &log), 0);
    assert!(sound.contains("sound, 7 records, 7 of them signed"), "{sound}");
    assert!(sound.contains("3 checkpoints of its own, 1 held"), "{sound}");
    text(&verify(&[], &old), 0);
    let cut = text(&verify(&["--against", held], &old), 1);
    assert!(cut.contains("truncated") && cut.contains("3 to 6"), "{cut}");
    assert_eq!(run(&["verify"], &[&log]).status.code(), Some(2));

    // Whoever deletes every checkpoint has proven nothing; only by name does that pass.
    for file in ["checkpoint", "checkpoints"] {
        std::fs::remove_file(old.join(file)).unwrap();
    }
    let unsigned = text(&verify(&[], &old), 1);
    assert!(unsigned.contains("CHANGED") && unsigned.contains("checkpoints are gone"), "{unsigned}");
    // Every log begins with a checkpoint of no records: one without it is not young.
    text(&verify(&["--dangerous-unsigned"], &old), 1);
    text(&verify(&["--dangerous-unsigned", "--against", held], &old), 1);
    let history = std::fs::read_to_string(log.join("checkpoints")).unwrap();
    let end = history.find("\n\u{2014} ").unwrap() + 1;
    let first = &history[..end + history[end..].find('\n').unwrap() + 1];
    for file in ["checkpoint", "checkpoints"] {
        std::fs::write(old.join(file), first).unwrap();
    }
    let young = text(&verify(&[], &old), 1);
    assert!(young.contains("NOT PROVEN") && young.contains("none but the empty log's"), "{young}");
    text(&verify(&["--dangerous-unsigned"], &old), 0);
    text(&verify(&["--dangerous-unsigned", "--against", held], &old), 1);

    let records = log.join("00000000000000000000.jsonl");
    let text_of = std::fs::read_to_string(&records).unwrap();
    std::fs::write(&records, text_of.replacen("\"time_ms\":2", "\"time_ms\":9", 1)).unwrap();
    let output = verify(&["--json", "--dangerous-unsigned"], &log);
    let found: Value = serde_json::from_str(&text(&output, 1)).unwrap();
    let finding = &found[0]["verification"]["findings"][0];
    assert_eq!(
        (&finding["kind"], &finding["records"]["start"], &finding["line"]),
        (&"altered".into(), &2.into(), &3.into())
    );
}

#[test]
fn plain_lines_have_nothing_to_verify() {
    let logs = chain();
    let held = logs.join("sts.jsonl");
    let (folder, anything) = (Folder::new(), "no log at all");
    std::fs::write(folder.0.join("anything"), anything).unwrap();
    // Nothing that was not verified ends well, whatever was named by mistake.
    for named in [&logs, &held, &folder.0.join("anything")] {
        let output = run(&["verify"], &[named]);
        text(&output, 2);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("nothing to verify") && !said.contains(anything), "{said}");
    }
    assert_eq!(run(&["verify", "--against", held.to_str().unwrap()], &[&logs]).status.code(), Some(2));
}

/// Who deletes a log's hashes and checkpoints must not turn it into one that has nothing to verify.
#[test]
fn with_a_key_what_is_no_durable_log_is_no_success() {
    let folder = Folder::new();
    let (log, key_file) = (folder.0.join("orders"), folder.0.join("key"));
    let verifier = text(&run(&["key", "orders.internal/audit", "--out"], &[&key_file]), 0).trim().to_owned();
    {
        let _open = OPEN_LOGS.write().unwrap();
        drop(DurableLog::at(&log, LogKey::from_file(&key_file).unwrap()).open().unwrap());
    }
    let with_key = ["verify", "--key", &verifier];
    text(&run(&with_key, &[&log]), 0);
    let no_log = |output: &Output, says: &str| {
        text(output, 2);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(says), "{said}");
    };
    // A folder of logs, with a key and without: which of them was meant to be verified is not known.
    no_log(&run(&with_key, &[&folder.0]), "is no durable log");
    no_log(&run(&["verify"], &[&folder.0]), "holds durable logs");
    no_log(&run(&with_key, &[&key_file]), "is no durable log");
    no_log(&run(&with_key, &[&chain()]), "is no durable log");
    for file in ["leaves", "checkpoint", "checkpoints"] {
        std::fs::remove_file(log.join(file)).unwrap();
    }
    // The names of its files tell that it was one.
    assert!(text(&run(&with_key, &[&log]), 1).contains("checkpoints are gone"));
    no_log(&run(&["verify"], &[&log]), "is a durable log, or was one: name its verifier key");
    no_log(&run(&["verify"], &[&log.join("00000000000000000000.jsonl")]), "is a part of one");
    no_log(&run(&["verify"], &[&folder.0]), "holds durable logs");
    // Emptied, with one of its files left to look like a log that has just begun.
    for left in ["leaves", "00000000000000000000.jsonl"] {
        let emptied = Folder::new();
        std::fs::write(emptied.0.join(left), "").unwrap();
        assert!(text(&run(&with_key, &[&emptied.0]), 1).contains("checkpoints are gone"));
        no_log(&run(&["verify"], &[&emptied.0]), "name its verifier key");
    }

    let private = key_file.to_str().unwrap();
    no_log(&run(&["verify", "--key", private], &[&log]), "name the verifier key that `audit key` printed");
}
