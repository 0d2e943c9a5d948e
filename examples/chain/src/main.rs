//! Three services and an authorization server on loopback, one good request through all of them, a tour of
//! attacks on them, and the lineage of the good request. Exits 0 only if everything came out as it must.
//!
//! ```text
//! cargo run -p chain              what a person reads
//! cargo run -p chain -- --json    one JSON object
//! cargo run -p chain -- --serve   keeps everything up, to play with
//! cargo run -p chain -- --processes   four processes with four logs, and a theft that these tell
//! ```

/// `println!` for whoever may stop reading: nothing hangs on the rest being read.
macro_rules! say {
    ($($what:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($what)*)));
    }};
}

mod hops;
mod kept;
mod measured;
mod processes;
mod rogue;
mod services;
mod show;
mod system;
mod tokens;
mod tour;

use std::process::ExitCode;

use system::{Failure, Options, System};

const USAGE: &str = "usage: chain [--json | --serve] [--processes] [--port PORT] [--audit FOLDER]

  --json          print one JSON object and nothing else
  --serve         keep everything up and print curl lines
  --port PORT     where the gateway listens; the authorization server takes the next port (default: any)
  --processes     run each service in a process of its own, with a durable log and key; steal a token and tell it
  --audit FOLDER  also write each service's audit to FOLDER/SERVICE.jsonl; of processes: keep logs and keys there";

#[derive(Debug, Default, PartialEq)]
enum Mode {
    #[default]
    Tour,
    Json,
    Serve,
    Processes {
        json: bool,
    },
    /// One of the processes; not for people.
    Role(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    // Only what the services complain of, and only when asked for: the tour makes them complain a lot.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if std::env::args().skip(1).any(|argument| argument == "--help" || argument == "-h") {
        say!("chain: every hop revalidates and narrows\n\n{USAGE}");
        return ExitCode::SUCCESS;
    }
    let (mode, options) = match read(std::env::args().skip(1)) {
        Ok(read) => read,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&mode, &options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<(Mode, Options), String> {
    let (mut mode, mut options) = (Mode::default(), Options::default());
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--json" if mode == (Mode::Processes { json: false }) => mode = Mode::Processes { json: true },
            "--json" => mode = Mode::Json,
            "--serve" => mode = Mode::Serve,
            "--processes" => mode = Mode::Processes { json: mode == Mode::Json },
            "--role" => mode = Mode::Role(value()?),
            "--audit" => options.audit = Some(value()?.into()),
            "--port" => {
                let port: u16 = value()?.parse().map_err(|_| "--port needs a number from 1 to 65534")?;
                if port == 0 {
                    return Err("--port needs a number from 1 to 65534".into());
                }
                options.gateway_port = port;
                options.sts_port = port.checked_add(1).ok_or("--port needs a number from 1 to 65534")?;
            }
            other => return Err(format!("there is no option {other}")),
        }
    }
    Ok((mode, options))
}

/// True if everything came out as it must.
async fn run(mode: &Mode, options: &Options) -> Result<bool, Failure> {
    match mode {
        Mode::Processes { json } => return processes::run(options.audit.as_deref(), *json).await,
        Mode::Role(role) => {
            let root = options.audit.as_deref().ok_or("--role needs --audit")?;
            return processes::role(role, root).await.map(|()| true);
        }
        Mode::Tour | Mode::Json | Mode::Serve => (),
    }
    let system = System::start(options).await?;
    if *mode == Mode::Serve {
        return serve(&system).await;
    }
    let (hops, answer) = good_request(&system).await?;
    let attacks = tour::run(&system).await?;
    let mut problems = hops::problems(&hops);
    if !system.audits.flush() {
        problems.push("the audit files could not be written".into());
    }
    for attack in attacks.iter().filter(|attack| !attack.held()) {
        problems.push(format!("not held: {}", attack.name));
    }
    if *mode == Mode::Json {
        say!("{}", show::json(&hops, &attacks, &problems));
        return Ok(problems.is_empty());
    }
    say!("One good request: GET /orders/42 at the gateway, with the user's token.\n");
    say!("{}\nanswer: {answer}\n", show::hops(&hops));
    say!("{} attacks on the running services:\n\n{}\n", attacks.len(), show::attacks(&attacks));
    say!("Lineage of the good request: which token was made from which.\n\n{}\n", show::lineage(&hops));
    match problems.as_slice() {
        [] => say!("Everything held."),
        problems => say!("NOT everything held:\n  {}", problems.join("\n  ")),
    }
    Ok(problems.is_empty())
}

/// Sends one request through the chain and reads back what each service wrote down.
async fn good_request(system: &System) -> Result<(Vec<hops::Hop>, String), Failure> {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let response = reqwest::Client::new()
        .get(format!("{}/orders/42", system.gateway.url))
        .bearer_auth(system.user_token()?)
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .send()
        .await?;
    let answer = response.text().await?;
    // An outcome is written when the last byte of the answer was handed over, which may be a moment later.
    for _ in 0..100 {
        let hops = hops::hops(system, TRACE);
        if hops.len() == 3 && hops.iter().all(|hop| hop.outcome.is_some()) {
            return Ok((hops, answer));
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Ok((hops::hops(system, TRACE), answer))
}

async fn serve(system: &System) -> Result<bool, Failure> {
    let token = system.user_token()?;
    let gateway = &system.gateway.url;
    say!("gateway    {gateway}\norders     {}\ninventory  {}", system.orders.url, system.inventory.url);
    say!("STS        {}/.well-known/oauth-authorization-server", system.sts_url);
    for (service, url) in &system.metrics {
        say!("metrics    {url}  # of {service}, for Prometheus");
    }
    say!("\nA token of alice's for the gateway, good for five minutes:\n\nTOKEN={token}\n");
    say!("curl -i -H \"Authorization: Bearer $TOKEN\" {gateway}/orders/42");
    say!("curl -i -H \"Authorization: Bearer $TOKEN\" {}/stock/42     # refused", system.inventory.url);
    say!("curl -i -H \"Authorization: Bearer $TOKEN\" {gateway}/leak/header  # refused on the way out");
    say!("curl -i {gateway}/careless                                  # refused\n\nCtrl-C stops it.");
    tokio::signal::ctrl_c().await?;
    Ok(true)
}
