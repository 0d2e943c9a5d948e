//! A route's own rule goes with the route, however the path is spelled and whatever the method (A13): no spelling
//! selects the handler without the rule.

use axum::extract::MatchedPath;
use http::Method;

use hopguard_tests::codes_of_requests;
use hopguard_tests::inbound::{ADMIN, Service, World, bearer};

const METHODS: &[&str] = &[
    "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "get",
    "QUERY",
];

/// Ways to write `/admin`, as this or some other reader may take them.
const SPELLINGS: &[&str] = &[
    "/admin",
    "/admin/",
    "//admin",
    "/./admin",
    "/x/../admin",
    "/orders/../admin",
    "/admin;x=1",
    "/admin;",
    "/;/admin",
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/%61%64%6D%69%6E",
    "/admin%20",
    "/admin%00",
    "/admin%2f",
    "/admin%2F",
    "/%2fadmin",
    "/x%2f..%2fadmin",
    "/nested/../admin",
    "/nested/%2e%2e/admin",
    "/nested/..%2fadmin",
    "/ADMIN",
    "/Admin",
    "/admin?x",
    "/admin?/health",
    "/admin#health",
    "/admin.",
    "/admin%3b",
    "/health/../admin",
    "/health;/../admin",
    "/orders/%2e%2e%2fadmin",
    "http://orders.internal/admin",
    "http://evil.example/admin",
];

#[tokio::test]
async fn no_spelling_and_no_method_reaches_a_route_without_its_rule() {
    let world = World::default();
    let service = Service::usual(&world);
    let plain = world.stage.good_token();
    let admin = world.stage.token().claim("scope", format!("orders:read {ADMIN}")).sign(world.stage.key());
    let (mut refused, mut elsewhere) = (0, 0);
    for spelling in SPELLINGS {
        for method in METHODS {
            let request = |token: &str| {
                let mut request = bearer(spelling, token);
                *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
                // As a proxy in front might be told.
                request.headers_mut().insert("x-original-url", "/health".parse().unwrap());
                request.headers_mut().insert("x-http-method-override", "GET".parse().unwrap());
                request
            };
            let matched = |before: usize| {
                let all = service.reached.all();
                let parts = all.get(before)?;
                Some(parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned()))
            };
            // Where it leads with everything that can be asked.
            let before = service.reached.count();
            let with = service.answer(request(&admin)).await;
            let leads_to_admin = matched(before) == Some(Some("/admin".to_owned()));
            // And with the service's own scope alone.
            let before = service.reached.count();
            let without = service.answer(request(&plain)).await;
            let reached = matched(before);
            assert_ne!(reached, Some(Some("/admin".to_owned())), "{method} {spelling}");
            if leads_to_admin {
                assert_eq!((without.status, reached), (403, None), "{method} {spelling}");
                let codes = codes_of_requests(&service.sink);
                assert_eq!(
                    codes[codes.len() - 2..],
                    ["insufficient_scope", "completed"],
                    "{method} {spelling}"
                );
                refused += 1;
            } else {
                assert_eq!(without.status, with.status, "{method} {spelling}");
                elsewhere += 1;
            }
        }
    }
    // Plain, with a query, with a fragment that is none, in absolute form: for every method.
    assert!(refused >= 5 * METHODS.len(), "{refused}");
    assert!(elsewhere >= 20 * METHODS.len(), "{elsewhere}");
}

/// Without any token at all, no spelling reaches anything but the open path itself.
#[tokio::test]
async fn no_spelling_of_a_guarded_path_is_open() {
    let world = World::default();
    let service = Service::usual(&world);
    for spelling in SPELLINGS.iter().filter(|spelling| !spelling.starts_with("http")) {
        for method in METHODS {
            let mut request = http::Request::get(*spelling).body(bytes::Bytes::new()).unwrap();
            *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(service.answer(request).await.status, 401, "{method} {spelling}");
        }
    }
    assert_eq!(service.reached.count(), 0);
}
