//! Where does an issuer publish its keys? Its own metadata says so (RFC 8414, OpenID Connect Discovery).

use hopguard_core::parse_absolute;
use http::Uri;
use http::uri::PathAndQuery;

use crate::json::{self, Claim, names};

names!(Member { Issuer = b"issuer", JwksUri = b"jwks_uri" });

const OAUTH: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

/// Where an issuer's metadata may stand, in the order in which it is looked for: RFC 8414 section 3.1 puts the
/// well-known name between host and path, OpenID Connect Discovery section 4 puts its own behind the path.
pub(crate) fn locations(issuer: &Uri) -> Option<[Uri; 2]> {
    let path = issuer.path();
    let path = path.strip_suffix('/').unwrap_or(path);
    let at = |path: String| {
        let mut parts = issuer.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
        Uri::from_parts(parts).ok()
    };
    Some([at(format!("{OAUTH}{path}"))?, at(format!("{path}{OPENID}"))?])
}

/// Reads `jwks_uri` out of the metadata of `issuer`; what is wrong with it, in words of ours.
pub(crate) fn jwks_uri(text: &[u8], issuer: &str) -> Result<Uri, &'static str> {
    let metadata = json::read(text).map_err(|_| "the metadata is malformed")?;
    // Compared letter by letter, so that no issuer can speak for another (RFC 8414 section 3.3).
    match metadata.of(Member::Issuer).text() {
        Claim::Is(named) if named == issuer => {}
        _ => return Err("the metadata names another issuer"),
    }
    match metadata.of(Member::JwksUri).text() {
        Claim::Is(url) => {
            let url = parse_absolute(&url).map_err(|_| "the metadata's jwks_uri is no https URL")?;
            // An issuer that is asked over https cannot send us to plain http, be it on this machine.
            if issuer.starts_with("https:") && url.scheme_str() != Some("https") {
                return Err("the metadata's jwks_uri is plain http, and the issuer is not");
            }
            Ok(url)
        }
        Claim::Absent | Claim::Wrong => Err("the metadata has no jwks_uri"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_names_have_their_places() {
        let (oauth, openid) = ("oauth-authorization-server", "openid-configuration");
        for (issuer, host, path) in [
            ("https://a.internal", "https://a.internal", ""),
            ("https://a.internal/", "https://a.internal", ""),
            ("https://a.internal:8443/t/1", "https://a.internal:8443", "/t/1"),
            ("https://a.internal/t/", "https://a.internal", "/t"),
        ] {
            let found = locations(&issuer.parse().unwrap()).unwrap().map(|uri| uri.to_string());
            assert_eq!(found[0], format!("{host}/.well-known/{oauth}{path}"));
            assert_eq!(found[1], format!("{host}{path}/.well-known/{openid}"));
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
            Err("the metadata's jwks_uri is plain http, and the issuer is not"),
        );
        let local = br#"{"issuer":"http://127.0.0.1:8","jwks_uri":"http://127.0.0.1:9/k"}"#;
        assert_eq!(jwks_uri(local, "http://127.0.0.1:8").unwrap(), "http://127.0.0.1:9/k");
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
