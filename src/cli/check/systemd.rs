//! What systemd says, where it runs.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may think.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether it runs this machine (sd_booted(3)).
pub(super) fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The kind of container that this is, if it is one and says so.
pub(super) fn container() -> Option<String> {
    let told = |path| std::fs::read_to_string(path).ok().map(|kind| kind.trim().to_owned());
    let there = |path: &str, kind: &str| Path::new(path).exists().then(|| kind.to_owned());
    told("/run/systemd/container")
        .or_else(|| there("/.dockerenv", "docker"))
        .or_else(|| there("/run/.containerenv", "podman"))
}

/// Properties of a unit, or of systemd itself.
pub(super) fn show(unit: Option<&str>, properties: &[&str]) -> io::Result<HashMap<String, String>> {
    let mut command = Command::new("systemctl");
    command.args(["show", "--no-pager", "--property", &properties.join(",")]).args(unit);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "systemctl does not answer"));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut text = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut text)?;
    }
    if !status.success() {
        return Err(io::Error::other(format!("systemctl failed: {status}")));
    }
    Ok(parse(&text))
}

fn parse(text: &str) -> HashMap<String, String> {
    let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_lines() {
        let found =
            parse("RuntimeWatchdogUSec=15s\nWatchdogDevice=\n\nExecStart={ path=/usr/bin/tapkeep }\n");
        assert_eq!(found["RuntimeWatchdogUSec"], "15s");
        assert_eq!((&*found["WatchdogDevice"], &*found["ExecStart"]), ("", "{ path=/usr/bin/tapkeep }"));
    }
}
