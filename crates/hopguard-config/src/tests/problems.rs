//! What is wrong with a file is told, where, and all at once.

use super::*;

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

/// With a search from the beginning for each value this would take minutes.
#[test]
fn a_long_file_is_read_once() {
    let paths = "  \"/p\",\n".repeat(110_000);
    let list = format!("open_paths = [\n{paths}]\nleeway = \"2m\"\n[[inbound.issuer]]");
    let errors = read(&SMALL.replace("[[inbound.issuer]]", &list)).unwrap_err();
    told(&errors, &[("inbound.leeway", "(line 110011)")]);
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

#[test]
fn bounds_and_names_are_judged() {
    let sts = EGRESS.replacen("[egress.sts]", "[egress]\nBOUND\n[egress.sts]", 1);
    let with = |inbound: &str, issuer: &str, egress: &str| {
        let toml = SMALL.replace("[[inbound.issuer]]", &format!("{inbound}\n[[inbound.issuer]]\n{issuer}"));
        let toml = format!("{toml}{}", sts.replacen("BOUND", egress, 1));
        Config::read(&toml, [("HOPGUARD_EGRESS__STS__CLIENT_SECRET", "hunter2")])
    };
    let rules = |rule: &str| format!("access_token = {{ {rule} }}");
    for (inbound, issuer, egress, setting, part) in [
        ("remember_at_most = 16777216", "", "", "inbound.remember_at_most", "below 16777216 tokens"),
        ("token_at_most = 0", "", "", "inbound.token_at_most", "between 1 and 65536"),
        ("token_at_most = 65537", "", "", "inbound.token_at_most", "between 1 and 65536"),
        ("actors_at_most = 32", "", "", "inbound.actors_at_most", "is above 31"),
        ("actor.shown_by_itself = true", "", "", "inbound.actor", "lists no party"),
        (
            "actor = { depth_at_most = 1, shown_by = [{ peer = \"a\" }] }",
            "",
            "",
            "inbound.actor.shown_by[0].party",
            "is missing",
        ),
        (
            "actor = { depth_at_most = 1, shown_by = [{ party = \"a\", peer = \"\" }] }",
            "",
            "",
            "inbound.actor",
            "empty name",
        ),
        ("", "keys_fixed = \"{}\"", "", "inbound.issuer[0].keys_fixed", "JWK set"),
        ("", "profile = \"own\"", "", "inbound.issuer[0].profile.own", "accepts no `typ`"),
        ("", &rules("typ = [\"JWT\"]"), "", "inbound.issuer[0].profile.rfc9068", "no rule that tells"),
        ("", &rules("requires = [\"\"]"), "", "inbound.issuer[0].access_token.requires", "empty name"),
        (
            "",
            &rules("claim = [{ name = \"a\" }]"),
            "",
            "inbound.issuer[0].access_token.claim[0].one_of",
            "is missing",
        ),
        (
            "",
            &rules("claim = [{ name = \"a\", one_of = [] }]"),
            "",
            "inbound.issuer[0].access_token.claim[0].one_of",
            "is empty",
        ),
        (
            "",
            &rules("claim = [{ name = \"a\", begins_with = \"\" }]"),
            "",
            "inbound.issuer[0].access_token.claim[0].begins_with",
            "is empty",
        ),
        ("", "", "remember_at_most = 0", "egress.remember_at_most", "is zero"),
        ("", "", "waiters_at_most = 0", "egress.waiters_at_most", "is zero"),
        ("", "", "flights_at_most = 16777216", "egress.flights_at_most", "below 16777216"),
        ("", "", "trust_domain = [{ url = \"a\", domain = \"b\" }]", "egress.trust_domain[0]", "no origin"),
        (
            "",
            "",
            "trust_domain = [{ url = \"https://a.internal\" }]",
            "egress.trust_domain[0].domain",
            "is missing",
        ),
    ] {
        let errors = with(inbound, issuer, egress).expect_err(part);
        told(&errors, &[(setting, part)]);
    }
    let errors = with("", "keys_fixed = \"{}\"\njwks_url = \"https://a.internal\"", "").unwrap_err();
    let at = "inbound.issuer[0].keys_fixed";
    told(&errors, &[(at, "and jwks_url are two"), (at, "JWK set")]);
    // What is wrong with the server's own keys hides nothing of the rest.
    let toml = format!(
        "{SMALL}{EGRESS}keys_fixed = \"{{}}\"\nsubject_refused_by = [\"invalid_client\"]\ntoken_endpoint = \"x\"\n"
    );
    let errors = Config::read(&toml, [("HOPGUARD_EGRESS__STS__CLIENT_SECRET", "hunter2")]).unwrap_err();
    told(
        &errors,
        &[
            ("egress.sts.issuer[0].keys_fixed", "JWK set"),
            ("egress.sts.refusals", "we are at fault"),
            ("egress.sts.token_endpoint", "https"),
        ],
    );
    let transport = format!("{SMALL}[transport]\nresponse_at_most = 0");
    told(&read(&transport).unwrap_err(), &[("transport.response_at_most", "at least 1 byte")]);
}
