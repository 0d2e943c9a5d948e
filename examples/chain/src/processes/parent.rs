//! Starts the four processes, sends the requests, and is the thief.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use hopguard_audit::LogVerifier;
use serde_json::{Value, json};

use super::tap::Tap;
use crate::system::Failure;

/// From where the thief calls. All of 127/8 is this machine's own, on Linux at least.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

/// One of the four; killed if it was not ended in order.
struct Process {
    name: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    jwk: Value,
    /// Once it has said hello.
    verifier: Option<LogVerifier>,
    url: String,
}

impl Process {
    fn start(name: &'static str, root: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--role", name, "--audit"])
            .arg(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("a child without output")?);
        // Held from here on, so that it is killed if anything fails.
        let mut process =
            Self { name, child, input, output, jwk: Value::Null, verifier: None, url: String::new() };
        let mut hello = process.hear()?;
        process.jwk = hello["jwk"].take();
        process.verifier = Some(LogVerifier::parse(hello["verifier"].as_str().unwrap_or_default())?);
        Ok(process)
    }

    fn hear(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(format!("the process {} ended early", self.name).into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn ask(&mut self, question: &Value) -> Result<Value, Failure> {
        let input = self.input.as_mut().ok_or("the process was ended")?;
        writeln!(input, "{question}")?;
        input.flush()?;
        self.hear()
    }

    /// Gives it what it needs to know; then it is up.
    fn settle(&mut self, settings: &Value) -> Result<(), Failure> {
        let up = self.ask(settings)?;
        self.url = up["url"].as_str().ok_or("a process without a URL")?.to_owned();
        Ok(())
    }

    /// Its input ends, and so it does, its log signed to the end.
    fn end(&mut self) -> Result<(), Failure> {
        drop(self.input.take());
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", self.name).into()) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After an end in order there is nothing to kill.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The four processes, and the tap between orders and inventory.
pub(super) struct Children {
    sts: Process,
    gateway: Process,
    orders: Process,
    inventory: Process,
    tap: Tap,
}

impl Children {
    pub(super) async fn start(root: &Path) -> Result<Self, Failure> {
        let (mut gateway, mut orders) = (Process::start("gateway", root)?, Process::start("orders", root)?);
        let mut sts = Process::start("sts", root)?;
        sts.settle(&json!({ "gateway": gateway.jwk, "orders": orders.jwk }))?;
        let mut inventory = Process::start("inventory", root)?;
        inventory.settle(&json!({ "issuer": sts.url }))?;
        let tap = Tap::before(&inventory.url).await?;
        orders.settle(&json!({ "issuer": sts.url, "next": tap.url }))?;
        gateway.settle(&json!({ "issuer": sts.url, "next": orders.url }))?;
        Ok(Self { sts, gateway, orders, inventory, tap })
    }

    /// One request of the user, through all of them.
    pub(super) async fn honest(&mut self, trace: &str) -> Result<String, Failure> {
        let issued = self.sts.ask(&json!("token"))?;
        let token = issued["token"].as_str().ok_or("no user token")?;
        let answer = reqwest::Client::new()
            .get(format!("{}/orders/42", self.gateway.url))
            .bearer_auth(token)
            .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
            .send()
            .await?;
        Ok(answer.text().await?)
    }

    /// What orders sent to inventory, used again from elsewhere: where it is good for, and where it is not. Also
    /// says whether the thief has an address of its own.
    pub(super) async fn theft(&mut self, trace: &str) -> Result<(Vec<(&'static str, u16)>, bool), Failure> {
        let stolen = self.tap.credential().ok_or("nothing passed the tap")?;
        let apart = TcpListener::bind((ELSEWHERE, 0)).is_ok();
        let client = reqwest::Client::builder().local_address(apart.then_some(ELSEWHERE)).build()?;
        let mut answers = Vec::new();
        for (name, url) in [
            ("inventory", format!("{}/stock/42", self.inventory.url)),
            ("orders", format!("{}/orders/42", self.orders.url)),
        ] {
            let request = client.get(url).header("authorization", &stolen);
            let request = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
            answers.push((name, request.send().await?.status().as_u16()));
        }
        Ok((answers, apart))
    }

    /// Ends all of them in order, callers first. Each with the key that verifies its log.
    pub(super) fn end(mut self) -> Result<Vec<(&'static str, LogVerifier)>, Failure> {
        let all = [&mut self.gateway, &mut self.orders, &mut self.inventory, &mut self.sts];
        let mut verifiers = Vec::new();
        for process in all {
            process.end()?;
            verifiers.push((process.name, process.verifier.clone().ok_or("a process without a key")?));
        }
        Ok(verifiers)
    }
}
