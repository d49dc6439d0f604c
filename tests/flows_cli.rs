//! `tapkeep flows` as its users meet it: filters against what tshark counts, SQL against jq, CSV against Python's reader, records
//! followed live. The corpora lie where `TAPKEEP_CORPORA` points, else in a folder beside the checkout.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "a test may fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use support::corpora::{captures, corpora};
use support::process::{Answer, Process, Signal, run, wait_until};
use support::require;
use support::service::{ask, command_line, tapkeep};
use tapkeep::index::flow_table::{self, Cell, KEYS, Snapshot};
use tapkeep::index::flows::FlowLook;
use tapkeep::store::layout::Layout;
use tapkeep::store::range::TimeRange;
use tapkeep::sys::fs::RealFs;

/// The smallest that may be configured, bytes.
const FLOW_ROTATION: usize = 64 << 10;

/// Captures whose later fragments tshark counts by themselves, and we to the flow that they belong to.
const FRAGMENTS: [&str; 3] = ["encap-tunnel-zoo.pcap", "frag-v4-sctp.pcap", "frag-v6.pcap"];

/// A replay into a data directory in small steps; nothing is folded or evicted.
fn replay(data_dir: &Path, capture: &Path) -> Command {
    let mut command =
        tapkeep(&["replay", "--data-dir", data_dir.to_str().unwrap(), capture.to_str().unwrap()]);
    let keep = ["PCAP_RETENTION_COUNT", "TAPKEEP_RETENTION_MIN_FREE", "TAPKEEP_RETENTION_FLOW_COUNT"];
    command.envs(keep.map(|name| (name, "0"))).env("TAPKEEP_FLOWS_FOLD", "false");
    // Records follow their packets onto the disk.
    command.env("PCAP_ROTATION_SIZE", "300kB").env("TAPKEEP_RECORDER_SYNC_INTERVAL", "100ms");
    command.env("TAPKEEP_RECORDER_FLOW_ROTATION_SIZE", FLOW_ROTATION.to_string() + "B");
    command
}

/// Records captures into a data directory, each by a run of its own.
fn record(data_dir: &Path, captures: &[PathBuf]) {
    for capture in captures {
        run(&mut replay(data_dir, capture)).ok();
    }
}

/// Records a capture as slowly as it takes for flow files to be rotated meanwhile.
fn record_slowly(data_dir: &Path, capture: &Path) {
    let plain = tempfile::NamedTempFile::new().unwrap();
    run(Command::new("editcap").args(["-F", "pcap"]).arg(capture).arg(plain.path())).ok();
    let mut command = replay(data_dir, Path::new("/dev/stdin"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let (mut pipe, bytes) = (child.stdin.take().unwrap(), std::fs::read(plain.path()).unwrap());
    for chunk in bytes.chunks(bytes.len() / 12 + 1) {
        pipe.write_all(chunk).unwrap();
        std::thread::sleep(Duration::from_millis(250));
    }
    drop(pipe);
    assert!(child.wait().unwrap().success());
}

fn flows(data_dir: &Path, args: &[&str]) -> Answer {
    ask(data_dir, &[&["flows"], args].concat())
}

fn sql(data_dir: &Path, query: &str) -> Vec<Value> {
    lines(&flows(data_dir, &["--json", "--sql", query]))
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn jq(data_dir: &Path, args: &[&str], program: &str) -> Vec<Value> {
    let all = data_dir.join("all.jsonl");
    std::fs::write(&all, flows(data_dir, args).stdout).unwrap();
    lines(&run(Command::new("jq").args(["-c", program]).arg(all)).ok())
}

/// Some of everything: scans, names, VLANs, IPv6, long flows.
fn mixture(corpora: &Path) -> Vec<PathBuf> {
    let names = [
        "mix-office.pcap",
        "mix-home-lan.pcapng",
        "atk-portscan-vertical.pcap",
        "encap-vlan-collisions.pcap",
        "mix-tls-v4-v6.pcap",
        "atk-dns-tunnel.pcap",
    ];
    names.map(|name| corpora.join(name)).to_vec()
}

fn packets_and_bytes(records: &[Value]) -> (u64, u64) {
    let sum = |keys: [&str; 2]| {
        records.iter().flat_map(|record| keys.map(|key| record[key].as_u64().unwrap())).sum()
    };
    (sum(["orig_packets", "resp_packets"]), sum(["orig_bytes", "resp_bytes"]))
}

/// A row of tshark's flows.
struct Row {
    addrs: [IpAddr; 2],
    ports: [Option<u64>; 2],
    proto: u64,
    packets: u64,
    bytes: u64,
    ids: Vec<String>,
}

fn true_rows(capture: &Path) -> Vec<Row> {
    let name = capture.file_name().unwrap().to_str().unwrap();
    let truth = capture.with_file_name("truth").join(format!("{name}.json"));
    let truth: Value = serde_json::from_slice(&std::fs::read(truth).unwrap()).unwrap();
    let row = |row: &Value| Row {
        addrs: [0, 2].map(|at: usize| row[at].as_str().unwrap().parse().unwrap()),
        ports: [1, 3].map(|at: usize| row[at].as_u64()),
        proto: row[4].as_u64().unwrap(),
        packets: row[5].as_u64().unwrap() + row[7].as_u64().unwrap(),
        bytes: row[6].as_u64().unwrap() + row[8].as_u64().unwrap(),
        ids: row[11].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect(),
    };
    truth["flows"]["rows"].as_array().unwrap().iter().map(row).collect()
}

/// What most rows have.
fn commonest<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts = BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_insert(0) += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(value, _)| value)
}

/// The network of 24 bits, or 64, that an address is in.
fn net(addr: IpAddr) -> (String, Box<dyn Fn(IpAddr) -> bool>) {
    match addr {
        IpAddr::V4(v4) => {
            let of = |v4: std::net::Ipv4Addr| v4.to_bits() >> 8;
            (format!("{v4}/24"), Box::new(move |other| matches!(other, IpAddr::V4(o) if of(o) == of(v4))))
        }
        IpAddr::V6(v6) => {
            let of = |v6: std::net::Ipv6Addr| v6.to_bits() >> 64;
            (format!("{v6}/64"), Box::new(move |other| matches!(other, IpAddr::V6(o) if of(o) == of(v6))))
        }
    }
}

#[test]
fn filters_let_through_what_tshark_counts() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut tried = 0;
    for capture in captures(&corpora) {
        let name = capture.file_name().unwrap().to_str().unwrap().to_owned();
        let (rows, data) = (true_rows(&capture), dir.path().join(&name));
        let Some(host) = commonest(rows.iter().flat_map(|row| row.addrs)) else { continue };
        record(&data, &[capture]);
        let check = |args: &[&str], fits: &dyn Fn(&Row) -> bool| {
            let (mut packets, mut bytes) = (0, 0);
            for row in rows.iter().filter(|row| fits(row)) {
                packets += row.packets;
                bytes += row.bytes;
            }
            let found = lines(&flows(&data, &[&["--json"], args].concat()));
            assert!(packets > 0, "{name} {args:?}");
            assert_eq!(packets_and_bytes(&found), (packets, bytes), "{name} {args:?}");
        };
        let of_host = |row: &Row| row.addrs.contains(&host);
        check(&[], &|_| true);
        check(&["--host", &host.to_string()], &of_host);
        let (net, of_net) = net(host);
        check(&["--net", &net], &|row| row.addrs.iter().any(|&addr| of_net(addr)));
        if FRAGMENTS.contains(&name.as_str()) {
            continue;
        }
        let proto = commonest(rows.iter().map(|row| row.proto)).unwrap();
        check(&["--proto", &proto.to_string()], &|row| row.proto == proto);
        if let Some(port) = commonest(rows.iter().flat_map(|row| row.ports).flatten()) {
            let of_port = |row: &Row| row.ports.contains(&Some(port));
            check(&["--port", &port.to_string()], &of_port);
            if rows.iter().any(|row| of_port(row) && of_host(row)) {
                let both = ["--port", &port.to_string(), "--host", &host.to_string()];
                check(&both, &|row| of_port(row) && of_host(row));
            }
        }
        // In tunnels tshark's is the innermost, ours the outermost.
        let one = |row: &&Row| row.ids.len() == 1 && row.proto == 6 && !name.starts_with("encap-");
        if let Some(id) = rows.iter().find(one).map(|row| &row.ids[0]) {
            check(&["--community-id", id], &|row| row.ids.contains(id));
        }
        tried += 1;
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn filters_of_our_own_words_are_those_of_jq() {
    let Some(corpora) = corpora().filter(|_| require(&["jq"])) else { return };
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &mixture(&corpora));
    let all = jq(dir.path(), &["--json"], ".");
    let long = all.iter().find(|record| record["part"] == 1).expect("a flow of several parts");
    let finding =
        all.iter().find_map(|record| record["findings"][0].as_str()).expect("a flow with a finding");
    let (id, tls) = (long["flow_id"].as_str().unwrap(), ".app == \"tls\"");
    for (args, condition) in [
        (&["--flow", id][..], format!(".flow_id == \"{id}\"")),
        (&["--flow", id, "--flow", "9999-24"], format!(".flow_id == \"{id}\"")),
        (&["--finding", finding], format!("any(.findings[]?; . == \"{finding}\")")),
        (&["--app", "tls"], tls.to_owned()),
        (&["--app", "tls", "--app", "dns"], format!("{tls} or .app == \"dns\"")),
        (&["--min-bytes", "5000"], ".orig_bytes + .resp_bytes >= 5000".to_owned()),
        (&["--min-bytes", "5000", "--app", "tls"], format!(".orig_bytes + .resp_bytes >= 5000 and {tls}")),
        (
            &["--since", "2013-05-02T20:20:38Z", "--until", "2013-05-02T20:20:40Z"],
            r#".end >= "2013-05-02T20:20:38" and .start < "2013-05-02T20:20:40""#.to_owned(),
        ),
    ] {
        let expected = jq(dir.path(), &["--json"], &format!("select({condition})"));
        assert!(!expected.is_empty() && expected.len() < all.len(), "{args:?}");
        assert_eq!(lines(&flows(dir.path(), &[&["--json"], args].concat())), expected, "{args:?}");
    }
    // The largest, ties by flow id and part.
    let largest = "sort_by([-(.orig_bytes + .resp_bytes), .flow_id, .part])[:7][]";
    let all_at_once = format!("[inputs] | {largest}");
    let expected = run(Command::new("jq").args(["-nc", &all_at_once]).arg(dir.path().join("all.jsonl"))).ok();
    assert_eq!(lines(&flows(dir.path(), &["--json", "--limit", "7"])), lines(&expected));
}

#[test]
fn sql_answers_as_jq_does() {
    let Some(corpora) = corpora().filter(|_| require(&["jq"])) else { return };
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &mixture(&corpora));
    let flow_files = std::fs::read_dir(dir.path().join("flows")).unwrap().count();
    assert!(flow_files >= 6, "each run seals one, some may rotate: {flow_files}");

    // Every record once, in the order of the files, whatever is asked of it.
    let keys: Vec<_> =
        "flow_id part start end src_ip src_port dst_ip app app_basis orig_bytes sni alpn http_host user_agent".split(' ').collect();
    let fields: Vec<_> = keys.iter().map(|key| format!("{key}: .{key}")).collect();
    let every = sql(dir.path(), &format!("SELECT {} FROM flows", keys.join(", ")));
    assert_eq!(every, jq(dir.path(), &["--json"], &format!("{{{}}}", fields.join(", "))));

    for (query, program) in [
        (
            "SELECT app, count(*) AS flows, sum(orig_bytes + resp_bytes) AS bytes FROM flows GROUP BY app ORDER BY app",
            "group_by(.app)[] | {app: .[0].app, flows: length, bytes: map(.orig_bytes + .resp_bytes) | add}",
        ),
        (
            "SELECT dst_port, count(DISTINCT dst_ip) AS hosts FROM flows WHERE proto = 6 AND conn_state = 'S0' GROUP BY 1 ORDER BY 1",
            "map(select(.proto == 6 and .conn_state == \"S0\")) | group_by(.dst_port)[] |
             {dst_port: .[0].dst_port, hosts: map(.dst_ip) | unique | length}",
        ),
        (
            "SELECT flow_id, json_array_length(captures) AS stretches FROM flows WHERE vlan IS NULL AND findings IS NOT NULL ORDER BY 1, part",
            "map(select(.vlan == null and .findings != null)) | sort_by(.flow_id, .part)[] | {flow_id, stretches: .captures | length}",
        ),
        (
            "SELECT max(end_ns - start_ns) / 1000000000 AS longest, min(start) AS first FROM flows WHERE final",
            "[.[] | select(.final)] | {longest: ([.[] | (.end[:19] + \"Z\" | fromdate) + (.end[19:29] | tonumber)
              - (.start[:19] + \"Z\" | fromdate) - (.start[19:29] | tonumber)] | max | floor), first: map(.start) | min}",
        ),
        (
            "WITH talk AS MATERIALIZED (SELECT DISTINCT src_ip, dst_ip FROM flows)
             SELECT count(*) AS both FROM talk a JOIN talk b ON a.src_ip = b.dst_ip AND a.dst_ip = b.src_ip",
            "map([.src_ip, .dst_ip]) | unique | . as $all | (map(tostring) | map({(.): true}) | add) as $set |
             {both: [$all[] | select($set[[.[1], .[0]] | tostring])] | length}",
        ),
    ] {
        let expected = run(Command::new("jq").args(["-sc", program]).arg(dir.path().join("all.jsonl"))).ok();
        let expected = lines(&expected);
        assert!(!expected.is_empty(), "{query}");
        assert_eq!(sql(dir.path(), query), expected, "{query}");
    }

    // A flow file from anywhere, its bare name, and a capture that is analysed now.
    let mut sealed: Vec<_> =
        std::fs::read_dir(dir.path().join("flows")).unwrap().map(|e| e.unwrap().path()).collect();
    sealed.sort();
    let count = ["--json", "--sql", "SELECT count(*) AS n FROM flows"];
    let of =
        |file: &str| lines(&flows(dir.path(), &[&[file], &count[..]].concat()))[0]["n"].as_u64().unwrap();
    let per_file: Vec<_> = sealed.iter().map(|file| of(file.to_str().unwrap())).collect();
    assert_eq!(per_file.iter().sum::<u64>(), every.len() as u64);
    assert_eq!(of(sealed[0].file_name().unwrap().to_str().unwrap()), per_file[0]);
    let capture = corpora.join("mix-office.pcap");
    let listed = lines(&flows(dir.path(), &["--json", capture.to_str().unwrap()]));
    assert_eq!(of(capture.to_str().unwrap()), listed.len() as u64);
    let range = ["--json", "--until", "2013-05-02T20:20:38Z"];
    let early = flows(dir.path(), &[&range[..], &["--sql", "SELECT flow_id FROM flows"]].concat());
    assert_eq!(lines(&early).len(), lines(&flows(dir.path(), &range)).len());
}

/// All rows of a query, as text, and what was read for it.
fn read(data_dir: &Path, query: &str) -> (Vec<String>, FlowLook) {
    struct Rows(Vec<String>);
    impl flow_table::Answer for Rows {
        fn columns(&mut self, _: Vec<String>) -> std::io::Result<()> {
            Ok(())
        }
        fn row(&mut self, cells: &[Cell<'_>]) -> std::io::Result<bool> {
            self.0.push(format!("{cells:?}"));
            Ok(true)
        }
    }
    let mut records = Snapshot::new(Arc::new(RealFs::default()), TimeRange::ALL);
    records.add_data_dir(&Layout::new(data_dir)).unwrap();
    let mut rows = Rows(Vec::new());
    let asked = flow_table::query(query, records, || false, &mut rows).unwrap();
    assert_eq!(asked.rows, rows.0.len() as u64);
    (rows.0, asked.look)
}

#[test]
fn conditions_spare_files_and_lose_nothing() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &mixture(&corpora));
    let (all, look) = read(dir.path(), "SELECT flow_id, src_ip, community_id FROM flows");
    let files = look.files;
    assert!(files > 6 && look.skipped == 0 && look.records == all.len() as u64);
    // Of some flow that lies neither in the first file nor in the last.
    let value = |of: &str| {
        let query =
            format!("SELECT {of} FROM flows WHERE start > '2017' AND community_id <> '' LIMIT 1 OFFSET 40");
        let (rows, _) = read(dir.path(), &query);
        rows[0].split('"').nth(1).unwrap().to_owned()
    };
    let (flow, id, src) = (value("flow_id"), value("community_id"), value("src_ip"));
    let (rows, _) = read(dir.path(), "SELECT max(start) FROM flows WHERE start < '2017'");
    let last = rows[0].split('"').nth(1).unwrap();
    for (condition, unaided, spares) in [
        ("start < '2014'", "start||'' < '2014'", true),
        (
            "start >= '2013-05-02T20:20:38' AND start < '2013-05-02T20:20:40'",
            "start||'' >= '2013-05-02T20:20:38' AND start||'' < '2013-05-02T20:20:40'",
            true,
        ),
        ("end BETWEEN '2013-05' AND '2013-06'", "end||'' BETWEEN '2013-05' AND '2013-06'", true),
        ("start_ns < 1400000000000000000", "+start_ns < 1400000000000000000", true),
        (&format!("start = '{last}'"), &format!("start||'' = '{last}'"), true),
        (&format!("end > '{last}'"), &format!("end||'' > '{last}'"), true),
        (&format!("flow_id = '{flow}'"), &format!("flow_id||'' = '{flow}'"), true),
        (&format!("community_id = '{id}'"), &format!("community_id||'' = '{id}'"), false),
        (&format!("src_ip = '{src}'"), &format!("src_ip||'' = '{src}'"), false),
        (
            &format!("src_ip IN ('{src}', '10.0.0.6', NULL)"),
            &format!("src_ip||'' IN ('{src}', '10.0.0.6')"),
            false,
        ),
        (
            &format!("src_ip = '{src}' OR dst_ip = '{src}'"),
            &format!("src_ip||'' = '{src}' OR dst_ip||'' = '{src}'"),
            false,
        ),
        (
            &format!("flow_id = '{flow}' OR community_id = '{id}'"),
            &format!("flow_id||'' = '{flow}' OR community_id||'' = '{id}'"),
            false,
        ),
        ("src_ip = 'FE80::1' COLLATE NOCASE", "src_ip||'' = 'FE80::1' COLLATE NOCASE", false),
        ("dst_ip = 5 OR start > 5 AND start < 7", "0", false),
    ] {
        let select = "SELECT flow_id, part, start FROM flows WHERE";
        let (rows, look) = read(dir.path(), &format!("{select} {condition}"));
        let (expected, unaided) = read(dir.path(), &format!("{select} {unaided}"));
        assert!(rows == expected, "{condition}: {} and {} rows", rows.len(), expected.len());
        assert_eq!(unaided.skipped, 0);
        if spares {
            assert!(!rows.is_empty() && rows.len() < all.len(), "{condition}");
            assert!(look.skipped >= 1 && look.files + look.skipped == files, "{condition}: {look:?}");
        }
    }
    // Each flow is found by its id, whichever file has it.
    for flow in flows(dir.path(), &["--json"]).text().lines().step_by(97) {
        let flow = serde_json::from_str::<Value>(flow).unwrap()["flow_id"].as_str().unwrap().to_owned();
        assert!(!lines(&flows(dir.path(), &["--json", "--flow", &flow])).is_empty(), "{flow}");
    }
    // Values that are only known row by row: each row reads the files again, but only those that may hold it.
    let join = format!(
        "SELECT b.flow_id, b.part FROM flows a JOIN flows b ON b.flow_id = a.flow_id AND b.start = a.start WHERE a.src_ip = '{src}'"
    );
    let (joined, _) = read(dir.path(), &join);
    let (plain, _) = read(dir.path(), &format!("SELECT flow_id, part FROM flows WHERE src_ip = '{src}'"));
    assert!(joined == plain, "{} joined, {} there", joined.len(), plain.len());
}

/// Every file below, with its length and time.
fn listing(dir: &Path) -> Vec<String> {
    let found = run(Command::new("find").arg(dir).args(["-printf", "%p %s %T@\n"])).ok();
    found.text().lines().map(str::to_owned).collect()
}

#[test]
fn sql_only_reads() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    record(&data, &[corpora.join("mix-tls-v4-v6.pcap")]);
    let before = listing(dir.path());
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    for (query, told) in [
        (format!("ATTACH '{out}' AS other"), "opening another database is refused"),
        (format!("ATTACH 'file:{out}?mode=rwc' AS other"), "opening another database is refused"),
        (format!("VACUUM INTO '{out}'"), "opening another database is refused"),
        ("CREATE TABLE t(a)".to_owned(), "writing is refused"),
        ("CREATE TEMP TABLE t AS SELECT * FROM flows".to_owned(), "writing is refused"),
        ("CREATE VIRTUAL TABLE t USING fts5(a)".to_owned(), "writing is refused"),
        ("INSERT INTO flows VALUES (1)".to_owned(), ""),
        ("DELETE FROM flows".to_owned(), ""),
        ("DROP TABLE flows".to_owned(), ""),
        ("PRAGMA query_only = off".to_owned(), "PRAGMA query_only is refused"),
        (format!("PRAGMA temp_store_directory = '{out}'"), "PRAGMA temp_store_directory is refused"),
        ("SELECT * FROM pragma_database_list".to_owned(), "PRAGMA database_list is refused"),
        (format!("SELECT load_extension('{out}')"), "load_extension() is refused"),
        (format!("SELECT writefile('{out}', 'x')"), "no such function: writefile"),
        ("BEGIN".to_owned(), "a transaction is refused"),
        ("SELECT 1; DELETE FROM flows".to_owned(), "more than one statement"),
        (" -- nothing".to_owned(), "no statement"),
        ("SELECT missing FROM flows".to_owned(), "no such column: missing"),
        ("SELECT * FROM flow".to_owned(), "no such table: flow"),
        ("SELEC 1".to_owned(), "near \"SELEC\": syntax error"),
        ("SELECT zeroblob(1000000000)".to_owned(), "too big"),
    ] {
        let said = flows(&data, &["--sql", &query]);
        assert_eq!((said.code, said.text().as_str()), (Some(2), ""), "{query}: {}", said.stderr);
        assert!(
            said.stderr.starts_with("tapkeep: error: --sql: ") && said.stderr.contains(told),
            "{}",
            said.stderr
        );
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    }
    let sort = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT hex(randomblob(500)) FROM n ORDER BY 1";
    let said = flows(&data, &["--sql", sort]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stderr.contains("more than 256 MB of memory"), "{}", said.stderr);
    for with in [&["--host", "10.0.0.1"][..], &["--follow"], &["--min-bytes", "5"], &["--flow", "1-24"]] {
        let said = flows(&data, &[&["--sql", "SELECT 1"], with].concat());
        assert_eq!(said.code, Some(2), "{with:?}");
    }
    assert_eq!(listing(dir.path()), before, "nothing was written");
}

/// What Python's reader makes of CSV.
fn by_python(csv: &[u8]) -> Vec<Vec<String>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), csv).unwrap();
    let program = "import csv, json, sys; print(json.dumps(list(csv.reader(open(sys.argv[1], newline='')))))";
    let rows = run(Command::new("python3").args(["-c", program]).arg(file.path())).ok();
    serde_json::from_slice(&rows.stdout).unwrap()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn csv_is_what_python_reads() {
    let Some(corpora) = corpora().filter(|_| require(&["python3"])) else { return };
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &mixture(&corpora));
    let rows = by_python(&flows(dir.path(), &["--csv"]).ok().stdout);
    assert_eq!(rows[0], KEYS);
    let records = lines(&flows(dir.path(), &["--json"]).ok());
    let expected: Vec<Vec<_>> =
        records.iter().map(|record| KEYS.iter().map(|key| cell(&record[*key])).collect()).collect();
    assert!(rows[1..] == expected[..]);
    for record in &records {
        let keys: Vec<_> = record.as_object().unwrap().keys().collect();
        let places: Vec<_> =
            keys.iter().map(|key| KEYS.iter().position(|known| known == key).unwrap()).collect();
        assert!(places.is_sorted(), "{keys:?}");
    }

    let query =
        r#"SELECT 'a"b, c' AS "one, two", NULL AS n, x'00ff' AS b, 1.5 AS r, '' AS e, char(233) AS u"#;
    let rows = by_python(&flows(dir.path(), &["--csv", "--sql", query]).ok().stdout);
    assert_eq!(rows, [["one, two", "n", "b", "r", "e", "u"], ["a\"b, c", "", "00ff", "1.5", "", "é"]]);
    assert_eq!(
        sql(dir.path(), query),
        [json!({"one, two": "a\"b, c", "n": null, "b": "00ff", "r": 1.5, "e": "", "u": "é"})]
    );
    let alone = flows(dir.path(), &["--csv", "--sql", "SELECT NULL AS n UNION ALL SELECT 2"]).ok();
    assert_eq!(by_python(&alone.stdout), [["n"], [""], ["2"]]);
    let twice = sql(dir.path(), "SELECT 1 AS a, 2 AS a, 3 AS b, 4 AS a");
    assert_eq!(twice, [json!({"a": 1, "a:1": 2, "b": 3, "a:2": 4})]);
    let table = flows(dir.path(), &["--sql", "SELECT 'x' AS name, 7 AS n, NULL AS missing"]).ok();
    assert_eq!(table.text(), "name  n  missing\nx     7        -\n");
}

#[test]
fn what_comes_is_followed_across_rotation_and_restart() {
    let Some(corpora) = corpora().filter(|_| require(&["editcap"])) else { return };
    let dir = tempfile::tempdir().unwrap();
    let captures = mixture(&corpora);
    record(dir.path(), &captures[3..4]);
    let lines_of =
        |answer: &[u8]| String::from_utf8_lossy(answer).lines().map(str::to_owned).collect::<Vec<_>>();
    let all = |args: &[&str]| lines_of(&flows(dir.path(), &[&["--csv"], args].concat()).stdout);
    let before = all(&[]).len();
    let start = |args: &[&str]| {
        let dir = dir.path().to_str().unwrap();
        let mut process =
            Process::start(&mut tapkeep(&[&["flows", "--follow", "--data-dir", dir], args].concat()));
        // The head is told once the end of what was there is found.
        wait_until("the head", || {
            assert!(process.is_running(), "{}", process.last_words());
            process.stdout().ends_with(b"\n")
        });
        process
    };
    let (mut every, mut dns, mut table) = (start(&["--csv"]), start(&["--csv", "--app", "dns"]), start(&[]));
    record(dir.path(), &captures[..1]);
    record_slowly(dir.path(), &captures[1]);
    let files = std::fs::read_dir(dir.path().join("flows")).unwrap().count();
    assert!(files > 3, "three runs, and rotation: {files} flow files");

    let expected = all(&[]);
    let of_dns = all(&["--app", "dns"]);
    let told = |process: &Process| lines_of(&process.stdout());
    wait_until("all records", || told(&every).len() >= 1 + expected.len() - before);
    wait_until("those of DNS", || told(&dns).len() >= of_dns.len());
    wait_until("the table", || told(&table).len() >= 1 + expected.len() - before);
    assert_eq!(told(&every)[1..], expected[before..]);
    assert_eq!(told(&dns), of_dns);
    let rows = told(&table);
    let sent = rows[0].find("SENT").unwrap() + 4;
    let units = rows[1..]
        .iter()
        .all(|row| row.chars().nth(sent - 1) == Some('B') && row.chars().nth(sent) == Some(' '));
    assert!(units, "the column is aligned");
    for process in [&mut every, &mut dns, &mut table] {
        process.signal(Signal::INT);
    }
    for process in [every, dns, table] {
        let said = process.finish(support::process::PATIENCE);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_without_a_word() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &[corpora.join("mix-office.pcap")]);
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT";
    for (args, reader) in [
        ("--json", "head -1"),
        ("--csv", "head -1"),
        ("--limit 0", "head -1"),
        ("--follow", "head -1"),
        ("--follow --json", "true"),
        (&format!("--csv --sql '{endless} x FROM n'"), "head -1"),
        (&format!("--sql '{endless} count(*) FROM n'"), "true"),
        ("--sql 'SELECT count(*) FROM flows a, flows b, flows c'", "true"),
    ] {
        let command = format!(
            "{} flows --data-dir {} {args} | {reader} >&2; echo ${{PIPESTATUS[0]}}",
            command_line(),
            dir.path().display()
        );
        let said = run(Command::new("bash").args(["-c", &command]));
        assert_eq!(said.text(), "0\n", "{args}: {}", said.stderr);
        assert!(!said.stderr.contains("tapkeep: "), "{}", said.stderr);
    }
    let dir = dir.path().to_str().unwrap();
    let mut runaway = Process::start(&mut tapkeep(&[
        "flows",
        "--data-dir",
        dir,
        "--sql",
        &format!("{endless} count(*) FROM n"),
    ]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(runaway.is_running());
    runaway.signal(Signal::INT);
    assert_eq!(runaway.finish(support::process::PATIENCE).signal, Some(2));
}

#[test]
fn nothing_found_says_why_and_damage_is_told() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (data, none) = (dir.path().join("data"), dir.path().join("none"));
    record(&data, &[corpora.join("mix-office.pcap")]);
    let select = |condition| format!("SELECT flow_id FROM flows {condition}");
    let expect = |data: &Path, args: &[&str], code, told: &str| {
        let said = flows(data, args);
        assert_eq!((said.code, said.text().as_str()), (Some(code), ""), "{args:?}: {}", said.stderr);
        assert_eq!(said.stderr, format!("tapkeep: note: {told}\n"), "{args:?}");
    };
    let (here, there) =
        (format!("{} (from --data-dir)", data.display()), format!("{} (from --data-dir)", none.display()));
    let kept = "kept are 2013-05-02 20:20:33 to 20:20:49";
    let none_fit = format!("no flow records that fit in {here}; {kept}");
    expect(&data, &["--host", "192.0.2.1"], 3, &none_fit);
    let of_flow =
        format!("{none_fit}\ntapkeep: note: `tapkeep flows` tells the ids of flows, in the last column");
    expect(&data, &["--json", "--flow", "999-24"], 3, &of_flow);
    let of_finding =
        format!("{none_fit}\ntapkeep: note: `tapkeep suspicious --all` tells the ids of findings");
    expect(&data, &["--finding", "port_scan-1-2"], 3, &of_finding);
    let later = ["--since", "2020-01-01", "--until", "2020-01-02 12:00"];
    let range = "between 2020-01-01 00:00:00 and 2020-01-02 12:00:00";
    let none_of_range =
        format!("no flow records {range} in {here}; the latest kept is of 2013-05-02 20:20:49");
    expect(&data, &[&["--json"], &later[..]].concat(), 3, &none_of_range);
    expect(&none, &[], 0, &format!("no flow records: {there} does not exist"));
    expect(&none, &["--app", "tls"], 3, &format!("no flow records that fit: {there} does not exist"));
    let rows = format!("no rows in {here}; {kept}");
    expect(&data, &["--json", "--sql", &select("WHERE app = 'none'")], 3, &rows);
    expect(&data, &["--sql", &select("WHERE start > '2020'")], 3, &rows);
    let sql = select("");
    let rows = none_of_range.replace("flow records", "rows");
    expect(&data, &[&["--sql", &sql], &later[..]].concat(), 3, &rows);
    expect(&none, &["--sql", &sql], 0, &format!("no rows: {there} does not exist"));

    let sealed = std::fs::read_dir(data.join("flows")).unwrap().next().unwrap().unwrap().path();
    let whole = lines(&flows(&data, &["--json"]).ok()).len();
    let mut bytes = std::fs::read(&sealed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&sealed, bytes).unwrap();
    for args in [&["--json"][..], &["--json", "--sql", "SELECT * FROM flows"]] {
        let said = flows(&data, args);
        assert_eq!(said.code, Some(4), "{}", said.stderr);
        assert!(said.stderr.contains("damaged and left out"), "{}", said.stderr);
        assert!(lines(&said).len() < whole);
    }
    for (file, why) in [("/no/such.jsonb", "No such file"), ("/etc/hostname.jsonb", "No such file")] {
        for args in [&[file][..], &[file, "--sql", "SELECT 1"]] {
            let said = flows(&data, args);
            assert_eq!(said.code, Some(1), "{}", said.stderr);
            assert!(said.stderr.contains(file) && said.stderr.contains(why), "{}", said.stderr);
        }
    }
    let foreign = dir.path().join("notes.jsonb");
    std::fs::write(&foreign, "no flow file").unwrap();
    let said = flows(&data, &[foreign.to_str().unwrap()]);
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("it is no flow file"), "{}", said.stderr);
}

#[test]
fn the_head_says_from_when_to_when_and_nothing_is_said_of_what_misses_nothing() {
    let Some(corpora) = corpora() else { return };
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &[corpora.join("mix-office.pcap")]);
    for args in [&[][..], &["--json"], &["--csv"], &["--sql", "SELECT count(*) FROM flows"]] {
        assert_eq!(flows(dir.path(), args).ok().stderr, "", "{args:?}");
    }
    for (args, to) in [(&[][..], "20:20:49"), (&["--until", "2013-05-02T20:20:40Z"], "20:20:40")] {
        let head = flows(dir.path(), args).text().lines().next().unwrap().to_owned();
        let ends = format!(" MB, 2013-05-02 20:20:33 to 2013-05-02 {to}; times in UTC");
        assert!(head.ends_with(&ends), "{head}");
    }
}
