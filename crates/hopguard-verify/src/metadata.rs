//! Where does an issuer publish its keys? Its own metadata says so (RFC 8414).

use std::borrow::Cow;

use hopguard_core::parse_absolute;
use http::Uri;
use http::uri::PathAndQuery;

use crate::json::{self, Claim, Malformed, Shape, Source, names};

names!(Member { Issuer = "issuer", JwksUri = "jwks_uri" });

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

/// Where an issuer's metadata stands: the well-known name is put between host and path (RFC 8414 section 3.1).
pub(crate) fn location(issuer: &Uri) -> Option<Uri> {
    let path = issuer.path();
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut parts = issuer.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{WELL_KNOWN}{path}")).ok()?);
    Uri::from_parts(parts).ok()
}

/// Reads `jwks_uri` out of the metadata of `issuer`; what is wrong with it, in words of ours.
pub(crate) fn jwks_uri(text: &[u8], issuer: &str) -> Result<Uri, &'static str> {
    let mut metadata = Metadata::default();
    json::read(text, &mut metadata).map_err(|_| "the metadata is malformed")?;
    // Compared letter by letter, so that no issuer can speak for another (RFC 8414 section 3.3).
    match &metadata.issuer {
        Claim::Is(named) if named == issuer => {}
        _ => return Err("the metadata names another issuer"),
    }
    match &metadata.jwks_uri {
        Claim::Is(url) => parse_absolute(url).map_err(|_| "the metadata's jwks_uri is no https URL"),
        Claim::Absent | Claim::Wrong => Err("the metadata has no jwks_uri"),
    }
}

#[derive(Default)]
struct Metadata<'a> {
    issuer: Claim<Cow<'a, str>>,
    jwks_uri: Claim<Cow<'a, str>>,
}

impl<'de> Shape<'de> for Metadata<'de> {
    fn wrong(&mut self) {}

    fn object(&mut self, source: &mut Source<'de>) -> Result<(), Malformed> {
        source
            .members(|name, source| match name {
                Member::Issuer => source.value(&mut self.issuer),
                Member::JwksUri => source.value(&mut self.jwks_uri),
            })
            .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_name_stands_before_the_path() {
        for (issuer, expected) in [
            ("https://a.internal", "https://a.internal/.well-known/oauth-authorization-server"),
            ("https://a.internal/", "https://a.internal/.well-known/oauth-authorization-server"),
            (
                "https://a.internal:8443/t/1",
                "https://a.internal:8443/.well-known/oauth-authorization-server/t/1",
            ),
            ("https://a.internal/t/", "https://a.internal/.well-known/oauth-authorization-server/t"),
        ] {
            assert_eq!(location(&issuer.parse().unwrap()).unwrap().to_string(), expected);
        }
    }

    #[track_caller]
    fn metadata(text: &str, expected: Result<&str, &str>) {
        let found = jwks_uri(text.as_bytes(), "https://a.internal").map(|uri| uri.to_string());
        assert_eq!(found.as_deref().map_err(|why| *why), expected, "{text}");
    }

    #[test]
    fn only_the_issuers_own_metadata_counts() {
        metadata(
            r#"{"issuer":"https://a.internal","jwks_uri":"https://k.internal/jwks"}"#,
            Ok("https://k.internal/jwks"),
        );
        metadata(
            r#"{"issuer":"https://a.internal","jwks_uri":"http://127.0.0.1:9/k"}"#,
            Ok("http://127.0.0.1:9/k"),
        );
        for other in ["https://a.internal/", "https://A.internal", "https://b.internal", ""] {
            let text = format!(r#"{{"issuer":"{other}","jwks_uri":"https://k.internal/jwks"}}"#);
            metadata(&text, Err("the metadata names another issuer"));
        }
        metadata(r#"{"jwks_uri":"https://k.internal"}"#, Err("the metadata names another issuer"));
        for url in
            ["http://k.internal/jwks", "/jwks", "ftp://k", "https://u:p@k.internal", "file:///etc/keys"]
        {
            let text = format!(r#"{{"issuer":"https://a.internal","jwks_uri":"{url}"}}"#);
            metadata(&text, Err("the metadata's jwks_uri is no https URL"));
        }
        metadata(r#"{"issuer":"https://a.internal","jwks_uri":7}"#, Err("the metadata has no jwks_uri"));
        metadata(
            r#"{"issuer":"x","issuer":"https://a.internal","jwks_uri":"https://k"}"#,
            Err("the metadata is malformed"),
        );
        metadata("<html>", Err("the metadata is malformed"));
    }
}
