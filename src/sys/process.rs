//! What the kernel tells of processes, this one or another.

use std::fs::read_to_string;
use std::io;

/// What a process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// Its effective user.
    pub uid: u32,
    /// Whether no program that it starts may do more.
    pub no_new_privileges: bool,
    /// Whether its system calls are filtered.
    pub filtered: bool,
    /// Its effective capabilities, a bit each.
    pub capabilities: u64,
}

/// What the process may do.
pub fn confinement(pid: u32) -> io::Result<Confinement> {
    let status = read_to_string(format!("/proc/{pid}/status"))?;
    parse(&status).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse(status: &str) -> Option<Confinement> {
    let field =
        |name: &str| status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()));
    Some(Confinement {
        uid: field("Uid")?.split_whitespace().nth(1)?.parse().ok()?,
        no_new_privileges: field("NoNewPrivs")? == "1",
        filtered: field("Seccomp")? == "2",
        capabilities: u64::from_str_radix(field("CapEff")?, 16).ok()?,
    })
}

/// The machine's name; empty if the kernel does not tell.
pub fn host_name() -> String {
    read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim_end().to_owned()).unwrap_or_default()
}

/// Bytes that this process has handed to disks, as the kernel counts them (`write_bytes` of proc(5)): when a page becomes
/// dirty, once each time; what the file system writes for itself is not in it. `None` if the kernel does not count, or does
/// not tell.
pub fn written_bytes() -> Option<u64> {
    let text = read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let status = "Name:\ttapkeep\nUid:\t1\t998\t998\t998\nCapEff:\t0000000000002000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let confined =
            Confinement { uid: 998, no_new_privileges: true, filtered: true, capabilities: 1 << 13 };
        assert_eq!(parse(status), Some(confined));
        assert_eq!(parse(&status.replace("Seccomp:", "Seccomp_filters:")), None);
    }

    #[test]
    fn this_process_has_a_user_and_what_it_writes_never_shrinks() {
        let ours = confinement(std::process::id()).unwrap();
        assert_eq!(ours.uid, rustix::process::geteuid().as_raw());
        let before = written_bytes();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[1; 100_000]).unwrap();
        file.sync_all().unwrap();
        assert!(written_bytes() >= before, "{before:?}");
    }
}
