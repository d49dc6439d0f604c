//! Parse, call, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tapkeep::cli::main(std::env::args_os()).into()
}
