//! The way in: good callers beside floods, and streams that would outlive their tokens, while the issuer changes
//! its keys, stops and comes back.
//!
//! | time of one cycle | what happens |
//! | --- | --- |
//! | 10 s | the issuer publishes a new key |
//! | 70 s | it begins to sign with it |
//! | 80 s to 125 s | it does not answer |
//! | 180 s | the next cycle; each third is without floods, so that keys are fetched for their age alone |

mod callers;
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use hopguard_axum::{Caller, Protect};
use hopguard_core::{Audit, Ledger, ScopeGuard, Ttl, minutes, seconds};
use hopguard_sts::Sts;
use hopguard_tower::{Inbound, OpenPaths};
use hopguard_verify::Issuer;
use http::Request;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::util::MapRequestLayer;

use crate::door::{self, Door};
use crate::gauge::Gauge;
use crate::pace::Paced;
use crate::plan::{Plan, Sabotage};
use crate::promises::Promises;
use crate::sink::Counting;
use callers::{Counts, Kind, World};
use streams::{Ended, Stream};

pub(crate) const ORDERS: &str = "https://orders.internal";
pub(crate) const SCOPE: &str = "orders:read";
const CYCLE: u64 = 180;

/// Several of each, so that they are at it at the same time.
const CALLERS: &[Kind] = &[
    Kind::Good,
    Kind::Good,
    Kind::Good,
    Kind::Good,
    Kind::Garbage,
    Kind::Genuine,
    Kind::UnknownKey,
    Kind::UnknownKey,
    Kind::WrongSignature,
    Kind::WrongSignature,
];

pub(crate) async fn run(plan: &Plan, promises: &Promises) -> Value {
    let mut gauge = Gauge::cold();
    let clock = Paced::begin(plan.pace);
    let mut servers = JoinSet::new();
    let mut door = Door::hung().expect("a port");
    let issuer = door.url();
    let sts = Sts::builder(&issuer, clock.clone()).build().expect("an issuer");
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let counting = MapRequestLayer::new(move |request: Request<axum::body::Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        request
    });
    let behind = door::serve(&mut servers, sts.router().layer(counting)).await.expect("a port");
    door.lead_to(behind);
    door.open().expect("the door");

    let sink = Counting::new();
    let audit = Audit::new("orders", "soak", sink.clone());
    let guard = Inbound::builder(&Ledger::bounded(), &audit)
        .issuer(Issuer::at(&issuer))
        .audience(ORDERS)
        .ttl(Ttl::lifetime_at_most(minutes(5)))
        .scope(ScopeGuard::all_of([SCOPE]))
        .clock(clock.clone())
        .timer(clock.clone())
        .build()
        .expect("a stack");
    let hop = guard.hop().clone();
    let verifier = guard.verifier().clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let service = listener.local_addr().expect("an address");
    if plan.sabotage == Some(Sabotage::Unguarded) {
        let open = Router::new().route("/orders/{id}", get(async || "good"));
        servers.spawn(async move { _ = axum::serve(listener, open).await });
    } else {
        let router = streams::routes().route("/orders/{id}", get(order)).with_state(promises.clone());
        let guarded = guard.protect(router, OpenPaths::none());
        servers.spawn(async move { _ = axum::serve(listener, guarded).await });
    }
    drop(guard);

    let world = Arc::new(World {
        service,
        clock: clock.clone(),
        pace: plan.pace,
        hop,
        sts: sts.clone(),
        promises: promises.clone(),
        counts: Counts::default(),
        ended: Ended::default(),
        stop: AtomicBool::new(false),
        flood: AtomicBool::new(true),
    });
    let mut load = JoinSet::new();
    for (number, kind) in CALLERS.iter().enumerate() {
        load.spawn(callers::call(world.clone(), *kind, number as u64));
    }
    let mut open = JoinSet::new();
    for kind in [Stream::Talking, Stream::Silent, Stream::Upload] {
        for withdrawn in [false, true] {
            // A service that stands open has no streams.
            if plan.sabotage.is_none() {
                open.spawn(streams::open(world.clone(), kind, withdrawn));
            }
        }
    }

    let (mut rotations, mut outages, mut down) = (0_u64, 0_u64, Duration::ZERO);
    let script = async {
        for cycle in 0_u64.. {
            let at = |second| seconds(cycle * CYCLE + second);
            world.flood.store(cycle % 3 != 2, Ordering::SeqCst);
            clock.until(at(10)).await;
            sts.rotate_key().expect("randomness");
            rotations += 1;
            clock.until(at(80)).await;
            let began = clock.passed();
            door.close().await;
            outages += 1;
            clock.until(at(125)).await;
            door.open().expect("the port is kept");
            down += clock.passed().saturating_sub(began);
            clock.until(at(CYCLE)).await;
        }
    };
    let watch = async {
        tokio::time::sleep(plan.length * 2 / 5).await;
        gauge.warm();
        tokio::time::sleep(plan.length * 3 / 5).await;
        gauge.hot(promises);
    };
    tokio::select! {
        () = script => {}
        () = watch => {}
    }
    let passed = clock.passed();
    world.stop.store(true, Ordering::SeqCst);
    while load.join_next().await.is_some() {}
    open.shutdown().await;

    let keys = verifier.key_sets();
    let fetches: u64 = keys.iter().map(|set| set.fetches).sum();
    let failures: u64 = keys.iter().map(|set| set.failures).sum();
    // At most one in 30 s for unknown keys and one in 42 s for age; while there is no answer, one per second. An
    // outage that the end cut short was not added up.
    let (secs, down) = (passed.as_secs(), down.as_secs() + 60);
    let (may_succeed, may_fail) = (secs / 30 + secs / 42 + 2, down + secs / 30 + 2);
    promises.hold(
        "fetches are within budget",
        fetches - failures <= may_succeed && failures <= may_fail,
        || format!("{} of {may_succeed} succeeded, {failures} of {may_fail} failed", fetches - failures),
    );
    let asked = asked.load(Ordering::SeqCst);
    // One request for the metadata and one for the keys.
    promises.hold("the issuer is asked within budget", asked <= 2 * may_succeed, || {
        format!("{asked} requests reached the issuer")
    });
    promises.hold(
        "the run saw something",
        plan.length < seconds(6) || (rotations > 0 && outages > 0),
        || format!("{rotations} changes of keys, {outages} outages"),
    );
    let ended = [&world.ended.expired, &world.ended.withdrawn].map(|count| count.load(Ordering::SeqCst));
    promises.hold("streams ended", plan.length < seconds(6) || !ended.contains(&0), || format!("{ended:?}"));
    let mut figures = world.counts.figures();
    figures["streams"] = json!({ "expired": ended[0], "withdrawn": ended[1] });
    promises.hold("every kind of caller called", world.counts.all_called(), || figures.to_string());
    drop((world, verifier, sts));
    door.close().await;
    drop(door);
    servers.shutdown().await;
    figures["process"] = gauge.ended(promises).await;
    sink.judge(promises);
    figures["pace"] = plan.pace.into();
    figures["passed_seconds"] = passed.as_secs().into();
    figures["rotations"] = rotations.into();
    figures["outages"] = outages.into();
    figures["fetches"] = json!({ "succeeded": fetches - failures, "failed": failures, "requests": asked });
    figures["fetch_budget"] = json!({ "succeeded": may_succeed, "failed": may_fail });
    figures["events"] = sink.written().into();
    figures
}

async fn order(State(promises): State<Promises>, caller: Caller) -> &'static str {
    let subject = &caller.facts().subject;
    promises.hold("no bad request is admitted", subject.starts_with("good"), || {
        format!("the handler was given {subject}")
    });
    "good"
}
