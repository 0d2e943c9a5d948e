//! `[[egress.route]]`: where a call may go, and with what.

use hopguard_core::{Anonymous, AsOurselves, Deny, Exchange, RawToken, RouteRule, Static, Unstated};
use http::Method;

use crate::inbound::MISSING;
use crate::section::Section;

/// One line of the route map.
#[derive(Debug)]
pub(crate) struct RoutePlan {
    pub(crate) url: String,
    pub(crate) methods: Option<Vec<Method>>,
    pub(crate) rule: RouteRule,
}

#[derive(Clone, Copy)]
enum Kind {
    Exchange,
    AsOurselves,
    Static,
    Anonymous,
    Deny,
}

impl RoutePlan {
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let url = section.needed("url", "where the calls go").unwrap_or(MISSING).to_owned();
        let kinds = [
            ("exchange", Kind::Exchange),
            ("as_ourselves", Kind::AsOurselves),
            ("static", Kind::Static),
            ("anonymous", Kind::Anonymous),
            ("deny", Kind::Deny),
        ];
        section.demand("rule", "exchange, as_ourselves, static, anonymous or deny");
        let methods = section.texts("methods").and_then(|methods| methods_of(&section, &methods));
        let rule = match section.choice("rule", &kinds) {
            Some(Kind::Exchange) => exchange(&mut section).into(),
            Some(Kind::AsOurselves) => as_ourselves(&mut section).into(),
            Some(Kind::Static) => fixed(&mut section),
            Some(Kind::Anonymous) => Anonymous.into(),
            Some(Kind::Deny) => Deny.into(),
            None => {
                section.be_lenient();
                Deny.into()
            }
        };
        Self { url, methods, rule }
    }
}

pub(crate) fn methods_of(section: &Section<'_>, names: &[String]) -> Option<Vec<Method>> {
    // Methods are compared letter by letter, and `get` would be one of its own that nobody sends.
    let method = |name: &String| {
        let capitals = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        capitals.then(|| Method::from_bytes(name.as_bytes()).ok()).flatten()
    };
    let methods: Option<Vec<_>> = names.iter().map(method).collect();
    let methods = methods.filter(|methods| !methods.is_empty());
    if methods.is_none() {
        section
            .problem("methods", "must be methods in capitals, such as [\"GET\", \"HEAD\"]; or leave it out");
    }
    methods
}

/// By which parameter the destination is named to the authorization server.
#[derive(Clone, Copy)]
enum AskBy {
    Audience,
    Resource,
    Scope,
}

fn asked(section: &mut Section<'_>, ways: &[(&str, AskBy)]) -> (String, AskBy) {
    let audience = section.needed("audience", "what the authorization server calls the destination");
    let by = section.choice("ask_by", ways).unwrap_or(AskBy::Audience);
    (audience.unwrap_or(MISSING).to_owned(), by)
}

fn exchange(section: &mut Section<'_>) -> Exchange {
    let ways = [("audience", AskBy::Audience), ("resource", AskBy::Resource)];
    let (audience, by) = asked(section, &ways);
    let mut asked = match by {
        AskBy::Resource => Exchange::for_resource(&audience),
        _ => Exchange::audience(&audience),
    };
    if let Some(scopes) = section.scopes("scopes") {
        asked = asked.scope(&scopes.join(" "));
    }
    for resource in section.texts("resources").unwrap_or_default() {
        asked = asked.resource(&resource);
    }
    if let Some(audience) = section.text("expects_audience") {
        asked = asked.expects_audience(audience);
    }
    if section.flag("wants_jwt") == Some(true) {
        asked = asked.wants_jwt();
    }
    if let Some(longest) = section.duration("lifetime_at_most") {
        asked = asked.lifetime_at_most(longest);
    }
    if let Some(mut waiver) = section.section("dangerous_without_actor") {
        asked = asked.dangerous_without_actor(waiver.waiver());
    }
    for mut foreign in section.sections("dangerous_foreign_audience") {
        let audience = foreign.needed("audience", "the one audience that is tolerated beside the expected");
        asked = asked.dangerous_foreign_audience(audience.unwrap_or(MISSING), foreign.waiver());
    }
    if let Some(mut waiver) = section.section("dangerous_later_expiry") {
        asked = asked.dangerous_later_expiry(waiver.waiver());
    }
    if let Some(mut waiver) = section.section("dangerous_opaque") {
        asked = asked.dangerous_opaque(waiver.waiver());
    }
    match requires(section) {
        Some(scopes) => asked.requires(&scopes),
        None => asked.requires_none(),
    }
}

fn as_ourselves(section: &mut Section<'_>) -> AsOurselves {
    let ways = [("audience", AskBy::Audience), ("resource", AskBy::Resource), ("scope", AskBy::Scope)];
    let (audience, by) = asked(section, &ways);
    let mut asked: AsOurselves<Unstated> = match by {
        AskBy::Audience => AsOurselves::audience(&audience),
        AskBy::Resource => AsOurselves::for_resource(&audience),
        AskBy::Scope => AsOurselves::by_scope_for(&audience),
    };
    if let Some(scopes) = section.scopes("scopes") {
        asked = asked.scope(&scopes.join(" "));
    }
    for resource in section.texts("resources").unwrap_or_default() {
        asked = asked.resource(&resource);
    }
    if let Some(audience) = section.text("expects_audience") {
        asked = asked.expects_audience(audience);
    }
    if let Some(subject) = section.text("expects_subject") {
        asked = asked.expects_subject(subject);
    }
    if let Some(longest) = section.duration("lifetime_at_most") {
        asked = asked.lifetime_at_most(longest);
    }
    for mut foreign in section.sections("dangerous_foreign_audience") {
        let audience = foreign.needed("audience", "the one audience that is tolerated beside the expected");
        asked = asked.dangerous_foreign_audience(audience.unwrap_or(MISSING), foreign.waiver());
    }
    if let Some(mut waiver) = section.section("dangerous_opaque") {
        asked = asked.dangerous_opaque(waiver.waiver());
    }
    let also = section.flag("or_ourselves") == Some(true);
    let rule = match requires(section) {
        Some(scopes) => asked.requires(&scopes),
        None => asked.requires_none(),
    };
    if also { rule.or_ourselves() } else { rule }
}

fn fixed(section: &mut Section<'_>) -> RouteRule {
    let secret = section.secret_text("secret", "secret_file");
    if secret.is_none() && !section.has("secret") && !section.has("secret_file") {
        section.problem("secret_file", "is missing: name the file that holds the secret");
    }
    let header = section.text("header");
    let also = section.flag("or_ourselves") == Some(true);
    let scopes = requires(section);
    // Without its secret there is no such route; that it is missing has been noted.
    let Some(secret) = secret.map(|secret| RawToken::new(&secret)) else { return Deny.into() };
    let attached = match header {
        Some(header) => Static::header(header, secret),
        None => Static::bearer(secret),
    };
    let rule = match scopes {
        Some(scopes) => attached.requires(&scopes),
        None => attached.requires_none(),
    };
    if also { rule.or_ourselves().into() } else { rule.into() }
}

/// The scopes that the caller must have; `None` if that none is needed was said, or what is wrong was noted.
fn requires(section: &mut Section<'_>) -> Option<String> {
    let none = section.flag("requires_none") == Some(true);
    let named = section.has("requires");
    let scopes = section.scopes("requires");
    if named && none {
        section.problem("requires", "and requires_none cannot both be");
    } else if !named && !none {
        let right = "name the scopes that the caller must have, or say requires_none = true";
        section.problem("requires", format!("is missing: {right}"));
    }
    scopes.map(|scopes| scopes.join(" "))
}
