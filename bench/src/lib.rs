//! Measures hopguard against its floors and writes PERFORMANCE.md; it must never compare figures of two runs.
//!
//! One library, two programs: `bench` takes time, `allocations` counts beforehand what `bench` shows beside it.

use std::process::{Command, ExitCode, Stdio};

mod clock;
mod counting;
mod harness;
mod world;
mod peers;
mod inbound;
mod egress;
mod miss;
mod body;
mod capture;
mod journal;
mod chain;
mod memory;
mod report;

pub use counting::{Counted, Counter};
use harness::{Group, Pace, Row, calmer, counts, measure};
use report::{Measured, Place};

/// A group, and the name by which it is run alone.
type Named = (&'static str, fn(Pace) -> Group);

const GROUPS: &[Named] = &[
    ("inbound first ES256", inbound::first_es256),
    ("inbound first EdDSA", inbound::first_eddsa),
    ("inbound first RS256", inbound::first_rs256),
    ("inbound first 2 KiB of claims", inbound::first_large),
    ("inbound seen", inbound::seen),
    ("inbound refused", inbound::refused),
    ("egress cached", egress::cached),
    ("egress miss", miss::exchanged),
    ("passthrough", egress::passthrough),
    ("bodies", body::bodies),
    ("audit capture", capture::captured),
    ("audit durable", journal::written),
    ("audit read", journal::read),
    ("over a socket", chain::socket),
    ("chain tax", chain::tax),
    ("memory", memory::bounds),
    ("token key", memory::keys),
];

const PLACE: Place = Place {
    paper: concat!(env!("CARGO_MANIFEST_DIR"), "/../PERFORMANCE.md"),
    begin: "<!-- bench:begin -->",
    end: "<!-- bench:end -->",
    command: "cargo xtask bench",
};

const USAGE: &str = "[NAME] [--json] [--quick] [--dwell LANE [--times N]]

NAME     only the groups whose name contains it; PERFORMANCE.md stays as it is
--json   the rows as JSON, and nothing else, on standard output
--quick  shorter rounds and fewer; PERFORMANCE.md stays as it is
--dwell  only the lane of this name, for ten seconds, for a profiler; measures nothing
--times  with --dwell: so many operations instead, all within one call of `harness::watched`, for a profiler that
         counts instructions: valgrind --tool=callgrind --toggle-collect='*harness::watched*'";

/// What the command line asks for.
#[derive(Default)]
struct Wanted {
    name: Option<String>,
    json: bool,
    quick: bool,
    dwell: Option<String>,
    times: Option<usize>,
}

/// The program that takes time.
pub fn bench() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(memory::RESIDENT) => {
            memory::resident(arguments.next().and_then(|flood| flood.parse().ok()).unwrap_or_default());
            return ExitCode::SUCCESS;
        }
        Some(ALONE) => {
            let (group, how) = (arguments.next().unwrap_or_default(), arguments.next());
            return ended(alone(&group, how.as_deref() == Some(BRIEFLY)));
        }
        _ => (),
    }
    ended(wanted().and_then(|wanted| run(&wanted)))
}

/// The program that counts what the groups allocate whose names contain its first argument: prints an object of
/// numbers, each under its row's path.
pub fn allocations(counter: Counter) -> ExitCode {
    counting::by(counter);
    let name = std::env::args().nth(1).unwrap_or_default();
    let counted = chosen(&name).map(|chosen| {
        let all: serde_json::Map<_, _> = chosen
            .into_iter()
            .flat_map(|(_, build)| counts(build(Pace::FULL)))
            .map(|(path, count)| (path, count.into()))
            .collect();
        println!("{}", serde_json::Value::Object(all));
    });
    ended(counted)
}

fn ended(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn wanted() -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => wanted.json = true,
            "--quick" => wanted.quick = true,
            "--dwell" => wanted.dwell = Some(arguments.next().ok_or("--dwell needs a lane's name")?),
            "--times" => {
                let times = arguments.next().and_then(|times| times.parse().ok());
                wanted.times = Some(times.ok_or("--times needs a number")?);
            }
            "--help" | "-h" => return Err(USAGE.to_owned()),
            unknown if unknown.starts_with('-') => return Err(format!("`{unknown}` is unknown\n\n{USAGE}")),
            _ if wanted.name.is_some() => return Err(format!("one NAME at most\n\n{USAGE}")),
            name => wanted.name = Some(name.to_owned()),
        }
    }
    Ok(wanted)
}

fn chosen(name: &str) -> Result<Vec<Named>, String> {
    let chosen: Vec<_> = GROUPS.iter().filter(|(group, _)| group.contains(name)).copied().collect();
    if chosen.is_empty() {
        let names: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
        return Err(format!("no group is named like `{name}`; there are: {}", names.join(", ")));
    }
    Ok(chosen)
}

/// Asks this program to measure one group, and to print its rows for the one that asks.
const ALONE: &str = "--alone";
const BRIEFLY: &str = "briefly";

/// The rows of a group, from a process of its own: else a group would find the heap as those before left it, and cost
/// 5% more than by the command that stands beside its row.
fn measured(group: &str, quick: bool) -> Result<Vec<Row>, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let how = if quick { BRIEFLY } else { "" };
    let output = Command::new(own).args([ALONE, group, how]).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{group}: {error}"))
}

/// The other side of [`measured`].
fn alone(group: &str, quick: bool) -> Result<(), String> {
    let (_, build) = GROUPS.iter().find(|(name, _)| *name == group).ok_or("no such group")?;
    let pace = if quick { Pace::QUICK } else { Pace::FULL };
    counting::ask("allocations", group)?;
    let rows = serde_json::to_string(&measure(build(pace), pace)).map_err(|error| error.to_string())?;
    println!("{rows}");
    Ok(())
}

fn run(wanted: &Wanted) -> Result<(), String> {
    let pace = if wanted.quick { Pace::QUICK } else { Pace::FULL };
    let name = wanted.name.as_deref().unwrap_or_default();
    let chosen = chosen(name)?;
    if let Some(lane) = &wanted.dwell {
        match wanted.times {
            None => chosen.iter().for_each(|(_, build)| harness::dwell(build(pace), lane)),
            Some(times) => chosen.iter().for_each(|(_, build)| harness::count(build(pace), lane, times)),
        }
        return Ok(());
    }
    let mut kept: Vec<(&'static str, Vec<Row>)> = Vec::new();
    for &(group, _) in &chosen {
        eprintln!("{group} ...");
        kept.push((group, measured(group, wanted.quick)?));
    }
    // Pass by pass, not group by group: what holds the machine up holds it up for minutes.
    for pass in 1..pace.passes {
        for (group, rows) in kept.iter_mut().filter(|(_, rows)| rows.iter().any(Row::is_timed)) {
            eprintln!("{group}, once more ({pass}) ...");
            *rows = calmer(std::mem::take(rows), measured(group, wanted.quick)?);
        }
    }
    let named =
        |(group, rows): (&'static str, Vec<Row>)| rows.into_iter().map(move |row| Measured { group, row });
    let rows: Vec<_> = kept.into_iter().flat_map(named).collect();
    if wanted.json {
        println!("{}", report::json(&rows, PLACE));
    } else {
        println!("{}", report::table(&rows));
    }
    if wanted.name.is_none() && !wanted.quick {
        let note =
            format!("{} rounds, of {} passes the one with the fastest floors.", pace.rounds, pace.passes);
        PLACE.write(&rows, &note)?;
    }
    let missed = rows.iter().filter(|measured| measured.row.held() == Some(false)).count();
    eprintln!("{} rows, {missed} beyond their budget", rows.len());
    Ok(())
}
