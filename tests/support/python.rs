//! Python packages that a test asks for its opinion, installed beside what was built.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::run;

/// A folder for `PYTHONPATH` in which `package` is installed and `probe` succeeds. `None`, and a word on stderr, where PyPI
/// cannot be asked; a failure with `TAPKEEP_TEST_REQUIRE=1`.
pub fn with(package: &str, probe: &str) -> Option<PathBuf> {
    let modules = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python").join(package);
    let try_it = || run(Command::new("python3").args(["-c", probe]).env("PYTHONPATH", &modules));
    if try_it().code != Some(0) {
        let install = ["-m", "pip", "install", "--quiet", "--upgrade", "--target"];
        run(Command::new("python3").args(install).arg(&modules).arg(package));
    }
    let tried = try_it();
    if tried.code == Some(0) {
        return Some(modules);
    }
    let text = format!("SKIPPED: a test needs the Python package {package}: {}\n", tried.stderr);
    assert!(std::env::var("TAPKEEP_TEST_REQUIRE").as_deref() != Ok("1"), "{text}");
    let _ = std::io::stderr().write_all(text.as_bytes());
    None
}
