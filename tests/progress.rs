//! Waiting, in a real terminal: a bar comes where work is long and goes before anything else is said, and a signal in the middle
//! leaves nothing that is half written.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "helpers of tests")]

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::pcap::{Packet, SHORTEST, Shape, frame, pcap_bytes};
use support::process::{Process, Signal, run, wait_until};
use support::recorded;
use support::require;
use support::service::{ask, command_line, tapkeep};
use support::terminal::Terminal;
use tempfile::TempDir;

/// Packets in a second of a capture.
const SECOND: u32 = 10_000;
/// The first of them: 2024-12-31 14:30:52 UTC.
const BEGIN: u32 = 1_735_655_452;
/// How long a processor works on `protocols` over a capture, hundredths of a second: a bar comes after a second.
const LONG: u64 = 180;

/// Writes a capture of so many seconds.
fn write_capture(path: &Path, seconds: u32) {
    let packet = |seq: u32| Packet::whole(0, seq * 100, frame(seq.into(), SHORTEST, &[]));
    let all = pcap_bytes(&(0..SECOND).map(packet).collect::<Vec<_>>(), Shape::default());
    let (header, records) = all.split_at(24);
    let mut records = records.to_vec();
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(header).unwrap();
    for second in 0..seconds {
        for record in records.chunks_mut(16 + SHORTEST) {
            record[..4].copy_from_slice(&(BEGIN + second).to_le_bytes());
        }
        file.write_all(&records).unwrap();
    }
}

/// Hundredths of a second for which processors have worked on programs that have ended.
fn worked() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Of proc(5) cutime and cstime, the 16th and 17th, are the 14th and 15th behind the name.
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(13).take(2);
    fields.map(|field| field.parse::<u64>().unwrap()).sum()
}

/// Seconds of a capture over which `protocols` takes as [`LONG`] on this machine, however busy it is.
fn long() -> u32 {
    static LENGTH: OnceLock<u32> = OnceLock::new();
    *LENGTH.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("measured.pcap");
        for seconds in (0..).map(|doubled| 100 << doubled) {
            write_capture(&path, seconds);
            let begun = worked();
            let said = run(&mut tapkeep(&["protocols", path.to_str().unwrap()])).ok();
            // Neither a bar nor a byte that moves a cursor, for it is no terminal.
            assert_eq!(said.stderr, "");
            if worked() - begun >= LONG {
                return seconds;
            }
        }
        unreachable!("the machine is too fast");
    })
}

/// A shell in a folder of captures.
struct Desk {
    dir: TempDir,
    terminal: Terminal,
}

impl Desk {
    /// With `big.pcap`, over which every command takes its time.
    fn new(columns: u16) -> Option<Self> {
        if !require(&["tmux"]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        write_capture(&dir.path().join("big.pcap"), long());
        let terminal = Terminal::open(dir.path(), &dir.path().join("run"), columns, 24, &[]);
        Some(Self { dir, terminal })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A data directory that holds the capture, of which nothing is known yet.
    fn data(&self) -> PathBuf {
        let data = self.path("data");
        std::fs::create_dir_all(data.join("pcaps")).unwrap();
        let capture = data.join("pcaps/capture_20241231_143052_0001.pcap");
        std::fs::hard_link(self.path("big.pcap"), capture).unwrap();
        data
    }

    /// Everything there is in the folder, with its length.
    fn listing(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
                let meta = entry.metadata().unwrap();
                found.push((entry.path(), if meta.is_dir() { 0 } else { meta.len() }));
                if meta.is_dir() {
                    dirs.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }

    /// Starts a command and waits for the bar of what it does first.
    fn start(&self, words: &str, what: &str) {
        self.terminal.tapkeep(words);
        self.wait_for_bar(what);
    }

    fn wait_for_bar(&self, what: &str) {
        let mut screen = String::new();
        wait_until(&format!("the bar of {what}"), || {
            screen = self.terminal.screen();
            screen.lines().any(|line| is_bar(line, what))
        });
        let lines: Vec<_> = screen.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 1, "it is one line, and all that is there: {screen}");
    }

    /// The command ends so, and nothing of a bar is left.
    fn assert_ends(&self, code: u32) {
        self.terminal.wait_for(&format!("ended {code}\nready>"));
        self.assert_no_bar();
    }

    fn assert_no_bar(&self) {
        let screen = self.terminal.screen();
        // A table has bars of its own.
        assert!(!screen.contains("B/s") && !screen.contains(" left"), "{screen}");
        assert_eq!(self.terminal.tell("#{cursor_flag}"), "1");
    }

    /// A key ends the command, and the folder is as it was.
    fn interrupt(&self, words: &str, what: &str) {
        let before = self.listing();
        self.start(words, what);
        self.terminal.keys(&["C-c"]);
        // A shell whose command a signal has ended leaves out the rest of the line.
        self.terminal.wait_for("ready>");
        self.terminal.enter("echo ended $?");
        self.assert_ends(130);
        assert_eq!(self.listing(), before);
    }
}

/// Whether a line tells of this work, with what there is of all, a rate and the time left.
fn is_bar(line: &str, what: &str) -> bool {
    let drawn = line.strip_prefix(what).is_some_and(|rest| rest.trim_start().starts_with(['█', '░']));
    drawn && line.contains("B of ") && line.contains("B/s") && line.ends_with(" left")
}

#[test]
fn answers_over_captures() {
    let Some(desk) = Desk::new(80) else { return };
    desk.interrupt("protocols big.pcap --json", "analysing");
    assert!(!desk.terminal.shows("{"), "an answer that was given up is none");
    desk.interrupt("suspicious big.pcap big.pcap big.pcap", "looking for findings");
    desk.interrupt("flows big.pcap big.pcap big.pcap --json > /dev/null", "reading flows");

    desk.start("conversations big.pcap --limit 1", "analysing");
    desk.assert_ends(0);
    assert!(desk.terminal.screen().starts_with("Conversations: "), "{}", desk.terminal.screen());
    // What is no terminal but has one beside it.
    desk.start("endpoints big.pcap --limit 1 | cat", "analysing");
    desk.assert_ends(0);
}

#[test]
fn a_narrow_terminal_has_no_second_line() {
    let Some(desk) = Desk::new(36) else { return };
    desk.terminal.tapkeep("protocols big.pcap");
    let mut screen = String::new();
    wait_until("what there is to tell", || {
        screen = desk.terminal.screen();
        screen.contains("B/s")
    });
    assert_eq!(screen.lines().filter(|line| !line.is_empty()).count(), 1, "{screen}");
    desk.terminal.wait_for("ended 0\nready>");
    desk.assert_no_bar();
}

#[test]
fn extracts() {
    let Some(desk) = Desk::new(80) else { return };
    std::fs::write(desk.path("out.pcap"), "before").unwrap();
    let words = "extract --file big.pcap --file big.pcap --file big.pcap --file big.pcap";
    desk.interrupt(&format!("{words} -w out.pcap"), "extracting");
    assert_eq!(std::fs::read(desk.path("out.pcap")).unwrap(), b"before");

    desk.start(&format!("{words} udp port 1 -w out.pcap"), "extracting");
    desk.assert_ends(3);
    assert_eq!(desk.path("out.pcap").metadata().unwrap().len(), 24);
    desk.start(&format!("{words} udp port 1 | cat > piped.pcap"), "extracting");
    desk.assert_ends(0);
    assert_eq!(desk.path("piped.pcap").metadata().unwrap().len(), 24);
}

#[test]
fn what_is_being_written_is_gone_by_any_signal() {
    if !require(&[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (big, out) = (dir.path().join("big.pcap"), dir.path().join("out.pcap"));
    write_capture(&big, long());
    std::fs::write(&out, "before").unwrap();
    let names = || std::fs::read_dir(dir.path()).unwrap().count();
    let [big, to] = [&big, &out].map(|path| path.to_str().unwrap());
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut extract = Process::start(&mut tapkeep(&["extract", "--file", big, "-w", to]));
        wait_until("a file beside the other", || {
            assert!(extract.is_running(), "{}", extract.last_words());
            names() == 3
        });
        extract.signal(signal);
        let said = extract.finish(support::process::PATIENCE);
        assert_eq!(said.signal, Some(signal.as_raw()));
        let error = format!("tapkeep: error: write {}: interrupted\n", out.canonicalize().unwrap().display());
        assert_eq!((said.stderr, names()), (error, 2));
        assert_eq!(std::fs::read(&out).unwrap(), b"before");
    }
    // Who was started to ignore it does.
    let ignoring = format!("trap '' INT; exec {} extract --file {big} -w {to}", command_line());
    let mut extract = Process::start(Command::new("sh").args(["-c", &ignoring]));
    wait_until("a file beside the other", || names() == 3);
    extract.signal(Signal::INT);
    assert_eq!(extract.finish(support::process::PATIENCE).code, Some(0));
    assert!(out.metadata().unwrap().len() > 1_000_000);
}

#[test]
fn a_report_and_the_index() {
    let Some(desk) = Desk::new(80) else { return };
    std::fs::write(desk.path("page.html"), "before").unwrap();
    desk.interrupt("report big.pcap -o page.html", "analysing");
    assert_eq!(std::fs::read(desk.path("page.html")).unwrap(), b"before");
    desk.start("report big.pcap -o page.html", "analysing");
    desk.assert_ends(0);
    assert!(desk.path("page.html").metadata().unwrap().len() > 10_000);

    let data = desk.data();
    desk.start("index rebuild --data-dir data", "analysing");
    desk.assert_ends(0);
    let index = std::fs::read(data.join("index.sqlite3")).unwrap();
    desk.interrupt("index rebuild --data-dir data", "analysing");
    assert_eq!(std::fs::read(data.join("index.sqlite3")).unwrap(), index);
    // What the index has is answered at once, and what a time cuts is read.
    let whole = ask(&data, &["protocols", "--json"]).ok().json();
    assert_eq!(whole["packets"].as_u64(), Some(u64::from(long() * SECOND)));
    desk.start("protocols --data-dir data --since 2024-12-31T14:30:53Z", "analysing");
    desk.assert_ends(0);
}

#[test]
fn a_replay() {
    let Some(desk) = Desk::new(80) else { return };
    // Its threads share the work, so that it takes a part of the time.
    desk.start("replay big.pcap big.pcap big.pcap big.pcap --data-dir data", "replaying");
    desk.terminal.keys(&["C-c"]);
    desk.assert_ends(1);
    assert!(desk.terminal.shows("stopped early: replayed "), "{}", desk.terminal.screen());
    let data = desk.path("data");
    assert_eq!(recorded::growing(&data), Vec::<PathBuf>::new());
    let sealed = recorded::sealed(&data);
    let kept: u64 = sealed.iter().map(|file| file.metadata().unwrap().len() - 24).sum();
    assert!(kept > 0 && kept < 4 * desk.path("big.pcap").metadata().unwrap().len(), "{kept}");
    let told = ask(&data, &["protocols", "--json"]).ok().json();
    assert_eq!(told["packets"].as_u64(), Some(kept / (16 + SHORTEST as u64)));
}

/// What a terminal gets, byte by byte.
fn bytes_on_terminal(line: &str) -> String {
    run(Command::new("script").args(["-qec", line, "/dev/null"]).env("TERM", "xterm")).ok().text()
}

#[test]
fn where_nobody_could_see_a_bar_none_is_drawn() {
    if !require(&["script"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let big = dir.path().join("big.pcap");
    write_capture(&big, long());
    let command = format!("{} protocols {}", command_line(), big.display());
    assert!(bytes_on_terminal(&command).contains("s left\x1b[K\r\x1b[KProtocols: "));
    let command = format!("{command} --json");
    for hidden in [
        format!("TERM=dumb {command}"),
        format!("{command} 2> {}/said", dir.path().display()),
        format!("sh -m -c '{command} & wait'"),
    ] {
        let said = bytes_on_terminal(&hidden);
        assert!(said.contains("\"packets\"") && !said.contains('\x1b') && !said.contains("left"), "{said:?}");
    }
    assert_eq!(std::fs::read(dir.path().join("said")).unwrap(), b"");
}
