//! Measures the inbound layers that others publish, beside ours, around the same axum handler; it must never
//! compare figures of two runs.
//!
//! One library, two programs: `peers` takes time, `peers-allocations` counts beforehand.

use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use hopguard_axum::{Caller, Protect};
use hopguard_core::Ledger;
use hopguard_tower::{OpenPaths, PeerAddress};
use http::{Request, StatusCode};
use tower_service::Service;

#[path = "../../src/clock.rs"]
#[expect(dead_code, reason = "shared with the harness proper")]
mod clock;
#[path = "../../src/counting.rs"]
#[expect(dead_code, reason = "shared with the harness proper")]
mod counting;
#[path = "../../src/harness.rs"]
#[expect(dead_code, reason = "shared with the harness proper")]
mod harness;
#[path = "../../src/report.rs"]
mod report;
#[path = "../../src/world.rs"]
#[expect(dead_code, reason = "shared with the harness proper")]
mod world;

mod layers;

use clock::Whose;
pub use counting::{Counted, Counter};
use harness::{Group, Lane, Pace, counts, measure};
use report::{Measured, Place};
use world::{Key, Signed, audit, drive, guard, request};

const PLACE: Place = Place {
    paper: concat!(env!("CARGO_MANIFEST_DIR"), "/../../PERFORMANCE.md"),
    begin: "<!-- peers:begin -->",
    end: "<!-- peers:end -->",
    command: "cargo xtask bench peers",
};

/// How often a lane of new tokens runs in one round.
const FIRST: usize = 60;
/// So many callers take turns where tokens are seen again.
const CALLERS: usize = 100;

/// A group's name, and what makes its key.
type Named = (&'static str, fn() -> Key);

const GROUPS: &[Named] = &[("RS256", Key::rs256), ("ES256", Key::es256), ("EdDSA", Key::eddsa)];

/// The program that takes time.
pub fn peers() -> ExitCode {
    ended(run())
}

/// The program that counts what the groups allocate whose names contain its first argument: prints an object of
/// numbers, each under its row's path.
pub fn allocations(counter: Counter) -> ExitCode {
    counting::by(counter);
    let name = std::env::args().nth(1).unwrap_or_default();
    let all: serde_json::Map<_, _> = chosen(&name)
        .into_iter()
        .flat_map(|(group, key)| counts(compared(group, &key(), Pace::FULL)))
        .map(|(path, count)| (path, count.into()))
        .collect();
    println!("{}", serde_json::Value::Object(all));
    ExitCode::SUCCESS
}

fn chosen(name: &str) -> Vec<Named> {
    GROUPS.iter().filter(|(group, _)| group.contains(name)).copied().collect()
}

fn ended(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("bench peers: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let (mut name, mut json, mut pace) = (None, false, Pace::FULL);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--quick" => pace = Pace::QUICK,
            unknown if unknown.starts_with('-') || name.is_some() => {
                return Err("[RS256 | ES256 | EdDSA] [--json] [--quick]".to_owned());
            }
            _ => name = Some(argument),
        }
    }
    let chosen = chosen(name.as_deref().unwrap_or_default());
    if chosen.is_empty() {
        return Err("no group is named like this; there are RS256, ES256 and EdDSA".to_owned());
    }
    counting::ask("peers-allocations", name.as_deref().unwrap_or_default())?;
    let mut rows = Vec::new();
    for &(group, key) in &chosen {
        eprintln!("{group} ...");
        rows.extend(
            measure(compared(group, &key(), pace), pace).into_iter().map(|row| Measured { group, row }),
        );
    }
    if json {
        println!("{}", report::json(&rows, PLACE));
    } else {
        println!("{}", report::table(&rows));
    }
    if name.is_none() && pace.rounds == Pace::FULL.rounds {
        PLACE.write(&rows, &format!("{} rounds.", pace.rounds))?;
    }
    Ok(())
}

/// Every layer over tokens of this key: each new, and some again and again.
fn compared(name: &str, key: &Key, pace: Pace) -> Group {
    // No handler waits, and the layers start no timers that have to fire; some want to be inside a runtime.
    let runtime =
        Rc::new(tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));
    let tokens: Rc<Vec<Arc<str>>> = Rc::new(key.tokens(FIRST * pace.batches()));
    let seen: Vec<Arc<str>> = key.tokens(CALLERS);
    let mut group = Group::new(Whose::Thread);

    let raw = key.raw.clone();
    let mut next = unseen(&tokens);
    let floor = Lane::over_input(
        "aws-lc-rs, parsed key",
        move || Signed::of(&next()),
        move |signed: &Signed| signed.verify(&raw),
    );
    let floor = group.lane(floor.fixed(FIRST));

    let mut lanes = |name: &str, mut first: Served, mut again: Served| {
        let mut next = unseen(&tokens);
        let entered = runtime.clone();
        let once = Lane::new(format!("{name}, first"), move || {
            let _entered = entered.enter();
            first(&next());
        });
        let (entered, callers, mut at) = (runtime.clone(), seen.clone(), 0);
        let often = Lane::new(format!("{name}, seen"), move || {
            let _entered = entered.enter();
            at = (at + 1) % callers.len();
            again(&callers[at]);
        });
        (group.lane(once.fixed(FIRST)), group.lane(often))
    };

    let bare = || served("axum", Router::new().route(PATH, get(async || "ok")), true);
    let bare = lanes("axum alone", bare(), bare());
    let ours = || {
        let router = Router::new().route(PATH, get(async |_: Caller| "ok"));
        served("hopguard", guard(&Ledger::bounded(), &audit(), key).protect(router, OpenPaths::none()), false)
    };
    let mut all = vec![("hopguard", lanes("hopguard", ours(), ours()))];
    for peer in layers::ALL {
        // One that must be set up asynchronously may do so here.
        let refusing = |router| served(peer.name, router, false);
        let built = || runtime.block_on((peer.around)(key.jwk()));
        all.push((peer.name, lanes(peer.name, refusing(built()), refusing(built()))));
    }

    for (who, (first, _)) in &all {
        group
            .compare(format!("{name}, first time: {who}"), *first, floor, None)
            .over(bare.0)
            .allocations(None);
    }
    for (who, (_, seen)) in &all {
        group
            .compare(format!("{name}, seen before: {who}"), *seen, floor, None)
            .over(bare.1)
            .allocations(None);
    }
    group
}

/// The path that is served.
const PATH: &str = "/orders/{id}";

/// Serves one request with this token, and sees that it was let in.
type Served = Box<dyn FnMut(&str)>;

fn served<S>(name: &'static str, mut service: S, lets_in: bool) -> Served
where
    S: Service<Request<Body>, Response = axum::response::Response> + 'static,
    S::Error: std::fmt::Debug,
{
    // A layer that lets everything in would be quick.
    let mut refused = request("e30.e30.c2lnbmF0dXJl").map(Body::new);
    refused.extensions_mut().insert(PeerAddress(([127, 0, 0, 1], 40_000).into()));
    assert_eq!(drive(&mut service, refused).is_success(), lets_in, "{name} and garbage");
    Box::new(move |token| {
        let mut request = request(token).map(Body::new);
        request.extensions_mut().insert(PeerAddress(([127, 0, 0, 1], 40_000).into()));
        assert_eq!(drive(&mut service, request), StatusCode::OK, "{name} and a good token");
    })
}

/// Each token once.
fn unseen(tokens: &Rc<Vec<Arc<str>>>) -> impl FnMut() -> Arc<str> + use<> {
    let (tokens, mut next) = (tokens.clone(), 0);
    move || {
        next += 1;
        tokens[next - 1].clone()
    }
}
