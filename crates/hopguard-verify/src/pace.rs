//! How soon is a key set asked for again? Its publisher may say so (RFC 9111), within bounds of ours.

use std::time::Duration;

use hopguard_core::{minutes, seconds};
use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL};

/// The longest that a set is used without asking, and how long if its publisher says nothing.
const LONGEST: Duration = minutes(5);
/// The shortest: what a publisher says must not make every use a fetch.
const SHORTEST: Duration = seconds(30);
/// A file costs nothing to look at.
const FILE: Duration = seconds(10);

/// Up to which ages a set is used, counted from the begin of its fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// From this age on, a use starts a fetch in the background.
    pub(crate) due: Duration,
    /// Up to this age the set is used without asking, while the issuer answers.
    pub(crate) fresh: Duration,
}

impl Pace {
    /// The pace that an answer asks for. `chance` spreads the fetches of many instances over time: 255 makes the
    /// earliest.
    pub(crate) fn of_answer(headers: &HeaderMap, chance: u8) -> Self {
        Self::of(asked_for(headers).map_or(LONGEST, |asked| asked.clamp(SHORTEST, LONGEST)), chance)
    }

    /// The pace of a file.
    pub(crate) fn of_file(chance: u8) -> Self {
        Self::of(FILE, chance)
    }

    fn of(fresh: Duration, chance: u8) -> Self {
        // A fifth of the time is left for the fetch, and up to a tenth more is left to chance.
        Self { due: fresh * 4 / 5 - fresh / 10 * u32::from(chance) / 255, fresh }
    }
}

/// How long the answer may be kept (RFC 9111 section 4.2), less the time that caches on the way have kept it.
fn asked_for(headers: &HeaderMap) -> Option<Duration> {
    let mut longest = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let name = name.trim();
            if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
                return Some(Duration::ZERO);
            }
            if name.eq_ignore_ascii_case("max-age") {
                // Beyond a u64 is beyond the bound; what is no number is as good as stale (section 4.2.1).
                let value = value.trim().trim_matches('"');
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let found = if digits { value.parse().map_or(LONGEST, seconds) } else { Duration::ZERO };
                longest = Some(longest.map_or(found, |known: Duration| known.min(found)));
            }
        }
    }
    let age = headers
        .get(AGE)
        .and_then(|age| age.to_str().ok()?.trim().parse().ok())
        .map_or(Duration::ZERO, seconds);
    longest.map(|longest| longest.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn fresh(lines: &[(&str, &str)], expected: u64) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        assert_eq!(Pace::of_answer(&headers, 0).fresh, seconds(expected), "{lines:?}");
    }

    #[test]
    fn the_publisher_is_heard_within_bounds() {
        fresh(&[], 300);
        fresh(&[("cache-control", "public")], 300);
        fresh(&[("cache-control", "max-age=60")], 60);
        fresh(&[("cache-control", "public, Max-Age=\"60\" , must-revalidate")], 60);
        fresh(&[("cache-control", "max-age=86400")], 300);
        fresh(&[("cache-control", "max-age=99999999999999999999999")], 300);
        for nothing in [
            "max-age=0",
            "max-age=1",
            "no-store",
            "max-age=200, no-cache",
            "max-age=x",
            "max-age=-1",
            "max-age",
        ] {
            fresh(&[("cache-control", nothing)], 30);
        }
        fresh(&[("cache-control", "max-age=200"), ("cache-control", "max-age=100")], 100);
        fresh(&[("cache-control", "max-age=200"), ("age", "150")], 50);
        fresh(&[("cache-control", "max-age=200"), ("age", "999")], 30);
        fresh(&[("cache-control", "max-age=600"), ("age", "x")], 300);
    }

    #[test]
    fn chance_makes_a_fetch_earlier_and_never_later() {
        let due = |chance| Pace::of_answer(&HeaderMap::new(), chance).due;
        assert_eq!((due(0), due(255)), (seconds(240), seconds(210)));
        assert!((0..255).all(|chance| due(chance) >= due(chance + 1)));
        assert!(Pace::of_file(255).due >= seconds(5));
    }
}
