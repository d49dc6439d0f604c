//! What is configured, in the words of those who do it.

use crate::capture::live::TapConfig;
use crate::config::Config;
use crate::config::units::Share;
use crate::daemon::pipeline::Plan;
use crate::store::recorder::Rotation;
use crate::store::retention::{Limits, MinFree};

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
        queue_size: config.recorder.queue_size.0,
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
