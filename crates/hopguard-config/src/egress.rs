//! `[egress]`: fills the builder of the way out.

use std::sync::Arc;

use hopguard_client::{Algorithm, ClientAuth, SigningKey, TokenFile, Transport};
use hopguard_core::{Anonymous, Audit, Clock, ConfigErrors, Deny, Exchange, Ledger, RouteRule, Waiver};
use hopguard_tower::{BodyScan, Egress, StsEndpoint};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

use crate::inbound::{Beyond, MISSING, scan};
use crate::section::Section;

/// Everything that the builder wants.
#[derive(Debug)]
pub(crate) struct EgressPlan {
    sts: StsEndpoint,
    routes: Vec<(String, RouteRule)>,
    bodies: BodyScan,
    judged: Vec<String>,
    exceptions: Vec<(String, Waiver)>,
    report_only: Option<Waiver>,
}

impl EgressPlan {
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let exception = |mut section: Section<'_>| {
            let url = section.needed("url", "the origin to which credentials may leave").unwrap_or(MISSING);
            (url.to_owned(), section.waiver())
        };
        Self {
            sts: sts(&mut section),
            routes: routes(&mut section),
            bodies: section.section("bodies").map(|bodies| scan(bodies, Beyond::Refuse)).unwrap_or_default(),
            judged: section.texts("judge_headers").unwrap_or_default(),
            exceptions: section.sections("dangerous_except").into_iter().map(exception).collect(),
            report_only: section.section("dangerous_report_only").map(|mut waiver| waiver.waiver()),
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
        for (url, rule) in &self.routes {
            builder = builder.route(url, rule.clone());
        }
        for header in &self.judged {
            builder = builder.judge_header(header);
        }
        for (url, waiver) in &self.exceptions {
            builder = builder.dangerous_except(url, waiver.clone());
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
    let found = StsEndpoint::at(issuer, auth);
    match endpoint {
        Some(url) => found.token_endpoint(url),
        None => found,
    }
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
            Some(ClientAuth::private_key_jwt(client?, Arc::new(key?)))
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

fn routes(section: &mut Section<'_>) -> Vec<(String, RouteRule)> {
    section.sections("route").into_iter().map(route).collect()
}

// New kinds of routes get their name here and a function beside `exchange`.
#[derive(Clone, Copy)]
enum Rule {
    Exchange,
    Anonymous,
    Deny,
}

fn route(mut section: Section<'_>) -> (String, RouteRule) {
    let url = section.needed("url", "where the calls go").unwrap_or(MISSING).to_owned();
    let rules = [("exchange", Rule::Exchange), ("anonymous", Rule::Anonymous), ("deny", Rule::Deny)];
    section.demand("rule", "exchange, anonymous or deny");
    let rule = match section.choice("rule", &rules) {
        Some(Rule::Exchange) => exchange(&mut section).into(),
        Some(Rule::Anonymous) => Anonymous.into(),
        Some(Rule::Deny) => Deny.into(),
        None => {
            section.be_lenient();
            Deny.into()
        }
    };
    (url, rule)
}

fn exchange(section: &mut Section<'_>) -> Exchange {
    let audience = section.needed("audience", "what the authorization server calls the destination");
    let mut asked = Exchange::audience(audience.unwrap_or(MISSING));
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
    requires(section, asked)
}

fn requires(section: &mut Section<'_>, asked: Exchange<hopguard_core::Unstated>) -> Exchange {
    let none = section.flag("requires_none").filter(|none| *none);
    let named = section.has("requires");
    match (section.scopes("requires"), none) {
        (Some(scopes), None) => asked.requires(&scopes.join(" ")),
        (None, Some(_)) if !named => asked.requires_none(),
        (Some(_), Some(_)) => {
            section.problem("requires", "and requires_none cannot both be");
            asked.requires_none()
        }
        _ => {
            if !named {
                let right = "name the scopes that the caller must have, or say requires_none = true";
                section.problem("requires", format!("is missing: {right}"));
            }
            asked.requires_none()
        }
    }
}
