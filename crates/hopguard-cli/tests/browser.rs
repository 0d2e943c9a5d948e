//! The page of `hopguard audit trace --html` in a real browser: Chromium, driven over WebDriver.
//!
//! Without Chromium and its driver the test says that it was skipped, and passes; with `HOPGUARD_BROWSER=required`,
//! as CI sets it where a browser can be had, it fails. `tests/browser/install.sh` installs them on Debian. The
//! screenshot is kept in cargo's folder for temporary files of tests.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helper functions of tests may"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// How WebDriver names the reference of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: PathBuf,
}

impl Browser {
    fn start() -> Option<Self> {
        let there = |name: &str| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
        if !there("chromium") || !there("chromedriver") {
            let required = std::env::var_os("HOPGUARD_BROWSER").is_some_and(|value| value == "required");
            assert!(!required, "Chromium and chromedriver are required and not there");
            eprintln!(
                "SKIPPED: the page was not looked at, because Chromium or chromedriver is not installed"
            );
            return None;
        }
        let mut driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                line.unwrap().split("successfully on port ").nth(1)?.trim_end_matches('.').parse().ok()
            })
            .expect("the driver names its port");
        // Whatever else it says goes nowhere, and must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("profile-{port}"));
        let mut browser = Self { driver, port, session: String::new(), profile };
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--window-size=1280,1600".to_owned(),
            format!("--user-data-dir={}", browser.profile.display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments }, "goog:loggingPrefs": { "browser": "ALL" } } } });
        let made = browser.ask("POST", "/session", &wanted);
        browser.session = made["sessionId"].as_str().expect("a session").to_owned();
        Some(browser)
    }

    /// One request to the driver; its answer's value.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while answer.read_line(&mut line).unwrap() > 2 {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut text = vec![0; length];
        answer.read_exact(&mut text).unwrap();
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert!(value["value"]["error"].is_null(), "{method} {path}: {value}");
        value["value"].clone()
    }

    fn post(&self, what: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{what}", self.session), body)
    }

    fn get(&self, what: &str) -> Value {
        self.ask("GET", &format!("/session/{}/{what}", self.session), &Value::Null)
    }

    fn open(&self, page: &Path) {
        self.post("url", &json!({ "url": format!("file://{}", page.display()) }));
    }

    /// What this expression is in the page.
    fn eval(&self, expression: &str) -> Value {
        self.post("execute/sync", &json!({ "script": format!("return {expression};"), "args": [] }))
    }

    fn find(&self, selector: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
        found[ELEMENT].as_str().unwrap_or_else(|| panic!("{selector} is not there")).to_owned()
    }

    fn click(&self, selector: &str) {
        self.post(&format!("element/{}/click", self.find(selector)), &json!({}));
    }

    fn write(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.post(&format!("element/{element}/clear"), &json!({}));
        self.post(&format!("element/{element}/value"), &json!({ "text": text }));
    }

    fn shown(&self) -> u64 {
        self.eval(
            "[...document.querySelectorAll('#events tbody tr')].filter((row) => row.offsetParent).length",
        )
        .as_u64()
        .unwrap()
    }

    fn unfolded(&self) -> u64 {
        self.eval("document.querySelectorAll('#tree details[open]').length").as_u64().unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        // The driver takes its browser with it.
        let _ended = self.driver.kill();
        let _reaped = self.driver.wait();
        let _gone = std::fs::remove_dir_all(&self.profile);
    }
}

fn page(logs: &Path, name: &str) -> PathBuf {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopguard"));
    let output = command.args(["audit", "trace", TRACE, "--html"]).arg(logs).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, output.stdout).unwrap();
    path
}

fn logs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/theft/logs")
}

#[test]
fn a_responder_opens_filters_and_unfolds_the_page() {
    let Some(browser) = Browser::start() else { return };
    browser.open(&page(&logs(), "trace.html"));
    let title = browser.get("title");
    assert_eq!(title.as_str(), Some(format!("hopguard audit: {TRACE}").as_str()));

    // The tree: three tokens, all unfolded along what is suspected; folded and unfolded by hand.
    assert_eq!(browser.unfolded(), 3);
    browser.click("#collapse");
    assert_eq!(browser.unfolded(), 0);
    browser.click("#tree > details > summary");
    assert_eq!(browser.unfolded(), 1);
    browser.click("#expand");
    assert_eq!(browser.unfolded(), 3);
    assert_eq!(browser.eval("document.querySelectorAll('details.suspect').length"), 1);

    // The filters: each alone, and the timeline follows.
    let all = browser.shown();
    assert!(all > 10, "{all} events");
    browser.write("#text", "audience_mismatch");
    assert_eq!(browser.shown(), 1);
    let marks = "[...document.querySelectorAll('svg a')].filter((a) => a.style.display !== 'none').length";
    assert_eq!(browser.eval(marks), 1);
    assert_eq!(browser.eval("document.getElementById('shown').textContent"), format!("1 of {all} events"));
    browser.write("#text", " ");
    browser.click("#odd");
    assert_eq!(browser.shown(), 2, "the thief's two uses");
    browser.click("#odd");
    browser.click("#service option[value=inventory]");
    assert_eq!(browser.eval("document.getElementById('service').value"), "inventory");
    let inventory = browser.shown();
    assert!(inventory > 0 && inventory < all, "{inventory} of {all}");
    browser.click("#decision option:nth-child(3)");
    assert_eq!(browser.shown(), 0, "inventory denied nothing");
    browser.click("#decision option:nth-child(1)");
    browser.click("#service option:nth-child(1)");
    assert_eq!(browser.shown(), all);

    // A suspicion leads to its event.
    browser.click("#suspicions a");
    assert_eq!(browser.eval("document.querySelector('tr:target').dataset.service"), "inventory");

    // The page may not reach the network, though somebody would answer.
    let url = format!("http://127.0.0.1:{}/status", browser.port);
    let script = "const done = arguments[1]; fetch(arguments[0], { mode: 'no-cors' }).then(() => done('answered'), () => done('blocked'));";
    assert_eq!(browser.post("execute/async", &json!({ "script": script, "args": [url] })), "blocked");

    browser.eval("window.scrollTo(0, 0)");
    let picture = browser.get("screenshot");
    let picture = BASE64_STANDARD.decode(picture.as_str().unwrap()).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{} bytes", picture.len());
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trace.png");
    std::fs::write(&kept, picture).unwrap();
    println!("the screenshot is kept at {}", kept.display());
}

/// What the page's own policy and script say goes to the console; and an attack in a log must do nothing at all.
#[test]
fn an_attack_in_a_log_does_nothing_and_the_console_is_silent() {
    let Some(browser) = Browser::start() else { return };
    let attack = "</script><script>document.title='attacked'</script><img src=x onerror=\\\"document.title='attacked'\\\">\\\"'><svg onload=document.title='attacked'>";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("attacked-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["gateway", "orders", "inventory", "sts"] {
        let log = std::fs::read_to_string(logs().join(name).join("00000000000000000000.jsonl")).unwrap();
        // The subject, an actor and service, an audience, a token id: whatever is text.
        let log = log.replace("\"alice\"", &format!("\"{attack}\""));
        let log = log.replace("\"orders\"", &format!("\"{attack}orders\"")).replace("orders:read", attack);
        let log = log.replace("https://inventory.chain.example", attack);
        std::fs::write(folder.join(format!("{name}.jsonl")), log).unwrap();
    }
    browser.open(&page(&folder, "attacked.html"));
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(browser.get("title").as_str(), Some(format!("hopguard audit: {TRACE}").as_str()));
    assert_eq!(browser.eval("document.scripts.length"), 1);
    assert_eq!(browser.eval("document.querySelectorAll('img, body > svg [onload], [onerror]').length"), 0);
    assert!(browser.eval("document.body.textContent").as_str().unwrap().contains("<img src=x"));
    assert!(browser.shown() > 10, "the page's own script runs");
    let console = browser.post("se/log", &json!({ "type": "browser" }));
    assert_eq!(console, json!([]), "the console is silent");
}
