//! `tapkeep top` in a real terminal: a person's keys go in, and the screen is read. How each frame looks is held by the snapshots of
//! its unit tests.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests")]

mod support;

use std::path::Path;

use rustix::process::{Pid, kill_process};
use support::net::Pace;
use support::pcap::{capinfos_count, mix, write_pcap};
use support::process::{Signal, must, run, wait_until};
use support::require;
use support::scan::scan;
use support::service::{ask, tapkeep};
use support::stage::Stage;
use support::terminal::Terminal;
use tapkeep::cli::table::bytes;

/// A data directory by replay of a few packets.
fn replayed(dir: &Path) -> std::path::PathBuf {
    let (input, data) = (dir.join("input.pcap"), dir.join("data"));
    write_pcap(&input, &mix(0, 2_000));
    ask(&data, &["replay", input.to_str().unwrap()]).ok();
    data
}

/// A terminal, and what `stty` says of it, in whose shell nothing has run yet.
fn terminal(dir: &Path, columns: u16, rows: u16, variables: &[(&str, &str)]) -> (Terminal, String) {
    let terminal = Terminal::open(dir, &dir.join("run"), columns, rows, variables);
    let settings = settings(&terminal);
    (terminal, settings)
}

fn settings(terminal: &Terminal) -> String {
    must("stty", &["-F", &terminal.tell("#{pane_tty}"), "-a"]).text()
}

/// The terminal is as a shell leaves it, its command has ended with this code, and nothing of the view is left on it.
fn assert_left(terminal: &Terminal, settings_before: &str, code: u32) {
    terminal.wait_for(&format!("ended {code}\nready>"));
    assert!(!terminal.shows("ENDPOINT"), "{}", terminal.screen());
    assert_eq!(terminal.tell("#{alternate_on} #{cursor_flag}"), "0 1");
    assert_eq!(settings(terminal), settings_before);
}

#[test]
fn an_operator_finds_the_scan_and_takes_its_packets() {
    let Some(stage) = Stage::new(&["tmux", "capinfos"]) else { return };
    let service = stage.start(stage.setup());
    let dir = stage.dir.path();
    let terminal = Terminal::open(dir, service.runtime_dir(), 80, 24, &[]);
    let before = settings(&terminal);
    terminal.tapkeep("top");
    terminal.wait_for("tap0  capturing for");
    stage.send(&mix(0, 3_000), Pace::PerSecond(1_000));
    stage.send(&scan(100), Pace::PerSecond(1_000));
    terminal.wait_for("medium     port_scan: 192.168.7.1 tried");
    terminal.wait_for("10.0.0.");
    terminal.wait_for("udp data");

    terminal.keys(&["BTab", "Enter"]);
    terminal.wait_for("packets tapkeep extract --finding port_scan-");
    terminal.keys(&["w", "C-u"]);
    terminal.write("taken.pcap");
    terminal.keys(&["Enter"]);
    terminal.wait_for("taken.pcap: ");
    let id = service.ask_json(&["suspicious", "--json"])["findings"][0]["id"].as_str().unwrap().to_owned();
    let expected = dir.join("expected.pcap");
    service.ask(&["extract", "--finding", &id, "-w", expected.to_str().unwrap()]).ok();
    // It was told before its last packet, and is counted on.
    assert!(terminal.shows(" so far"), "{}", terminal.screen());
    assert_eq!(capinfos_count(&expected), scan(100).len() as u64);
    let recorded = service.ask(&["suspicious"]).text();
    assert!(recorded.contains(" so far\n"), "{recorded}");
    // What is analysed now is counted to its end.
    let now = service.ask(&["suspicious", "--fresh", expected.to_str().unwrap()]).text();
    assert!(now.contains("port_scan") && !now.contains(" so far"), "{now}");
    assert_eq!(std::fs::read(dir.join("taken.pcap")).unwrap(), std::fs::read(&expected).unwrap());

    // What nobody takes is not written to the end, and keys are answered meanwhile.
    let pipe = dir.join("pipe");
    must("mkfifo", &[pipe.to_str().unwrap()]);
    terminal.keys(&["w", "C-u"]);
    terminal.write("pipe");
    terminal.keys(&["Enter"]);
    terminal.wait_for("writing pipe …");
    terminal.keys(&["Escape"]);
    terminal.wait_for("ENDPOINT");
    assert_eq!(std::fs::read(&pipe).unwrap(), std::fs::read(&expected).unwrap());
    terminal.wait_for("pipe: ");
    terminal.keys(&["/"]);
    terminal.write("10.0.0.5");
    terminal.keys(&["Enter"]);
    terminal.wait_for("only 10.0.0.5");
    wait_until("others to be gone", || terminal.shows("10.0.0.5:1029") && !terminal.shows("10.0.0.6:1030"));

    terminal.resize(120, 40);
    terminal.wait_for("RECEIVED       LAST     BYTES▾");
    terminal.resize(60, 10);
    terminal.wait_for("top takes 80 columns and 24 rows;\nthis terminal has 60 and 10.");
    terminal.resize(80, 24);
    terminal.wait_for("DESTINATION");
    terminal.keys(&["p"]);
    terminal.wait_for("PAUSED");
    terminal.keys(&["q"]);
    assert_left(&terminal, &before, 0);

    // Whoever quits waits for nobody who might read.
    let terminal = Terminal::open(dir, service.runtime_dir(), 80, 24, &[]);
    terminal.tapkeep("top");
    terminal.wait_for("medium     port_scan: 192.168.7.1 tried");
    terminal.keys(&["BTab", "Enter"]);
    terminal.wait_for("packets tapkeep extract --finding port_scan-");
    terminal.keys(&["w", "C-u"]);
    terminal.write("pipe");
    terminal.keys(&["Enter"]);
    terminal.wait_for("writing pipe …");
    terminal.keys(&["q"]);
    assert_left(&terminal, &before, 0);
    assert_eq!(service.stop().code, Some(0));
}

#[test]
fn without_a_service_what_is_kept_is_shown_and_any_end_leaves_the_terminal_as_it_was() {
    if !require(&["tmux", "stty"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = replayed(dir.path());
    let (terminal, before) = terminal(dir.path(), 80, 24, &[]);
    let start = || {
        terminal.tapkeep(&format!("top --data-dir {}", data.display()));
        terminal.wait_for("Kept: 1 capture file");
        terminal.wait_for("10.0.1.");
        assert_eq!(terminal.tell("#{alternate_on}"), "1");
        assert_ne!(settings(&terminal), before);
    };
    start();
    assert!(
        terminal.shows("no service") && terminal.shows("from 2024-12-31 14:30:52 to 2024-12-31 14:30:53")
    );
    let most = &ask(&data, &["endpoints", "--limit", "1", "--json"]).ok().json()["endpoints"][0];
    let [address, total] =
        [most["address"].as_str().unwrap().to_owned(), bytes(most["bytes"].as_u64().unwrap())];
    let first = |line: &&str| line.starts_with(&address) && line.contains(&format!("{total}   "));
    assert!(terminal.screen().lines().any(|line| first(&line)), "{most}:\n{}", terminal.screen());
    // Red, as the terminal's owner has it.
    assert!(terminal.coloured().contains("38;5;1m"), "{}", terminal.coloured());
    terminal.keys(&["q"]);
    assert_left(&terminal, &before, 0);
    start();
    terminal.keys(&["C-c"]);
    assert_left(&terminal, &before, 0);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        start();
        kill_process(Pid::from_raw(terminal.program() as i32).unwrap(), signal).unwrap();
        assert_left(&terminal, &before, 0);
    }
}

#[test]
fn it_ends_with_its_terminal() {
    if !require(&["tmux", "stty"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = replayed(dir.path());
    // As under nohup the signal that says so is ignored.
    for before in ["", "trap '' HUP; "] {
        let (terminal, _) = terminal(dir.path(), 80, 24, &[]);
        terminal.write(before);
        terminal.tapkeep(&format!("top --data-dir {}", data.display()));
        terminal.wait_for("Kept: 1 capture file");
        let program = Path::new("/proc").join(terminal.program().to_string());
        drop(terminal);
        wait_until("top ends", || !program.exists());
    }
}

#[test]
fn no_color_means_none() {
    if !require(&["tmux", "stty"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = replayed(dir.path());
    let (terminal, _) = terminal(dir.path(), 100, 30, &[("NO_COLOR", "1")]);
    terminal.tapkeep(&format!("top --data-dir {} --host 10.0.0.5 --last 1h", data.display()));
    terminal.wait_for("10.0.1.5:9");
    assert!(
        terminal.shows("only 10.0.0.5  last 1 h") && !terminal.shows("10.0.1.6"),
        "{}",
        terminal.screen()
    );
    let shown = terminal.coloured();
    let codes: Vec<_> = shown.split("\x1b[").skip(1).filter_map(|rest| rest.split_once('m')).collect();
    assert!(codes.iter().any(|(code, _)| *code == "1"), "bold is no colour: {shown}");
    for (code, _) in codes {
        let coloured = code
            .split(';')
            .any(|code| matches!(code.parse(), Ok(30..=49 | 90..=107_u8)) && code != "39" && code != "49");
        assert!(!coloured, "{code}: {shown}");
    }
    terminal.keys(&["q"]);
    terminal.wait_for("ended 0");
}

#[test]
fn where_there_is_nothing_to_draw_on_one_line_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let data = replayed(dir.path());
    let refusal = "tapkeep: error: top draws on a terminal, and standard output is none that it can draw on: over SSH take ssh \
                   -t; for programs there are `tapkeep status --watch` and `tapkeep conversations --last 5m`\n";
    let said = run(&mut tapkeep(&["top", "--data-dir", data.to_str().unwrap()]));
    assert_eq!((said.code, said.text(), said.stderr.as_str()), (Some(2), String::new(), refusal));
    if !require(&["tmux", "stty"]) {
        return;
    }
    let (terminal, before) = terminal(dir.path(), 200, 24, &[]);
    terminal.tapkeep("top </dev/null");
    assert_left(&terminal, &before, 2);
    assert!(terminal.shows("top takes keys from a terminal"), "{}", terminal.screen());
    terminal.enter("export TERM=dumb");
    terminal.tapkeep("top");
    assert_left(&terminal, &before, 2);
    assert!(terminal.shows("top draws on a terminal"), "{}", terminal.screen());
}
