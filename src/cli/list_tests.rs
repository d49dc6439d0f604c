use chrono::{FixedOffset, Utc};

use super::super::time::date_time;
use super::super::zone::Here;
use super::*;
use crate::cli::output::tests::Page;
use crate::daemon::Recording;
use crate::index::view::tests::{House, house};
use crate::store::entry::Act;
use crate::store::names::CaptureName;

struct Said {
    exit: Exit,
    out: String,
    err: String,
}

fn ask(house: &House, flags: &[&str]) -> Said {
    ask_in(house.dir.path(), house, flags)
}

fn ask_in(data_dir: &Path, house: &House, flags: &[&str]) -> Said {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        list: ListArgs,
    }
    let line: Line = clap::Parser::parse_from([&["list"], flags].concat());
    let (out, err) = (Page::default(), Page::default());
    let mut output = Output::to(out.clone(), err.clone(), false);
    let place = Place { data_dir, why: "a test says so", runtime_dir: house.dir.path() };
    let result = list(&line.list, &place, &|_| Ok(house.entries.clone()), &mut output);
    let exit = output.finish(result);
    Said { exit, out: out.text(), err: err.text() }
}

/// What a service that writes into the house says, so many milliseconds ago.
fn service_says(house: &House, losses: Losses, ago_ms: u64) {
    let recording = Recording {
        index: 5,
        name: String::new(),
        size: 0,
        rotation_size: 0,
        packets: 0,
        losses,
        clock_synchronised: Some(true),
    };
    let state = ServiceState {
        data_dir: house.dir.path().canonicalize().unwrap(),
        updated_up_ms: RealClock.now().up.as_millis() as u64 - ago_ms,
        recording: Some(recording),
        ..ServiceState::default()
    };
    std::fs::write(house.dir.path().join("state.7.json"), serde_json::to_vec(&state).unwrap()).unwrap();
}

const SOME_LOST: Losses = Losses { nic: Some(1), kernel: Some(2), ..Losses::NONE };

#[test]
fn only_a_fresh_state_tells_of_the_growing_file() {
    let house = house();
    let losses = || -> Value {
        let answer: Value = serde_json::from_str(&ask(&house, &["--json"]).out).unwrap();
        answer["files"][3]["losses"].clone()
    };
    assert_eq!(losses(), json!(Losses::UNKNOWN));
    service_says(&house, SOME_LOST, 5_000);
    assert_eq!(losses(), json!(SOME_LOST));
    service_says(&house, SOME_LOST, 11_000);
    assert_eq!(losses(), json!(Losses::UNKNOWN));
}

#[test]
fn the_json_shape_is_a_contract() {
    let mut house = house();
    service_says(&house, SOME_LOST, 0);
    let doubtful = house.seal(6, 1_735_656_000, 2);
    house.entries.pop();
    house.note(Act::Salvage {
        capture: crate::store::facts::CaptureFacts {
            state: State::Salvaged,
            clock_synchronised: Some(false),
            doubtful_from: Some(100),
            losses: Losses::NONE,
            ..doubtful
        },
        cut: 9,
        reason: "ended within a record".to_owned(),
    });
    let said = ask(&house, &["--json", "--all"]);
    assert_eq!((said.exit, said.err.as_str()), (Exit::Ok, ""));
    let zero = r#""queue":0,"write":0,"analysis":0}"#;
    let wanted = [
        concat!(
            r#"{"files":[{"name":"capture_20241231_143100_0001.pcap","kind":"capture","state":"evicted","index":1,"#,
            r#""first":"2024-12-31T14:31:00.000000000Z","last":"2024-12-31T14:31:09.000000000Z","packets":10,"bytes":600,"#,
            r#""size":784,"losses":{"nic":0,"kernel":1,"#
        ),
        zero,
        concat!(
            r#","held":false,"clock_synchronised":true,"evicted_at":"2024-12-31T15:46:40.000000000Z","#,
            r#""reason":"more than 10 files"}"#
        ),
    ];
    assert!(said.out.starts_with(&wanted.concat()), "{}", said.out);
    let wanted = [
        concat!(
            r#"{"name":"capture_20241231_143640_0005.pcap.part","kind":"capture","state":"recording","index":5,"#,
            r#""first":"2024-12-31T14:36:40.000000000Z","last":"2024-12-31T14:36:41.000000000Z","packets":2,"bytes":120,"#,
            r#""size":247,"losses":{"nic":1,"kernel":2,"#
        ),
        zero,
        r#","held":false,"clock_synchronised":true},"#,
        concat!(
            r#"{"name":"capture_20241231_144000_0006.pcap","kind":"capture","state":"salvaged","index":6,"#,
            r#""first":"2024-12-31T14:40:00.000000000Z","last":"2024-12-31T14:40:01.000000000Z","packets":2,"bytes":120,"#,
            r#""size":176,"losses":{"nic":0,"kernel":0,"#
        ),
        zero,
        r#","held":false,"clock_synchronised":false,"doubtful_from":100}],"matched":6,"#,
        concat!(
            r#""gaps":[{"from":"2024-12-31T14:32:45.000000000Z","to":"2024-12-31T14:33:20.000000000Z","#,
            r#""duration_ms":35000,"reason":"interface eth1 down"}],"#,
            r#""from":"2024-12-31T14:31:00.000000000Z","to":"2024-12-31T14:40:01.000000000Z","losses":{"nic":1,"kernel":12,"#
        ),
        zero,
        r#","tap":[],"left":0}"#,
        "\n",
    ];
    assert!(said.out.ends_with(&wanted.concat()), "{}", said.out);
}

#[test]
fn a_rebuilt_index_gives_the_same_bytes() {
    let house = house();
    let flags = [
        &["--json", "--all"][..],
        &["--json"],
        &["--json", "--all", "--since", "2024-12-31T14:33:00Z"],
        &["--all"],
    ];
    let before = flags.map(|flags| ask(&house, flags).out);
    std::fs::remove_file(house.layout().index()).unwrap();
    let without = flags.map(|flags| ask(&house, flags));
    assert!(without.iter().all(|said| said.err.contains("answered from the files")));
    assert_eq!(without.map(|said| said.out), before);
    house.index();
    let after = flags.map(|flags| ask(&house, flags));
    assert!(after.iter().all(|said| said.err.is_empty()));
    assert_eq!(after.map(|said| said.out), before);
}

#[test]
fn ranges_and_limits_choose_files() {
    let house = house();
    let indexes = |flags: &[&str]| -> (Vec<u64>, u64, Exit) {
        let said = ask(&house, &[&["--json"], flags].concat());
        let answer: Value = serde_json::from_str(&said.out).unwrap();
        let files = answer["files"].as_array().unwrap();
        let indexes = files.iter().map(|file| file["index"].as_u64().unwrap()).collect();
        (indexes, answer["matched"].as_u64().unwrap(), said.exit)
    };
    assert_eq!(indexes(&[]), (vec![2, 3, 4, 5], 4, Exit::Ok));
    assert_eq!(indexes(&["--limit", "2"]), (vec![4, 5], 4, Exit::Ok));
    assert_eq!(indexes(&["--limit", "0", "--all"]), (vec![1, 2, 3, 4, 5], 5, Exit::Ok));
    // File 3 holds 14:33:00 to 14:33:29.
    let third = ["--since", "2024-12-31T14:33:29Z", "--until", "2024-12-31T14:34:00Z"];
    assert_eq!(indexes(&third), (vec![3], 1, Exit::Ok));
    let between = ["--since", "2024-12-31T14:33:30Z", "--until", "2024-12-31T14:34:00Z"];
    assert_eq!(indexes(&between), (vec![], 0, Exit::NothingLeft));
    assert_eq!(indexes(&["--last", "1s"]), (vec![], 0, Exit::NothingLeft));
}

#[test]
fn an_answer_without_files_says_where_it_looked_and_why_there() {
    let house = house();
    let said = ask(&house, &["--last", "1s"]);
    let dir = house.dir.path().display();
    assert_eq!(said.out, "");
    let (head, tail) = said.err.split_once(" in ").unwrap();
    assert!(head.starts_with("tapkeep: note: no packets since 20"), "{head}");
    assert_eq!(tail, format!("{dir} (a test says so); the latest kept is of {}\n", here(1_735_655_801)));
    let (since, until) = (here(1_735_000_000), here(1_735_000_060));
    let said = ask(&house, &["--since", &since, "--until", &until]);
    let wanted = format!(
        "tapkeep: note: no packets between {since} and {} in {dir} (a test says so); the oldest kept is of {}\n",
        &until[11..],
        here(1_735_655_520)
    );
    assert_eq!((said.exit, said.err), (Exit::NothingLeft, wanted));
    let empty = House::new();
    let said = ask(&empty, &["--json"]);
    assert_eq!(said.exit, Exit::Ok);
    let none = r#"{"nic":0,"kernel":0,"queue":0,"write":0,"analysis":0}"#;
    assert_eq!(
        said.out,
        format!(
            "{{\"files\":[],\"matched\":0,\"gaps\":[],\"from\":null,\"to\":null,\"losses\":{none},\"tap\":[],\"left\":0}}\n"
        )
    );
    assert!(said.err.starts_with("tapkeep: note: no capture files in "), "{}", said.err);
    let said = ask_in(Path::new("/no/such/place"), &empty, &[]);
    assert_eq!(
        (said.exit, said.err.as_str()),
        (Exit::Ok, "tapkeep: note: no capture files: /no/such/place does not exist (a test says so)\n")
    );
}

#[test]
fn a_contradiction_is_a_usage_error() {
    let said = ask(&house(), &["--json", "--since", "1h", "--until", "2h"]);
    assert_eq!(said.exit, Exit::Usage);
    assert!(said.out.is_empty() && said.err.contains("error: nothing is between"), "{}", said.err);
}

/// So many seconds since 1970, as whoever asks reads them.
fn here(seconds: i64) -> String {
    date_time(seconds * 1_000_000_000, &Here)
}

fn table<Z: TimeZone>(house: &House, flags: &[&str], limit: usize, zone: &Z) -> String {
    let args = ListArgs { all: flags.contains(&"--all"), ..ListArgs::default() };
    let place = Place { data_dir: house.dir.path(), why: "", runtime_dir: house.dir.path() };
    let answer = gather(&args, &place, &|_| Ok(house.entries.clone()), RealClock.now()).unwrap();
    let page = Page::default();
    let mut out = Output::to(page.clone(), page.clone(), false);
    answer.show(SortArgs::default(), limit, zone, &mut out).unwrap();
    out.flush().unwrap();
    page.text()
}

#[test]
fn the_table_reads_well() {
    let mut house = house();
    let unsynchronised = crate::store::facts::CaptureFacts {
        name: CaptureName::new(6, 1_735_689_590),
        losses: Losses { nic: None, kernel: Some(1_200), queue: Some(3), ..Losses::NONE },
        clock_synchronised: Some(false),
        ..house.seal(6, 1_735_689_590, 25)
    };
    house.entries.pop();
    house.note(Act::Seal { capture: unsynchronised });
    let wanted = "\
 █                                                             ▃
 !                                                             !
 2024-12-31 14:32:00 – 2025-01-01 00:00:14, 8 min 52 s a step; ! lost packets, - nothing could be captured
 FIRST                LAST                 STATE      PACKETS    BYTES     SIZE                      LOST  NAME
 2024-12-31 14:31:00  14:31:09             evicted         10    600 B    784 B                  1 kernel  capture_20241231_143100_0001.pcap       evicted 2024-12-31 15:46:40: more than 10 files
 2024-12-31 14:32:00  14:32:19             sealed          20  1.20 kB  1.54 kB                  2 kernel  capture_20241231_143200_0002.pcap
—  gap 2024-12-31 14:32:45–14:33:20 (35 s): interface eth1 down
 2024-12-31 14:33:00  14:33:29             sealed          30  1.80 kB  2.30 kB                  3 kernel  capture_20241231_143300_0003.pcap       held
 2024-12-31 14:34:00  14:34:39             sealed          40  2.40 kB  3.06 kB                  4 kernel  capture_20241231_143400_0004.pcap
 2024-12-31 14:36:40  14:36:41             recording        2    120 B    247 B                         ?  capture_20241231_143640_0005.pcap.part
~2024-12-31 23:59:50  2025-01-01 00:00:14  sealed          25  1.50 kB  1.92 kB  1,200 kernel, 3 queue, ? nic  capture_20241231_235950_0006.pcap
 5 files                                                  117  7.02 kB  9.08 kB                         ?  total, without 1 evicted 1 gap, 35 s
~ the clock was not synchronised: times may be wrong
";
    let squeeze = |text: &str| {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    let shown = table(&house, &["--all"], 0, &Utc);
    assert_eq!(squeeze(&shown), squeeze(wanted));
    let ends = |column: &str| {
        let head = shown.lines().nth(3).unwrap();
        head[..head.find(column).unwrap() + column.len()].chars().count()
    };
    for line in shown.lines().filter(|line| line.contains(".pcap")) {
        let cell = |end: usize| line.chars().skip(end - 1).take(2).collect::<String>();
        assert!(
            ["PACKETS", "SIZE", "LOST"].iter().all(|column| !cell(ends(column)).starts_with(' ')),
            "{line}"
        );
    }
    let east = FixedOffset::east_opt(3_600).unwrap();
    let short = table(&house, &[], 2, &east);
    assert!(short.contains("\n FIRST") && short.contains("\n 2024-12-31 15:36:40  15:36:41 "), "{short}");
    assert!(short.ends_with("2 of 5 shown; --limit 0 shows all\n") && !short.contains("—  gap"), "{short}");
}
