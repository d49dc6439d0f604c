//! Services whose system calls fail.

use std::path::Path;
use std::process::Command;

use super::support::captures::pcaps;
use super::support::journal::Journal;
use super::support::net::Pace;
use super::support::pcap::{Shape, mix, pcap_bytes};
use super::support::process::{PATIENCE, Process, Signal, wait_until};
use super::support::require;
use super::support::scan::scan;
use super::support::service::Setup;
use super::support::stage::Stage;
use super::told::*;

/// A system call that fails, and what is told of it.
pub struct Fault {
    what: &'static str,
    /// What strace does to which calls.
    inject: &'static str,
    /// Only on this file of the data directory.
    path: Option<&'static str>,
    /// Whether it fails from the start on; else once it captures.
    from_start: bool,
    /// What is told of it.
    pub events: &'static [&'static str],
    /// What is told once it is over.
    pub after: &'static [&'static str],
}

const LEFT: &str = "pcaps/capture_20200101_000000_0001.pcap";

pub const FAULTS: [Fault; 10] = [
    Fault {
        what: "the device confirms nothing",
        inject: "fdatasync:error=EIO",
        path: None,
        from_start: false,
        events: &["sync_failed", "seal_delayed", "ledger_trouble", "abandoned"],
        after: &[],
    },
    Fault {
        what: "final names are taken",
        inject: "renameat2:error=EEXIST",
        path: None,
        from_start: false,
        events: &["seal_failed"],
        after: &[],
    },
    Fault {
        what: "nothing can be removed",
        inject: "unlink:error=EROFS",
        path: None,
        from_start: false,
        events: &["evict_failed"],
        after: &[],
    },
    Fault {
        what: "nobody knows the free space",
        inject: "statfs:error=EIO",
        path: None,
        from_start: false,
        events: &["retention_trouble"],
        after: &[],
    },
    Fault {
        what: "what the detectors remember cannot be written",
        inject: "openat:error=EIO",
        path: Some("detectors.jsonb.gz.new"),
        from_start: false,
        events: &["detectors_unsaved"],
        after: &[],
    },
    Fault {
        what: "flow records cannot be written",
        inject: "pwrite64:error=ENOSPC",
        path: Some("traffic_flows.jsonb"),
        from_start: false,
        events: &["flows_trouble"],
        after: &["flows_back"],
    },
    Fault {
        what: "the last flow records cannot be written",
        inject: "pwrite64:error=ENOSPC",
        path: Some("traffic_flows.jsonb"),
        from_start: false,
        events: &["records_again"],
        after: &[],
    },
    Fault {
        what: "what a crash left cannot be cut",
        inject: "ftruncate:error=EIO",
        path: None,
        from_start: true,
        events: &["salvage_failed"],
        after: &[],
    },
    Fault {
        what: "the growing flow file cannot be read",
        inject: "openat:error=EIO",
        path: Some("traffic_flows.jsonb"),
        from_start: true,
        events: &["analysis_off"],
        after: &[],
    },
    Fault {
        what: "a capture is gone before it is analysed",
        inject: "openat:error=ENOENT",
        path: Some(LEFT),
        from_start: true,
        events: &["unanalysed"],
        after: &[],
    },
];

impl Fault {
    /// strace's words, as far as they do not say whom it looks at.
    fn words(&self, data: &Path) -> Vec<String> {
        let inject = format!("inject={}", self.inject);
        let mut words = ["strace", "-qq", "-f", "-o", "/dev/null", "-e", &inject].map(str::to_owned).to_vec();
        if let Some(path) = self.path {
            words.extend(["-P".to_owned(), data.join(path).to_str().unwrap().to_owned()]);
        }
        words
    }

    /// Lets a service meet it, and returns what it has told.
    fn told(&self, stage: &Stage, journal: &Journal, data: &Path) -> Told {
        std::fs::create_dir_all(data.join("flows")).unwrap();
        std::fs::create_dir_all(pcaps(data)).unwrap();
        let whole = pcap_bytes(&mix(0, 10), Shape::default());
        std::fs::write(data.join(LEFT), &whole).unwrap();
        put(data, "capture_20200101_000000_0002.pcap.part", &[&whole[..], &[0xff; 50]].concat());
        let mut wrapper = journal.wrapper();
        if self.from_start {
            // As a grandchild: the service keeps the process id.
            wrapper.extend(self.words(data));
            wrapper.push("-D".to_owned());
        }
        let words: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let setup = small(Setup::new(data)).variable("TAPKEEP_RECORDER_SYNC_INTERVAL", SYNC);
        let setup = setup.variable("TAPKEEP_FLOWS_OTHER_IDLE", "1s");
        let mut service = setup.through(&words).start(&stage.net);
        service.wait_until_capturing();
        wait_until("the end of salvage", || {
            service.state().is_some_and(|state| state["busy_with"].is_null())
        });
        let id = service.process.id();
        let mut strace = (!self.from_start).then(|| {
            let words = self.words(data);
            let mut command = Command::new(&words[0]);
            let strace = Process::start(command.args(&words[1..]).arg("-p").arg(id.to_string()));
            wait_until("strace", || is_traced(id));
            strace
        });
        stage.send(&scan(100), Pace::PerSecond(300));
        // Where a file is to be synced that grows, it must not be full before.
        if !self.events.contains(&"sync_failed") {
            stage.send(&mix(0, 1_000), PACE);
        }
        let at_the_end = ["detectors_unsaved", "records_again", "abandoned"];
        for event in self.events.iter().filter(|event| !at_the_end.contains(event)) {
            wait_for(journal, &service, event, 1);
        }
        if !self.after.is_empty() {
            strace = None;
        }
        for event in self.after {
            wait_for(journal, &service, event, 1);
        }
        if self.events.iter().any(|event| at_the_end.contains(event)) {
            service.process.signal(Signal::TERM);
            if self.events.contains(&"abandoned") {
                wait_for(journal, &service, "stopping", 1);
                service.process.signal(Signal::TERM);
            }
            service.wait(PATIENCE);
        }
        drop((service, strace));
        Told::by(journal, id)
    }
}

/// Whether every thread of a process is traced.
fn is_traced(id: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let status = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    status.into_iter().all(|status| !status.contains("TracerPid:\t0\n"))
}

#[test]
fn what_fails_on_the_disk_is_told() {
    if !ready() || !require(&["strace"]) {
        return;
    }
    let (stage, journal) = (Stage::new(&[]).unwrap(), Journal::start());
    for (at, fault) in FAULTS.iter().enumerate() {
        let told = fault.told(&stage, &journal, &stage.dir.path().join(at.to_string()));
        for event in fault.events.iter().chain(fault.after) {
            assert!(told.names().contains(event), "{}: no {event} in {:?}", fault.what, told.names());
        }
    }
}
