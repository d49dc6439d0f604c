//! Packets that the kernel throws away before anybody can see them.
//!
//! Drivers without a queue of their own (many USB cards, veth) and receive packet steering hand packets to a processor's
//! input queue, `net.core.netdev_max_backlog` of them at most. A packet that finds it full is counted for its port, among
//! those that no protocol wanted (`rx_dropped`), and for the processor, among those of all ports (`softnet_stat`). So no
//! more of a port were lost than grew in both. Of the caller's network namespace.

use std::io;

use super::link::attribute;

/// Both counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counters {
    port: u64,
    processors: u64,
}

/// The way from a port's driver to those who listen.
#[derive(Debug)]
pub struct InputQueue {
    port: String,
    last: Option<Counters>,
}

impl InputQueue {
    /// That of a port, counted from now on.
    pub fn new(port: &str) -> Self {
        Self { port: port.to_owned(), last: read(port).ok() }
    }

    /// Packets of the port that were thrown away since last asked, at most. What cannot be read now is in the answer of the
    /// next time.
    pub fn dropped(&mut self) -> u64 {
        let Ok(now) = read(&self.port) else { return 0 };
        let last = self.last.replace(now).unwrap_or(now);
        now.port.saturating_sub(last.port).min(now.processors.saturating_sub(last.processors))
    }
}

fn read(port: &str) -> io::Result<Counters> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let port = attribute(port, "statistics/rx_dropped")?.parse().map_err(|_| invalid())?;
    let processors = dropped(&std::fs::read_to_string("/proc/self/net/softnet_stat")?).ok_or_else(invalid)?;
    Ok(Counters { port, processors })
}

/// The second number of each line, hexadecimal: a line for each processor.
fn dropped(softnet_stat: &str) -> Option<u64> {
    softnet_stat.lines().map(|line| u64::from_str_radix(line.split(' ').nth(1)?, 16).ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_are_added_up() {
        let text = "0000a1b2 00000010 00000000\n00000001 0000000f 00000000\n";
        assert_eq!(dropped(text), Some(31));
        assert_eq!(dropped("00000001\n"), None);
        assert_eq!(dropped("1 no 0\n"), None);
    }

    #[test]
    fn the_kernel_tells_of_the_loopback_and_a_strange_name_loses_nothing() {
        assert!(read("lo").is_ok());
        assert_eq!(InputQueue::new("no-such-if0").dropped(), 0);
    }
}
