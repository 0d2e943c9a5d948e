//! The soaks for a few seconds each: they hold, and they notice when something is broken on purpose.

use std::process::Command;

use serde_json::Value;

/// The soak's last words, and whether it exited with zero.
#[track_caller]
fn soak(arguments: &[&str]) -> (Value, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_soak")).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().last().unwrap_or_default();
    let figures = serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}{:?}", output.stderr));
    (figures, output.status.success())
}

#[track_caller]
fn holds(lane: &str) {
    let (figures, success) = soak(&[lane, "--seconds", "8"]);
    assert!(success && figures["held"] == true, "{figures}");
    assert_eq!(figures["broken"], Value::Array(Vec::new()));
}

#[track_caller]
fn notices(lane: &str, sabotage: &str, promise: &str) {
    let (figures, success) = soak(&[lane, "--seconds", "2", "--sabotage", sabotage]);
    let broken = figures["broken"].as_array().unwrap();
    assert!(!success && broken.iter().any(|one| one["promise"] == promise), "{figures}");
}

#[test]
fn the_way_in_holds() {
    holds("inbound");
}

#[test]
fn the_way_out_holds() {
    holds("egress");
}

#[test]
fn a_service_that_stands_open_is_noticed() {
    notices("inbound", "unguarded", "no bad request is admitted");
}

#[test]
fn a_service_that_passes_its_token_on_is_noticed() {
    notices("egress", "passed-on", "no call is sent without its grant");
}

#[test]
fn what_cannot_be_run_is_not_run() {
    for arguments in [
        &[][..],
        &["sideways"],
        &["inbound", "--minutes"],
        &["inbound", "--minutes", "0"],
        &["inbound", "--minutes", "9999"],
        &["inbound", "--sabotage", "passed-on"],
        &["egress", "--sabotage", "unguarded"],
        &["egress", "--faster", "1"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_soak")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}
