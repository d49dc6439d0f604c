//! The product as its users meet it: `tapkeep run` as a process, and every other command with its answer.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::net::{Net, TAP};
use super::process::{Answer, PATIENCE, Process, Signal, run, wait_until};

/// The binary under test.
pub const TAPKEEP: &str = env!("CARGO_BIN_EXE_tapkeep");

/// A service to be started: what is not said here comes from defaults, never from the machine's own configuration.
pub struct Setup {
    wrapper: Vec<OsString>,
    program: PathBuf,
    data_dir: PathBuf,
    runtime: tempfile::TempDir,
    variables: Vec<(OsString, OsString)>,
    args: Vec<OsString>,
}

impl Setup {
    /// `tapkeep run` on the tap port, recording into `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let runtime = tempfile::Builder::new().prefix("tapkeep-run-").tempdir().unwrap();
        std::fs::write(runtime.path().join(CONFIG), "").unwrap();
        // As /run/tapkeep is: anyone may read how the service is.
        std::fs::set_permissions(runtime.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let setup = Self {
            wrapper: Vec::new(),
            program: TAPKEEP.into(),
            data_dir: data_dir.into(),
            runtime,
            variables: Vec::new(),
            args: Vec::new(),
        };
        setup.variable("NETWORK_INTERFACE", TAP)
    }

    /// Takes another program than the one under test.
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Starts it through another program that becomes it, such as `setpriv`.
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(Into::into).collect();
        self
    }

    /// Lets another user than the test's tell its state.
    pub fn of_user(self, user: u32, group: u32) -> Self {
        std::os::unix::fs::chown(self.runtime.path(), Some(user), Some(group)).unwrap();
        self
    }

    /// Keeps whatever is recorded: no limit evicts.
    pub fn keep_all(self) -> Self {
        self.variable("PCAP_RETENTION_COUNT", "0").variable("TAPKEEP_RETENTION_MIN_FREE", "0")
    }

    /// Sets an environment variable.
    pub fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Adds an argument behind `run`.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Writes the configuration file, which is empty otherwise.
    pub fn config(self, text: &str) -> Self {
        std::fs::write(self.runtime.path().join(CONFIG), text).unwrap();
        self
    }

    /// Starts it in the tap's namespace.
    pub fn start(self, net: &Net) -> Service {
        let mut words = self.words();
        let mut command = net.tap_command(words.remove(0));
        command.args(words);
        self.start_as(command)
    }

    /// Starts it where the test runs.
    pub fn start_here(self) -> Service {
        let mut words = self.words();
        let mut command = Command::new(words.remove(0));
        command.args(words);
        self.start_as(command)
    }

    fn words(&self) -> Vec<OsString> {
        self.wrapper.iter().cloned().chain(runner()).chain([self.program.clone().into()]).collect()
    }

    fn start_as(self, mut command: Command) -> Service {
        in_clean_environment(&mut command);
        command.args(["run", "--data-dir"]).arg(&self.data_dir);
        command.arg("--config").arg(self.runtime.path().join(CONFIG)).args(&self.args);
        command.env(RUNTIME_DIR, self.runtime.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Service { process: Process::start(&mut command), data_dir: self.data_dir, runtime: self.runtime }
    }
}

/// A running service; killed when dropped.
pub struct Service {
    /// The process: its id, its words, its end.
    pub process: Process,
    data_dir: PathBuf,
    runtime: tempfile::TempDir,
}

impl Service {
    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where it writes its state.
    pub fn runtime_dir(&self) -> &Path {
        self.runtime.path()
    }

    /// What it says of itself; `None` while there is nothing to read.
    pub fn state(&self) -> Option<serde_json::Value> {
        let bytes = std::fs::read(self.runtime.path().join("state.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Waits until it says that it is in this state (`capturing`); panics with its words if it ends before.
    pub fn wait_for(&mut self, state: &str) {
        wait_until(&format!("state {state:?}"), || {
            let there = self.state().is_some_and(|now| now["state"] == state);
            if !there && !self.process.is_running() {
                panic!("ended before {state:?}: {}", self.process.last_words());
            }
            there
        });
    }

    /// Waits until it captures.
    pub fn wait_until_capturing(&mut self) {
        self.wait_for("capturing");
    }

    /// Asks a command that finds this service: same data dir, same runtime dir.
    pub fn ask(&self, args: &[&str]) -> Answer {
        let mut command = tapkeep(args);
        command.env(RUNTIME_DIR, self.runtime.path()).arg("--data-dir").arg(&self.data_dir);
        run(&mut command)
    }

    /// Asks for one JSON document, which comes with exit code 0.
    pub fn ask_json(&self, args: &[&str]) -> serde_json::Value {
        self.ask(args).ok().json()
    }

    /// Replaces the configuration file; read at the next [`Self::reload`].
    pub fn configure(&self, text: &str) {
        std::fs::write(self.runtime.path().join(CONFIG), text).unwrap();
    }

    /// SIGHUP.
    pub fn reload(&mut self) {
        self.process.signal(Signal::HUP);
    }

    /// SIGTERM, and waits for the end; what it said.
    pub fn stop(mut self) -> Answer {
        self.process.signal(Signal::TERM);
        self.process.finish(PATIENCE)
    }

    /// SIGINT, and waits for the end; what it said.
    pub fn interrupt(mut self) -> Answer {
        self.process.signal(Signal::INT);
        self.process.finish(PATIENCE)
    }

    /// SIGKILL, and waits for the end; what it said.
    pub fn kill(mut self) -> Answer {
        self.process.signal(Signal::KILL);
        self.process.finish(PATIENCE)
    }

    /// Waits for its end; `None` if `limit` passes before.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.process.wait(limit)
    }
}

/// What runs the program where it is not one of this machine's: the emulator that scripts/cross/cargo names.
pub fn runner() -> Vec<OsString> {
    let words = std::env::var("TAPKEEP_TEST_RUNNER").unwrap_or_default();
    words.split_whitespace().map(Into::into).collect()
}

/// The same as words for a shell.
pub fn command_line() -> String {
    let words =
        runner().into_iter().chain([TAPKEEP.into()]).map(|word: OsString| word.into_string().unwrap());
    words.collect::<Vec<_>>().join(" ")
}

/// A `tapkeep` command to be run, in an environment that holds nothing of the machine's configuration.
pub fn tapkeep(args: &[&str]) -> Command {
    let mut words: Vec<OsString> = runner().into_iter().chain([TAPKEEP.into()]).collect();
    let mut command = Command::new(words.remove(0));
    command.args(words);
    in_clean_environment(&mut command);
    command.args(args);
    command
}

/// Runs a `tapkeep` command on a data directory.
pub fn ask(data_dir: &Path, args: &[&str]) -> Answer {
    let nowhere = tempfile::tempdir().unwrap();
    run(tapkeep(args).env(RUNTIME_DIR, nowhere.path()).arg("--data-dir").arg(data_dir))
}

/// A copy of the program in `dir` that any user may run, wherever it was built.
pub fn program_for_all(dir: &Path) -> PathBuf {
    let program = dir.join("tapkeep");
    // By another process: a file that this one has had open for writing may be busy in a child just forked.
    super::process::must("install", &["-m", "755", TAPKEEP, program.to_str().unwrap()]);
    program
}

const CONFIG: &str = "tapkeep.toml";
/// The variable that tells the runtime directory.
pub const RUNTIME_DIR: &str = "TAPKEEP_SERVICE_RUNTIME_DIR";

/// Takes all from a command's environment that could configure a `tapkeep`.
pub fn in_clean_environment(command: &mut Command) {
    command.env_clear().env("LANG", "C.UTF-8").env("TZ", "UTC");
    for name in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}
