//! What a service says about itself to clients that do not know it yet (RFC 9728): where its tokens come from.
//!
//! ```
//! use hopguard_core::{Audit, Ledger, ScopeGuard, Ttl, minutes};
//! use hopguard_tower::{Inbound, ResourceMetadata};
//! use hopguard_verify::Issuer;
//!
//! # fn build(ledger: &Ledger, audit: &Audit) -> Result<(), hopguard_core::ConfigErrors> {
//! let guard = Inbound::builder(ledger, audit)
//!     .issuer(Issuer::at("https://sts.internal"))
//!     .audience("https://orders.internal/v1")
//!     .ttl(Ttl::lifetime_at_most(minutes(5)))
//!     .scope(ScopeGuard::all_of(["orders:read"]))
//!     .resource_metadata(ResourceMetadata::published().scopes(["orders:write"])) // single routes ask for more
//!     .build()?;
//! let published = guard.resource_metadata().unwrap();
//! assert_eq!(published.url(), "https://orders.internal/.well-known/oauth-protected-resource/v1");
//! # Ok(()) }
//! ```
//!
//! The document says what the stack's own settings say and nothing else, so that it cannot come to lie. Refusals
//! name its URL in their challenge (section 5.1).
//!
//! # Security
//!
//! It is for anybody: it names the trusted issuers and the scopes.

use std::sync::Arc;

use bytes::Bytes;
use hopguard_core::{AudienceGuard, Problems, ScopeGuard, ScopeSet, is_ambiguous_path, parse_absolute};
use serde_json::json;

const SETTING: &str = "inbound.resource_metadata";
/// Inserted between host and path of the resource (section 3.1).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// That a service publishes metadata, and what beside its other settings stands there.
#[derive(Clone, Debug)]
pub struct ResourceMetadata {
    scopes: Vec<Box<str>>,
    root: bool,
}

impl ResourceMetadata {
    /// Publishes the service's audience as `resource`, its issuers, and the scopes of its scope rule.
    #[must_use]
    pub const fn published() -> Self {
        Self { scopes: Vec::new(), root: false }
    }

    /// Names these scopes as well, which single routes ask for. May be said several times.
    #[must_use]
    pub fn scopes<'a>(mut self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Box::from));
        self
    }

    /// Also answers at the root of the host, where clients look that do not insert the resource's path. Only for a
    /// service that has the host for itself: there can be no other resource's metadata there.
    #[must_use]
    pub const fn also_at_root(mut self) -> Self {
        self.root = true;
        self
    }

    /// Fills in what the stack knows; what is wrong goes to `problems`.
    pub(super) fn publish(
        self,
        audience: &AudienceGuard,
        issuers: &[String],
        scope: &ScopeGuard,
        problems: &mut Problems,
    ) -> Option<PublishedMetadata> {
        let resource = audience.audiences().next().unwrap_or_default();
        let place = match place(resource) {
            Ok(place) => place,
            Err(problem) => {
                problems.add(SETTING, format!("cannot be published: the audience {problem}"));
                return None;
            }
        };
        let named = scope.named().chain(self.scopes.iter().map(AsRef::as_ref));
        let Ok(scopes) = ScopeSet::from_tokens(named) else {
            problems.add(SETTING, "names a malformed scope");
            return None;
        };
        let mut document = json!({
            "resource": resource,
            "authorization_servers": issuers,
            "bearer_methods_supported": ["header"],
        });
        if let (false, Some(members)) = (scopes.is_empty(), document.as_object_mut()) {
            members.insert("scopes_supported".into(), scopes.iter().collect());
        }
        let path: Box<str> = format!("{WELL_KNOWN}{}", place.path).into();
        let url = format!("{}{path}", place.origin).into();
        let root = (self.root && *path != *WELL_KNOWN).then(|| WELL_KNOWN.into());
        let paths = std::iter::once(path).chain(root).collect();
        Some(PublishedMetadata(Arc::new(Inner { url, paths, document: document.to_string().into() })))
    }
}

/// The finished document, and where it is to be found. Cloning shares it.
#[derive(Clone, Debug)]
pub struct PublishedMetadata(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: Box<str>,
    paths: Vec<Box<str>>,
    document: Bytes,
}

impl PublishedMetadata {
    /// The document's URL, as challenges name it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// True if the document is to be found at `path`, letter by letter.
    #[must_use]
    pub fn is_at(&self, path: &str) -> bool {
        self.0.paths.iter().any(|one| **one == *path)
    }

    /// The document, JSON.
    #[must_use]
    pub fn document(&self) -> Bytes {
        self.0.document.clone()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct ResourcePlace<'a> {
    origin: &'a str,
    path: &'a str,
}

/// Takes a resource identifier apart (section 1.2: https, no fragment).
fn place(resource: &str) -> Result<ResourcePlace<'_>, &'static str> {
    parse_absolute(resource)?;
    // A query would have to be told apart by whoever serves the document, which paths alone do not do.
    if resource.contains(['?', '#']) {
        return Err("has a query or a fragment");
    }
    let host = resource.find("://").map_or(0, |at| at + "://".len());
    let (origin, path) = match resource.get(host..).and_then(|rest| rest.find('/')) {
        Some(at) => resource.split_at(host + at),
        None => (resource, ""),
    };
    // It stands between quotes in challenges.
    if is_ambiguous_path(path) || resource.contains(['"', '\\']) {
        return Err("has a path that can be read in two ways");
    }
    // Section 3.1: only the slash that ends the host goes.
    Ok(ResourcePlace { origin, path: if path == "/" { "" } else { path } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn published(audience: &str, expected: Result<&str, &str>) {
        let mut problems = Problems::new();
        let found = ResourceMetadata::published().publish(
            &AudienceGuard::exactly(audience),
            &["https://sts.internal".to_owned()],
            &ScopeGuard::any_scope(),
            &mut problems,
        );
        let found = problems.into_result(found).map_err(|errors| errors.to_string());
        match (found, expected) {
            (Ok(Some(found)), Ok(url)) => assert_eq!(found.url(), url),
            (Err(text), Err(part)) => assert!(text.contains(part), "{text}"),
            (found, expected) => panic!("{found:?}, {expected:?}"),
        }
    }

    #[test]
    fn the_well_known_part_stands_between_host_and_path() {
        let at = "https://orders.internal/.well-known/oauth-protected-resource";
        published("https://orders.internal", Ok(at));
        published("https://orders.internal/", Ok(at));
        published("https://orders.internal/v1", Ok(&format!("{at}/v1")));
        published("https://orders.internal/v1/eu", Ok(&format!("{at}/v1/eu")));
        published(
            "http://127.0.0.1:8080/v1",
            Ok("http://127.0.0.1:8080/.well-known/oauth-protected-resource/v1"),
        );
    }

    #[test]
    fn what_is_no_resource_identifier_is_not_published() {
        for audience in ["", "orders", "urn:orders", "http://orders.internal", "https://u@orders.internal"] {
            published(audience, Err("inbound.resource_metadata cannot be published"));
        }
        published("https://orders.internal/v1?a=b", Err("query"));
        published("https://orders.internal/v1#a", Err("fragment"));
        published("https://orders.internal/a/../b", Err("two ways"));
        published("https://orders.internal/a\"b", Err("two ways"));
    }

    #[test]
    fn the_document_says_what_is_true_and_no_more() {
        let mut problems = Problems::new();
        let scope = ScopeGuard::all_of(["orders:read"]).at_most(["orders:read", "admin"]);
        let metadata = ResourceMetadata::published().scopes(["orders:write", "orders:read"]).also_at_root();
        let audience =
            AudienceGuard::exactly("https://orders.internal/v1").or_alias("https://other.internal");
        let issuers = ["https://a.internal".to_owned(), "https://b.internal".to_owned()];
        let found = metadata.publish(&audience, &issuers, &scope, &mut problems).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&found.document()).unwrap();
        let expected = json!({
            "resource": "https://orders.internal/v1",
            "authorization_servers": ["https://a.internal", "https://b.internal"],
            "scopes_supported": ["orders:read", "orders:write"],
            "bearer_methods_supported": ["header"],
        });
        assert_eq!(document, expected);
        assert!(found.is_at("/.well-known/oauth-protected-resource/v1"));
        assert!(found.is_at("/.well-known/oauth-protected-resource"));
        for path in
            ["/.well-known/oauth-protected-resource/", "/.well-known/oauth-protected-resource/V1", "/"]
        {
            assert!(!found.is_at(path), "{path}");
        }
    }

    #[test]
    fn the_root_answers_only_when_told_to() {
        let mut problems = Problems::new();
        let audience = AudienceGuard::exactly("https://orders.internal/v1");
        let issuers = ["https://a.internal".to_owned()];
        let scope = ScopeGuard::any_scope();
        let found =
            ResourceMetadata::published().publish(&audience, &issuers, &scope, &mut problems).unwrap();
        assert!(!found.is_at("/.well-known/oauth-protected-resource"));
        let document: serde_json::Value = serde_json::from_slice(&found.document()).unwrap();
        assert_eq!(document.get("scopes_supported"), None);
    }
}
