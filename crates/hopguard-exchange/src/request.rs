//! The token request (RFC 8693 section 2.1).

use bytes::Bytes;
use hopguard_client::ClientAuth;
use hopguard_core::{AsOurselves, Asked, Exchange, Fault, FormPart, RawToken, TokenForm, UnixTime};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};

use crate::actor::ActorToken;

/// `grant_type` (RFC 8693 section 2.1).
pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The token type of what is given and of what is asked for (RFC 8693 section 3).
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The type of a JWT that is asked for as such, and `issued_token_type` of servers that name the form of the
/// token instead of its use (RFC 8693 section 3).
pub(crate) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// `grant_type` for a token of our own (RFC 6749 section 4.4.2).
pub(crate) const OWN_GRANT_TYPE: &str = "client_credentials";

/// Who we are at which server.
#[derive(Clone, Copy)]
pub(crate) struct Identity<'a> {
    /// The authorization server's own name, for which a client assertion is made out.
    pub(crate) issuer: &'a str,
    pub(crate) auth: &'a ClientAuth,
}

/// What asks for a target in exchange for whatever token, but for tokens: encoded once for all of a route's callers.
#[derive(Debug)]
pub(crate) struct ExchangeParts {
    grant_type: FormPart,
    subject_type: FormPart,
    asked: FormPart,
}

impl ExchangeParts {
    pub(crate) fn of(target: &Exchange) -> Self {
        let requested = if target.asks_for_jwt() { JWT } else { ACCESS_TOKEN };
        let requested = ("requested_token_type", requested.to_owned());
        Self {
            grant_type: FormPart::of([("grant_type", GRANT_TYPE)]),
            subject_type: FormPart::of([("subject_token_type", ACCESS_TOKEN)]),
            asked: FormPart::of(std::iter::once(requested).chain(asked_for(target.asked()))),
        }
    }

    /// The form that asks in exchange for `subject` (RFC 8693 section 2.1), with `room` for what the client's
    /// authentication adds.
    pub(crate) fn form(
        &self,
        subject: &RawToken,
        actor: Option<&ActorToken>,
        room: usize,
    ) -> Result<TokenForm, Fault> {
        const NAME: &str = "subject_token";
        let Self { grant_type, subject_type, asked } = self;
        let parts = grant_type.len() + subject_type.len() + asked.len();
        let mut form = TokenForm::with_room(parts + NAME.len() + subject.len() + room + 8);
        form.append_part(grant_type);
        // INVARIANT: I3 — the one place where a received token is written into a request; the exchanger checked
        // that the endpoint belongs to the token's own issuer.
        form.append_token(NAME, subject);
        form.append_part(subject_type);
        // INVARIANT: I4 — an actor that cannot be proven is not left out.
        if let Some(actor) = actor {
            actor.append_to(&mut form)?;
        }
        form.append_part(asked);
        Ok(form)
    }
}

/// What asks for a token of our own.
pub(crate) fn own_form(target: &AsOurselves) -> TokenForm {
    let mut form = TokenForm::new();
    form.append("grant_type", OWN_GRANT_TYPE);
    asked_for(target.asked()).for_each(|(name, value)| form.append(name, &value));
    form
}

fn asked_for(asked: &Asked) -> impl Iterator<Item = (&'static str, String)> {
    let audience = asked.asked_audience().map(|audience| ("audience", audience.to_string()));
    let resources = asked.resources().iter().map(|resource| ("resource", resource.to_string()));
    let scopes = Some(asked.scopes()).filter(|scopes| !scopes.is_empty());
    audience.into_iter().chain(resources).chain(scopes.map(|scopes| ("scope", scopes.to_string())))
}

/// The request with this form to `endpoint`, the token endpoint of `us.issuer`.
pub(crate) fn token_request(
    endpoint: &Uri,
    us: &Identity<'_>,
    mut form: TokenForm,
    now: UnixTime,
) -> Result<Request<Bytes>, Fault> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    us.auth.authenticate(us.issuer, now, &mut headers, &mut form)?;

    let mut request = Request::new(form.into_bytes());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.clone();
    *request.headers_mut() = headers;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use hopguard_client::TokenFile;

    use super::*;

    fn request(target: &Exchange) -> Request<Bytes> {
        acting(None, target).unwrap()
    }

    fn acting(actor: Option<&ActorToken>, target: &Exchange) -> Result<Request<Bytes>, Fault> {
        sent(ExchangeParts::of(target).form(&RawToken::new("aaa.bbb.ccc"), actor, 0)?)
    }

    fn sent(form: TokenForm) -> Result<Request<Bytes>, Fault> {
        let auth = ClientAuth::client_secret_basic("orders", "hunter2");
        let us = Identity { issuer: "https://sts.internal", auth: &auth };
        token_request(&Uri::from_static("https://sts.internal/token"), &us, form, UnixTime::from_secs(1000))
    }

    #[test]
    fn a_token_of_our_own_is_asked_for_by_our_credentials_alone() {
        let target =
            AsOurselves::audience("https://ledger.internal").resource("r").scope("b a").requires("x");
        let request = sent(own_form(&target)).unwrap();
        assert_eq!(
            std::str::from_utf8(request.body()).unwrap(),
            "grant_type=client_credentials&audience=https%3A%2F%2Fledger.internal&resource=r&scope=a%20b"
        );
        assert!(request.headers()[header::AUTHORIZATION].is_sensitive());
        let target = AsOurselves::for_resource("https://r").requires_none();
        let request = sent(own_form(&target)).unwrap();
        assert_eq!(request.body(), "grant_type=client_credentials&resource=https%3A%2F%2Fr");
        let target = AsOurselves::by_scope_for("guid").scope("api://x/.default").requires_none();
        let request = sent(own_form(&target)).unwrap();
        assert_eq!(request.body(), "grant_type=client_credentials&scope=api%3A%2F%2Fx%2F.default");
    }

    #[test]
    fn a_target_may_be_named_by_resource_alone() {
        let sent = request(&Exchange::for_resource("https://r").resource("https://s").requires_none());
        let body = std::str::from_utf8(sent.body()).unwrap();
        assert!(body.ends_with("access_token&resource=https%3A%2F%2Fr&resource=https%3A%2F%2Fs"), "{body}");
        assert!(!body.contains("audience="), "{body}");
    }

    #[test]
    fn an_actor_token_is_sent_with_its_type_or_nothing_is() {
        let target = Exchange::audience("a").requires_none();
        let fixed = ActorToken::fixed(RawToken::new("d.e.f"));
        for (actor, kind) in [(fixed.clone(), "access_token"), (fixed.of_type_jwt(), "jwt")] {
            let sent = acting(Some(&actor), &target).unwrap();
            let body = std::str::from_utf8(sent.body()).unwrap();
            let expected = format!(
                "&actor_token=d.e.f&actor_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3A{kind}&"
            );
            assert!(body.contains(&expected), "{body}");
            assert!(!format!("{actor:?}").contains("d.e.f"));
        }
        for missing in
            [ActorToken::fixed(RawToken::new("")), ActorToken::file(TokenFile::at("/nowhere/at/all"))]
        {
            let fault = acting(Some(&missing), &target).unwrap_err();
            assert_eq!(fault, Fault::OwnCredentialUnavailable, "{missing:?}");
        }
    }

    #[test]
    fn it_says_exactly_what_the_route_asks() {
        let target = Exchange::audience("https://inventory.internal")
            .resource("https://inventory.internal/stock")
            .scope("stock:read stock:list")
            .requires_none();
        let sent = request(&target);
        assert_eq!(sent.method(), Method::POST);
        assert_eq!(sent.uri(), "https://sts.internal/token");
        assert_eq!(sent.headers()[header::CONTENT_TYPE], "application/x-www-form-urlencoded");
        assert_eq!(
            std::str::from_utf8(sent.body()).unwrap(),
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=aaa.bbb.ccc\
             &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
             &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
             &audience=https%3A%2F%2Finventory.internal\
             &resource=https%3A%2F%2Finventory.internal%2Fstock\
             &scope=stock%3Alist%20stock%3Aread"
        );
        let authorization = &sent.headers()[header::AUTHORIZATION];
        assert!(authorization.to_str().unwrap().starts_with("Basic ") && authorization.is_sensitive());
    }

    #[test]
    fn several_resources_and_another_type_are_asked_for() {
        let target = Exchange::audience("a").resource("https://r").resource("https://s&x=1").wants_jwt();
        let sent = request(&target.requires_none());
        let body = std::str::from_utf8(sent.body()).unwrap();
        assert!(
            body.ends_with("&audience=a&resource=https%3A%2F%2Fr&resource=https%3A%2F%2Fs%26x%3D1"),
            "{body}"
        );
        assert!(
            body.contains("&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&"),
            "{body}"
        );
    }

    #[test]
    fn what_is_not_asked_is_not_sent() {
        let sent = request(&Exchange::audience("a").requires_none());
        let body = std::str::from_utf8(sent.body()).unwrap();
        assert!(!body.contains("scope=") && !body.contains("resource="));
    }

    #[test]
    fn a_hostile_value_stays_inside_its_parameter() {
        let sent = request(&Exchange::audience("a&scope=admin").resource("r=1&audience=b").requires_none());
        let body = std::str::from_utf8(sent.body()).unwrap();
        assert!(body.ends_with("&audience=a%26scope%3Dadmin&resource=r%3D1%26audience%3Db"), "{body}");
    }
}
