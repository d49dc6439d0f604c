//! A page looked at in a real browser, headless, by `browser.py`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a browser has to say of a page.
#[derive(Debug)]
pub struct Seen {
    /// What each `eval` came to.
    pub results: Vec<Value>,
    /// Addresses that were asked for.
    pub requests: Vec<String>,
    /// What the console, the log or an uncaught error said.
    pub messages: Vec<String>,
}

/// Opens a page and does these steps.
pub fn look(page: &Path, steps: &Value) -> Seen {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/browser.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(format!("file://{}", page.display()));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(steps.to_string().as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    let seen: Value = serde_json::from_slice(&said.stdout).unwrap();
    let texts = |key: &str| {
        seen[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    Seen {
        results: seen["results"].as_array().unwrap().clone(),
        requests: texts("requests"),
        messages: texts("messages"),
    }
}
