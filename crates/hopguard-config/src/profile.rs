//! How an issuer writes its tokens: which algorithms, which kind of product, and what makes a token an access token.

use hopguard_verify::{Algorithm, Profile};

use crate::inbound::MISSING;
use crate::section::Section;

/// The algorithms that `algorithms` names.
pub(crate) fn algorithms(section: &mut Section<'_>) -> Option<Vec<Algorithm>> {
    let names = section.texts("algorithms")?;
    let known = |name: &String| ALGORITHMS.iter().find(|(known, _)| known == name).map(|(_, one)| *one);
    let algorithms = names.iter().map(known).collect::<Option<Vec<_>>>();
    if algorithms.is_none() {
        let names: Vec<_> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
        section.problem("algorithms", format!("must all be of: {}", names.join(", ")));
    }
    algorithms
}

const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("ES512", Algorithm::Es512),
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("PS256", Algorithm::Ps256),
    ("PS384", Algorithm::Ps384),
    ("PS512", Algorithm::Ps512),
    ("EdDSA", Algorithm::EdDsa),
    ("Ed25519", Algorithm::EdDsa),
];

type MakesProfile = fn() -> Profile;

const PROFILES: &[(&str, MakesProfile)] = &[
    ("rfc9068", Profile::rfc9068),
    ("keycloak", Profile::keycloak),
    ("entra_v1", Profile::entra_v1),
    ("entra_v2", Profile::entra_v2),
    ("okta", Profile::okta),
    ("auth0", Profile::auth0),
    ("zitadel", Profile::zitadel),
    ("own", || Profile::named("own")),
];

/// The profile that `profile`, `roles` and `access_token` make together; `None` if nothing is said.
pub(crate) fn profile(section: &mut Section<'_>) -> Option<Profile> {
    let chosen = section.choice("profile", PROFILES);
    let (roles, roles_in) = (section.flag("roles"), section.texts("roles_in"));
    let rules = section.section("access_token");
    if chosen.is_none() && roles != Some(true) && roles_in.is_none() && rules.is_none() {
        return None;
    }
    let mut profile = chosen.unwrap_or(Profile::rfc9068)();
    if roles == Some(true) {
        profile = profile.with_roles();
    }
    if let Some(place) = roles_in {
        profile = profile.roles_in(&strings(&place));
    }
    Some(match rules {
        Some(rules) => with_rules(profile, rules),
        None => profile,
    })
}

/// The profile, and what else makes a token an access token of its issuer.
fn with_rules(mut profile: Profile, mut rules: Section<'_>) -> Profile {
    type Adds = fn(Profile, &str) -> Profile;
    let lists: [(&str, Adds); 6] = [
        ("typ", |profile, typ| profile.typ(typ)),
        ("requires", |profile, claim| profile.requires(claim)),
        ("refuses", |profile, claim| profile.refuses(claim)),
        ("client_in", |profile, claim| profile.client_in(claim)),
        ("scopes_in", |profile, claim| profile.scopes_in(claim)),
        ("token_id_in", |profile, claim| profile.token_id_in(claim)),
    ];
    for (key, add) in lists {
        let named = rules.texts(key).unwrap_or_default();
        if named.iter().any(String::is_empty) {
            rules.problem(key, "holds an empty name");
        }
        profile = named.iter().fold(profile, |profile, name| add(profile, name));
    }
    if rules.flag("untyped") == Some(true) {
        profile = profile.untyped();
    }
    if rules.flag("client_is_no_audience") == Some(true) {
        profile = profile.client_is_no_audience();
    }
    for mut rule in rules.sections("claim") {
        let name = rule.needed("name", "the claim that access tokens have").unwrap_or(MISSING);
        let (values, prefix) = (rule.texts("one_of"), rule.text("begins_with"));
        if !rule.has("one_of") && !rule.has("begins_with") {
            rule.problem("one_of", "is missing: say what the claim is, or begins_with");
        }
        if values.as_ref().is_some_and(Vec::is_empty) {
            rule.problem("one_of", "is empty: no token is an access token then");
        }
        if prefix == Some("") {
            rule.problem("begins_with", "is empty: every text begins so");
        }
        if let Some(values) = values {
            profile = profile.requires_one_of(name, &strings(&values));
        }
        if let Some(prefix) = prefix {
            profile = profile.requires_prefix(name, prefix);
        }
    }
    profile
}

fn strings(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}
