//! `cargo xtask soak inbound|egress --minutes N`: the way in, or the way out, under load for a while, over real
//! sockets, with real keys and hopguard's own authorization server, while things go wrong on purpose.
//!
//! It ends by itself, with one line of JSON: figures, and each promise that broke with how often and the first
//! instance. The exit is zero only if none broke. `--seconds N` is for a smoke. `--sabotage` breaks hopguard on
//! purpose, so that a test can see the soak notice it.

use std::process::ExitCode;

mod plan;
mod promises;
mod gauge;
mod pace;
mod door;
mod line;
mod sink;
mod random;
mod inbound;
mod egress;

use plan::{Lane, Plan};
use promises::Promises;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = match Plan::read(&arguments) {
        Ok(plan) => plan,
        Err(problem) => {
            eprintln!("soak: {problem}\n{}", plan::USAGE);
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let promises = Promises::default();
    let mut figures = runtime.block_on(async {
        match plan.lane {
            Lane::Inbound => inbound::run(&plan, &promises).await,
            Lane::Egress => egress::run(&plan, &promises).await,
        }
    });
    figures["soak"] = plan.lane.name().into();
    figures["seconds"] = plan.length.as_secs().into();
    figures["broken"] = promises.told();
    figures["held"] = promises.all_held().into();
    println!("{figures}");
    if promises.all_held() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
