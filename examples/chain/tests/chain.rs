//! The example as its users run it: a process, its output, its exit code.

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::Value;

fn chain(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chain")).args(arguments).output().unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn every_hop_narrows_and_every_attack_is_held() {
    let output = chain(&["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else");
    assert_eq!(output.status.code(), Some(0), "{report:#}");

    let hops = report["hops"].as_array().unwrap();
    let services: Vec<_> = hops.iter().map(|hop| hop["service"].as_str().unwrap()).collect();
    assert_eq!(services, ["gateway", "orders", "inventory"]);
    assert!(hops.iter().all(|hop| hop["status"] == 200));
    assert_eq!(hops[0]["parent"], Value::Null);
    for pair in hops.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        assert_ne!(before["audience"], after["audience"]);
        assert!(after["expires_in"].as_u64() <= before["expires_in"].as_u64());
        assert_eq!(after["parent"], before["fingerprint"]);
        assert_eq!(texts(&after["actors"]).len(), texts(&before["actors"]).len() + 1);
        assert_eq!(texts(&after["actors"])[1..], texts(&before["actors"])[..]);
    }
    assert_eq!(texts(&hops[2]["actors"]), ["orders", "gateway"]);
    assert_eq!(texts(&hops[2]["scopes"]), ["stock:read"]);

    let attacks = report["attacks"].as_array().unwrap();
    assert!(attacks.len() >= 30, "{} attacks", attacks.len());
    for attack in attacks {
        assert_eq!(attack["held"], true, "{attack}");
        assert_eq!(attack["code"], attack["expected"], "{attack}");
    }
    let codes: std::collections::BTreeSet<_> = attacks.iter().map(|a| a["code"].as_str().unwrap()).collect();
    for code in [
        "algorithm_refused",
        "audience_mismatch",
        "audience_not_sole",
        "credential_ambiguous",
        "destination_unlisted",
        "grant_outlives_parent",
        "grant_scope_wider",
        "lifetime_too_long",
        "passthrough_blocked",
        "route_requires_scope",
        "signature_invalid",
        "sts_unavailable",
        "token_expired",
        "token_missing",
    ] {
        assert!(codes.contains(code), "{code} is not in the tour");
    }
}

#[test]
fn a_person_gets_tables_and_the_lineage_and_no_token() {
    let output = chain(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["One good request", "attacks on the running services", "Lineage", "Everything held."] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains("eyJ"), "a token was printed");
}

#[test]
fn the_audit_files_hold_the_lineage_and_no_token() {
    let folder = std::env::temp_dir().join(format!("hopguard-chain-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let output = chain(&["--json", "--audit", folder.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let events = |service: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(folder.join(format!("{service}.jsonl"))).unwrap();
        assert!(!text.contains("eyJ"), "a token was written to the audit of {service}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    for hop in report["hops"].as_array().unwrap() {
        let found = events(hop["service"].as_str().unwrap());
        let admitted = |event: &&Value| {
            event["code"] == "admitted" && event["token"]["fingerprint"] == hop["fingerprint"]
        };
        let request = &found.iter().find(admitted).expect("the admission was written")["request_id"];
        let outcome = |event: &&Value| event["kind"] == "outcome" && event["request_id"] == *request;
        assert!(found.iter().any(|event| outcome(&event)), "the outcome was written");
    }
    assert!(events("sts").iter().any(|event| event["code"] == "exchanged"));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Four processes with four logs: the tree of one request, and a theft that is told for the right reasons.
#[test]
fn four_logs_tell_a_theft_from_delegation() {
    let folder = std::env::temp_dir().join(format!("hopguard-processes-{}", std::process::id()));
    let output = chain(&["--processes", "--json", "--audit", folder.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else");
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["answer"], "order 42 of alice: 7 of 42 in stock, says inventory to orders");
    // It is a bearer token: inventory cannot know, and only its audience keeps the thief from orders.
    assert_eq!(report["stolen"], serde_json::json!([["inventory", 200], ["orders", 401]]));

    let logs = report["logs"].as_array().unwrap();
    let services: Vec<_> = logs.iter().map(|log| log["service"].as_str().unwrap()).collect();
    assert_eq!(services, ["gateway", "orders", "inventory", "sts"]);
    let keys: std::collections::BTreeSet<_> = logs.iter().map(|log| log["key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), 4);
    assert!(logs.iter().all(|log| log["sound"] == true && log["records"] == log["signed"]), "{logs:?}");

    assert_eq!(report["trees"].as_array().unwrap().len(), 1);
    let mut node = &report["trees"][0];
    for (holder, said_by, shown_to) in [
        ("web-app", vec![], vec!["gateway admitted"]),
        ("gateway", vec!["gateway", "sts"], vec!["orders admitted"]),
        (
            "orders",
            vec!["orders", "sts"],
            vec!["inventory admitted", "inventory admitted", "orders audience_mismatch"],
        ),
    ] {
        let token = &node["token"];
        let held = token["actors"][0]["subject"].as_str().or(token["client"].as_str());
        assert_eq!(held, Some(holder));
        assert_eq!(node["said_by"], serde_json::json!(said_by));
        let shown = node["presentations"].as_array().unwrap().iter();
        let shown: Vec<_> = shown
            .map(|one| format!("{} {}", one["service"].as_str().unwrap(), one["code"].as_str().unwrap()))
            .collect();
        assert_eq!(shown, shown_to);
        node = node["children"].get(0).unwrap_or(node);
    }
    let stolen = &node["token"]["fingerprint"];
    let mut kinds = Vec::new();
    for suspicion in report["suspicions"].as_array().unwrap() {
        assert_eq!(&suspicion["fingerprint"], stolen, "only the stolen token is suspected");
        kinds.push((suspicion["kind"].as_str().unwrap(), suspicion["service"].as_str().unwrap()));
    }
    kinds.sort_unstable();
    let mut expected = vec![
        ("presentation_unmatched", "inventory"),
        ("presentation_unmatched", "orders"),
        ("two_peers", "inventory"),
        ("used_elsewhere", "orders"),
    ];
    // Where a machine has one loopback address only, the thief has no other.
    expected.retain(|(kind, _)| *kind != "two_peers" || report["apart"] == true);
    assert_eq!(kinds, expected);

    // Nothing that was written holds a token, and the keys are their owner's alone.
    for service in services {
        let log = folder.join("logs").join(service).join("00000000000000000000.jsonl");
        assert!(
            !std::fs::read_to_string(log).unwrap().contains("eyJ"),
            "a token stands in the log of {service}"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = folder.join("keys").join(service).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let text = String::from_utf8(chain(&["--processes"]).stdout).unwrap();
    assert!(text.contains("The theft was told from delegation.") && !text.contains("eyJ"), "{text}");
}

#[track_caller]
fn fails(arguments: &[&str], code: i32, sentence: &str) {
    let output = chain(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(sentence), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn bad_input_gets_a_sentence() {
    fails(&["--jsn"], 2, "there is no option --jsn");
    fails(&["--port"], 2, "--port needs a value");
    fails(&["--port", "65535"], 2, "--port needs a number");
    fails(&["--port", "0"], 2, "--port needs a number");
    let help = chain(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("--serve"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    fails(&["--json", "--port", &port.to_string()], 1, "cannot listen on 127.0.0.1:");
    fails(&["--json", "--audit", "/nowhere/at/all"], 1, "the configuration has a problem");
}
