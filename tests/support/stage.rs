//! A tap port, a place for data, and frames to send: what most live tests begin with.

use std::path::PathBuf;

use super::net::{self, Net, Pace};
use super::pcap::{Packet, write_pcap};
use super::require;
use super::service::{Service, Setup};

/// Two joined namespaces and a directory; gone when dropped.
pub struct Stage {
    /// The namespaces.
    pub net: Net,
    /// The directory.
    pub dir: tempfile::TempDir,
}

impl Stage {
    /// A stage for a test that uses `programs` too; `None` if the machine cannot.
    pub fn new(programs: &[&str]) -> Option<Self> {
        let there = require(&[&net::NEEDS, programs].concat());
        there.then(|| Self { net: Net::new(), dir: tempfile::tempdir().unwrap() })
    }

    /// Where the service records; not there yet.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A service that keeps all it records there.
    pub fn setup(&self) -> Setup {
        Setup::new(self.data_dir()).keep_all()
    }

    /// Starts a service and waits until it captures.
    pub fn start(&self, setup: Setup) -> Service {
        let mut service = setup.start(&self.net);
        service.wait_until_capturing();
        service
    }

    /// A capture file of these frames, to be sent; there is one at a time.
    pub fn file(&self, frames: &[Packet]) -> PathBuf {
        let file = self.dir.path().join("send.pcap");
        write_pcap(&file, frames);
        file
    }

    /// Sends frames; they have all left when it returns.
    pub fn send(&self, frames: &[Packet], pace: Pace) {
        assert_eq!(self.net.send(&self.file(frames), pace), frames.len() as u64);
    }
}
