//! Writes the manual pages and the shells' completions, made of the program's own command line: manual FOLDER

#![allow(clippy::print_stderr, clippy::exit, reason = "a program of its own")]

use std::io::{self, Write as _};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

fn main() {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("manual: into which folder?");
        std::process::exit(2);
    };
    if let Err(error) = write(Path::new(&folder)) {
        eprintln!("manual: write into {}: {error}", folder.display());
        std::process::exit(1);
    }
}

/// Writes all of them.
pub fn write(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut tapkeep::cli::command(), "tapkeep", folder)?;
    }
    let mut command = tapkeep::cli::command().disable_help_subcommand(true);
    command.build();
    pages(command, folder)
}

/// A page for a command, and one for each command below it.
fn pages(mut command: Command, folder: &Path) -> io::Result<()> {
    for below in command.get_subcommands().cloned().collect::<Vec<_>>() {
        pages(below, folder)?;
    }
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    command = command.after_help("");
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = Man::new(command.clone()).manual("Tapkeep");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    for (title, lines) in sections(&help) {
        render_as_it_is(&title, &lines, &mut page)?;
    }
    render_as_it_is(
        "SEE ALSO",
        &["tapkeep(1), journalctl(1), wireshark(1), pcap-filter(7)".to_owned()],
        &mut page,
    )?;
    std::fs::File::create(folder.join(format!("{name}.1")))?.write_all(&page)
}

/// The paragraphs behind the options; one that begins with "Examples:" or the like has a title.
fn sections(help: &str) -> Vec<(String, Vec<String>)> {
    let of = |paragraph: &str| {
        let lines: Vec<_> = paragraph.lines().map(str::to_owned).collect();
        match lines.first().and_then(|first| first.strip_suffix(':')) {
            Some(title) => (title.to_uppercase(), lines[1..].to_vec()),
            None => ("NOTES".to_owned(), lines),
        }
    };
    help.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()).map(of).collect()
}

/// A section whose lines stay apart.
fn render_as_it_is(title: &str, lines: &[String], page: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [title]).control("nf", []);
    for line in lines {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []).to_writer(page)
}
