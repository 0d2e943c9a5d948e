//! What somebody writes into the wrong setting is not shown with the problem: it may be a secret.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashMap;

use hopguard_config::Config;

const SECRET: &str = "not-a-file-but-what-belongs-into-one";

const BASE: &str = r#"
service = "orders"
instance = "1"
audit.tracing = true
[inbound]
audience = "https://orders.internal"
ttl.lifetime_at_most = "5m"
scope.all_of = ["orders:read"]
[[inbound.issuer]]
url = "https://sts.internal"
[egress.sts]
issuer = "https://sts.internal"
client_id = "orders"
authentication = "client_secret_basic"
"#;

#[track_caller]
fn silent(more: &str) {
    let error = Config::read(&format!("{BASE}{more}"), [("HOPGUARD_A", "b")]).err().map(|e| e.to_string());
    let text = error.unwrap_or_default();
    assert!(!text.is_empty(), "no problem was found");
    assert!(!text.contains(SECRET), "{text}");
}

#[test]
fn a_secret_in_place_of_the_name_of_its_file_is_not_shown() {
    silent(&format!("client_secret_file = \"{SECRET}\"\n"));
}

#[test]
fn a_secret_without_quotes_is_not_shown() {
    silent(&format!("client_secret = {SECRET}\n"));
}

#[test]
fn a_secret_as_a_name_is_not_shown() {
    silent(&format!("{SECRET} = \"x\"\n"));
}

#[test]
fn a_password_in_the_url_of_a_route_is_not_shown() {
    silent(&format!(
        "client_secret_file = \"x\"\n[[egress.route]]\nurl = \"https://user:{SECRET}@peer.internal\"\nrule = \"anonymous\"\n"
    ));
}

#[test]
fn a_password_in_the_url_of_an_issuer_is_not_shown() {
    silent(&format!(
        "token_endpoint = \"https://user:{SECRET}@sts.internal/token\"\nclient_secret_file = \"x\"\n"
    ));
}

#[test]
fn a_password_in_the_url_of_a_proxy_or_header_is_not_shown() {
    silent(&format!(
        "client_secret_file = \"x\"\n[[egress.route]]\nurl = \"https://peer.internal\"\nrule = \"static\"\nheader = \"{SECRET} x\"\nrequires_none = true\n"
    ));
}

const EXAMPLE: &str = include_str!("../../../docs/hopguard.toml");

/// What a secret looks like to somebody in a hurry. `{}` is the secret.
const SHAPES: [&str; 8] = [
    "{}",
    "{} {}",
    "/{}",
    "{}=",
    "https://{}",
    "http://{}.internal/{}",
    "https://user:{}@peer.internal",
    "https://peer.internal/{}?{}#{}",
];

/// Fails if what is told of this file holds the secret. That a problem is told is seen to: the example's keys are not
/// on this machine.
#[track_caller]
fn silent_file(toml: &str, environment: &[(String, String)]) {
    let errors = Config::read(toml, environment.iter().cloned()).map(|_| "no problem").unwrap_err();
    for text in [errors.to_string(), format!("{errors:?}")] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

/// The setting of a line, with the setting's indent and whether it is commented out; `None` for prose and headers.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ")?;
    key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some((key, value))
}

/// The example with another text for one of its lines.
fn with_line(at: usize, text: &str) -> String {
    let lines = EXAMPLE.lines().enumerate().map(|(index, line)| if index == at { text } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// Every fifth setting's line made anew: together, because each reading costs, and not all, because one hides another.
fn with_fifth(first: usize, made: impl Fn(&str, &str) -> String) -> String {
    let lines = EXAMPLE.lines().enumerate().map(|(at, line)| match setting(line) {
        Some((key, value)) if at % 5 == first => made(key, value),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_secret_in_any_setting_of_the_file_is_not_shown() {
    for shape in SHAPES.map(|shape| shape.replace("{}", SECRET)) {
        for first in 0..5 {
            silent_file(&with_fifth(first, |key, _| format!("{key} = \"{shape}\"")), &[]);
            silent_file(&with_fifth(first, |key, _| format!("{key} = [\"{shape}\"]")), &[]);
            silent_file(&with_fifth(first, |key, value| format!("\"{shape}{key}\" = {value}")), &[]);
        }
    }
    let mut tried = 0;
    for (at, line) in EXAMPLE.lines().enumerate() {
        let Some((key, value)) = setting(line) else { continue };
        // What is no TOML is told alone.
        silent_file(&with_line(at, &format!("{key} = {SECRET}")), &[]);
        silent_file(&with_line(at, &format!("{key} = \"{SECRET}")), &[]);
        silent_file(&with_line(at, &format!("{SECRET}.{key} = {value}\n{SECRET}.{key} = {value}")), &[]);
        silent_file(&with_line(at, &format!("{key} = \"{SECRET}\"")), &[]);
        tried += 1;
    }
    assert!(tried > 90, "{tried}");
}

#[test]
fn a_secret_in_place_of_a_table_is_not_shown() {
    for (at, line) in EXAMPLE.lines().enumerate().filter(|(_, line)| line.starts_with('[')) {
        for text in [
            format!("[\"{SECRET}\"]"),
            format!("[[{SECRET}]]"),
            format!("[{SECRET}"),
            line.replacen(|c: char| c != '[', &format!("\"{SECRET}\"."), 1),
        ] {
            silent_file(&with_line(at, &text), &[]);
        }
    }
}

/// Where each setting stands in the environment.
fn variables() -> Vec<String> {
    let (mut table, mut items, mut found) = (String::new(), HashMap::new(), Vec::new());
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
            let item = items.entry(name).and_modify(|item| *item += 1).or_insert(0);
            // A list below a list belongs to the last item of that one.
            let outer = name.replace("egress.route.", "egress.route.1.");
            table = format!("{outer}.{item}.");
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = format!("{}.", name.replace("egress.route.", "egress.route.1."));
        } else if let Some((key, _)) = setting(line) {
            found.push(format!("HOPGUARD_{}", format!("{table}{key}").replace('.', "__").to_uppercase()));
        }
    }
    found
}

#[test]
fn a_secret_in_any_variable_is_not_shown_and_its_name_is() {
    let names = variables();
    assert!(names.len() > 90, "{}", names.len());
    for shape in SHAPES.map(|shape| shape.replace("{}", SECRET)) {
        for first in 0..5 {
            let chosen = names.iter().skip(first).step_by(5).map(|name| (name.clone(), shape.clone()));
            silent_file(EXAMPLE, &chosen.collect::<Vec<_>>());
        }
    }
    let unknown = [("HOPGUARD_INBOUND__AUDIANCE".to_owned(), SECRET.to_owned())];
    let errors = Config::read(EXAMPLE, unknown).map(|_| ()).unwrap_err().to_string();
    assert!(
        errors.contains("HOPGUARD_INBOUND__AUDIANCE") && errors.contains("did you mean audience?"),
        "{errors}"
    );
}

#[test]
fn where_a_log_cannot_be_opened_is_not_shown() {
    let toml = BASE.split("[egress.sts]").next().unwrap();
    let path = format!("audit.json_lines.path = \"/nowhere/{SECRET}\"");
    let config =
        Config::read(&toml.replace("audit.tracing = true", &path), [("HOPGUARD_SERVICE", "a")]).unwrap();
    let errors = config.build().map(|_| ()).unwrap_err();
    assert!(errors.to_string().contains("audit.json_lines.path"), "{errors}");
    assert!(!format!("{errors} {errors:?}").contains(SECRET), "{errors}");
}

#[test]
fn what_is_told_is_bounded() {
    let names: String = (0..500).map(|number| format!("setting_{number} = 1\n")).collect();
    let errors = Config::read(&format!("{names}{BASE}"), [("HOPGUARD_A", "b")]).map(|_| ()).unwrap_err();
    assert_eq!(errors.problems().len(), 101);
    assert!(errors.to_string().contains("more than 100 problems"));
    let long = format!("HOPGUARD_{}", "A".repeat(100_000));
    let errors = Config::read(BASE, [(long, "b")]).map(|_| ()).unwrap_err();
    assert!(errors.to_string().len() < 5_000);
}
