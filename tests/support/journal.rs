//! A journal of its own for a test: systemd-journald in a mount namespace where nothing of the machine's journal is seen, for
//! services whose standard error it is. Gone when dropped.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::process::{Process, run, wait_until};

/// What the fixture needs, for [`super::require`].
pub const NEEDS: [&str; 6] = ["root", "unshare", "nsenter", "systemd-cat", "journalctl", "mount"];

const JOURNALD: &str = "/lib/systemd/systemd-journald";

/// journald as an instance of its own leaves the kernel's messages and other services alone.
const NAMESPACE: &str = "tapkeep-test";

/// What becomes journald.
const BEGIN: &str = "set -eu
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
mount -t tmpfs tmpfs /var/log
mkdir /var/log/journal /run/systemd/journal.$1
ln -s journal.$1 /run/systemd/journal
exec \"$0\" \"$1\"";

/// What becomes the service: its own /sys, for that of its network namespace is another, and the variable by which systemd
/// tells that a stream is the journal.
const SERVICE: &str = "mount -t sysfs sysfs /sys
JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec \"$0\" \"$@\"";

/// A running journald.
pub struct Journal {
    daemon: Process,
}

impl Journal {
    /// Starts it, and waits until it listens.
    pub fn start() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "slave", "sh", "-c", BEGIN, JOURNALD, NAMESPACE]);
        let mut journal = Self { daemon: Process::start(&mut command) };
        let socket = journal.seen(&format!("run/systemd/journal.{NAMESPACE}/stdout"));
        wait_until("journald", || {
            assert!(journal.daemon.is_running(), "{}", journal.daemon.last_words());
            socket.exists()
        });
        journal
    }

    /// Its process, to be stopped and continued.
    pub fn daemon(&mut self) -> &mut Process {
        &mut self.daemon
    }

    /// A path as it sees it.
    fn seen(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.daemon.id())).join(path)
    }

    fn enter(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.daemon.id())]
    }

    /// What a service is started through to have its standard error in this journal, as under systemd.
    pub fn wrapper(&self) -> Vec<String> {
        let rest = ["unshare", "--mount", "systemd-cat", "sh", "-c", SERVICE];
        self.enter().into_iter().chain(rest.map(str::to_owned)).collect()
    }

    /// All that process `id` has told, oldest first.
    pub fn entries(&self, id: u32) -> Vec<Value> {
        let mut words = self.enter();
        let mut command = Command::new(words.remove(0));
        command.args(words).args(["journalctl", "--quiet", "--no-pager", "--output=json"]);
        let answer = run(command.arg(format!("--namespace={NAMESPACE}")).arg(format!("_PID={id}"))).ok();
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
