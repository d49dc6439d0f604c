//! A tap port and something that sends into it: two network namespaces joined by a veth pair, silent but for what a test
//! sends. Gone when dropped; what a killed test left is swept by the next one.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::process::{Answer, PATIENCE, Process, must, run, wait_until};

/// What the fixture needs, for [`super::require`].
pub const NEEDS: [&str; 4] = ["root", "netns", "ip", "tcpreplay"];
/// The interface that a test captures from.
pub const TAP: &str = "tap0";
/// The interface that frames are sent into.
pub const GENERATOR: &str = "gen0";

const PREFIX: &str = "tapkeep-test";
static MADE: AtomicU32 = AtomicU32::new(0);

/// How fast frames are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// So many a second.
    PerSecond(u32),
    /// As fast as the machine can; the kernel may drop some, see [`Net::delivered`].
    Top,
}

/// Two joined namespaces.
pub struct Net {
    tap: String,
    generator: String,
}

impl Net {
    /// Makes the namespaces and brings both ends up.
    pub fn new() -> Self {
        sweep();
        let name = format!("{PREFIX}-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let net = Self { tap: format!("{name}-tap"), generator: format!("{name}-gen") };
        for namespace in [&net.tap, &net.generator] {
            must("ip", &["netns", "add", namespace]);
            // Before any link is there: neighbour and multicast discovery would send frames of their own.
            let switch = "f=/proc/sys/net/ipv6/conf/all/disable_ipv6; test ! -e $f || echo 1 >$f";
            must("ip", &["netns", "exec", namespace, "sh", "-c", switch]);
        }
        net.create();
        net
    }

    /// The namespace of the tap port.
    pub fn namespace(&self) -> &str {
        &self.tap
    }

    /// The namespace of the sender.
    pub fn generator(&self) -> &str {
        &self.generator
    }

    /// Makes the pair, again after [`Self::delete`], and brings both ends up.
    pub fn create(&self) {
        let end = ["mtu", "9000", "type", "veth", "peer", "name", TAP, "mtu", "9000", "netns", &self.tap];
        must("ip", &[&["-n", &self.generator, "link", "add", GENERATOR][..], &end].concat());
        for (namespace, interface) in [(&self.tap, TAP), (&self.generator, GENERATOR)] {
            must("ip", &["-n", namespace, "link", "set", interface, "arp", "off", "multicast", "off", "up"]);
        }
        self.wait_up();
    }

    /// Takes the tap port away, and the other end with it.
    pub fn delete(&self) {
        must("ip", &["-n", &self.tap, "link", "delete", TAP]);
    }

    /// Takes the tap port down.
    pub fn down(&self) {
        must("ip", &["-n", &self.tap, "link", "set", TAP, "down"]);
    }

    /// Brings the tap port up.
    pub fn up(&self) {
        must("ip", &["-n", &self.tap, "link", "set", TAP, "up"]);
        self.wait_up();
    }

    fn wait_up(&self) {
        for (namespace, interface) in [(&self.tap, TAP), (&self.generator, GENERATOR)] {
            wait_until(&format!("{interface} to be up"), || link(namespace, interface)["operstate"] == "UP");
        }
    }

    /// A command that will run in the tap's namespace. Its process id is the program's own: `ip netns exec` becomes it.
    pub fn tap_command(&self, program: impl AsRef<Path>) -> Command {
        within(&self.tap, program.as_ref())
    }

    /// A command that will run in the generator's namespace.
    pub fn generator_command(&self, program: impl AsRef<Path>) -> Command {
        within(&self.generator, program.as_ref())
    }

    /// Sends a capture file's frames; returns how many were sent. Panics unless it ends within a minute of its due time.
    pub fn send(&self, file: &Path, pace: Pace) -> u64 {
        let packets = super::pcap::read_pcap(file).len() as u64;
        let limit = match pace {
            Pace::PerSecond(rate) => PATIENCE + Duration::from_secs(packets / u64::from(rate.max(1))),
            Pace::Top => PATIENCE,
        };
        sent(Process::start(&mut self.send_command(file, pace)).finish(limit))
    }

    /// Begins to send a capture file's frames; [`sent`] reads the number from how it ends.
    pub fn begin_to_send(&self, file: &Path, pace: Pace) -> Process {
        Process::start(&mut self.send_command(file, pace))
    }

    fn send_command(&self, file: &Path, pace: Pace) -> Command {
        let mut command = self.generator_command("tcpreplay");
        command.args(["--quiet", "--preload-pcap", "--intf1", GENERATOR]);
        match pace {
            Pace::PerSecond(rate) => command.arg(format!("--pps={rate}")),
            Pace::Top => command.arg("--topspeed"),
        };
        command.arg(file);
        command
    }

    /// Packets that reached the tap port since it was made, as the kernel counts them.
    pub fn delivered(&self) -> u64 {
        link(&self.tap, TAP)["stats64"]["rx"]["packets"].as_u64().unwrap()
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // A deleted namespace lives on while a process is in it, its links too.
        run(Command::new("ip").args(["-n", &self.generator, "link", "delete", GENERATOR]));
        for namespace in [&self.tap, &self.generator] {
            run(Command::new("ip").args(["netns", "delete", namespace]));
        }
    }
}

/// How many packets a finished tcpreplay says it sent.
pub fn sent(answer: Answer) -> u64 {
    let answer = answer.ok();
    let text = answer.text();
    let count =
        text.split_once("Actual: ").and_then(|(_, rest)| rest.split_once(' ')).map(|(count, _)| count);
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("tcpreplay: {text}{}", answer.stderr))
}

fn within(namespace: &str, program: &Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

fn link(namespace: &str, interface: &str) -> serde_json::Value {
    let answer = must("ip", &["-n", namespace, "-json", "-stats", "link", "show", "dev", interface]);
    answer.json()[0].take()
}

fn sweep() {
    for line in must("ip", &["netns", "list"]).text().lines() {
        let namespace = line.split(' ').next().unwrap_or_default();
        let Some(rest) = namespace.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')) else {
            continue;
        };
        let maker = rest.split('-').next().unwrap_or_default();
        if !maker.is_empty() && !Path::new("/proc").join(maker).exists() {
            // Another test may be quicker.
            run(Command::new("ip").args(["netns", "delete", namespace]));
        }
    }
}
