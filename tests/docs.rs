//! The book (README.md and docs/) holds: every command in it is run, every link leads somewhere, every flag is told of.
//!
//! The convention of its pages: a fenced block of `sh` holds commands, a line each (a backslash joins two; `#` begins a remark).
//! Each is run in a place that has the files and hosts the book speaks of, behind the `cd` and `export` lines of its block. A
//! block of `console` shows a session: what is typed behind `$ `, and below it what is printed, which is compared; the blocks of
//! a page are one session, and `TAPKEEP_UPDATE_SNAPSHOTS=1` writes what is printed now into the page. What stands between
//! backticks and begins with `tapkeep` is a command, too, and must be understood. Commands that no test may run are listed in
//! `elsewhere`, each with its reason and what is checked instead; a command that is in no list fails.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod support;

#[path = "docs/elsewhere.rs"]
mod elsewhere;
#[path = "docs/page.rs"]
mod page;
#[path = "docs/place.rs"]
mod place;
#[path = "docs/shell.rs"]
mod shell;

use std::path::Path;
use std::sync::Mutex;

use page::{Page, ROOT, pages};
use place::{Place, RUN};
use support::corpora::corpora;
use support::net::Pace;
use support::process::{Answer, run, wait_until};
use support::recorded::wait_for_packets;
use support::require;
use support::scan::scan;
use support::service::tapkeep as program;
use support::stage::Stage;

const TOOLS: [&str; 7] = ["bash", "jq", "python3", "script", "sqlite3", "tcpdump", "tshark"];

/// How sessions are written anew.
const HOW: &str = "TAPKEEP_UPDATE_SNAPSHOTS=1 cargo test --test docs writes it into the page";

/// What a question may have that finds nothing here: a time of the day, traffic that nobody generates.
const MAY_BE_EMPTY: [&str; 3] = ["--since", "--min-bytes 1000000", "sni IS NOT NULL"];

/// Lines that only prepare the shell for those after them.
fn prepares(line: &str) -> bool {
    ["cd ", "export "].iter().any(|word| line.starts_with(word))
}

/// Judges what a command of the book came to.
fn judge(line: &str, answer: &Answer) -> Result<(), String> {
    let words = shell::commands(line);
    let ours = words.iter().map(|words| shell::bare(words)).find(|words| words[0] == "tapkeep");
    let asked = ours.and_then(|words| words.get(1)).map_or("", String::as_str);
    let allowed: &[i32] = match asked {
        // No service runs, and this machine need not be fit for one.
        "status" => &[0, 2],
        "check" => &[0, 1, 2, 3],
        _ if MAY_BE_EMPTY.iter().any(|part| line.contains(part)) => &[0, 3],
        _ => &[0],
    };
    let understood = !answer.stderr.contains("Usage:") && !answer.stderr.contains("not found");
    if answer.code.is_some_and(|code| allowed.contains(&code)) && understood {
        return Ok(());
    }
    Err(format!("exit code {:?}\n{}{}", answer.code, answer.text(), answer.stderr))
}

/// Runs a line, or checks what can be checked of it.
fn try_line(place: &Place, prepared: &[String], line: &str) -> Result<(), String> {
    let commands = shell::commands(line);
    let bare: Vec<_> = commands.iter().map(|words| shell::bare(words)).collect();
    if bare.iter().all(|words| RUN.contains(&&words[0][..])) {
        return judge(line, &place.run(prepared, line));
    }
    for words in bare {
        if RUN.contains(&&words[0][..]) {
            continue;
        }
        let Some(check) = elsewhere::listed(&words[0]) else {
            return Err(format!("{} is in no list of tests/docs: is it run, or not, and why?", words[0]));
        };
        check(words)?;
        if let Some(at) = words.iter().rposition(|word| word == "tapkeep" && words[0] == "setpriv") {
            understood(&words[at..])?;
        }
    }
    Ok(())
}

/// Asks the program for help with this command: flags and words that it does not know are an error still.
fn understood(words: &[String]) -> Result<(), String> {
    let args: Vec<_> = words[1..].iter().map(String::as_str).collect();
    let answer = run(&mut program(&[&args[..], &["--help"]].concat()));
    if answer.code == Some(0) { Ok(()) } else { Err(answer.stderr) }
}

/// Runs scripts in places of their own, a few at a time; panics with all that failed.
fn try_all(scripts: Vec<(String, Vec<Vec<String>>)>) {
    let (scripts, failed) = (Mutex::new(scripts), Mutex::new(Vec::new()));
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                let next = || scripts.lock().unwrap().pop();
                while let Some((name, scripts)) = next() {
                    let place = Place::recorded();
                    for script in scripts {
                        let (mut prepared, mut commands) = (Vec::new(), Vec::new());
                        for line in script {
                            if prepares(&line) {
                                prepared.push(line)
                            } else {
                                commands.push((prepared.clone(), line))
                            }
                        }
                        for (prepared, line) in commands {
                            if let Err(why) = try_line(&place, &prepared, &line) {
                                failed.lock().unwrap().push(format!("{name}: {line}\n{why}"));
                            }
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn every_command_of_the_book_is_run() {
    if !require(&TOOLS) {
        return;
    }
    let scripts: Vec<_> = pages().iter().map(|page| (page.name(), page.scripts())).collect();
    let count: usize = scripts.iter().flat_map(|(_, scripts)| scripts).map(Vec::len).sum();
    assert!(count > 100, "only {count} commands found");
    try_all(scripts.into_iter().filter(|(_, scripts)| !scripts.is_empty()).collect());
}

#[test]
fn first_answers_come_while_it_records() {
    let Some(stage) = Stage::new(&TOOLS) else { return };
    let service = stage.start(stage.setup());
    stage.send(&scan(100), Pace::PerSecond(1_000));
    wait_for_packets(service.data_dir(), 60);
    wait_until("the scan is found", || service.ask_json(&["suspicious", "--json"])["matched"] != 0);
    let place = Place::of_service(&service, "192.168.7.1");
    let start = Page::read(Path::new(ROOT).join("docs/START.md"));
    let scripts = start.scripts().into_iter();
    let of_now = |script: &Vec<String>| script.iter().any(|line| line.contains("--last 10m"));
    let lines: Vec<_> = scripts.filter(of_now).flatten().filter(|line| !line.contains("docker")).collect();
    assert!(lines.len() > 5, "{lines:?}");
    for line in lines {
        let answer = place.run(&[], &line);
        let said = format!("{line}\n{}{}", answer.text(), answer.stderr);
        assert_eq!(answer.code, Some(0), "{said}");
        let printed = line.contains("extract") || !answer.stdout.is_empty();
        assert!(printed && !answer.stderr.contains("error:"), "{said}");
        assert!(!line.starts_with("tapkeep suspicious") || answer.text().contains("port_scan"), "{said}");
    }
    service.stop().ok();
}

#[test]
fn every_command_has_examples_that_run() {
    if !require(&TOOLS) {
        return;
    }
    let mut lacking = Vec::new();
    let mut scripts = Vec::new();
    let mut waiting = vec![::tapkeep::cli::command()];
    while let Some(command) = waiting.pop() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<&str> = help.lines().skip_while(|line| *line != "Examples:").skip(1).collect();
        let lines: Vec<_> = lines.into_iter().take_while(|line| line.starts_with("  ")).collect();
        if lines.is_empty() {
            lacking.push(command.get_name().to_owned());
        }
        scripts.push((format!("{} --help", command.get_name()), vec![page::commands(&lines)]));
        waiting.extend(command.get_subcommands().cloned());
    }
    assert!(lacking.is_empty(), "no examples: {lacking:?}");
    // One place for all of them.
    try_all(vec![("--help".to_owned(), scripts.into_iter().flat_map(|(_, scripts)| scripts).collect())]);
}

#[test]
fn commands_stand_where_they_are_run() {
    let programs: Vec<_> =
        RUN.iter().copied().chain(elsewhere::ELSEWHERE.iter().map(|(name, ..)| *name)).collect();
    let mut stray = Vec::new();
    for page in pages() {
        let blocks = page.blocks().into_iter().filter(|block| !matches!(block.language, "sh" | "console"));
        let fenced: Vec<String> = blocks.flat_map(|block| block.lines).map(str::to_owned).collect();
        let indented =
            page.prose().into_iter().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned);
        for line in fenced.into_iter().chain(indented).filter(|line| !line.starts_with(' ')) {
            let line = line.strip_prefix("$ ").unwrap_or(&line);
            let commands = shell::commands(line);
            let first = commands.first().map_or(&[][..], |words| shell::bare(words));
            if first.len() > 1 && programs.contains(&&first[0][..]) && !is_drawn(line) {
                stray.push(format!("{}: {line}", page.name()));
            }
        }
    }
    assert!(stray.is_empty(), "commands outside of blocks of sh and console:\n{}", stray.join("\n"));
}

/// What looks like a command and is a picture of a screen.
fn is_drawn(line: &str) -> bool {
    line.starts_with("tapkeep  ")
}

#[test]
fn commands_between_backticks_are_understood() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages() {
        for span in page.spans().iter().filter(|span| !span.contains('…')) {
            let commands = shell::commands(span);
            let words = commands.first().map_or(&[][..], |words| shell::bare(words));
            let said = match words {
                [program, _, ..] if program == "tapkeep" => understood(&filled_in(words)),
                [program, _, ..] => elsewhere::listed(program).map_or(Ok(()), |check| check(words)),
                _ => continue,
            };
            count += 1;
            if let Err(why) = said {
                wrong.push(format!("{}: {span}\n{why}", page.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "only {count}");
}

#[test]
fn what_is_not_run_is_in_the_book() {
    let pages = pages();
    let lines = pages.iter().flat_map(|page| page.spans().into_iter().chain(page.scripts().concat()));
    let commands: Vec<_> = lines.flat_map(|line| shell::commands(&line)).collect();
    let used = |program: &str| commands.iter().any(|words| shell::bare(words)[0] == program);
    let unused: Vec<_> = elsewhere::ELSEWHERE.iter().filter(|(program, ..)| !used(program)).collect();
    assert!(
        unused.is_empty(),
        "listed for nothing: {:?}",
        unused.iter().map(|(program, ..)| program).collect::<Vec<_>>()
    );
}

/// Values in place of the placeholders behind flags; other words in capitals, such as FILE, are left out.
fn filled_in(words: &[String]) -> Vec<String> {
    let upper = |word: &String| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase());
    let value = |flag: &str| match flag {
        "--since" | "--until" => "14:30",
        "--last" => "1h",
        "--host" => "10.0.0.7",
        "--port" => "22",
        "--community-id" => "1:wCb3OG7yAFWelaUydu0D+125CLM=",
        _ => "x",
    };
    let mut filled: Vec<String> = Vec::new();
    for word in words {
        match filled.last().filter(|before| before.starts_with("--")) {
            Some(flag) if upper(word) => filled.push(value(flag).to_owned()),
            None if upper(word) => {}
            _ => filled.push(word.clone()),
        }
    }
    filled
}

#[test]
fn sessions_are_as_shown() {
    let Some(corpora) = corpora().filter(|_| require(&["bash", "tshark"])) else { return };
    let update = std::env::var_os("TAPKEEP_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1");
    let mut sessions = 0;
    for page in pages() {
        let now = replayed(&page, &corpora);
        if page.blocks().iter().any(|block| block.language == "console") {
            sessions += 1;
        }
        if update && now != page.text {
            std::fs::write(&page.path, &now).unwrap();
        } else {
            let differs = now.lines().zip(page.text.lines()).find(|(now, shown)| now != shown);
            assert!(
                now == page.text,
                "{}: what is shown is not what is printed (now, shown): {differs:#?}; {HOW}",
                page.name()
            );
        }
    }
    assert!(sessions > 0);
}

/// The page with what the commands of its sessions print now.
fn replayed(page: &Page, corpora: &Path) -> String {
    let sessions: Vec<_> = page.blocks().into_iter().filter(|block| block.language == "console").collect();
    let typed: Vec<Vec<String>> = sessions.iter().map(|block| typed(&block.lines)).collect();
    if typed.is_empty() {
        return page.text.clone();
    }
    let place = Place::empty();
    std::fs::copy(corpora.join("atk-ftp-bruteforce.pcap"), place.work().join("bruteforce.pcap")).unwrap();
    let script: String =
        typed.iter().flatten().map(|command| format!("{command}\nprintf '\\036'\n")).collect();
    let answer = run(&mut place.bash(&format!("exec 2>&1\n{script}"))).ok();
    let text = answer.text();
    let mut printed = text.split('\u{1e}');
    let lines: Vec<&str> = page.text.lines().collect();
    let (mut now, mut at) = (String::new(), 0);
    let mut push = |line: &str| {
        now.push_str(line);
        now.push('\n');
    };
    for (block, typed) in sessions.iter().zip(&typed) {
        lines[at..block.first].iter().for_each(|line| push(line));
        at = block.first + block.lines.len();
        for command in typed {
            let mut words = command.lines();
            push(&format!("$ {}", words.next().unwrap()));
            words.for_each(&mut push);
            let shown = printed.next().expect("a command ended the session").lines();
            // A remark about who runs the test, not about the capture.
            shown.filter(|line| !line.starts_with("Running as user")).for_each(&mut push);
        }
    }
    lines[at..].iter().for_each(|line| push(line));
    now
}

/// What is typed in a session; a backslash at the end goes on with the next line.
fn typed(lines: &[&str]) -> Vec<String> {
    let mut typed: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        match line.strip_prefix("$ ") {
            Some(command) => typed.push(command.to_owned()),
            None if goes_on => {
                let command = typed.last_mut().unwrap();
                command.push('\n');
                command.push_str(line);
            }
            None => continue,
        }
        goes_on = line.ends_with('\\');
    }
    typed
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in page.links().iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path =
                if file.is_empty() { page.path.clone() } else { page.path.parent().unwrap().join(file) };
            let there = path.exists() && (anchor.is_empty() || Page::read(path).anchors().contains(anchor));
            if !there {
                broken.push(format!("{}: {link}", page.name()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn files_of_the_source_are_there() {
    let folders = ["benches/", "config/", "examples/", "scripts/", "src/", "systemd/", "tests/", "yocto/"];
    let mut missing = Vec::new();
    for page in pages() {
        let spans = page.spans().into_iter().filter(|span| !span.contains(['…', '*', ' ']));
        let named = spans.filter(|span| folders.iter().any(|folder| span.starts_with(folder)));
        missing.extend(
            named.filter(|path| !Path::new(ROOT).join(path).exists()).map(|path| (page.name(), path)),
        );
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_chapter_is_in_the_contents() {
    let contents = Page::read(Path::new(ROOT).join("docs/README.md"));
    for page in pages() {
        let file = page.path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(
            file == "README.md" || contents.links().contains(&file),
            "docs/README.md does not name {file}"
        );
    }
}

#[test]
fn every_flag_is_told_of() {
    let page = Page::read(Path::new(ROOT).join("docs/CLI.md"));
    let mut lacking = Vec::new();
    let mut waiting = vec![("tapkeep".to_owned(), ::tapkeep::cli::command())];
    while let Some((name, command)) = waiting.pop() {
        waiting.extend(
            command.get_subcommands().map(|below| (format!("{name} {}", below.get_name()), below.clone())),
        );
        let told = section(&page.text, &name);
        let flags = command.get_arguments().filter_map(|flag| flag.get_long());
        let flags = flags.filter(|flag| !matches!(*flag, "help" | "version"));
        let silent = flags.filter(|flag| !tells(&told, flag));
        lacking.extend(silent.map(|flag| format!("{name} --{flag}")));
        if !page.text.contains(name.trim_start_matches("tapkeep ")) {
            lacking.push(name);
        }
    }
    assert!(lacking.is_empty(), "docs/CLI.md does not tell of {lacking:?}");
}

/// Whether the flag stands between backticks.
fn tells(text: &str, flag: &str) -> bool {
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.flat_map(str::split_whitespace).any(|word| word.strip_prefix("--") == Some(flag))
}

/// All sections of the page whose heading names the command, or the one above it; of none the whole page.
fn section(page: &str, name: &str) -> String {
    let command = name.split(' ').nth(1).unwrap_or(name);
    let heads = |section: &&str| {
        let head = section.lines().next().unwrap_or_default();
        head.split('`').any(|part| part.trim_start_matches("tapkeep ").split(' ').next() == Some(command))
    };
    let named: Vec<_> = page.split("\n## ").filter(heads).collect();
    if named.is_empty() { page.to_owned() } else { named.join("\n") }
}

#[test]
fn the_settings_are_those_of_the_program() {
    let tables = pages();
    let rows = tables.iter().flat_map(|page| {
        let mut inside = false;
        page.text.lines().filter(move |line| {
            inside = line.starts_with("| environment | key") || inside && line.starts_with('|');
            inside && !line.starts_with("| environment") && !line.starts_with("| ---")
        })
    });
    let cells = |line: &str| {
        line.split('|').skip(1).take(3).map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>()
    };
    let mut told: Vec<_> = rows.map(cells).collect();
    let cell = |text: Option<&str>, none: &str| text.filter(|t| !t.is_empty()).unwrap_or(none).to_owned();
    // The detectors' are in docs/DETECTORS.md.
    let keys = ::tapkeep::config::keys::KEYS
        .iter()
        .filter(|key| !key.toml().is_some_and(|path| path.starts_with("detect.")));
    let mut known: Vec<_> = keys
        .map(|key| {
            let none = if key.env() == "WIRESHARK_FILTER" { "empty" } else { "none" };
            vec![key.env().to_owned(), cell(key.toml(), "—"), cell(Some(&key.default_text()), none)]
        })
        .collect();
    told.sort();
    known.sort();
    assert_eq!(told, known);
}
