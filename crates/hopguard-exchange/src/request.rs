//! The token request (RFC 8693 section 2.1).

use bytes::Bytes;
use hopguard_client::ClientAuth;
use hopguard_core::{Exchange, Fault, RawToken, TokenForm, UnixTime};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};

use crate::actor::ActorToken;

/// `grant_type` (RFC 8693 section 2.1).
pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The token type of what is given and of what is asked for (RFC 8693 section 3).
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The type of a JWT that is asked for as such, and `issued_token_type` of servers that name the form of the
/// token instead of its use (RFC 8693 section 3).
pub(crate) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The request that asks for `target` in exchange for `subject`.
///
/// `issuer` is the authorization server's own name, for which a client assertion is made out; `endpoint` is
/// that server's token endpoint.
pub(crate) fn token_request(
    endpoint: &Uri,
    issuer: &str,
    auth: &ClientAuth,
    actor: Option<&ActorToken>,
    subject: &RawToken,
    target: &Exchange,
    now: UnixTime,
) -> Result<Request<Bytes>, Fault> {
    let mut form = TokenForm::new();
    form.append("grant_type", GRANT_TYPE);
    // INVARIANT: I3 — the one place where a received token is written into a request; the exchanger checked
    // that `endpoint` belongs to the token's own issuer.
    form.append_token("subject_token", subject);
    form.append("subject_token_type", ACCESS_TOKEN);
    // INVARIANT: I4 — an actor that cannot be proven is not left out.
    if let Some(actor) = actor {
        actor.append_to(&mut form)?;
    }
    form.append("requested_token_type", if target.asks_for_jwt() { JWT } else { ACCESS_TOKEN });
    form.append("audience", target.target_audience());
    for resource in target.target_resources() {
        form.append("resource", resource);
    }
    let scopes = target.target_scopes();
    if !scopes.is_empty() {
        form.append("scope", &scopes.to_string());
    }

    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    auth.authenticate(issuer, now, &mut headers, &mut form)?;

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
        token_request(
            &Uri::from_static("https://sts.internal/token"),
            "https://sts.internal",
            &ClientAuth::client_secret_basic("orders", "hunter2"),
            actor,
            &RawToken::new("aaa.bbb.ccc"),
            target,
            UnixTime::from_secs(1000),
        )
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
