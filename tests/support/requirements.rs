//! What a test needs of the machine. A test that lacks it says so on stderr, whatever the harness captures, and is skipped;
//! with `TAPKEEP_TEST_REQUIRE=1` it fails instead.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Whether everything is there: `root`, `netns` (may make network namespaces), `loop` (may mount images), `two processors`, or
/// the names of programs.
pub fn require(needs: &[&str]) -> bool {
    let missing: Vec<&str> = needs.iter().copied().filter(|need| !is_there(need)).collect();
    if missing.is_empty() {
        return true;
    }
    let current = std::thread::current();
    let text = format!("SKIPPED: {} needs {}\n", current.name().unwrap_or("a test"), missing.join(", "));
    assert!(std::env::var("TAPKEEP_TEST_REQUIRE").as_deref() != Ok("1"), "{text}");
    // Not the macro: libtest would keep it to itself.
    let _ = std::io::stderr().write_all(text.as_bytes());
    false
}

fn is_there(need: &str) -> bool {
    match need {
        "root" => rustix::process::geteuid().is_root(),
        "netns" => succeeds(&["unshare", "--net", "true"]),
        "two processors" => std::thread::available_parallelism().is_ok_and(|number| number.get() >= 2),
        "loop" => succeeds(&["losetup", "--find"]),
        program => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
        }
    }
}

fn succeeds(command: &[&str]) -> bool {
    let mut command_line = Command::new(command[0]);
    command_line.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command_line.status().is_ok_and(|status| status.success())
}
