//! Commands of the book that no test may run: each with the reason, and with what can be checked of it all the same.

use std::path::Path;
use std::process::Command;

use super::page::ROOT;

/// Looks at the words of a command; tells what is wrong with it.
type Check = fn(&[String]) -> Result<(), String>;

/// The programs, why they are not run, and what is checked instead.
pub(crate) const ELSEWHERE: &[(&str, &str, Check)] = &[
    ("apt", "installs", package),
    ("make", "builds and tests, for minutes", target),
    ("cross", "wants a container engine", cross),
    ("docker", "wants a container engine", container),
    ("systemctl", "steers the machine's services", unit),
    ("systemd-analyze", "judges an installed unit", unit),
    ("journalctl", "reads this machine's journal", journal),
    ("systemd-sysusers", "makes users", nothing),
    ("systemd-tmpfiles", "makes folders of the system", nothing),
    ("usermod", "changes users", nothing),
    ("install", "writes into the system", sample),
    ("setpriv", "wants the user tapkeep", nothing),
    ("ip", "changes the machine's network", nothing),
    ("ethtool", "changes a network card", nothing),
    ("cryptsetup", "overwrites a partition", nothing),
    ("mkfs.ext4", "overwrites a partition", nothing),
    ("chattr", "makes a folder that stays", nothing),
    ("mount", "mounts a disk", nothing),
    ("mkdir", "makes a folder of the system", nothing),
    ("tee", "appends to /etc/fstab", nothing),
    ("sed", "edits the machine's configuration", nothing),
    ("rsync", "wants another machine", nothing),
    ("fuser", "looks at every process", nothing),
    ("curl", "fetches from the network", nothing),
    ("node_exporter", "is another project's service", nothing),
    ("dpkg-query", "asks for an installed package", nothing),
    ("cargo", "builds and tests", nothing),
];

/// What is listed of this program.
pub(crate) fn listed(program: &str) -> Option<Check> {
    ELSEWHERE.iter().find(|(name, ..)| *name == program).map(|(_, _, check)| *check)
}

fn nothing(_: &[String]) -> Result<(), String> {
    Ok(())
}

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

fn every<'a>(words: impl Iterator<Item = &'a String>, known: impl Fn(&str) -> bool) -> Result<(), String> {
    match words.into_iter().find(|word| !known(word)) {
        Some(word) => Err(format!("{word} is not there")),
        None => Ok(()),
    }
}

fn plain(words: &[String]) -> impl Iterator<Item = &String> {
    words.iter().skip(1).filter(|word| !word.starts_with('-'))
}

fn target(words: &[String]) -> Result<(), String> {
    let makefile = text("Makefile");
    every(plain(words).filter(|word| !word.contains('=')), |word| {
        makefile.lines().any(|line| line.starts_with(&format!("{word}:")))
    })
}

fn unit(words: &[String]) -> Result<(), String> {
    every(plain(words).skip(1), |word| {
        let base = match word.trim_end_matches(".service").split_once('@') {
            Some((template, _)) => format!("{template}@"),
            None => word.trim_end_matches(".service").to_owned(),
        };
        Path::new(ROOT).join(format!("systemd/{base}.service")).is_file()
    })
}

/// What the book calls by a bare name lies among the samples of `systemd/`.
fn sample(words: &[String]) -> Result<(), String> {
    let ours = words.iter().filter(|word| word.starts_with("tapkeep-") && word.contains('.'));
    every(ours, |word| Path::new(ROOT).join("systemd").join(word).is_file())
}

fn package(words: &[String]) -> Result<(), String> {
    let other_version = words.iter().any(|word| word == "--allow-downgrades");
    let ours = words.iter().filter(|word| word.ends_with(".deb") && !other_version);
    every(ours, |word| word.starts_with(&format!("./tapkeep_{}-1_", env!("CARGO_PKG_VERSION"))))
}

fn cross(words: &[String]) -> Result<(), String> {
    let known = text("cross.toml");
    every(words.iter().skip_while(|word| *word != "--target").skip(1).take(1), |word| known.contains(word))
}

fn container(words: &[String]) -> Result<(), String> {
    let file =
        if words.get(1).is_some_and(|word| word == "compose") { "docker-compose.yml" } else { "Dockerfile" };
    if Path::new(ROOT).join(file).is_file() { Ok(()) } else { Err(format!("there is no {file}")) }
}

/// Fields, events and ids are those of docs/JOURNAL.md, and journalctl understands the rest, asked of an empty folder.
fn journal(words: &[String]) -> Result<(), String> {
    let told = text("docs/JOURNAL.md");
    for word in words {
        let Some((field, value)) = word.split_once('=').filter(|_| !word.starts_with('-')) else { continue };
        let fixed = matches!(field, "TAPKEEP_EVENT" | "MESSAGE_ID");
        if !told.contains(&format!("`{field}`")) || fixed && !told.contains(&format!("`{value}`")) {
            return Err(format!("docs/JOURNAL.md does not know {word}"));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    // --follow would never end.
    let ends = words.iter().skip(1).filter(|word| !matches!(&word[..], "-f" | "--follow"));
    let ends = ends.map(|word| if word == "-fp" { "-p" } else { word });
    let mut command = Command::new("journalctl");
    let answer = command.arg("-D").arg(folder.path()).args(["--no-pager", "-q"]).args(ends).output();
    match answer {
        Ok(answer) if !answer.status.success() && !answer.stderr.is_empty() => {
            Err(String::from_utf8_lossy(&answer.stderr).into_owned())
        }
        _ => Ok(()),
    }
}
