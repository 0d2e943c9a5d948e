//! What one forged log does to the lineage over all of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests are no tests to the lint")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

fn token(number: usize) -> String {
    format!(
        r#"{{"fingerprint":"{number:064x}","issuer":"https://sts","subject":"alice","client":"c","audiences":["https://a"],"scopes":["s"],"actors":[],"expires":1795384615,"issued_at":1795384495,"token_id":"t{number}","key_id":"k"}}"#
    )
}

/// The line that says that `child` was made from `parent`.
fn line(service: &str, id: usize, parent: usize, child: usize) -> String {
    format!(
        r#"{{"version":1,"time_ms":{},"event_id":"{id:032x}","request_id":"{id:032x}","service":"{service}","instance":"1","direction":"outbound","kind":"decision","gate":"egress","decision":"allow","code":"sent","token":{},"grant":{},"destination":"https://a:443","cache":"miss"}}"#,
        1_795_384_495_000 + id,
        token(parent),
        token(child)
    )
}

fn log(name: &str, lines: impl IntoIterator<Item = String>) -> PathBuf {
    let path = std::env::temp_dir().join(format!("hopguard-review-{}-{name}.jsonl", std::process::id()));
    let mut text = String::new();
    lines.into_iter().for_each(|line| writeln!(text, "{line}").unwrap());
    std::fs::write(&path, text).unwrap();
    path
}

fn trace(how: &[&str], number: usize, logs: &[&PathBuf]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hopguard"))
        .args(["audit", "trace"])
        .args(how)
        .arg(format!("{number:064x}"))
        .args(logs)
        .output()
        .unwrap()
}

const FORMS: [&[&str]; 4] = [&[], &["--json"], &["--dot"], &["--html"]];

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One line in a log of one's own says that the honest child made the honest root.
#[test]
fn a_forged_circle_hides_no_honest_tree() {
    let honest = log("honest", [line("orders", 1, 5000, 5001)]);
    let evil = log("evil", [line("evil", 2, 5001, 5000)]);
    for how in FORMS {
        let shown = text(&trace(how, 5000, &[&honest, &evil]));
        assert!(shown.contains("orders") && shown.contains("made_in_circle"), "{how:?}: {shown}");
        let alone = text(&trace(how, 5000, &[&honest]));
        assert!(alone.contains("orders") && !alone.contains("made_in_circle"), "{how:?}: {alone}");
    }
}

#[test]
fn a_forged_chain_breaks_no_reader_and_hides_no_honest_tree() {
    let honest = log("below", [line("orders", 1, 6_000, 30_000)]);
    let deep = log("deep", (0..5_000).map(|at| line("evil", at, 1000 + at, 1001 + at)));
    for how in FORMS {
        // Asked for the first token of all, or for the last: the answer is the same, and the honest call is in it.
        for number in [1000, 30_000] {
            let shown = text(&trace(how, number, &[&deep, &honest]));
            assert!(shown.contains("orders"), "{how:?} {number}");
        }
    }
}

/// Told once per way to it, the last token would be told 2^12 times.
#[test]
fn a_forged_ladder_does_not_grow_without_bound() {
    let rungs = (0..12).flat_map(|level| {
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(from, to)| {
            line("evil", level * 4 + from * 2 + to, 1000 + 2 * level + from, 1002 + 2 * level + to)
        })
    });
    let ladder = log("ladder", rungs);
    let shown = text(&trace(&["--json"], 1000, &[&ladder]));
    let trees = shown.split("\"suspicions\"").next().unwrap();
    assert!(trees.matches("\"fingerprint\"").count() <= 48, "48 lines of log: {trees}");
}
