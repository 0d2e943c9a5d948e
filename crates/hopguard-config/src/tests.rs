//! Files and environments, good and bad: what is told, where, and all at once.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hopguard_audit::LogKey;
use hopguard_core::ConfigErrors;

use crate::Config;

const EXAMPLE: &str = include_str!("../../../docs/hopguard.toml");
const KEY: &[u8] = include_bytes!("../../hopguard-client/fixtures/localhost-key.der");

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

/// The example's secrets and logs in a folder that is there.
fn placed(folder: &Folder) -> Vec<(String, String)> {
    let log_key = LogKey::generate("orders.internal/audit").unwrap();
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

#[test]
fn the_example_holds_every_setting() {
    let folder = Folder::fresh();
    let documented = |key: &str| {
        EXAMPLE.lines().any(|line| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" ="))
                || line.starts_with('[')
                    && line.trim_matches(['[', ']']).rsplit('.').next().is_some_and(|last| last == key)
        })
    };
    // A setting that nobody knows in every table makes each of them tell what it knows.
    let mut probing = "zzz = 1\n".to_owned();
    for line in EXAMPLE.lines() {
        probing.push_str(line);
        probing.push_str(if line.starts_with('[') { "\nzzz = 1\n" } else { "\n" });
    }
    probing.push_str(
        "\n[egress.dangerous_report_only]\nzzz = 1\nreason = \"a\"\nowner = \"b\"\nuntil = 2099-01-01\n",
    );
    let mut seen = 0;
    for method in
        ["private_key_jwt", "client_secret_post", "client_secret_basic", "assertion_file", "jwt_svid_file"]
    {
        let mut variables = placed(&folder);
        variables.push(("HOPGUARD_EGRESS__STS__AUTHENTICATION".into(), method.into()));
        let errors = Config::read(&probing, variables).unwrap_err();
        for problem in errors.problems() {
            let Some((_, known)) = problem.problem.split_once(" there are: ") else {
                continue;
            };
            let known = known.split(" (").next().unwrap_or_default();
            for key in known.split(", ") {
                // Secrets themselves have no place in the file.
                if !["client_secret", "private_key", "key", "secret"].contains(&key) {
                    assert!(documented(key), "{}: {key} is not in the example", problem.setting);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 300, "{seen}");
    assert!(!documented("zzz") && !documented("client_secret"));
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let toml = r#"
        service = ""
        audit.json_lines.places = -1
        [inbound]
        audiance = "https://orders.internal"
        leeway = "2m"
        ttl.lifetime_at_most = "5"
        ttl.age_at_most = "0s"
        scope.all_of = ["a b"]
        open_paths = ["/files/*"]
        [[inbound.issuer]]
        url = "http://sts.internal"
        algorithms = ["HS256"]
        [[inbound.issuer]]
        jwks_url = "a"
        jwks_file = "b"
        profile = "cognito"
        [egress.sts]
        issuer = "https://sts.internal"
        client_id = ""
        authentication = "client_secret_basic"
        client_secret = "hunter2"
        [[egress.route]]
        url = "http://inventory.internal"
        rule = "exchange"
        audience = "inventory"
        [[egress.route]]
        url = "https://status.example"
        rule = "ignore"
    "#;
    let errors = read(toml).unwrap_err();
    told(
        &errors,
        &[
            ("instance", "is missing"),
            ("service", "is empty"),
            ("audit.json_lines.path", "is missing"),
            ("audit.json_lines.places", "not negative (line 3)"),
            ("inbound.audience", "is missing"),
            ("line 5", "names no setting of inbound: did you mean audience? there are: "),
            ("inbound.leeway", "above 60 s, more than any kept clock is wrong (line 6)"),
            ("inbound.ttl.lifetime_at_most", "such as \"90s\""),
            ("inbound.ttl", "allows no time at all"),
            ("inbound.scope.all_of", "holds a space"),
            ("inbound.open_paths", "no patterns"),
            ("inbound.issuer[0].algorithms", "must all be of: ES256"),
            ("inbound.issuer[0]", "https"),
            ("inbound.issuer[1].url", "is missing"),
            ("inbound.issuer[1].jwks_file", "two sources"),
            ("inbound.issuer[1].profile", "must be one of: rfc9068, keycloak"),
            ("egress.sts.client_secret", "is a secret in the file"),
            ("egress.route[0].requires", "is missing"),
            ("egress.route[0]", "https"),
            ("egress.route[1].rule", "must be one of: exchange"),
        ],
    );
    assert!(!errors.to_string().contains("hunter2"));
}

#[test]
fn what_is_no_toml_is_told_with_its_lines() {
    let errors = read("service = \"orders\"\ninstance = \na = [\nb = 2\n").unwrap_err();
    assert!(errors.problems().len() >= 2, "{errors}");
    assert_eq!(errors.problems()[0].setting, "line 2");
    assert!(errors.problems().iter().all(|one| one.problem.starts_with("is no TOML")), "{errors}");
    assert!(read("service = \"a\"\nservice = \"b\"").unwrap_err().to_string().contains("line 2"));
}

#[test]
fn each_mandatory_part_is_missed() {
    assert!(read(SMALL).is_ok());
    for (line, setting) in [
        ("service = \"orders\"", "service"),
        ("instance = \"1\"", "instance"),
        ("audit.tracing = true", "audit"),
        ("audience = \"https://orders.internal\"", "inbound.audience"),
        ("ttl.lifetime_at_most = \"5m\"", "inbound.ttl"),
        ("scope.all_of = [\"orders:read\"]", "inbound.scope"),
        ("[[inbound.issuer]]\nurl = \"https://sts.internal\"", "inbound.issuer"),
        ("url = \"https://sts.internal\"", "inbound.issuer[0].url"),
    ] {
        one(SMALL, line, "", setting, "is missing");
    }
    one(SMALL, "audit.tracing = true", "audit.tracing = false", "audit", "names no sink");
    one(SMALL, "audit.tracing = true", "audit = 7", "audit", "must be a table");
    let errors = read("service = \"a\"\ninstance = \"b\"").unwrap_err();
    told(&errors, &[("inbound", "is missing"), ("audit", "is missing")]);
    one(
        &format!("{SMALL}{EGRESS}"),
        "authentication = \"client_secret_basic\"",
        "",
        "egress.sts.authentication",
        "is missing",
    );
    one(&format!("{SMALL}{EGRESS}"), "", "", "egress.sts.client_secret_file", "is missing");
}

#[test]
fn values_of_another_kind_refuse() {
    let all = "scope.all_of = [\"orders:read\"]";
    one(SMALL, all, "scope.all_of = \"orders:read\"", "inbound.scope.all_of", "list of texts");
    one(SMALL, all, "scope.none = \"true\"", "inbound.scope.none", "true or false");
    let both = "scope.all_of = [\"a\"]\nscope.none = true";
    one(SMALL, all, both, "inbound.scope", "more than one rule");
    // `none = false` is no rule either.
    one(SMALL, all, "scope.none = false", "inbound.scope", "names no rule");
    one(
        SMALL,
        "audience = \"https://orders.internal\"",
        "audience = 1.5",
        "inbound.audience",
        "must be a text",
    );
    one(SMALL, "[[inbound.issuer]]", "[inbound.issuer]", "inbound.issuer", "double brackets");
    let stream = format!("{SMALL}\n[[inbound.long_stream]]\npath = \"/a\"\ncap = \"2d\"");
    told(&read(&stream).unwrap_err(), &[("inbound.long_stream[0]", "at most a day (line 12)")]);
    let open = format!("{SMALL}\n[ledger]\nat_most = 0");
    told(&read(&open).unwrap_err(), &[("ledger.at_most", "is zero")]);
    let number = format!("{SMALL}\n[ledger]\nat_most = 99999999999999999999");
    told(&read(&number).unwrap_err(), &[("ledger.at_most", "whole number")]);
}

#[test]
fn the_environment_goes_over_the_file_and_typos_refuse() {
    let with = |name: &str, value: &str| Config::read(SMALL, [(name, value)]);
    let issuer = |name: &str, value: &str| {
        let parts = with(name, value).unwrap().build().unwrap();
        parts.inbound.verifier().key_sets().iter().map(|keys| keys.issuer.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(issuer("HOPGUARD_INBOUND__ISSUER__0__URL", "https://b.internal"), ["https://b.internal"]);
    let added = issuer("HOPGUARD_INBOUND__ISSUER__1__URL", "https://b.internal");
    assert_eq!(added, ["https://sts.internal", "https://b.internal"]);
    assert_eq!(issuer("HOPGUARDED", "no variable of ours"), ["https://sts.internal"]);
    for (name, value) in [
        ("HOPGUARD_INBOUND__SCOPE__ALL_OF", "[\"orders:read\", \"a\"]"),
        ("HOPGUARD_INBOUND__SCOPE__ALL_OF__1", "a"),
        ("HOPGUARD_INBOUND__LEEWAY", "30s"),
        ("HOPGUARD_AUDIT__STRANGERS__SINGLY", "3"),
        ("HOPGUARD_INBOUND__RESPONSES__SCRUB_HEADERS", "true"),
    ] {
        assert!(with(name, value).is_ok(), "{name}");
    }
    for (name, value, setting, part) in [
        ("HOPGUARD_INBOUND__AUDIANCE", "x", "inbound.audiance", "is no setting here"),
        ("HOPGUARD_INBOUND_AUDIENCE", "x", "inbound_audience", "is no setting here"),
        ("HOPGUARD_VECTORS", "x", "vectors", "(HOPGUARD_VECTORS)"),
        ("HOPGUARD_inbound__audience", "x", "HOPGUARD_inbound__audience", "in capitals"),
        ("HOPGUARD_", "x", "HOPGUARD_", "in capitals"),
        ("HOPGUARD_INBOUND____AUDIENCE", "x", "HOPGUARD_INBOUND____AUDIENCE", "in capitals"),
        ("HOPGUARD_0", "x", "HOPGUARD_0", "begins with a number"),
        ("HOPGUARD_INBOUND__ISSUER__2__URL", "x", "HOPGUARD_INBOUND__ISSUER__2__URL", "past the end"),
        ("HOPGUARD_INBOUND__ISSUER__00__URL", "x", "HOPGUARD_INBOUND__ISSUER__00__URL", "no group"),
        ("HOPGUARD_INBOUND__AUDIENCE__0", "x", "HOPGUARD_INBOUND__AUDIENCE__0", "no list"),
        ("HOPGUARD_INBOUND__AUDIENCE__A", "x", "HOPGUARD_INBOUND__AUDIENCE__A", "no group"),
        ("HOPGUARD_INBOUND", "x", "HOPGUARD_INBOUND", "a group of settings"),
        ("HOPGUARD_INBOUND__ISSUER", "[]", "HOPGUARD_INBOUND__ISSUER", "a group of settings"),
        ("HOPGUARD_INBOUND__AUDIENCE", "", "inbound.audience", "is empty"),
        ("HOPGUARD_INBOUND__LEEWAY", "30", "inbound.leeway", "(HOPGUARD_INBOUND__LEEWAY)"),
        ("HOPGUARD_INBOUND__SCOPE__ALL_OF", "orders:read", "inbound.scope.all_of", "list of texts"),
    ] {
        let errors = with(name, value).expect_err(name);
        let fits = errors.problems().iter().any(|one| one.setting == setting && one.problem.contains(part));
        assert!(fits, "{name}: {errors}");
    }
}

#[test]
fn a_service_can_be_set_up_by_the_environment_alone() {
    let all = [
        ("HOPGUARD_SERVICE", "orders"),
        ("HOPGUARD_INSTANCE", "1"),
        ("HOPGUARD_AUDIT__TRACING", "true"),
        ("HOPGUARD_INBOUND__AUDIENCE", "https://orders.internal"),
        ("HOPGUARD_INBOUND__TTL__LIFETIME_AT_MOST", "5m"),
        ("HOPGUARD_INBOUND__SCOPE__NONE", "true"),
        // By number, not by letter.
        ("HOPGUARD_INBOUND__ISSUER__10__URL", "https://k.internal"),
    ];
    let mut all: Vec<(String, String)> = all.map(|(name, value)| (name.into(), value.into())).into();
    for at in 0..10 {
        all.push((format!("HOPGUARD_INBOUND__ISSUER__{at}__URL"), format!("https://{at}.internal")));
    }
    let parts = Config::read("", all).unwrap_or_else(|errors| panic!("{errors}")).build().unwrap();
    assert_eq!(parts.inbound.verifier().key_sets().len(), 11);
}

#[test]
fn secrets_come_from_files_and_variables_only() {
    let folder = Folder::fresh();
    let toml = format!("{SMALL}{EGRESS}");
    let with = |pairs: &[(&str, &str)]| {
        let pairs =
            pairs.iter().map(|(name, value)| (format!("HOPGUARD_EGRESS__STS__{name}"), value.to_string()));
        Config::read(&toml, pairs)
    };
    let file = folder.secret("secret", b"hunter2\r\n\n");
    assert!(with(&[("CLIENT_SECRET_FILE", &file)]).unwrap().warnings().is_empty());
    assert!(with(&[("CLIENT_SECRET", "hunter2")]).is_ok());
    let readable = folder.file("readable", b"hunter2", 0o644);
    let warned = with(&[("CLIENT_SECRET_FILE", &readable)]).unwrap();
    assert_eq!(warned.warnings().len(), 1);
    assert!(warned.warnings()[0].starts_with("egress.sts.client_secret_file"), "{:?}", warned.warnings());
    assert!(!format!("{warned:?}").contains("hunter2"));

    let file_setting = "egress.sts.client_secret_file";
    let big = folder.secret("big", &[b'x'; 64 * 1024 + 1]);
    for (pairs, setting, part) in [
        (
            vec![("CLIENT_SECRET", ""), ("CLIENT_SECRET_FILE", &*file)],
            "egress.sts.client_secret",
            "given twice",
        ),
        (vec![("CLIENT_SECRET", "")], "egress.sts.client_secret", "is empty"),
        (vec![("CLIENT_SECRET_FILE", &*folder.secret("empty", b"\n"))], file_setting, "is empty"),
        (
            vec![("CLIENT_SECRET_FILE", &*folder.file("open", b"hunter2", 0o602))],
            file_setting,
            "everybody can write",
        ),
        (vec![("CLIENT_SECRET_FILE", &*folder.at("nowhere"))], file_setting, "cannot be read"),
        (vec![("CLIENT_SECRET_FILE", folder.0.to_str().unwrap())], file_setting, "is no file"),
        (vec![("CLIENT_SECRET_FILE", "")], file_setting, "is empty"),
        (vec![("CLIENT_SECRET_FILE", &*big)], file_setting, "is longer than"),
        (
            vec![("CLIENT_SECRET_FILE", &*folder.secret("latin", b"\xfc"))],
            "egress.sts.client_secret",
            "UTF-8",
        ),
    ] {
        let errors = with(&pairs).expect_err(part);
        told(&errors, &[(setting, part)]);
        assert!(!errors.to_string().contains("hunter2"));
    }
    // What belongs to another way of authentication is no setting of this one.
    let errors = with(&[("CLIENT_SECRET", "a"), ("PRIVATE_KEY_FILE", &file)]).unwrap_err();
    told(&errors, &[("egress.sts.private_key_file", "is no setting here")]);
}

#[test]
fn keys_are_read_from_der_and_pem() {
    let folder = Folder::fresh();
    let toml = format!("{SMALL}{}", EGRESS.replace("client_secret_basic", "private_key_jwt"));
    let encoded = BASE64_STANDARD.encode(KEY);
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{encoded}\n-----END {label}-----\n");
    let with = |content: &[u8], algorithm: &str| {
        let file = folder.secret("key", content);
        let pairs = [("PRIVATE_KEY_FILE", file.as_str()), ("ALGORITHM", algorithm)];
        Config::read(&toml, pairs.map(|(name, value)| (format!("HOPGUARD_EGRESS__STS__{name}"), value)))
    };
    assert!(with(KEY, "ES256").is_ok());
    assert!(with(pem("PRIVATE KEY").as_bytes(), "ES256").is_ok());
    let setting = "egress.sts.private_key_file";
    told(&with(pem("EC PRIVATE KEY").as_bytes(), "ES256").unwrap_err(), &[(setting, "openssl pkcs8")]);
    told(&with(b"rubbish", "ES256").unwrap_err(), &[(setting, "is not a P-256 key")]);
    told(&with(KEY, "RS256").unwrap_err(), &[(setting, "is not an RSA key")]);
    told(&with(KEY, "none").unwrap_err(), &[("egress.sts.algorithm", "must be one of")]);
}

#[test]
fn a_waiver_says_why_who_and_until_when() {
    let waiver = "[[inbound.dangerous_tolerate_foreign]]\naudience = \"account\"\n";
    let whole = "reason = \"a\"\nowner = \"b\"\nuntil = 2099-01-01\n";
    let with = |text: &str| read(&format!("{SMALL}{waiver}{text}"));
    assert!(with(whole).unwrap().warnings().is_empty());
    let at = "inbound.dangerous_tolerate_foreign[0]";
    for line in ["reason", "owner", "until"] {
        let rest: String =
            whole.lines().filter(|one| !one.starts_with(line)).map(|one| format!("{one}\n")).collect();
        told(&with(&rest).unwrap_err(), &[(&format!("{at}.{line}"), "is missing")]);
    }
    let quoted = whole.replace("2099-01-01", "\"2099-01-01\"");
    told(&with(&quoted).unwrap_err(), &[(&format!("{at}.until"), "must be a day")]);
    let local = whole.replace("2099-01-01", "2099-01-01T00:00:00");
    told(&with(&local).unwrap_err(), &[(&format!("{at}.until"), "must be a day")]);
    told(
        &with(&whole.replace("\"a\"", "\"\"")).unwrap_err(),
        &[("inbound.audience", "without its name, a reason")],
    );
    // One that has ended starts, as strict as if it were not there, and says so.
    let ended = with(&whole.replace("2099", "2020")).unwrap();
    assert_eq!(ended.warnings().len(), 1);
    assert!(ended.warnings()[0].contains("has passed"), "{:?}", ended.warnings());
}

#[test]
fn relative_paths_begin_where_the_file_is() {
    let folder = Folder::fresh();
    // The environment of this process is nobody's to set, and CI sets a variable of ours: what `load` says of it is
    // all that may be wrong.
    let toml = SMALL.replace("audit.tracing = true", "audit.json_lines.path = \"lines.jsonl\"");
    let path = folder.secret("hopguard.toml", toml.as_bytes());
    match Config::load(&path) {
        Ok(config) => {
            let _parts = config.build().unwrap();
            assert!(fs::exists(folder.at("lines.jsonl")).unwrap());
        }
        Err(errors) => {
            let all = errors.problems();
            assert!(all.iter().all(|one| one.problem.contains("(HOPGUARD_")), "{errors}");
        }
    }
    let errors = Config::load(folder.at("nowhere.toml")).unwrap_err();
    assert!(errors.to_string().contains("cannot be read"), "{errors}");
    let big = folder.secret("big.toml", &[b'#'; 1024 * 1024 + 1]);
    assert!(Config::load(big).unwrap_err().to_string().contains("is longer than"));
}

#[test]
fn logs_that_cannot_be_opened_are_told_at_the_build() {
    let folder = Folder::fresh();
    let sinks = format!(
        "audit.json_lines.path = \"{0}\"\naudit.json_lines.stranger_places = 0",
        folder.at("no/where")
    );
    let errors = read(&SMALL.replace("audit.tracing = true", &sinks)).unwrap().build().unwrap_err();
    told(
        &errors,
        &[("audit.json_lines.path", "`...` "), ("audit.json_lines.stranger_places", "name a number from 1")],
    );
}

#[test]
fn routes_of_each_kind_say_what_they_lack() {
    let with = |route: &str| {
        let toml = format!("{SMALL}{EGRESS}[[egress.route]]\nurl = \"https://a.internal\"\n{route}");
        Config::read(&toml, [("HOPGUARD_EGRESS__STS__CLIENT_SECRET", "hunter2")])
    };
    let ours = "rule = \"as_ourselves\"\naudience = \"a\"\nrequires_none = true\n";
    for good in [
        ours.to_owned(),
        format!("{ours}methods = [\"GET\"]\nor_ourselves = true\nexpects_subject = \"us\""),
        format!("{ours}ask_by = \"scope\"\nscopes = [\"b\"]"),
        "rule = \"exchange\"\naudience = \"https://a.internal\"\nask_by = \"resource\"\nrequires = [\"b\"]"
            .to_owned(),
    ] {
        with(&good).unwrap_or_else(|errors| panic!("{good}: {errors}"));
    }
    let at = |key: &str| format!("egress.route[0].{key}");
    for (route, key, part) in [
        (ours.replace("requires_none = true", ""), "requires", "is missing"),
        (ours.replace("audience = \"a\"", ""), "audience", "is missing"),
        (format!("{ours}methods = [\"get\"]"), "methods", "in capitals"),
        (format!("{ours}methods = []"), "methods", "in capitals"),
        (format!("{ours}wants_jwt = true"), "line 21", "names no setting of egress.route[0]"),
        (
            "rule = \"exchange\"\naudience = \"a\"\nask_by = \"scope\"\nrequires = [\"b\"]".into(),
            "ask_by",
            "one of",
        ),
        ("rule = \"static\"\nrequires_none = true".into(), "secret_file", "is missing"),
        (
            "rule = \"static\"\nrequires_none = true\nsecret = \"hunter2\"".into(),
            "secret",
            "HOPGUARD_EGRESS__ROUTE__0__SECRET",
        ),
        ("rule = \"anonymous\"\nrequires = [\"a\"]".into(), "line 19", "names no setting of egress.route[0]"),
    ] {
        let setting = if key.starts_with("line") { key.to_owned() } else { at(key) };
        told(&with(&route).expect_err(part), &[(&setting, part)]);
    }
    let many = format!("{SMALL}\n[egress]\nfollow_redirects = 300{EGRESS}");
    let errors = Config::read(&many, [("HOPGUARD_EGRESS__STS__CLIENT_SECRET", "hunter2")]).unwrap_err();
    told(&errors, &[("egress.follow_redirects", "above 10")]);
}
