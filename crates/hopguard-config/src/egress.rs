//! `[egress]`: fills the builder of the way out.

use std::sync::Arc;
use std::time::Duration;

use hopguard_client::{Algorithm, ClientAuth, SigningKey, TokenFile, Transport};
use hopguard_core::{Audit, Clock, ConfigErrors, Ledger, Waiver};
use hopguard_exchange::{ActorToken, StsProfile};
use hopguard_tower::{BodyScan, Egress, StsEndpoint};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

use crate::inbound::{Beyond, MISSING, scan};
use crate::profile::{algorithms, profile};
use crate::route::RoutePlan;
use crate::section::Section;

/// Everything that the builder wants.
#[derive(Debug)]
pub(crate) struct EgressPlan {
    sts: StsEndpoint,
    routes: Vec<RoutePlan>,
    redirects: Option<u8>,
    bodies: BodyScan,
    judged: Vec<String>,
    exceptions: Vec<(String, Waiver)>,
    report_only: Option<Waiver>,
    domains: Vec<(String, String)>,
    remember_at_most: Option<usize>,
    waiters_at_most: Option<usize>,
    flights_at_most: Option<usize>,
    refresh_ahead_at_most: Option<Duration>,
}

impl EgressPlan {
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let exception = |mut section: Section<'_>| {
            let url = section.needed("url", "the origin to which credentials may leave").unwrap_or(MISSING);
            (url.to_owned(), section.waiver())
        };
        let domain = |mut section: Section<'_>| {
            let url = section.needed("url", "the origin that is inside").unwrap_or(MISSING);
            let domain = section.needed("domain", "the trust domain, as transaction tokens name it");
            (url.to_owned(), domain.unwrap_or(MISSING).to_owned())
        };
        Self {
            sts: sts(&mut section),
            routes: section.sections("route").into_iter().map(RoutePlan::read).collect(),
            redirects: redirects(&mut section),
            bodies: section.section("bodies").map(|bodies| scan(bodies, Beyond::Refuse)).unwrap_or_default(),
            judged: section.texts("judge_headers").unwrap_or_default(),
            exceptions: section.sections("dangerous_except").into_iter().map(exception).collect(),
            report_only: section.section("dangerous_report_only").map(|mut waiver| waiver.waiver()),
            domains: section.sections("trust_domain").into_iter().map(domain).collect(),
            remember_at_most: section.count("remember_at_most"),
            waiters_at_most: section.count("waiters_at_most"),
            flights_at_most: section.count("flights_at_most"),
            refresh_ahead_at_most: section.duration("refresh_ahead_at_most"),
        }
    }

    pub(crate) fn build(
        &self,
        ledger: &Ledger,
        audit: &Audit,
        clock: Arc<dyn Clock>,
        transport: Arc<dyn Transport>,
    ) -> Result<Egress, ConfigErrors> {
        let mut builder = Egress::builder(ledger, audit, self.sts.clone())
            .bodies(self.bodies)
            .clock(clock)
            .transport(transport);
        for RoutePlan { url, methods, rule } in &self.routes {
            builder = match methods {
                Some(methods) => builder.route_for(methods.iter().cloned(), url, rule.clone()),
                None => builder.route(url, rule.clone()),
            };
        }
        if let Some(hops) = self.redirects {
            builder = builder.follow_redirects(hops);
        }
        for header in &self.judged {
            builder = builder.judge_header(header);
        }
        for (url, waiver) in &self.exceptions {
            builder = builder.dangerous_except(url, waiver.clone());
        }
        for (url, domain) in &self.domains {
            builder = builder.trust_domain(url, domain);
        }
        if let Some(grants) = self.remember_at_most {
            builder = builder.remember_at_most(grants);
        }
        if let Some(callers) = self.waiters_at_most {
            builder = builder.waiters_at_most(callers);
        }
        if let Some(exchanges) = self.flights_at_most {
            builder = builder.flights_at_most(exchanges);
        }
        if let Some(ahead) = self.refresh_ahead_at_most {
            builder = builder.refresh_ahead_at_most(ahead);
        }
        match &self.report_only {
            Some(waiver) => builder.dangerous_report_only(waiver.clone()).build(),
            None => builder.build(),
        }
    }
}

fn sts(section: &mut Section<'_>) -> StsEndpoint {
    let nobody = || ClientAuth::client_secret_basic("missing", "missing");
    let Some(mut sts) = section.section("sts") else {
        section.problem("sts", "is missing: name the authorization server that exchanges tokens");
        return StsEndpoint::at(MISSING, nobody());
    };
    let issuer = sts.needed("issuer", "the authorization server, as tokens name it").unwrap_or(MISSING);
    let endpoint = sts.text("token_endpoint");
    let auth = authentication(&mut sts).unwrap_or_else(nobody);
    let mut found = StsEndpoint::at(issuer, auth);
    if let Some(url) = endpoint {
        found = found.token_endpoint(url);
    }
    if sts.has("jwks_url") && sts.has("keys_fixed") {
        sts.problem("keys_fixed", "and jwks_url are two sources of keys: name one");
    }
    if let Some(url) = sts.text("jwks_url") {
        found = found.jwks_url(url);
    }
    if let Some(keys) = sts.text("keys_fixed") {
        found = found.keys_fixed(keys);
    }
    if let Some(algorithms) = algorithms(&mut sts) {
        found = found.algorithms(algorithms);
    }
    if let Some(profile) = profile(&mut sts) {
        found = found.profile(profile);
    }
    found = found.refusals(refusals(&mut sts));
    if let Some(name) = sts.text("acts_as") {
        found = found.acts_as(name);
    }
    let is_jwt = sts.flag("actor_token_is_jwt") == Some(true);
    if let Some(path) = sts.path("actor_token_file") {
        let actor = ActorToken::file(TokenFile::at(path));
        found = found.actor_token(if is_jwt { actor.of_type_jwt() } else { actor });
    }
    found
}

type MakesStsProfile = fn() -> StsProfile;

fn refusals(sts: &mut Section<'_>) -> StsProfile {
    let known: [(&str, MakesStsProfile); 2] =
        [("rfc8693", StsProfile::rfc8693), ("keycloak", StsProfile::keycloak)];
    let profile = sts.choice("refusals", &known).unwrap_or(StsProfile::rfc8693)();
    let subject = sts.texts("subject_refused_by").unwrap_or_default();
    let profile = subject.iter().fold(profile, |profile, code| profile.subject_refused_by(code));
    let step_up = sts.texts("step_up_by").unwrap_or_default();
    step_up.iter().fold(profile, |profile, code| profile.step_up_by(code))
}

fn redirects(section: &mut Section<'_>) -> Option<u8> {
    let hops = section.number("follow_redirects")?;
    let few = u8::try_from(hops).ok();
    if few.is_none() {
        section.problem("follow_redirects", "is above 10");
    }
    few
}

#[derive(Clone, Copy)]
enum Method {
    PrivateKey,
    Basic,
    Post,
    Assertion,
    Svid,
}

fn authentication(sts: &mut Section<'_>) -> Option<ClientAuth> {
    let client = sts.needed("client_id", "the name registered at the authorization server");
    let methods = [
        ("private_key_jwt", Method::PrivateKey),
        ("client_secret_basic", Method::Basic),
        ("client_secret_post", Method::Post),
        ("assertion_file", Method::Assertion),
        ("jwt_svid_file", Method::Svid),
    ];
    sts.demand("authentication", "how this service proves who it is, such as private_key_jwt");
    let Some(method) = sts.choice("authentication", &methods) else {
        sts.be_lenient();
        return None;
    };
    match method {
        Method::PrivateKey => {
            let key = signing_key(sts);
            Some(ClientAuth::private_key_jwt(client?, key?))
        }
        Method::Basic | Method::Post => {
            let secret = sts.secret_text("client_secret", "client_secret_file");
            if secret.is_none() && !sts.has("client_secret") && !sts.has("client_secret_file") {
                sts.problem("client_secret_file", "is missing: name the file that holds the secret");
            }
            let (client, secret) = (client?, secret?);
            Some(match method {
                Method::Basic => ClientAuth::client_secret_basic(client, &secret),
                _ => ClientAuth::client_secret_post(client, &secret),
            })
        }
        Method::Assertion | Method::Svid => {
            let path = sts.path("client_assertion_file");
            sts.demand("client_assertion_file", "name the file that the platform writes");
            let (client, file) = (client?, TokenFile::at(path?));
            Some(match method {
                Method::Assertion => ClientAuth::assertion_file(client, file),
                _ => ClientAuth::jwt_svid_file(client, file),
            })
        }
    }
}

fn signing_key(sts: &mut Section<'_>) -> Option<SigningKey> {
    let algorithms = [("ES256", Algorithm::Es256), ("RS256", Algorithm::Rs256), ("EdDSA", Algorithm::EdDsa)];
    sts.demand("algorithm", "how the key signs: ES256, RS256 or EdDSA");
    let algorithm = sts.choice("algorithm", &algorithms);
    let key_id = sts.text("key_id");
    let secret = sts.secret("private_key", "private_key_file");
    if secret.is_none() && !sts.has("private_key") && !sts.has("private_key_file") {
        sts.problem(
            "private_key_file",
            "is missing: name the file that holds the key, PKCS #8 as PEM or DER",
        );
    }
    let (algorithm, secret) = (algorithm?, secret?);
    let pem = secret.starts_with(b"-----BEGIN").then(|| PrivatePkcs8KeyDer::from_pem_slice(&secret));
    let der = match &pem {
        None => secret.as_slice(),
        Some(Ok(key)) => key.secret_pkcs8_der(),
        Some(Err(_)) => {
            sts.problem(
                "private_key_file",
                "holds no PRIVATE KEY in PEM: `openssl pkcs8 -topk8 -nocrypt` makes one",
            );
            return None;
        }
    };
    match SigningKey::from_pkcs8(algorithm, der, key_id) {
        Ok(key) => Some(key),
        Err(errors) => {
            for problem in errors.problems() {
                sts.problem("private_key_file", format!("{} {}", problem.setting, problem.problem));
            }
            None
        }
    }
}
