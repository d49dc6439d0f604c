//! The table of keys: every key's names, default, meaning and what it accepts, once. Layering, `config show`,
//! the check of the shipped sample and all messages follow from it. A key that is not here cannot be set.

pub mod detect;

use std::path::PathBuf;
use std::time::Duration;

use super::kind::{AnyPath, Bpf, Bytes, Choice, FilePath, Hundredths, Interface, Kind, Maybe};
use super::kind::{MetricsPath, Part, Shape, Switch, Time, Whole};
use super::units::{ByteSize, GIB, MB, MIB, Percent, Share};
use crate::packet::{MAX_SNAPLEN, Precision};

/// One key, typed by what it accepts.
pub struct Key<K: Kind> {
    toml: Option<&'static str>,
    env: &'static str,
    help: &'static str,
    default: fn() -> K::Value,
    /// What it accepts.
    pub(super) kind: K,
}

impl<K: Kind> Key<K> {
    /// The value when nothing sets it.
    pub(super) fn default(&self) -> K::Value {
        (self.default)()
    }
}

/// One key, whatever it accepts.
pub trait AnyKey: Sync {
    /// Its path in the configuration file, such as `capture.snaplen`; `None` for one that only the
    /// environment sets.
    fn toml(&self) -> Option<&'static str>;
    /// Its name in the environment.
    fn env(&self) -> &'static str;
    /// What it is for, one line.
    fn help(&self) -> &'static str;
    /// What it accepts, to follow "expected".
    fn accepts(&self) -> String;
    /// How it is written in TOML.
    fn shape(&self) -> Shape;
    /// The text of its default; empty if nothing is the default.
    fn default_text(&self) -> String;
    /// The one spelling of a value; `None` if it is not acceptable.
    fn normal(&self, text: &str) -> Option<String>;

    /// The name by which people know it.
    fn name(&self) -> &'static str {
        self.toml().unwrap_or(self.env())
    }
}

impl<K: Kind> AnyKey for Key<K> {
    fn toml(&self) -> Option<&'static str> {
        self.toml
    }

    fn env(&self) -> &'static str {
        self.env
    }

    fn help(&self) -> &'static str {
        self.help
    }

    fn accepts(&self) -> String {
        self.kind.accepts()
    }

    fn shape(&self) -> Shape {
        self.kind.shape()
    }

    fn default_text(&self) -> String {
        self.kind.text(&self.default())
    }

    fn normal(&self, text: &str) -> Option<String> {
        self.kind.parse(text).map(|value| self.kind.text(&value))
    }
}

/// The key of that name.
pub fn find(name: &str) -> Option<&'static dyn AnyKey> {
    KEYS.iter().copied().find(|key| key.name() == name)
}

/// The key of that name in the environment.
pub(super) fn find_env(name: &str) -> Option<&'static dyn AnyKey> {
    KEYS.iter().copied().find(|key| key.env() == name)
}

macro_rules! keys {
    ($($name:ident: $kind:ty = $toml:expr, $env:literal, $value:expr, $default:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $name: Key<$kind> =
                Key { toml: $toml, env: $env, help: $help, default: || $default, kind: $value };
        )*

        /// Those of this table.
        const HERE: &[&dyn AnyKey] = &[$(&$name),*];
    };
}

/// Every key, in the order of the shipped sample.
pub static KEYS: &[&dyn AnyKey] = &joined::<{ HERE.len() + detect::KEYS.len() }>(HERE, detect::KEYS);

/// Two tables as one; `N` is the length of both.
const fn joined<const N: usize>(
    first: &[&'static dyn AnyKey],
    second: &[&'static dyn AnyKey],
) -> [&'static dyn AnyKey; N] {
    let mut all = [first[0]; N];
    let mut at = 1;
    while at < N {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;

keys! {
    DATA_DIR: Maybe<AnyPath> = Some("data_dir"), "TAPKEEP_DATA_DIR", Maybe::unset(AnyPath), None,
        "The data directory: captures, ledger and index lie in it.";
    OUTPUT_FILE: Maybe<FilePath> = None, "OUTPUT_FILE", Maybe::unset(FilePath), None,
        "The growing flow file, always named traffic_flows.jsonb; its folder is the data directory.";
    PCAP_FILE: Maybe<FilePath> = None, "PCAP_FILE", Maybe::unset(FilePath), None,
        "A capture file to replay once, instead of capturing.";

    INTERFACE: Maybe<Interface> =
        Some("capture.interface"), "NETWORK_INTERFACE", Maybe::unset(Interface), None,
        "The interface of the tap port; none is ever picked by itself.";
    FILTER: Bpf = Some("capture.filter"), "WIRESHARK_FILTER", Bpf, String::new(),
        "Which packets to capture, in BPF syntax; empty = every packet.";
    SNAPLEN: Whole = Some("capture.snaplen"), "TAPKEEP_CAPTURE_SNAPLEN", Whole(64..=MAX_SNAPLEN), MAX_SNAPLEN,
        "How many bytes of each packet to keep.";
    PROMISCUOUS: Switch = Some("capture.promiscuous"), "TAPKEEP_CAPTURE_PROMISCUOUS", Switch, true,
        "Whether to see packets that are not addressed to this machine.";
    KERNEL_BUFFER: Bytes =
        Some("capture.kernel_buffer"), "TAPKEEP_CAPTURE_KERNEL_BUFFER",
        Bytes { range: 2 * MIB..=GIB, plain: 1 }, ByteSize(64 * MIB),
        "The kernel's ring of packets that the service has not looked at yet.";
    PRECISION: Choice<Precision> =
        Some("capture.precision"), "TAPKEEP_CAPTURE_PRECISION",
        Choice(&[("micro", Precision::Micro), ("nano", Precision::Nano)]), Precision::Micro,
        "The unit of time stamps: micro or nano seconds.";

    SAVE_PCAP: Switch = Some("recorder.save_pcap"), "SAVE_PCAP", Switch, true,
        "Whether to keep packets in capture files at all.";
    ROTATION_SIZE: Bytes =
        Some("recorder.rotation_size"), "PCAP_ROTATION_SIZE",
        Bytes { range: 104..=1 << 40, plain: MB }, ByteSize(100 * MB),
        "The size that no capture file exceeds; a number alone counts in MB.";
    ROTATION_INTERVAL: Maybe<Time> =
        Some("recorder.rotation_interval"), "TAPKEEP_RECORDER_ROTATION_INTERVAL",
        Maybe::off(Time(SECOND..=365 * DAY)), None,
        "The time after which a capture file that holds packets is finished, whatever its size.";
    FLOW_ROTATION_SIZE: Bytes =
        Some("recorder.flow_rotation_size"), "TAPKEEP_RECORDER_FLOW_ROTATION_SIZE",
        Bytes { range: 64 * 1024..=1 << 30, plain: MB }, ByteSize(16 * MB),
        "The size at which a flow file is finished; a number alone counts in MB.";
    SYNC_INTERVAL: Time =
        Some("recorder.sync_interval"), "TAPKEEP_RECORDER_SYNC_INTERVAL",
        Time(100..=3_600 * SECOND), Duration::from_secs(5),
        "How often what was written is forced onto the device.";
    QUEUE_SIZE: Bytes =
        Some("recorder.queue_size"), "TAPKEEP_RECORDER_QUEUE_SIZE",
        Bytes { range: MIB..=16 * GIB, plain: 1 }, ByteSize(64 * MIB),
        "The memory for packets between capture and disk.";

    RETENTION_COUNT: Maybe<Whole> =
        Some("retention.count"), "PCAP_RETENTION_COUNT", Maybe::zero(Whole(1..=u32::MAX)), Some(10),
        "How many finished capture files to keep; 0 = no limit by count.";
    RETENTION_BYTES: Maybe<Bytes> =
        Some("retention.bytes"), "TAPKEEP_RETENTION_BYTES",
        Maybe::off(Bytes { range: 208..=1 << 60, plain: 1 }), None,
        "How many bytes all capture files together may take.";
    RETENTION_AGE: Maybe<Time> =
        Some("retention.age"), "TAPKEEP_RETENTION_AGE", Maybe::off(Time(SECOND..=36_500 * DAY)), None,
        "How long to keep a finished capture file.";
    FLOW_COUNT: Maybe<Whole> =
        Some("retention.flow_count"), "TAPKEEP_RETENTION_FLOW_COUNT", Maybe::zero(Whole(1..=u32::MAX)), None,
        "How many finished flow files to keep; 0 = no limit by count.";
    FLOW_BYTES: Maybe<Bytes> =
        Some("retention.flow_bytes"), "TAPKEEP_RETENTION_FLOW_BYTES",
        Maybe::off(Bytes { range: MIB..=1 << 60, plain: 1 }), Some(ByteSize(1_000 * MB)),
        "How many bytes all flow files together may take.";
    FLOW_AGE: Maybe<Time> =
        Some("retention.flow_age"), "TAPKEEP_RETENTION_FLOW_AGE",
        Maybe::off(Time(SECOND..=36_500 * DAY)), None,
        "How long to keep a finished flow file.";
    MIN_FREE: Part =
        Some("retention.min_free"), "TAPKEEP_RETENTION_MIN_FREE", Part, Share::Percent(Percent::new(5)),
        "The free space to keep on the file system, a percentage of it or a size; 0 = none.";
    FLOOR: Hundredths =
        Some("retention.floor"), "TAPKEEP_RETENTION_FLOOR", Hundredths, Percent::new(50),
        "How far others who fill the disk can push our captures back.";

    FLOW_TABLE: Whole =
        Some("flows.table_size"), "TAPKEEP_FLOWS_TABLE_SIZE", Whole(1_000..=10_000_000), 200_000,
        "The most flows followed at a time; at the bound the longest idle one is ended.";
    TCP_IDLE: Time =
        Some("flows.tcp_idle"), "TAPKEEP_FLOWS_TCP_IDLE", Time(SECOND..=DAY), Duration::from_secs(300),
        "The silence after which a TCP flow ends.";
    TCP_HALF_OPEN: Time =
        Some("flows.tcp_half_open"), "TAPKEEP_FLOWS_TCP_HALF_OPEN", Time(SECOND..=DAY), Duration::from_secs(30),
        "The same for a connection that was never answered or established.";
    TCP_CLOSED: Time =
        Some("flows.tcp_closed"), "TAPKEEP_FLOWS_TCP_CLOSED", Time(SECOND..=DAY), Duration::from_secs(5),
        "The same for a connection that both ends have closed, or one has reset.";
    OTHER_IDLE: Time =
        Some("flows.other_idle"), "TAPKEEP_FLOWS_OTHER_IDLE", Time(SECOND..=DAY), Duration::from_secs(60),
        "The silence after which any other flow ends.";
    ACTIVE: Time =
        Some("flows.active"), "TAPKEEP_FLOWS_ACTIVE", Time(10 * SECOND..=DAY), Duration::from_secs(300),
        "How often a long flow gives a record of what came since the last.";
    FOLD: Switch =
        Some("flows.fold"), "TAPKEEP_FLOWS_FOLD", Switch, true,
        "Whether floods of one-packet flows are counted per source instead of recorded one by one.";

    SUMMARY_ENDPOINTS: Whole =
        Some("summary.endpoints"), "TAPKEEP_SUMMARY_ENDPOINTS", Whole(16..=1_000_000), 4_096,
        "The addresses of each kind that the summary of a capture file counts exactly.";
    SUMMARY_CONVERSATIONS: Whole =
        Some("summary.conversations"), "TAPKEEP_SUMMARY_CONVERSATIONS", Whole(16..=1_000_000), 4_096,
        "The conversations that the summary of a capture file counts exactly.";

    RUNTIME_DIR: AnyPath =
        Some("service.runtime_dir"), "TAPKEEP_SERVICE_RUNTIME_DIR", AnyPath, PathBuf::from("/run/tapkeep"),
        "Where the service tells its state; systemd's $RUNTIME_DIRECTORY comes before the default.";
    LOG_LEVEL: Choice<tracing::Level> =
        Some("service.log_level"), "TAPKEEP_SERVICE_LOG_LEVEL",
        Choice(&[
            ("error", tracing::Level::ERROR),
            ("warn", tracing::Level::WARN),
            ("info", tracing::Level::INFO),
            ("debug", tracing::Level::DEBUG),
            ("trace", tracing::Level::TRACE),
        ]), tracing::Level::INFO,
        "The least severe messages to log: error, warn, info, debug or trace.";

    METRICS_FILE: Maybe<MetricsPath> =
        Some("health.metrics_file"), "TAPKEEP_HEALTH_METRICS_FILE", Maybe::off(MetricsPath), None,
        "Where to write metrics for Prometheus, as node_exporter's textfile collector reads them.";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that other programs and people's compose files rely on.
    const FIXED: [&str; 7] = [
        "SAVE_PCAP",
        "PCAP_ROTATION_SIZE",
        "PCAP_RETENTION_COUNT",
        "WIRESHARK_FILTER",
        "NETWORK_INTERFACE",
        "OUTPUT_FILE",
        "PCAP_FILE",
    ];

    #[test]
    fn environment_names_are_fixed_or_follow_the_path() {
        for fixed in FIXED {
            assert!(find_env(fixed).is_some(), "{fixed}");
        }
        for key in KEYS.iter().filter(|key| !FIXED.contains(&key.env())) {
            let path = key.toml().expect("only fixed names are without a path");
            assert_eq!(key.env(), format!("TAPKEEP_{}", path.replace('.', "_").to_uppercase()));
        }
    }

    #[test]
    fn defaults_are_the_promised_ones_and_read_back() {
        let promised = [
            ("SAVE_PCAP", "true"),
            ("PCAP_ROTATION_SIZE", "100MB"),
            ("PCAP_RETENTION_COUNT", "10"),
            ("WIRESHARK_FILTER", ""),
            ("TAPKEEP_RECORDER_SYNC_INTERVAL", "5s"),
            ("TAPKEEP_RECORDER_QUEUE_SIZE", "64MiB"),
            ("TAPKEEP_CAPTURE_KERNEL_BUFFER", "64MiB"),
            ("TAPKEEP_CAPTURE_PRECISION", "micro"),
            ("TAPKEEP_RETENTION_FLOOR", "50%"),
        ];
        for (env, default) in promised {
            assert_eq!(find_env(env).map(|key| key.default_text()).as_deref(), Some(default), "{env}");
        }
        for key in KEYS {
            assert_eq!(key.normal(&key.default_text()), Some(key.default_text()), "{}", key.name());
        }
    }

    #[test]
    fn bounds_are_the_last_values_accepted() {
        for (name, accepted, refused) in [
            ("capture.snaplen", vec!["64", "262144"], vec!["63", "262145", "-1", "64.0", "4294967296"]),
            ("capture.kernel_buffer", vec!["2MiB", "1GiB", "2097152"], vec!["2097151", "1025MiB"]),
            ("capture.precision", vec!["nano", "MICRO"], vec!["milli", ""]),
            (
                "capture.interface",
                vec!["eth0", "enp0s31f6.1234", "any"],
                vec!["a/b", "a b", "..", "sixteen_bytes_ok"],
            ),
            ("recorder.save_pcap", vec!["False", "0", "no"], vec!["2", "", "falsch"]),
            ("recorder.rotation_interval", vec!["1s", "off", "0", "24h"], vec!["999ms", "366d", "never"]),
            ("recorder.sync_interval", vec!["100ms", "1h"], vec!["99ms", "0", "61m"]),
            ("recorder.queue_size", vec!["1MiB"], vec!["1MB"]),
            ("retention.count", vec!["0", "1", "off"], vec!["-1", "ten"]),
            ("retention.min_free", vec!["0", "0%", "99%", "2GB"], vec!["100%", "5", "2"]),
            ("retention.floor", vec!["0", "100%"], vec!["101%", "50"]),
            ("service.log_level", vec!["Debug"], vec!["loud"]),
            ("OUTPUT_FILE", vec!["f", "/a/f.jsonb", "a/../f.", ""], vec!["/a/", "/", "a/..", "a/."]),
            ("data_dir", vec!["/a/", "."], vec!["a\0b"]),
            ("health.metrics_file", vec!["off", "/a/b.prom"], vec!["/a/b.txt", "/a.prom/", "prom", ".prom"]),
        ] {
            let key = find(name).expect(name);
            for text in accepted {
                let normal = key.normal(text).unwrap_or_else(|| panic!("{name} = {text:?}"));
                assert_eq!(key.normal(&normal), Some(normal.clone()), "{name} reads back");
            }
            for text in refused {
                assert_eq!(key.normal(text), None, "{name} = {text:?}");
            }
        }
    }
}
