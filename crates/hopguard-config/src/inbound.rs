//! `[inbound]`: fills the builder of the way in.

use std::sync::Arc;
use std::time::Duration;

use hopguard_client::Transport;
use hopguard_core::{
    ActorGuard, AudienceGuard, Audit, Clock, ConfigErrors, Ledger, ScopeGuard, Ttl, TtlGuard, minutes,
};
use hopguard_tower::{BodyScan, Inbound, LongStream, ResourceMetadata, ResponseRule};
use hopguard_verify::{Algorithm, Issuer, Profile};

use crate::section::Section;

/// Stands for what is missing while the rest is judged. Never served: its being missing is a problem.
pub(crate) const MISSING: &str = "https://missing.invalid";

/// Everything that the builder wants.
#[derive(Debug)]
pub(crate) struct InboundPlan {
    issuers: Vec<Issuer>,
    audience: AudienceGuard,
    ttl: TtlGuard,
    scope: ScopeGuard,
    actor: Option<ActorGuard>,
    leeway: Option<Duration>,
    responses: ResponseRule,
    metadata: Option<ResourceMetadata>,
    long: Vec<LongStream>,
    pub(crate) open: Vec<String>,
}

impl InboundPlan {
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        Self {
            issuers: issuers(&mut section),
            audience: audience(&mut section),
            ttl: ttl(&mut section),
            scope: scope(&mut section),
            actor: section.section("actor").map(actor),
            leeway: section.duration("leeway"),
            responses: section.section("responses").map(responses).unwrap_or_default(),
            metadata: section.section("resource_metadata").map(metadata),
            long: section.sections("long_stream").into_iter().map(long_stream).collect(),
            open: open(&mut section),
        }
    }

    pub(crate) fn build(
        &self,
        ledger: &Ledger,
        audit: &Audit,
        clock: Arc<dyn Clock>,
        transport: Arc<dyn Transport>,
    ) -> Result<Inbound, ConfigErrors> {
        let (first, others) = match self.issuers.split_first() {
            Some((first, others)) => (first.clone(), others),
            None => (Issuer::at(MISSING), [].as_slice()),
        };
        let mut builder = Inbound::builder(ledger, audit)
            .issuer(first)
            .audience_guard(self.audience.clone())
            .ttl(self.ttl)
            .scope(self.scope.clone())
            .responses(self.responses)
            .clock(clock)
            .transport(transport);
        for issuer in others {
            builder = builder.issuer(issuer.clone());
        }
        if let Some(actor) = &self.actor {
            builder = builder.actor(actor.clone());
        }
        if let Some(leeway) = self.leeway {
            builder = builder.leeway(leeway);
        }
        for stream in &self.long {
            builder = builder.long_stream(stream.clone());
        }
        if let Some(metadata) = &self.metadata {
            builder = builder.resource_metadata(metadata.clone());
        }
        builder.build()
    }
}

fn issuers(section: &mut Section<'_>) -> Vec<Issuer> {
    section.demand("issuer", "name at least one that is trusted, in [[inbound.issuer]]");
    section.sections("issuer").into_iter().map(issuer).collect()
}

fn issuer(mut section: Section<'_>) -> Issuer {
    let mut issuer = Issuer::at(section.needed("url", "the issuer, as tokens name it").unwrap_or(MISSING));
    match (section.text("jwks_url"), section.path("jwks_file")) {
        (Some(_), Some(_)) => section.problem("jwks_file", "and jwks_url are two sources of keys: name one"),
        (Some(url), None) => issuer = issuer.jwks_url(url),
        (None, Some(path)) => issuer = issuer.jwks_file(path),
        (None, None) => {}
    }
    if let Some(names) = section.texts("algorithms") {
        let known = |name: &String| ALGORITHMS.iter().find(|(known, _)| known == name).map(|(_, one)| *one);
        match names.iter().map(known).collect::<Option<Vec<_>>>() {
            Some(algorithms) => issuer = issuer.algorithms(algorithms),
            None => {
                let names: Vec<_> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
                section.problem("algorithms", format!("must all be of: {}", names.join(", ")));
            }
        }
    }
    let profile = section.choice("profile", PROFILES);
    let (roles, roles_in) = (section.flag("roles"), section.texts("roles_in"));
    if profile.is_some() || roles == Some(true) || roles_in.is_some() {
        let mut profile = profile.unwrap_or(Profile::rfc9068)();
        if roles == Some(true) {
            profile = profile.with_roles();
        }
        if let Some(place) = roles_in {
            profile = profile.roles_in(&place.iter().map(String::as_str).collect::<Vec<_>>());
        }
        issuer = issuer.profile(profile);
    }
    issuer
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
];

fn audience(section: &mut Section<'_>) -> AudienceGuard {
    let ours =
        section.needed("audience", "this service's own URI, as tokens for it name it").unwrap_or(MISSING);
    let mut guard = AudienceGuard::exactly(ours);
    for alias in section.texts("audience_aliases").unwrap_or_default() {
        guard = guard.or_alias(&alias);
    }
    for mut foreign in section.sections("dangerous_tolerate_foreign") {
        let audience = foreign.needed("audience", "the one audience that is tolerated beside ours");
        guard = guard.dangerous_tolerate_foreign(audience.unwrap_or(MISSING), foreign.waiver());
    }
    guard
}

fn ttl(section: &mut Section<'_>) -> TtlGuard {
    // In place of what cannot be read, so that the rest is judged all the same.
    let some = Ttl::lifetime_at_most(minutes(1));
    let missing = "is missing: set lifetime_at_most, age_at_most or remaining_at_most";
    let Some(mut rules) = section.section("ttl") else {
        section.problem("ttl", missing);
        return some;
    };
    let mut guard = None;
    let keys = ["lifetime_at_most", "age_at_most", "remaining_at_most"];
    let [lifetime, age, remaining] = keys.map(|key| rules.duration(key));
    if let Some(longest) = lifetime {
        guard = Some(Ttl::lifetime_at_most(longest));
    }
    if let Some(longest) = age {
        guard = Some(guard.map_or(Ttl::age_at_most(longest), |guard| guard.and_age_at_most(longest)));
    }
    if let Some(longest) = remaining {
        let both = |guard: TtlGuard| guard.and_remaining_at_most(longest);
        guard = Some(guard.map_or(Ttl::remaining_at_most(longest), both));
    }
    if guard.is_none() && rules.is_empty() {
        section.problem("ttl", missing);
    }
    guard.unwrap_or(some)
}

fn scope(section: &mut Section<'_>) -> ScopeGuard {
    let right = "name scopes in all_of or any_of, or say none = true";
    let Some(mut rule) = section.section("scope") else {
        section.problem("scope", format!("is missing: {right}"));
        return ScopeGuard::any_scope();
    };
    let (all, any, none) = (rule.scopes("all_of"), rule.scopes("any_of"), rule.flag("none"));
    // What stands there and cannot be read has been noted.
    let unreadable = rule.has("all_of") != all.is_some()
        || rule.has("any_of") != any.is_some()
        || rule.has("none") != none.is_some();
    let guard = match &(all, any, none.filter(|none| *none)) {
        _ if unreadable => ScopeGuard::any_scope(),
        (Some(all), None, None) => ScopeGuard::all_of(all.iter().map(String::as_str)),
        (None, Some(any), None) => ScopeGuard::any_of(any.iter().map(String::as_str)),
        (None, None, Some(_)) => ScopeGuard::any_scope(),
        (None, None, None) => {
            rule.notes.add("inbound.scope", format!("names no rule: {right}"));
            ScopeGuard::any_scope()
        }
        _ => {
            rule.notes.add("inbound.scope", format!("names more than one rule: {right}"));
            ScopeGuard::any_scope()
        }
    };
    match rule.scopes("at_most") {
        Some(most) => guard.at_most(most.iter().map(String::as_str)),
        None => guard,
    }
}

fn actor(mut section: Section<'_>) -> ActorGuard {
    let any_of = section.texts("any_of");
    let depth = section.count("depth_at_most");
    let others = section.sections("or_of");
    let mut guard = match (&any_of, depth) {
        (Some(parties), _) => ActorGuard::any_of(parties.iter().map(String::as_str)),
        (None, Some(depth)) if others.is_empty() => ActorGuard::depth_at_most(depth),
        _ => ActorGuard::any_of([]),
    };
    for mut other in others {
        let issuer = other.needed("issuer", "whose name for the party it is").unwrap_or(MISSING);
        let subject = other.needed("subject", "the party's name there").unwrap_or(MISSING);
        guard = guard.or_of(issuer, subject);
    }
    match depth {
        Some(depth) => guard.at_most(depth),
        None => guard,
    }
}

fn responses(mut section: Section<'_>) -> ResponseRule {
    let mut rule = ResponseRule::default();
    if section.flag("scrub_headers") == Some(true) {
        rule = rule.scrub_headers();
    }
    match section.section("bodies") {
        // Whoever says nothing about what is beyond the limit means what is there unless set.
        Some(bodies) => rule.bodies(scan(bodies, Beyond::Audit)),
        None => rule,
    }
}

/// What is done about what is not looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beyond {
    Refuse,
    Audit,
}

/// How bodies are looked through.
pub(crate) fn scan(mut section: Section<'_>, unless_set: Beyond) -> BodyScan {
    let mut scan = BodyScan::default();
    if let Some(bytes) = section.number("at_most") {
        scan = scan.at_most(bytes);
    }
    let choices = [("refuse", Beyond::Refuse), ("audit", Beyond::Audit)];
    if section.choice("beyond", &choices).unwrap_or(unless_set) == Beyond::Audit {
        scan = scan.audit_beyond();
    }
    if section.flag("decompress") == Some(false) {
        scan = scan.without_decompression();
    }
    scan
}

fn metadata(mut section: Section<'_>) -> ResourceMetadata {
    let mut metadata = ResourceMetadata::published();
    if let Some(scopes) = section.scopes("scopes") {
        metadata = metadata.scopes(scopes.iter().map(String::as_str));
    }
    if section.flag("also_at_root") == Some(true) {
        metadata = metadata.also_at_root();
    }
    metadata
}

fn long_stream(mut section: Section<'_>) -> LongStream {
    let path = section.needed("path", "the route, as axum writes it").unwrap_or("/missing");
    section.demand("cap", "how long its streams may run");
    LongStream::on(path, section.duration("cap").unwrap_or(minutes(1)))
}

fn open(section: &mut Section<'_>) -> Vec<String> {
    let paths = section.texts("open_paths").unwrap_or_default();
    if paths.iter().any(|path| !path.starts_with('/') || path.contains(['*', '{', '?', '#'])) {
        section.problem("open_paths", "must be whole paths that begin with /: no patterns, no query");
    }
    paths
}
