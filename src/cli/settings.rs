//! What is configured, in the words of those who do it.

use std::time::Duration;

use crate::capture::live::TapConfig;
use crate::config::Config;
use crate::config::units::Share;
use crate::daemon::pipeline::{Analysis, Plan};
use crate::detect;
use crate::flow::summary::SummaryLimits;
use crate::flow::table::FlowLimits;
use crate::store::flow_file;
use crate::store::recorder::Rotation;
use crate::store::retention::{self, Limits, MinFree};

/// What to capture.
pub(super) fn tap(config: &Config) -> TapConfig {
    TapConfig {
        interface: config.capture.interface.clone(),
        filter: config.capture.filter.clone(),
        snaplen: config.capture.snaplen,
        promiscuous: config.capture.promiscuous,
        kernel_buffer: config.capture.kernel_buffer.0,
        precision: config.capture.precision,
    }
}

/// What the recorder and retention are to do.
pub(super) fn plan(config: &Config, live: bool, evict: bool) -> Plan {
    Plan {
        live,
        save: config.recorder.save_pcap,
        rotation: Rotation {
            size: config.recorder.rotation_size.0,
            interval: config.recorder.rotation_interval,
            sync_interval: config.recorder.sync_interval,
        },
        limits: evict.then(|| limits(config)),
        flow_limits: evict.then(|| flow_retention(config)),
        queue_size: config.recorder.queue_size.0,
        analysis: analysis(config),
    }
}

/// How packets are analysed.
pub(super) fn analysis(config: &Config) -> Analysis {
    let flows = flow_limits(config);
    Analysis {
        stream: detect::Settings { flows, ..config.detect.clone() },
        summary: summary(config),
        flow_files: flow_file::Settings {
            rotation_size: config.recorder.flow_rotation_size.0,
            sync_interval: config.recorder.sync_interval,
            reach: flows.active + flows.tcp_idle.max(flows.other_idle),
            summaries: !config.recorder.save_pcap,
        },
        fold: config.flows.fold,
    }
}

fn flow_limits(config: &Config) -> FlowLimits {
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let flows = &config.flows;
    FlowLimits {
        flows: flows.table_size as usize,
        tcp_idle: nanos(flows.tcp_idle),
        tcp_half_open: nanos(flows.tcp_half_open),
        tcp_closed: nanos(flows.tcp_closed),
        other_idle: nanos(flows.other_idle),
        active: nanos(flows.active),
    }
}

/// How exact a capture file is counted.
pub(super) fn summary(config: &Config) -> SummaryLimits {
    let endpoints = config.summary.endpoints as usize;
    SummaryLimits { endpoints, macs: endpoints, conversations: config.summary.conversations as usize }
}

/// What retention allows flow files.
fn flow_retention(config: &Config) -> retention::FlowLimits {
    let retention = &config.retention;
    retention::FlowLimits {
        count: retention.flow_count.map(u64::from),
        bytes: retention.flow_bytes.map(|bytes| bytes.0),
        age: retention.flow_age,
        rotation_size: config.recorder.flow_rotation_size.0,
    }
}

/// What retention allows.
pub(super) fn limits(config: &Config) -> Limits {
    let retention = &config.retention;
    Limits {
        count: retention.count.map(u64::from),
        bytes: retention.bytes.map(|bytes| bytes.0),
        age: retention.age,
        min_free: match retention.min_free {
            Share::Bytes(bytes) => MinFree::Bytes(bytes.0),
            Share::Percent(percent) => MinFree::Percent(percent.get()),
        },
        floor_percent: retention.floor.get(),
    }
}
