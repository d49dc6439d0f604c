//! Manual pages and completions are made of the command line itself: a page for each command, that groff takes without a word, and
//! completions that the shells take.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "support/requirements.rs"]
mod requirements;

use requirements::require;

#[allow(dead_code, reason = "the example is a program of its own")]
#[path = "../examples/manual.rs"]
mod manual;

fn made(folder: &Path) {
    manual::write(folder).unwrap();
}

fn words(command: &clap::Command, before: &[String], all: &mut Vec<Vec<String>>) {
    let own: Vec<_> = before.iter().cloned().chain([command.get_name().to_owned()]).collect();
    for below in command.get_subcommands() {
        words(below, &own, all);
    }
    all.push(own);
}

#[test]
fn every_command_has_a_page_and_its_examples_stay_lines() {
    if !require(&["groff"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let mut commands = Vec::new();
    words(&tapkeep::cli::command(), &[], &mut commands);
    assert!(commands.len() > 15);
    for command in commands {
        let page = dir.path().join(format!("{}.1", command.join("-")));
        let groff = ["-man", "-Kutf8", "-Tutf8", "-ww", "-rLL=100n"];
        let shown = Command::new("groff").args(groff).arg(&page).output().unwrap();
        let (text, said) = [&shown.stdout, &shown.stderr].map(|bytes| String::from_utf8_lossy(bytes)).into();
        assert!(shown.status.success() && said.is_empty(), "{}: {said}", page.display());
        assert!(text.contains(&command.join("-")), "{text}");
    }
    let extract = std::fs::read_to_string(dir.path().join("tapkeep-extract.1")).unwrap();
    assert!(
        extract.contains(".SH EXAMPLES\n.nf\ntapkeep extract \\-\\-last 5m \\-w last.pcap\n"),
        "{extract}"
    );
}

#[test]
fn bash_completes_commands_and_flags() {
    if !require(&["bash"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let completion: PathBuf = dir.path().join("tapkeep.bash");
    let completes = |line: &str| {
        let script = format!(
            "source {}; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _tapkeep tapkeep \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\"",
            completion.display()
        );
        let answer = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
        assert!(
            answer.status.success() && answer.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&answer.stderr)
        );
        String::from_utf8(answer.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completes("tapkeep sus"), "suspicious");
    assert_eq!(completes("tapkeep extract --fo"), "--follow");
    for (file, names) in [("_tapkeep", "#compdef tapkeep"), ("tapkeep.fish", "complete -c tapkeep")] {
        assert!(std::fs::read_to_string(dir.path().join(file)).unwrap().contains(names), "{file}");
    }
}
