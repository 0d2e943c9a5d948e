//! `[inbound]`: fills the builder of the way in.

use std::sync::Arc;
use std::time::Duration;

use hopguard_client::Transport;
use hopguard_core::{
    ActorGuard, AudienceGuard, Audit, Clock, ConfigErrors, Ledger, ScopeGuard, Ttl, TtlGuard, minutes,
};
use hopguard_tower::{BodyScan, Inbound, LongStream, ResourceMetadata, ResponseRule};
use hopguard_verify::Issuer;

use crate::profile::{algorithms, profile};
use crate::route::methods_of;
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
    remember_at_most: Option<usize>,
    token_at_most: Option<usize>,
    actors_at_most: Option<usize>,
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
            remember_at_most: section.count("remember_at_most"),
            token_at_most: section.count("token_at_most"),
            actors_at_most: section.count("actors_at_most"),
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
        if let Some(entries) = self.remember_at_most {
            builder = builder.remember_at_most(entries);
        }
        if let Some(bytes) = self.token_at_most {
            builder = builder.token_at_most(bytes);
        }
        if let Some(depth) = self.actors_at_most {
            builder = builder.actors_at_most(depth);
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
    let sources = ["jwks_url", "jwks_file", "keys_fixed"];
    let named: Vec<_> = sources.into_iter().filter(|key| section.has(key)).collect();
    if let [first, second, ..] = named[..] {
        section.problem(second, format!("and {first} are two sources of keys: name one"));
    }
    if let Some(url) = section.text("jwks_url") {
        issuer = issuer.jwks_url(url);
    }
    if let Some(path) = section.path("jwks_file") {
        issuer = issuer.jwks_file(path);
    }
    if let Some(keys) = section.text("keys_fixed") {
        issuer = issuer.keys_fixed(keys);
    }
    if let Some(algorithms) = algorithms(&mut section) {
        issuer = issuer.algorithms(algorithms);
    }
    match profile(&mut section) {
        Some(profile) => issuer.profile(profile),
        None => issuer,
    }
}

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
    let (itself, shown) = (section.flag("shown_by_itself"), section.sections("shown_by"));
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
    if itself == Some(true) {
        guard = guard.shown_by_itself();
    }
    for mut alias in shown {
        let party = alias.needed("party", "the party as tokens name it").unwrap_or(MISSING);
        let peer = alias.needed("peer", "the party as the transport names it").unwrap_or(MISSING);
        guard = match alias.text("issuer") {
            Some(issuer) => guard.shown_by_of(issuer, party, peer),
            None => guard.shown_by(party, peer),
        };
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
    let stream = LongStream::on(path, section.duration("cap").unwrap_or(minutes(1)));
    let methods = section.texts("methods").and_then(|names| methods_of(&section, &names));
    methods.into_iter().fold(stream, LongStream::methods)
}

fn open(section: &mut Section<'_>) -> Vec<String> {
    let paths = section.texts("open_paths").unwrap_or_default();
    if paths.iter().any(|path| !path.starts_with('/') || path.contains(['*', '{', '?', '#'])) {
        section.problem("open_paths", "must be whole paths that begin with /: no patterns, no query");
    }
    paths
}
