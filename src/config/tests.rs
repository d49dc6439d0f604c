//! Layering, messages, hostile files, and the shipped sample against the table of keys.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::keys::{AnyKey, KEYS};

/// Sources that know nothing of the machine the test runs on.
#[derive(Default)]
struct Given {
    dir: Option<TempDir>,
    sources: Sources,
}

impl Given {
    fn file(mut self, text: impl AsRef<[u8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tapkeep.toml");
        std::fs::write(&path, text).unwrap();
        self.sources.file = Some(path);
        self.dir = Some(dir);
        self
    }

    fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.sources.environment.insert(name.into(), value.into());
        self
    }

    fn flag(mut self, key: &'static str, text: &str) -> Self {
        self.sources.flags.push((key, text.to_owned()));
        self
    }

    fn load(&self) -> Result<Loaded, Mistakes> {
        load(&self.sources)
    }

    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }

    fn config(&self) -> Config {
        self.loaded().config
    }

    /// The messages, the file's folder left out.
    fn mistakes(&self) -> Vec<String> {
        let mistakes = self.load().and_then(Loaded::strict).expect_err("mistakes");
        let folder = self.dir.as_ref().map(|dir| format!("{}/", dir.path().display())).unwrap_or_default();
        mistakes.iter().map(|m| m.to_string().replace(&folder, "")).collect()
    }
}

fn given() -> Given {
    Given::default()
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tapkeep.toml")
}

#[test]
fn nothing_given_means_the_defaults() {
    let loaded = given().loaded();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.config.recorder.rotation_size, ByteSize(100_000_000));
    assert_eq!(loaded.config.retention.count, Some(10));
    assert_eq!(loaded.config.recorder.sync_interval, Duration::from_secs(5));
    assert_eq!(loaded.config.capture.interface, None);
    assert_eq!(loaded.config.service.runtime_dir, Path::new("/run/tapkeep"));
    for (setting, key) in loaded.settings.iter().zip(KEYS) {
        assert_eq!((setting.key, &setting.text), (key.name(), &key.default_text()));
        assert_eq!(setting.origin, Origin::Default);
    }
    assert_eq!(loaded.settings.len(), KEYS.len(), "every key of the table is settled, once");
}

#[test]
fn the_fixed_names_mean_what_they_always_meant() {
    let given = given()
        .env("SAVE_PCAP", "False")
        .env("PCAP_ROTATION_SIZE", "50")
        .env("PCAP_RETENTION_COUNT", "0")
        .env("WIRESHARK_FILTER", "tcp port 443")
        .env("NETWORK_INTERFACE", "eth7")
        .env("OUTPUT_FILE", "/app/output/traffic_flows.jsonb")
        .env("PCAP_FILE", "/in/a.pcap");
    let config = given.config();
    assert!(!config.recorder.save_pcap);
    assert_eq!(config.recorder.rotation_size, ByteSize(50_000_000));
    assert_eq!(config.retention.count, None);
    assert_eq!(config.capture.filter, "tcp port 443");
    assert_eq!(config.capture.interface.as_deref(), Some("eth7"));
    assert_eq!(config.replay.as_deref(), Some(Path::new("/in/a.pcap")));
    assert_eq!(config.data_dir_of_writer().to_string(), "/app/output (the folder of OUTPUT_FILE)");
}

#[test]
fn set_to_nothing_is_not_set() {
    let given = given().file("[capture]\ninterface = \"eth0\"\n[recorder]\nrotation_size = 7");
    let given = given.env("NETWORK_INTERFACE", "").env("PCAP_ROTATION_SIZE", " ").env("TAPKEEP_NO_SUCH", "");
    let config = given.loaded().strict().unwrap().config;
    assert_eq!(config.capture.interface.as_deref(), Some("eth0"));
    assert_eq!(config.recorder.rotation_size, ByteSize(7_000_000));
}

#[test]
fn toml_values_have_their_natural_types() {
    let config = given()
        .file(
            "[capture]\nsnaplen = 0x100\nfilter = '''tcp\nor udp'''\n[recorder]\nsave_pcap = false\n\
             rotation_interval = 90\nsync_interval = '250ms'\nqueue_size = 1_048_576\n[retention]\n\
             count = '0'\nbytes = '1TB'\nage = '30d'\nmin_free = '2GB'",
        )
        .config();
    assert_eq!((config.capture.snaplen, config.capture.filter.as_str()), (256, "tcp\nor udp"));
    assert!(!config.recorder.save_pcap);
    assert_eq!(config.recorder.rotation_interval, Some(Duration::from_secs(90)));
    assert_eq!(config.recorder.sync_interval, Duration::from_millis(250));
    assert_eq!(config.recorder.queue_size, ByteSize(1 << 20));
    let retention = config.retention;
    assert_eq!((retention.count, retention.bytes), (None, Some(ByteSize(1_000_000_000_000))));
    assert_eq!(
        (retention.age, retention.min_free.of(1)),
        (Some(Duration::from_secs(2_592_000)), 2_000_000_000)
    );
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place() {
    let given = given()
        .file(
            "data_dir = 5.5\n\n[capture]\nsnaplen = 9\nsnaplne = 96\nrotation_size = 5\n\
             PCAP_ROTATION_SIZE = 5\nfilter = ['tcp']\n[captrue]\ninterface = 'eth0'\n[surprise]\n",
        )
        .env("PCAP_ROTATION_SIZE", "100 metres")
        .env("PCAP_RETENTION_COUNT", OsString::from_vec(vec![b'1', 0xff]))
        .env("TAPKEEP_RETENTION_AGES", "1d")
        .env("TAPKEEP_CORPORA", "/corpora")
        .env("OUTPUT_FILE", "/out/flows.json")
        .flag("capture.snaplen", "all")
        .flag("recorder.sync_interval", "");
    let expected = [
        "environment TAPKEEP_RETENTION_AGES: unknown key TAPKEEP_RETENTION_AGES; \
         did you mean TAPKEEP_RETENTION_AGE?",
        "environment PCAP_RETENTION_COUNT: retention.count = \"1\u{fffd}\" (not UTF-8): \
         expected a whole number from 1 to 4294967295, or 0",
        "tapkeep.toml:1: data_dir = 5.5: expected a path",
        "tapkeep.toml:5: unknown key capture.snaplne; did you mean capture.snaplen?",
        "tapkeep.toml:6: unknown key capture.rotation_size; did you mean recorder.rotation_size?",
        "tapkeep.toml:7: unknown key capture.PCAP_ROTATION_SIZE; did you mean recorder.rotation_size?",
        "tapkeep.toml:8: capture.filter = […]: \
         expected a filter in BPF syntax, such as `tcp port 443`, without NUL bytes",
        "tapkeep.toml:9: unknown key captrue; did you mean capture?",
        "tapkeep.toml:11: unknown key surprise",
        "environment OUTPUT_FILE: the flow file is always named traffic_flows.jsonb; only the folder is used",
        r#"--snaplen: capture.snaplen = "all": expected a whole number from 64 to 262144"#,
        r#"tapkeep.toml:4: capture.snaplen = "9": expected a whole number from 64 to 262144"#,
        "environment PCAP_ROTATION_SIZE: recorder.rotation_size = \"100 metres\": \
         expected a size from 104B to 1TiB, such as 64MiB or 100MB (a number alone counts in MB)",
        "--sync-interval: recorder.sync_interval = \"\": \
         expected a time from 100ms to 1h, such as 500ms, 5s, 10m, 2h",
    ];
    let mut told = given.mistakes();
    told.sort();
    let mut expected = expected.map(str::to_owned);
    expected.sort();
    assert_eq!(told, expected);
}

#[test]
fn an_unknown_key_is_a_warning_to_the_service_and_a_mistake_to_the_check() {
    let given = given().file("[detect]\nscan = 5\n[capture]\nsnaplen = 96\n").env("TAPKEEP_DETECT_SCAN", "5");
    let loaded = given.loaded();
    assert_eq!(loaded.config.capture.snaplen, 96);
    assert_eq!(loaded.warnings.count(), 2);
    let mistakes = loaded.strict().expect_err("the check");
    let json = show::mistakes_json(&mistakes);
    assert_eq!((json["count"].as_u64(), &json["mistakes"][1]["warning"]), (Some(2), &true.into()));
}

#[test]
fn values_that_do_not_go_together_are_told_with_the_one_to_change() {
    let told = given().env("PCAP_ROTATION_SIZE", "200kB").mistakes();
    assert_eq!(
        told,
        ["environment PCAP_ROTATION_SIZE: recorder.rotation_size = 200kB: a file could not hold one \
             packet of capture.snaplen = 262144; give it 262184B or lower the snaplen"]
    );
    assert!(given().env("PCAP_ROTATION_SIZE", "262184B").load().is_ok());
    let told = given().file("[retention]\nbytes = '199MB'").mistakes();
    assert_eq!(
        told,
        ["tapkeep.toml:2: retention.bytes = 199MB: too little for the file being written and one \
             that is kept; \
             with recorder.rotation_size = 100MB it takes 200MB"]
    );
    assert!(given().file("[retention]\nbytes = '200MB'").load().is_ok());
    let told = given().env("PCAP_ROTATION_SIZE", "oops").file("[retention]\nbytes = '1MB'").mistakes();
    assert_eq!(told.len(), 1, "no guess about what the bad size should have been: {told:?}");
}

#[test]
fn a_file_that_is_none_gives_one_clear_error() {
    let one = |text: &[u8]| {
        let told = given().file(text).mistakes();
        assert_eq!(told.len(), 1, "{told:?}");
        told[0].clone()
    };
    assert_eq!(
        one(b"[capture]\nsnaplen = \n"),
        "tapkeep.toml:2: string values must be quoted, expected literal string"
    );
    assert!(
        one(b"capture.snaplen = 96\n[capture]\n").starts_with("tapkeep.toml:2: "),
        "a table defined twice"
    );
    assert!(one(b"[capture]\nsnaplen = 96\nsnaplen = 97\n").starts_with("tapkeep.toml:3: duplicate key"));
    assert!(
        one(b"\x7fELF\x02\x01\0\0\xff\xfe").ends_with("not a text file in UTF-8; name another with --config")
    );
    assert!(one(b"a = 1\0").contains("not a text file"));
    assert!(one(&vec![b'#'; 1 + (1 << 20)]).contains("larger than 1 MiB"));
    assert!(given().file(vec![b'#'; 1 << 20]).load().is_ok());
    for path in ["/no/such/tapkeep.toml", "/", "/dev/zero"] {
        let mut given = given();
        given.sources.file = Some(path.into());
        let told = given.mistakes();
        assert!(told.len() == 1 && told[0].starts_with(&format!("read configuration {path}: ")), "{told:?}");
    }
}

#[test]
fn hostile_files_cost_little() {
    let start = std::time::Instant::now();
    let keys: String = (0..100_000).map(|n| format!("k{n}=1\n")).collect();
    let section = format!(
        "[{}]\n{}",
        "s".repeat(500_000),
        (0..50_000).map(|n| format!("k{n}=1\n")).collect::<String>()
    );
    for text in [
        "[".repeat(1 << 20),
        format!("a={}", "[".repeat(1_000_000)),
        format!("a={}", "{a=".repeat(300_000)),
        format!("{}a=1", "a.".repeat(500_000)),
        format!("[{}a]", "a.".repeat(500_000)),
        format!("capture.{}a=1", "snaplen.".repeat(100_000)),
        "=\n".repeat(500_000),
        "\"\"\"".repeat(300_000),
        keys,
        section,
        format!("[capture]\nfilter='''{}'''", "tcp ".repeat(250_000)),
        "[[ignore]]\n".repeat(90_000),
        "[[ignore]]\ndetector='x'\nsrc='x'\ndst='x'\nport='x'\n".repeat(256),
        format!("[[ignore]]\n{}", (0..100_000).map(|n| format!("k{n}=1\n")).collect::<String>()),
        format!("ignore = [{}]", "[],".repeat(300_000)),
        format!("[detect]\nlocal_nets = [{}]", "'::/0',".repeat(140_000)),
    ] {
        let told = given().file(&text).load().map_or_else(|m| m.to_string(), |l| l.warnings.to_string());
        assert!(told.len() < 10_000, "{} bytes of message", told.len());
    }
    assert!(start.elapsed() < Duration::from_secs(30), "took {:?}", start.elapsed());
}

#[test]
fn the_usual_file_is_read_if_it_exists() {
    let mut given = given().file("[capture]\nsnaplen = 96");
    given.sources.usual_file = given.sources.file.take().unwrap();
    assert_eq!(given.config().capture.snaplen, 96);
    given.sources.usual_file = "/no/such/tapkeep.toml".into();
    assert_eq!(given.config().capture.snaplen, 262_144);
}

#[test]
fn the_runtime_directory_of_systemd_is_but_a_default() {
    let given = given().env("RUNTIME_DIRECTORY", "/run/tapkeep-7:/run/other");
    assert_eq!(given.config().service.runtime_dir, Path::new("/run/tapkeep-7"));
    let given = given.file("[service]\nruntime_dir = '/run/mine'");
    assert_eq!(given.config().service.runtime_dir, Path::new("/run/mine"));
}

#[test]
fn a_query_asks_the_running_service_and_the_service_does_not() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state.json"), r#"{"data_dir":"/data/tap"}"#).unwrap();
    let given = given().env("RUNTIME_DIRECTORY", dir.path());
    let config = given.config();
    assert_eq!(config.data_dir_of_query().path, Path::new("/data/tap"));
    assert_ne!(config.data_dir_of_writer().path, Path::new("/data/tap"));
    let config = given.flag("data_dir", "/mine").env("OUTPUT_FILE", "/out/traffic_flows.jsonb").config();
    assert_eq!(config.data_dir_of_query().to_string(), "/mine (from --data-dir)");
}

#[test]
fn show_tells_every_key_aligned_and_reads_back() {
    let loaded = given().file("[capture]\nsnaplen = 96").env("WIRESHARK_FILTER", "ip\nor arp").loaded();
    let text = show::text(&loaded, &loaded.config.data_dir_of_writer());
    let column = text.find("default").unwrap();
    let lines: Vec<_> = text.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), KEYS.len());
    for (line, key) in lines.iter().zip(KEYS) {
        assert!(line.starts_with(key.name()), "{line}");
        // One long value does not push all the origins out of sight.
        assert!(line[..column].ends_with("  ") || key.name() == "detect.local_nets", "{line}");
    }
    let snaplen = lines.iter().find(|line| line.starts_with("capture.snaplen "));
    assert_eq!(snaplen.and_then(|line| line.split_whitespace().nth(1)), Some("96"), "{text}");
    assert!(text.contains(r"ip\nor arp"));
    let json = show::json(&loaded, &loaded.config.data_dir_of_writer());
    let settings = json["settings"].as_array().unwrap();
    let mut again = given();
    for setting in settings {
        if let (Some(value), Some(env)) = (setting["value"].as_str(), setting["env"].as_str()) {
            again = again.env(env, value);
        }
    }
    assert_eq!(again.config(), loaded.config);
    assert_eq!(settings[3]["value"], serde_json::Value::Null);
    assert_eq!(settings[4]["from"], "environment WIRESHARK_FILTER");
}

#[test]
fn the_sample_lists_every_key_at_its_default() {
    const WITHOUT_DEFAULT: [&str; 2] = ["data_dir", "capture.interface"];
    let text = std::fs::read_to_string(sample()).unwrap();
    let loaded = given().file(&text).loaded().strict().unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(loaded.config, given().config(), "the sample changes nothing");
    let uncommented =
        text.replace("\n# data_dir =", "\ndata_dir =").replace("\n# interface =", "\ninterface =");
    let complete = given().file(&uncommented).loaded().strict().unwrap();
    let in_file = |loaded: &Loaded, name: &str| {
        loaded.settings.iter().any(|s| s.key == name && matches!(s.origin, Origin::File(..)))
    };
    for key in KEYS.iter().filter(|key| key.toml().is_some()) {
        assert!(in_file(&complete, key.name()), "{} is listed", key.name());
        assert_eq!(in_file(&loaded, key.name()), !WITHOUT_DEFAULT.contains(&key.name()), "{}", key.name());
        let explained = format!("\n# {} ({})\n", key.help(), key.env());
        assert!(
            text.replace("\n# (", " (").contains(&explained),
            "{} is explained as the table does",
            key.name()
        );
    }
    let order: Vec<_> = KEYS.iter().filter_map(|key| text.find(&format!("({})", key.env()))).collect();
    assert!(order.is_sorted());
}

/// Three values a key accepts, and that go with whatever others have of this.
fn some_values(key: &dyn AnyKey) -> [&'static str; 3] {
    const ANY: [&str; 12] = ["5", "6", "7", "5m", "6m", "7m", "2000", "3000", "4000", "5MB", "6MB", "7MB"];
    match key.name() {
        "data_dir" | "OUTPUT_FILE" | "PCAP_FILE" | "service.runtime_dir" => ["/a/b", "/c/d", "/e/f"],
        "capture.interface" => ["eth5", "eth6", "eth7"],
        "capture.filter" => ["tcp", "udp", "arp"],
        "capture.snaplen" => ["64", "96", "1500"],
        "capture.promiscuous" | "recorder.save_pcap" | "flows.fold" => ["false", "true", "no"],
        "capture.precision" => ["nano", "micro", "Nano"],
        "retention.min_free" | "retention.floor" => ["1%", "2%", "3%"],
        "service.log_level" => ["error", "warn", "debug"],
        "health.metrics_file" => ["/a/b.prom", "/c/d.prom", "e.prom"],
        "recorder.rotation_size" => ["1MB", "2MiB", "3"],
        "retention.bytes" => ["1GB", "2GiB", "3TB"],
        "detect.local_nets" => ["10.0.0.0/8", "none", "192.0.2.1, 2001:db8::/32"],
        "detect.off" => ["beacon", "none", "flood, syn_flood"],
        "detect.odd_port_usual" => ["22", "none", "0, 65535"],
        "detect.port_scan_pairs" | "detect.host_sweep_hosts" | "detect.brute_force_slow" => {
            ["38", "39", "40"]
        }
        "detect.dhcp_abuse_clients" => ["300", "301", "302"],
        "detect.scan_slow_window" | "detect.brute_force_slow_window" => ["16m", "17m", "18m"],
        "detect.host_sweep_window" => ["3h", "4h", "5h"],
        "detect.beacon_low" => ["0.1", "0.2", "0.25"],
        "detect.beacon_medium" => ["0.95", "0.96", "1"],
        "detect.weak_tls_version" => ["1.0", "1.1", "1.3"],
        "detect.long_connection_steps" => ["1m, 2m, 3m, 4m", "1h,2h,3h,4h", "1d, 2d, 3d, 365d"],
        name => {
            let mut accepted = ANY.into_iter().filter(|text| key.normal(text).is_some());
            let mut next = || accepted.next().unwrap_or_else(|| panic!("which values does {name} take?"));
            [next(), next(), next()]
        }
    }
}

/// For each key, whether file, environment and flag set it.
fn layers() -> impl Strategy<Value = Vec<[bool; 3]>> {
    proptest::collection::vec(any::<[bool; 3]>(), KEYS.len())
}

proptest! {
    #[test]
    fn the_highest_layer_that_sets_a_key_wins(set in layers()) {
        let (mut file, mut sources) = (BTreeMap::<&str, String>::new(), given());
        let mut expected = Vec::new();
        for (key, [in_file, in_env, in_flags]) in KEYS.iter().zip(set) {
            let [low, middle, high] = some_values(*key);
            let in_file = in_file && key.toml().is_some();
            if let (true, Some(path)) = (in_file, key.toml()) {
                let (section, leaf) = path.rsplit_once('.').unwrap_or(("", path));
                file.entry(section).or_default().push_str(&format!("{leaf} = '{low}'\n"));
            }
            if in_env {
                sources = sources.env(key.env(), middle);
            }
            if in_flags {
                sources = sources.flag(key.name(), high);
            }
            let winner = match (in_flags, in_env, in_file) {
                (true, _, _) => key.normal(high),
                (_, true, _) => key.normal(middle),
                (_, _, true) => key.normal(low),
                _ => Some(key.default_text()),
            };
            expected.push((key.name(), winner, [in_flags, in_env, in_file]));
        }
        let text: String = file.iter().map(|(section, keys)| match *section {
            "" => keys.clone(),
            section => format!("[{section}]\n{keys}"),
        }).collect();
        let loaded = sources.file(text).loaded();
        for ((name, winner, set), setting) in expected.into_iter().zip(&loaded.settings) {
            let [in_flags, in_env, in_file] = set;
            prop_assert_eq!(name, setting.key);
            prop_assert_eq!(winner.as_ref(), Some(&setting.text), "{}", name);
            prop_assert!(match &setting.origin {
                Origin::Flag(_) => in_flags,
                Origin::Environment(_) => in_env && !in_flags,
                Origin::File(..) => in_file && !in_env && !in_flags,
                Origin::Default => !(in_file || in_env || in_flags),
            }, "{}: {}", name, setting.origin);
        }
    }

    #[test]
    fn a_bad_value_in_any_layer_is_told_even_if_overridden(bad in any::<[bool; 3]>()) {
        let text = |bad: bool| if bad { "bad" } else { "96" };
        let given = given()
            .file(format!("[capture]\nsnaplen = '{}'", text(bad[0])))
            .env("TAPKEEP_CAPTURE_SNAPLEN", text(bad[1]))
            .flag("capture.snaplen", text(bad[2]));
        let told = given.load().map_or_else(|mistakes| mistakes.count(), |_| 0);
        prop_assert_eq!(told, bad.iter().filter(|bad| **bad).count());
    }

    #[test]
    fn no_file_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        text in "[a-z\\[\\]=.\"'\n0-9 {}]{0,200}",
    ) {
        let _ = given().file(bytes).load();
        let _ = given().file(text).load();
    }
}

#[path = "detect_tests.rs"]
mod detect_keys;
