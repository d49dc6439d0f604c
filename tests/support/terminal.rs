//! A real terminal with a shell in it: tmux, whose keys are sent and whose screen is read.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::{run, wait_until};
use super::service::{RUNTIME_DIR, command_line, in_clean_environment};

static MADE: AtomicU32 = AtomicU32::new(0);

/// A terminal; gone when dropped.
pub struct Terminal {
    server: String,
}

impl Terminal {
    /// A shell in `dir` on a screen of that size, where `tapkeep` finds the service that tells its state in `runtime_dir`.
    pub fn open(dir: &Path, runtime_dir: &Path, columns: u16, rows: u16, variables: &[(&str, &str)]) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let terminal = Self { server: format!("tapkeep-test-{}-{number}", std::process::id()) };
        let mut command = terminal.tmux(&["new-session", "-d", "-x", &columns.to_string(), "-y"]);
        command.arg(rows.to_string()).arg("PS1='ready> ' exec sh").current_dir(dir);
        command.env(RUNTIME_DIR, runtime_dir).envs(variables.iter().copied());
        run(&mut command).ok();
        wait_until("the shell", || terminal.shows("ready>"));
        terminal
    }

    fn tmux(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        in_clean_environment(&mut command);
        command.args(["-u", "-L", &self.server, "-f", "/dev/null"]).args(args);
        command
    }

    /// Types a command line for the shell, `tapkeep` in front; when it has ended the screen says `ended CODE`.
    pub fn tapkeep(&self, words: &str) {
        self.enter(&format!("clear; {} {words}; echo ended $?", command_line()));
    }

    /// Types a line and ends it.
    pub fn enter(&self, line: &str) {
        self.write(line);
        self.keys(&["Enter"]);
    }

    /// Types text as it is.
    pub fn write(&self, text: &str) {
        run(&mut self.tmux(&["send-keys", "-l", text])).ok();
    }

    /// Presses keys, as tmux names them.
    pub fn keys(&self, keys: &[&str]) {
        run(&mut self.tmux(&[&["send-keys"], keys].concat())).ok();
    }

    /// Makes the screen as large.
    pub fn resize(&self, columns: u16, rows: u16) {
        run(&mut self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()])).ok();
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        run(&mut self.tmux(&["capture-pane", "-p"])).ok().text()
    }

    /// The same with the codes of its colours.
    pub fn coloured(&self) -> String {
        run(&mut self.tmux(&["capture-pane", "-p", "-e"])).ok().text()
    }

    /// Whether this is on the screen.
    pub fn shows(&self, text: &str) -> bool {
        self.screen().contains(text)
    }

    /// Waits for it to be there; panics with what is there instead.
    pub fn wait_for(&self, text: &str) {
        let mut screen = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until(&format!("{text:?} on the screen"), || {
                screen = self.screen();
                screen.contains(text)
            });
        }));
        assert!(found.is_ok(), "{text:?} is not on the screen:\n{screen}");
    }

    /// What tmux says of the terminal in the words of its formats.
    pub fn tell(&self, format: &str) -> String {
        run(&mut self.tmux(&["display-message", "-p", format])).ok().text().trim().to_owned()
    }

    /// The process that the shell waits for.
    pub fn program(&self) -> u32 {
        let shell = self.tell("#{pane_pid}");
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        children
            .split_whitespace()
            .next()
            .unwrap_or_else(|| panic!("nothing runs in the shell"))
            .parse()
            .unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        run(&mut self.tmux(&["kill-server"]));
    }
}
