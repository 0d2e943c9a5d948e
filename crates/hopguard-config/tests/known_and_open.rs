//! What somebody writes into the wrong setting is shown with the problem.

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
#[ignore = "known and open: THREATS.md"]
fn a_secret_in_place_of_the_name_of_its_file_is_not_shown() {
    silent(&format!("client_secret_file = \"{SECRET}\"\n"));
}

#[test]
fn a_secret_without_quotes_is_not_shown() {
    silent(&format!("client_secret = {SECRET}\n"));
}

#[test]
#[ignore = "known and open: THREATS.md"]
fn a_secret_as_a_name_is_not_shown() {
    silent(&format!("{SECRET} = \"x\"\n"));
}

#[test]
#[ignore = "known and open: THREATS.md"]
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
