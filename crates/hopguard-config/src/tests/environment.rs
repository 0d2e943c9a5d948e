//! What the environment lays over the file.

use super::*;

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
