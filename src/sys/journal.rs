//! The journal of systemd: whether standard error is connected to it, and the writer of structured lines into it.

use std::io;

use rustix::fs::fstat;
pub use tracing_journald::Priority;
use tracing_journald::{Layer, PriorityMappings};

/// What the journal shows beside each line, and `journalctl -t` asks for.
const IDENTIFIER: &str = "tapkeep";

/// Whether standard error is connected to the journal: systemd names the device and the inode of the stream that it has
/// connected in `JOURNAL_STREAM` (systemd.exec(5)). What was redirected since has others.
pub fn is_stderr() -> bool {
    let told = std::env::var("JOURNAL_STREAM").ok();
    told.zip(fstat(io::stderr()).ok()).is_some_and(|(told, stat)| names(&told, (stat.st_dev, stat.st_ino)))
}

/// Whether `DEVICE:INODE`, decimal, names this file.
fn names(told: &str, file: (u64, u64)) -> bool {
    let told = told.split_once(':').and_then(|(device, inode)| device.parse().ok().zip(inode.parse().ok()));
    told == Some(file)
}

/// A writer into the journal: the fields of each event as they are called, in capitals, and its level as the priority of that
/// name, informational lines as `info`.
///
/// # Errors
/// If no journal listens.
pub fn writer(info: Priority) -> io::Result<Layer> {
    let mappings = PriorityMappings { info, debug: Priority::Debug, ..PriorityMappings::new() };
    let layer = tracing_journald::layer()?.with_field_prefix(None).with_priority_mappings(mappings);
    Ok(layer.with_syslog_identifier(IDENTIFIER.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_by_device_and_inode() {
        assert!(names("10:20", (10, 20)));
        for (told, file) in
            [("10:20", (10, 21)), ("10:20", (11, 20)), ("10", (10, 0)), ("", (0, 0)), ("a:b", (0, 0))]
        {
            assert!(!names(told, file), "{told}");
        }
    }
}
