//! Every setting of the builders has a key in the file, or a reason why it has none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::example::known;
use super::*;

/// Each method of each builder of the way in, the verifier and the way out, with the key that calls it, or
/// after `-` the reason why none does. Who adds a method adds a line.
const METHODS: &str = "
InboundBuilder::issuer                      inbound.issuer
InboundBuilder::audience                    - audience_guard is called with the same
InboundBuilder::audience_guard              inbound.audience
InboundBuilder::ttl                         inbound.ttl
InboundBuilder::scope                       inbound.scope
InboundBuilder::leeway                      inbound.leeway
InboundBuilder::remember_at_most            inbound.remember_at_most
InboundBuilder::token_at_most               inbound.token_at_most
InboundBuilder::actors_at_most              inbound.actors_at_most
InboundBuilder::actor                       inbound.actor
InboundBuilder::resource_metadata           inbound.resource_metadata
InboundBuilder::responses                   inbound.responses
InboundBuilder::long_stream                 inbound.long_stream
InboundBuilder::timer                       - a program that has another runtime has code
InboundBuilder::clock                       - Config::clock
InboundBuilder::transport                   - Config::transport, [transport]
InboundBuilder::build                       - no setting
Inbound::builder                            - no setting
Inbound::open                               - Parts::open, which is handed to protect
VerifierBuilder::issuer                     - InboundBuilder calls it
VerifierBuilder::leeway                     - InboundBuilder calls it
VerifierBuilder::remember_at_most           - InboundBuilder calls it
VerifierBuilder::token_at_most              - InboundBuilder calls it
VerifierBuilder::actors_at_most             - InboundBuilder calls it
VerifierBuilder::timer                      - InboundBuilder calls it
VerifierBuilder::audit                      - InboundBuilder calls it
VerifierBuilder::build                      - no setting
VerifyLayer::new                            - a layer that stands alone is made by code
VerifyLayer::dangerous_leave_holder_open    - a layer that stands alone is made by code
TransactionLayer::new                       - a layer of the program's own router, with a verifier of its own
TransactionLayer::subjects_may_differ       - a layer of the program's own router, with a verifier of its own
TransactionLayer::subjects_of               - a layer that stands alone is made by code
Issuer::at                                  inbound.issuer.url
Issuer::jwks_url                            inbound.issuer.jwks_url
Issuer::jwks_file                           inbound.issuer.jwks_file
Issuer::keys_fixed                          inbound.issuer.keys_fixed
Issuer::algorithms                          inbound.issuer.algorithms
Issuer::profile                             inbound.issuer.profile
Profile::rfc9068                            inbound.issuer.profile
Profile::keycloak                           inbound.issuer.profile
Profile::entra_v1                           inbound.issuer.profile
Profile::entra_v2                           inbound.issuer.profile
Profile::okta                               inbound.issuer.profile
Profile::auth0                              inbound.issuer.profile
Profile::zitadel                            inbound.issuer.profile
Profile::named                              inbound.issuer.profile
Profile::transaction_token                  - no access tokens: a TransactionLayer has a verifier of its own
Profile::typ                                inbound.issuer.access_token.typ
Profile::untyped                            inbound.issuer.access_token.untyped
Profile::requires                           inbound.issuer.access_token.requires
Profile::requires_value                     - one_of with one text
Profile::requires_one_of                    inbound.issuer.access_token.claim.one_of
Profile::requires_prefix                    inbound.issuer.access_token.claim.begins_with
Profile::refuses                            inbound.issuer.access_token.refuses
Profile::client_is_no_audience              inbound.issuer.access_token.client_is_no_audience
Profile::client_in                          inbound.issuer.access_token.client_in
Profile::scopes_in                          inbound.issuer.access_token.scopes_in
Profile::token_id_in                        inbound.issuer.access_token.token_id_in
Profile::with_roles                         inbound.issuer.roles
Profile::roles_in                           inbound.issuer.roles_in
AudienceGuard::exactly                      inbound.audience
AudienceGuard::or_alias                     inbound.audience_aliases
AudienceGuard::dangerous_tolerate_foreign   inbound.dangerous_tolerate_foreign
Ttl::lifetime_at_most                       inbound.ttl.lifetime_at_most
Ttl::age_at_most                            inbound.ttl.age_at_most
Ttl::remaining_at_most                      inbound.ttl.remaining_at_most
TtlGuard::and_lifetime_at_most              - the loader begins with it
TtlGuard::and_age_at_most                   inbound.ttl.age_at_most
TtlGuard::and_remaining_at_most             inbound.ttl.remaining_at_most
ScopeGuard::all_of                          inbound.scope.all_of
ScopeGuard::any_of                          inbound.scope.any_of
ScopeGuard::any_scope                       inbound.scope.none
ScopeGuard::at_most                         inbound.scope.at_most
ActorGuard::any_of                          inbound.actor.any_of
ActorGuard::depth_at_most                   inbound.actor.depth_at_most
ActorGuard::at_most                         inbound.actor.depth_at_most
ActorGuard::or_of                           inbound.actor.or_of
ActorGuard::shown_by_itself                 inbound.actor.shown_by_itself
ActorGuard::shown_by                        inbound.actor.shown_by
ActorGuard::shown_by_of                     inbound.actor.shown_by.issuer
ResponseRule::scrub_headers                 inbound.responses.scrub_headers
ResponseRule::bodies                        inbound.responses.bodies
BodyScan::at_most                           inbound.responses.bodies.at_most
BodyScan::audit_beyond                      inbound.responses.bodies.beyond
BodyScan::without_decompression             inbound.responses.bodies.decompress
ResourceMetadata::published                 inbound.resource_metadata
ResourceMetadata::scopes                    inbound.resource_metadata.scopes
ResourceMetadata::also_at_root              inbound.resource_metadata.also_at_root
LongStream::on                              inbound.long_stream.path
LongStream::methods                         inbound.long_stream.methods
OpenPaths::paths                            inbound.open_paths
OpenPaths::none                             - the list left out
EgressBuilder::route                        egress.route.url
EgressBuilder::route_for                    egress.route.methods
EgressBuilder::follow_redirects             egress.follow_redirects
EgressBuilder::bodies                       egress.bodies
EgressBuilder::judge_header                 egress.judge_headers
EgressBuilder::dangerous_except             egress.dangerous_except
EgressBuilder::dangerous_report_only        egress.dangerous_report_only
EgressBuilder::trust_domain                 egress.trust_domain
EgressBuilder::remember_at_most             egress.remember_at_most
EgressBuilder::waiters_at_most              egress.waiters_at_most
EgressBuilder::flights_at_most              egress.flights_at_most
EgressBuilder::refresh_ahead_at_most        egress.refresh_ahead_at_most
EgressBuilder::timer                        - a program that has another runtime has code
EgressBuilder::clock                        - Config::clock
EgressBuilder::transport                    - Config::transport, [transport]
EgressBuilder::build                        - no setting
StsEndpoint::at                             egress.sts.issuer
StsEndpoint::jwks_url                       egress.sts.jwks_url
StsEndpoint::keys_fixed                     egress.sts.keys_fixed
StsEndpoint::algorithms                     egress.sts.algorithms
StsEndpoint::profile                        egress.sts.profile
StsEndpoint::refusals                       egress.sts.refusals
StsEndpoint::actor_token                    egress.sts.actor_token_file
StsEndpoint::acts_as                        egress.sts.acts_as
StsEndpoint::token_endpoint                 egress.sts.token_endpoint
StsProfile::rfc8693                         egress.sts.refusals
StsProfile::keycloak                        egress.sts.refusals
StsProfile::subject_refused_by              egress.sts.subject_refused_by
StsProfile::step_up_by                      egress.sts.step_up_by
ActorToken::file                            egress.sts.actor_token_file
ActorToken::fixed                           - a token that is never renewed is one of a test
ActorToken::of_type_jwt                     egress.sts.actor_token_is_jwt
ClientAuth::private_key_jwt                 egress.sts.authentication
ClientAuth::client_secret_basic             egress.sts.authentication
ClientAuth::client_secret_post              egress.sts.authentication
ClientAuth::assertion_file                  egress.sts.authentication
ClientAuth::jwt_svid_file                   egress.sts.authentication
ExchangerBuilder::token_endpoint            - EgressBuilder calls it
ExchangerBuilder::actor_token               - EgressBuilder calls it
ExchangerBuilder::sts_profile               - EgressBuilder calls it
ExchangerBuilder::acts_as                   - EgressBuilder calls it
ExchangerBuilder::timer                     - EgressBuilder calls it
ExchangerBuilder::remember_at_most          - EgressBuilder calls it
ExchangerBuilder::waiters_at_most           - EgressBuilder calls it
ExchangerBuilder::flights_at_most           - EgressBuilder calls it
ExchangerBuilder::refresh_ahead_at_most     - EgressBuilder calls it
ExchangerBuilder::build                     - no setting
ExchangeLayer::new                          - a layer that stands alone is made by code
ExchangeLayer::follow_redirects             - a layer that stands alone is made by code
PassthroughBuilder::judge_header            - a layer that stands alone is made by code
PassthroughBuilder::bodies                  - a layer that stands alone is made by code
PassthroughBuilder::dangerous_except        - a layer that stands alone is made by code
PassthroughBuilder::dangerous_report_only   - a layer that stands alone is made by code
PassthroughBuilder::declare                 - a layer that stands alone is made by code
PassthroughBuilder::trust_domain            - a layer that stands alone is made by code
PassthroughBuilder::build                   - a layer that stands alone is made by code
Exchange::audience                          egress.route.audience
Exchange::for_resource                      egress.route.ask_by
Exchange::requires                          egress.route.requires
Exchange::requires_none                     egress.route.requires_none
Exchange::scope                             egress.route.scopes
Exchange::resource                          egress.route.resources
Exchange::expects_audience                  egress.route.expects_audience
Exchange::wants_jwt                         egress.route.wants_jwt
Exchange::lifetime_at_most                  egress.route.lifetime_at_most
Exchange::dangerous_without_actor           egress.route.dangerous_without_actor
Exchange::dangerous_foreign_audience        egress.route.dangerous_foreign_audience
Exchange::dangerous_later_expiry            egress.route.dangerous_later_expiry
Exchange::dangerous_opaque                  egress.route.dangerous_opaque
AsOurselves::audience                       egress.route.audience
AsOurselves::for_resource                   egress.route.ask_by
AsOurselves::by_scope_for                   egress.route.ask_by
AsOurselves::requires                       egress.route.requires
AsOurselves::requires_none                  egress.route.requires_none
AsOurselves::scope                          egress.route.scopes
AsOurselves::resource                       egress.route.resources
AsOurselves::expects_audience               egress.route.expects_audience
AsOurselves::expects_subject                egress.route.expects_subject
AsOurselves::lifetime_at_most               egress.route.lifetime_at_most
AsOurselves::dangerous_foreign_audience     egress.route.dangerous_foreign_audience
AsOurselves::dangerous_opaque               egress.route.dangerous_opaque
AsOurselves::or_ourselves                   egress.route.or_ourselves
Static::bearer                              egress.route.secret_file
Static::header                              egress.route.header
Static::requires                            egress.route.requires
Static::requires_none                       egress.route.requires_none
Static::or_ourselves                        egress.route.or_ourselves
HttpTransportBuilder::timeout               transport.timeout
HttpTransportBuilder::response_at_most      transport.response_at_most
HttpTransportBuilder::extra_root            transport.extra_roots_file
HttpTransportBuilder::build                 - no setting
";

/// Types with methods of the same shape that nobody sets up a service with: what a request, a connection or a token is,
/// and times.
const NO_SETTINGS: &[&str] = &[
    "Admitted",
    "BodyScanner",
    "EgressError",
    "Front",
    "Granted",
    "Id",
    "Monotonic",
    "Presented",
    "Scanner",
    "UnixTime",
];

/// Types that are settings and have no method that changes them.
const MADE_AT_ONCE: &[&str] = &["Ttl", "LongStream", "OpenPaths", "ClientAuth"];

/// What the crates offer: each type that has a public method which takes it and gives it back, with all its public
/// methods that do not only look at it.
fn offered() -> BTreeSet<String> {
    let mut types: BTreeMap<String, (bool, BTreeSet<String>)> = BTreeMap::new();
    for name in ["core", "client", "verify", "exchange", "tower"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../hopguard-{name}/src"));
        each_source(&root, &mut |source| read_methods(source, &mut types));
    }
    let is_setting =
        |name: &str, changes: bool| changes && !NO_SETTINGS.contains(&name) || MADE_AT_ONCE.contains(&name);
    types
        .into_iter()
        .filter(|(name, (changes, _))| is_setting(name, *changes))
        .flat_map(|(_, (_, methods))| methods)
        .collect()
}

fn each_source(folder: &Path, take: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_source(&path, take);
        } else if path.extension().is_some_and(|end| end == "rs") {
            take(&fs::read_to_string(&path).unwrap());
        }
    }
}

fn read_methods(source: &str, types: &mut BTreeMap<String, (bool, BTreeSet<String>)>) {
    let mut of: Option<&str> = None;
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("impl") {
            // Of `impl<R> Exchange<R> {` the name; what a trait demands is no method of the type's own.
            let rest = rest.split_once("> ").filter(|_| rest.starts_with('<')).map_or(rest, |(_, rest)| rest);
            let name = rest.trim_start().split(|c: char| !c.is_alphanumeric()).next();
            of = name.filter(|_| !rest.contains(" for "));
        } else if line == "}" {
            of = None;
        }
        let Some(method) = line.strip_prefix("    pub ").map(|rest| rest.trim_start_matches("const ")) else {
            continue;
        };
        let (Some(of), Some(method)) = (of, method.strip_prefix("fn ")) else { continue };
        let mut whole = method.to_owned();
        while !whole.contains('{') {
            whole.push_str(lines.next().expect("a body").trim());
        }
        let (taken, given) = whole.split_once("->").unwrap_or((&whole, ""));
        if taken.contains("&self") || taken.contains("&mut self") {
            continue;
        }
        let name = taken.split(['(', '<']).next().unwrap();
        let gives_itself = given.trim_start().starts_with("Self") || given.trim_start().starts_with(of);
        let found = types.entry(of.to_owned()).or_default();
        found.0 |= taken.contains("self") && gives_itself;
        found.1.insert(format!("{of}::{name}"));
    }
}

#[test]
fn every_builder_method_has_a_key_or_a_reason() {
    let lines = METHODS.lines().filter(|line| !line.is_empty());
    let listed: BTreeMap<_, _> =
        lines.map(|line| line.split_once(' ').map(|(method, how)| (method, how.trim())).unwrap()).collect();
    let offered = offered();
    let unlisted: Vec<_> = offered.iter().filter(|method| !listed.contains_key(method.as_str())).collect();
    assert!(unlisted.is_empty(), "neither a key nor a reason: {unlisted:?}");
    let gone: Vec<_> = listed.keys().filter(|method| !offered.contains(**method)).collect();
    assert!(gone.is_empty(), "there is no such method any more: {gone:?}");

    // The loader's own files, and not these tests, which name every method.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files =
        fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let loader: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    let known = known();
    for (method, how) in listed {
        if let Some(why) = how.strip_prefix('-') {
            assert!(why.len() > 5, "{method}: why?");
            continue;
        }
        assert!(known.contains(how), "{method}: the loader knows no {how}");
        let name = method.split("::").last().unwrap();
        let called = [format!(".{name}("), method.to_owned(), format!("AsOurselves::{name}")];
        assert!(
            called.iter().any(|call| loader.contains(call.as_str())),
            "{method}: the loader never calls it"
        );
    }
}

#[test]
fn what_methods_are_offered_is_read_from_the_source() {
    let mut types = BTreeMap::new();
    let source = "impl<R> Maker<R> {\n    pub fn at(a: u8) -> Self {\n    }\n    pub const fn on(\n        mut self,\n    ) \
                  -> Maker<u8> {\n    }\n    pub fn see(&self) -> u8 {\n    }\n    fn own(self) -> Self {\n    }\n}\n\
                  impl Clone for Maker {\n    pub fn no(self) -> Self {\n    }\n}\nimpl Fixed {\n    pub fn new() -> \
                  Self {\n    }\n}\n";
    read_methods(source, &mut types);
    let names = |name: &str| types[name].1.iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!((types["Maker"].0, names("Maker")), (true, vec!["Maker::at", "Maker::on"]));
    assert_eq!((types["Fixed"].0, names("Fixed")), (false, vec!["Fixed::new"]));
}
