//! Child processes with a time limit: their output is collected while they run, and none outlives its owner.

use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

pub use rustix::process::Signal;

/// Long enough for anything on a busy machine; what takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a program that ended had to say.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Everything on standard output.
    pub stdout: Vec<u8>,
    /// Everything on standard error.
    pub stderr: String,
}

impl Answer {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as one JSON document.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// Itself, if the program succeeded; panics with what it said otherwise.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.text(), self.stderr);
        self
    }
}

/// A running program; killed when dropped.
pub struct Process {
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

impl Process {
    /// Starts a program with nothing on standard input.
    pub fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let stdout = Collected::of(child.stdout.take().unwrap());
        let stderr = Collected::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on standard output so far.
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.so_far()
    }

    /// What it has said on standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// All it has said on standard error, once it has ended.
    pub fn last_words(&self) -> String {
        String::from_utf8_lossy(&self.stderr.all()).into_owned()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal to this very process; one that has ended gets none.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
        }
    }

    /// SIGSTOP, and waits until each of its threads has stopped.
    pub fn stand_still(&mut self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.id());
        wait_until("every thread to stand still", || {
            let stats = std::fs::read_dir(&tasks)
                .unwrap()
                .map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")));
            stats.flatten().all(|stat| stat.rsplit(") ").next().is_some_and(|fields| fields.starts_with('T')))
        });
    }

    /// Waits until standard error contains `text`; panics if it ends or time runs out before.
    pub fn wait_for_stderr(&mut self, text: &str) {
        wait_until(&format!("{text:?} on stderr"), || {
            let running = self.is_running();
            let found = self.stderr().contains(text);
            assert!(found || running, "ended without {text:?}: {}", self.last_words());
            found
        });
    }

    /// Waits for its end; `None` if `limit` passes before.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end and takes all it said; kills it and panics if `limit` passes before.
    pub fn finish(mut self, limit: Duration) -> Answer {
        let Some(status) = self.wait(limit) else {
            panic!("still running after {limit:?}: {}", self.stderr());
        };
        Answer {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.all(),
            stderr: self.last_words(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, which comes within [`PATIENCE`].
pub fn run(command: &mut Command) -> Answer {
    Process::start(command).finish(PATIENCE)
}

/// Runs a program that must succeed.
pub fn must(program: &str, args: &[&str]) -> Answer {
    let answer = run(Command::new(program).args(args));
    assert_eq!(answer.code, Some(0), "{program} {args:?}: {}{}", answer.text(), answer.stderr);
    answer
}

/// Looks again and again until `done`; panics with `what` when [`PATIENCE`] ends.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for {what}");
        sleep(Duration::from_millis(5));
    }
}

struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Collected {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut buf = vec![0; 65536];
            while let Ok(n @ 1..) = pipe.read(&mut buf) {
                sink.lock().unwrap().extend_from_slice(&buf[..n]);
            }
        });
        Self { bytes, reader }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    /// Waits for the end of the pipe, which a grandchild may hold open.
    fn all(&self) -> Vec<u8> {
        wait_until("the end of a program's output", || self.reader.is_finished());
        self.so_far()
    }
}
