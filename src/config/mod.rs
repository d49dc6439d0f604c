//! What Tapkeep is told to do: flags > environment > configuration file > defaults.
//!
//! [`raw`] collects what was typed, [`keys`] knows every key, [`kind`] and [`units`] read values; [`load`]
//! makes a [`Config`] of them, in which every value is valid, fits the others, and is there unless it has no
//! default. All mistakes are told at once ([`Mistakes`]). Reads the configuration file and, for
//! [`Config::data_dir_of_query`], the service's state; writes and prints nothing.

pub mod data_dir;
pub mod ignore;
pub mod keys;
pub mod kind;
pub mod mistake;
pub mod raw;
pub mod show;
pub mod units;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use data_dir::DataDir;
pub use ignore::Rule;
use keys::AnyKey;
pub use mistake::{Mistake, Mistakes, Origin};
use raw::Raw;
pub use raw::{Setting, Sources};
use units::{ByteSize, Percent, Share};

use crate::capture::filter::Filter;
use crate::detect;
use crate::packet::{LinkType, Precision};
use crate::store::format::{FILE_HEADER, RECORD_HEADER};

/// The whole configuration, valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The data directory that flags, environment or file ask for.
    data_dir: Option<DataDir>,
    /// The capture file to replay once, instead of capturing.
    pub replay: Option<PathBuf>,
    /// Where packets come from.
    pub capture: CaptureConfig,
    /// How they are written.
    pub recorder: RecorderConfig,
    /// How long they are kept.
    pub retention: RetentionConfig,
    /// How flows are followed.
    pub flows: FlowsConfig,
    /// What is counted of each capture file.
    pub summary: SummaryConfig,
    /// What is held suspicious. The limits of flows in it are defaults; [`Config::flows`] counts.
    pub detect: detect::Settings,
    /// The service itself.
    pub service: ServiceConfig,
    /// How it is watched.
    pub health: HealthConfig,
}

/// Where packets come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureConfig {
    /// The interface; without one the service waits.
    pub interface: Option<String>,
    /// BPF; empty = every packet.
    pub filter: String,
    /// Bytes kept of a packet, 64 to 262,144.
    pub snaplen: u32,
    /// Whether packets for others are captured too.
    pub promiscuous: bool,
    /// The kernel's ring, 2 MiB to 1 GiB.
    pub kernel_buffer: ByteSize,
    /// The unit of stamps.
    pub precision: Precision,
}

/// How packets are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecorderConfig {
    /// Whether capture files are written at all.
    pub save_pcap: bool,
    /// The size that no capture file exceeds; room for a header and the longest packet.
    pub rotation_size: ByteSize,
    /// The age at which a file that holds packets is sealed.
    pub rotation_interval: Option<Duration>,
    /// The size at which a flow file is sealed.
    pub flow_rotation_size: ByteSize,
    /// Time from one sync's begin to the next, 100 ms to 1 h.
    pub sync_interval: Duration,
    /// The pool of blocks, at least 1 MiB.
    pub queue_size: ByteSize,
}

/// How long sealed capture files are kept; any one limit evicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Sealed files; at least 1.
    pub count: Option<u32>,
    /// All capture files together; at least two of `rotation_size`.
    pub bytes: Option<ByteSize>,
    /// Since the seal.
    pub age: Option<Duration>,
    /// Sealed flow files; at least 1.
    pub flow_count: Option<u32>,
    /// All flow files together.
    pub flow_bytes: Option<ByteSize>,
    /// Since a flow file's seal.
    pub flow_age: Option<Duration>,
    /// Free space to keep on the file system; 0 = none.
    pub min_free: Share,
    /// The part of what limits and disk allowed at start below which free space evicts nothing.
    pub floor: Percent,
}

/// How flows are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowsConfig {
    /// The most flows at a time.
    pub table_size: u32,
    /// Silence that ends a TCP flow.
    pub tcp_idle: Duration,
    /// Silence that ends one that is half open.
    pub tcp_half_open: Duration,
    /// Silence that ends one that is closed.
    pub tcp_closed: Duration,
    /// Silence that ends any other flow.
    pub other_idle: Duration,
    /// Time between two records of one flow.
    pub active: Duration,
    /// Whether floods of one-packet flows are folded.
    pub fold: bool,
}

/// What is counted of each capture file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryConfig {
    /// Addresses counted exactly.
    pub endpoints: u32,
    /// Conversations counted exactly.
    pub conversations: u32,
}

/// The service itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Where its state is told.
    pub runtime_dir: PathBuf,
    /// The least severe messages that are logged.
    pub log_level: tracing::Level,
}

/// How the service is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// Where metrics are written.
    pub metrics_file: Option<PathBuf>,
}

impl Config {
    /// The data directory for whoever writes one: what is configured, else [`data_dir::USUAL`] if it exists,
    /// else [`data_dir::FALLBACK`]. Another service's is never taken.
    pub fn data_dir_of_writer(&self) -> DataDir {
        DataDir::choose(self.data_dir.clone(), None, Path::new(data_dir::USUAL))
    }

    /// The data directory that a query asks: as [`Config::data_dir_of_writer`], but before the usual one
    /// comes the one that a running service tells.
    pub fn data_dir_of_query(&self) -> DataDir {
        let told = DataDir::told_in(&self.service.runtime_dir);
        DataDir::choose(self.data_dir.clone(), told, Path::new(data_dir::USUAL))
    }
}

/// A configuration and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every key's value and origin, in the order of the shipped sample.
    pub settings: Vec<Setting>,
    /// The `[[ignore]]` rules, in the order of the file, as they are in [`Config::detect`].
    pub rules: Vec<Rule>,
    /// What the service should log at start: unknown keys and the like.
    pub warnings: Mistakes,
}

impl Loaded {
    /// What `config check` asks: warnings are mistakes too.
    pub fn strict(self) -> Result<Self, Mistakes> {
        if self.warnings.is_empty() { Ok(self) } else { Err(self.warnings) }
    }
}

/// Reads all sources. Fails with everything that is wrong if any value is invalid, be it one that a higher
/// layer overrides; unknown keys alone are warnings.
pub fn load(sources: &Sources) -> Result<Loaded, Mistakes> {
    let mut raw = Raw::read(sources);
    let config = settle(&mut raw);
    check_sizes(&config, &mut raw);
    check_thresholds(&config, &mut raw);
    check_filter(&config, &mut raw);
    match raw.mistakes.are_warnings() {
        true => Ok(Loaded { config, settings: raw.settings, rules: raw.rules, warnings: raw.mistakes }),
        false => Err(raw.mistakes),
    }
}

/// Settles every key, in the order of [`keys::KEYS`].
fn settle(raw: &mut Raw) -> Config {
    let (data_dir, output_file) = (raw.take(&keys::DATA_DIR), raw.take(&keys::OUTPUT_FILE));
    if let Some(file) = &output_file {
        check_flow_file(file, raw);
    }
    let data_dir = data_dir.map(|path| (path, raw.origin(&keys::DATA_DIR)));
    Config {
        data_dir: DataDir::configured(data_dir, output_file.as_deref()),
        replay: raw.take(&keys::PCAP_FILE),
        capture: CaptureConfig {
            interface: raw.take(&keys::INTERFACE),
            filter: raw.take(&keys::FILTER),
            snaplen: raw.take(&keys::SNAPLEN),
            promiscuous: raw.take(&keys::PROMISCUOUS),
            kernel_buffer: raw.take(&keys::KERNEL_BUFFER),
            precision: raw.take(&keys::PRECISION),
        },
        recorder: RecorderConfig {
            save_pcap: raw.take(&keys::SAVE_PCAP),
            rotation_size: raw.take(&keys::ROTATION_SIZE),
            rotation_interval: raw.take(&keys::ROTATION_INTERVAL),
            flow_rotation_size: raw.take(&keys::FLOW_ROTATION_SIZE),
            sync_interval: raw.take(&keys::SYNC_INTERVAL),
            queue_size: raw.take(&keys::QUEUE_SIZE),
        },
        retention: RetentionConfig {
            count: raw.take(&keys::RETENTION_COUNT),
            bytes: raw.take(&keys::RETENTION_BYTES),
            age: raw.take(&keys::RETENTION_AGE),
            flow_count: raw.take(&keys::FLOW_COUNT),
            flow_bytes: raw.take(&keys::FLOW_BYTES),
            flow_age: raw.take(&keys::FLOW_AGE),
            min_free: raw.take(&keys::MIN_FREE),
            floor: raw.take(&keys::FLOOR),
        },
        flows: FlowsConfig {
            table_size: raw.take(&keys::FLOW_TABLE),
            tcp_idle: raw.take(&keys::TCP_IDLE),
            tcp_half_open: raw.take(&keys::TCP_HALF_OPEN),
            tcp_closed: raw.take(&keys::TCP_CLOSED),
            other_idle: raw.take(&keys::OTHER_IDLE),
            active: raw.take(&keys::ACTIVE),
            fold: raw.take(&keys::FOLD),
        },
        summary: SummaryConfig {
            endpoints: raw.take(&keys::SUMMARY_ENDPOINTS),
            conversations: raw.take(&keys::SUMMARY_CONVERSATIONS),
        },
        service: ServiceConfig {
            runtime_dir: raw.take(&keys::RUNTIME_DIR),
            log_level: raw.take(&keys::LOG_LEVEL),
        },
        health: HealthConfig { metrics_file: raw.take(&keys::METRICS_FILE) },
        detect: detect::Settings {
            ignore: raw.rules.iter().map(|rule| rule.rule.clone()).collect(),
            ..keys::detect::settle(raw)
        },
    }
}

/// Every file has room for a packet, and retention for the file being written beside a sealed one.
fn check_sizes(config: &Config, raw: &mut Raw) {
    let rotation = config.recorder.rotation_size.0;
    let least = (FILE_HEADER + RECORD_HEADER) as u64 + u64::from(config.capture.snaplen);
    if rotation < least {
        let problem = format!(
            "a file could not hold one packet of capture.snaplen = {}; give it {} or lower the snaplen",
            config.capture.snaplen,
            ByteSize(least)
        );
        raw.conflict(&keys::ROTATION_SIZE, &keys::SNAPLEN, problem);
    }
    let least = rotation.saturating_mul(2);
    if config.retention.bytes.is_some_and(|bytes| bytes.0 < least) {
        let problem = format!(
            "too little for the file being written and one that is kept; \
             with recorder.rotation_size = {} it takes {}",
            ByteSize(rotation),
            ByteSize(least)
        );
        raw.conflict(&keys::RETENTION_BYTES, &keys::ROTATION_SIZE, problem);
    }
}

/// What is told by two speeds or grades has them in order: else one of them would never be reached.
fn check_thresholds(config: &Config, raw: &mut Raw) {
    use keys::detect as keys;
    let detect::Settings { scan, beacon, brute_force, dhcp, .. } = &config.detect;
    let pairs: [(bool, &dyn AnyKey, &dyn AnyKey); 8] = [
        (scan.fast_ports <= scan.slow_pairs, &keys::PORT_SCAN_PAIRS, &keys::PORT_SCAN_PORTS),
        (scan.few_hosts <= scan.many_hosts, &keys::HOST_SWEEP_HOSTS, &keys::HOST_SWEEP_FEW_HOSTS),
        (scan.fast <= scan.slow, &keys::SCAN_SLOW_WINDOW, &keys::SCAN_WINDOW),
        (scan.slow <= scan.long, &keys::HOST_SWEEP_WINDOW, &keys::SCAN_SLOW_WINDOW),
        (beacon.low <= beacon.medium, &keys::BEACON_MEDIUM, &keys::BEACON_LOW),
        (brute_force.quick.0 <= brute_force.slow.0, &keys::BRUTE_FORCE_SLOW, &keys::BRUTE_FORCE_QUICK),
        (
            brute_force.quick.1 <= brute_force.slow.1,
            &keys::BRUTE_FORCE_SLOW_WINDOW,
            &keys::BRUTE_FORCE_QUICK_WINDOW,
        ),
        (dhcp.played < dhcp.clients, &keys::DHCP_ABUSE_CLIENTS, &keys::DHCP_ABUSE_PLAYED),
    ];
    for (fits, key, with) in pairs {
        if !fits {
            let problem = format!("it would never count beside {} = {}", with.name(), raw.text(with));
            raw.conflict(key, with, problem);
        }
    }
}

/// Only libpcap knows whether a filter compiles.
fn check_filter(config: &Config, raw: &mut Raw) {
    if let Err(error) = Filter::compile(&config.capture.filter, LinkType::ETHERNET) {
        raw.refuse(&keys::FILTER, error.to_string());
    }
}

/// Other programs look for the flow file under one name; whoever asks for another learns that.
fn check_flow_file(file: &Path, raw: &mut Raw) {
    if file.file_name().is_some_and(|name| name != data_dir::FLOW_FILE) {
        let problem =
            format!("the flow file is always named {}; only the folder is used", data_dir::FLOW_FILE);
        raw.mistakes.push(Mistake::Ignored { origin: raw.origin(&keys::OUTPUT_FILE), problem });
    }
}

#[cfg(test)]
mod tests;
