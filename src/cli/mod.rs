//! The command line: what was typed, and how it is answered. One file per command; only [`output`] prints.

mod absence;
mod ask;
mod check;
mod config;
mod conversations;
mod endpoints;
mod escape;
mod extract;
mod filter;
mod flows;
mod format;
mod hold;
mod index;
pub mod list;
mod log;
pub mod output;
mod progress;
mod protocols;
mod replay;
mod report;
mod run;
mod select;
mod settings;
mod sort;
mod status;
mod suspicious;
pub mod table;
mod tail;
mod terminal;
pub mod time;
mod top;
mod whole;
mod zone;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{DataDir, Loaded, Sources, load};
use crate::store::entry::Entry;
use crate::store::ledger;
use crate::sys::fs::RealFs;
use crate::sys::signals::end_by;
use output::{Exit, Output, UsageError};
use serde_json::{Value, json};

/// The flight recorder of a network tap
#[derive(Debug, Parser)]
#[command(name = "tapkeep", version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  tapkeep run --interface eth1 --data-dir recorded
  tapkeep status
  tapkeep list --last 1h
  tapkeep suspicious --last 1d
  tapkeep extract --since 14:30 --until 14:45 host 10.0.0.7 and tcp port 443 -w case.pcap
  tapkeep extract --last 5m | wireshark -k -i -")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// The data directory
    #[arg(long, global = true, value_name = "DIR", display_order = 900)]
    data_dir: Option<PathBuf>,
    /// The configuration file [default: /etc/tapkeep/tapkeep.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE", display_order = 901)]
    config: Option<PathBuf>,
    /// Type and show times in UTC, not in the local zone
    #[arg(long, global = true, display_order = 902)]
    utc: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Capture, record and keep: the service
    Run(run::RunArgs),
    /// Put capture files through the same pipeline, into a data directory
    Replay(replay::ReplayArgs),
    /// List the capture files: state, time range, packets, size, losses
    List(list::ListArgs),
    /// Show the protocol tree: packets and bytes per level
    Protocols(protocols::ProtocolsArgs),
    /// Show addresses by traffic, sent and received
    Endpoints(endpoints::EndpointsArgs),
    /// Show who talks to whom: address and port pairs by traffic, both directions
    Conversations(conversations::ConversationsArgs),
    /// Show flow records: filtered, as a table, JSON lines or CSV, or as they come
    Flows(flows::FlowsArgs),
    /// Show what is suspicious: findings with evidence
    Suspicious(suspicious::SuspiciousArgs),
    /// Extract packets by time, BPF filter and file, as a capture file
    Extract(extract::ExtractArgs),
    /// Keep capture files from retention
    #[command(after_help = "\
Only the service's user and root may. Held files may take at most half of what retention keeps.

Examples:
  sudo -u tapkeep tapkeep hold capture_20241231_143052_0001.pcap
  sudo -u tapkeep tapkeep hold --since 14:00 --until 15:00")]
    Hold(hold::HoldArgs),
    /// Give held capture files back to retention
    #[command(after_help = "\
Examples:
  sudo -u tapkeep tapkeep release capture_20241231_143052_0001.pcap
  sudo -u tapkeep tapkeep release --since 14:00 --until 15:00")]
    Release(hold::HoldArgs),
    /// Tell how the service is
    Status(status::StatusArgs),
    /// Make a page of what the captures hold: one HTML file with plots
    Report(report::ReportArgs),
    /// Watch what passes, live: rates, losses, hosts, conversations, findings
    Top(top::TopArgs),
    /// Check the machine before you deploy, and tell how to mend what is wrong
    Check(check::CheckArgs),
    /// Show or check the configuration
    Config(config::ConfigArgs),
    /// Maintain the index
    Index(index::IndexArgs),
}

/// What every command may need to know.
struct Context {
    loaded: Loaded,
    data_dir: DataDir,
    why: String,
    /// The flags by which it was named, each behind a blank: ` --data-dir case`.
    typed: String,
}

/// The command line as it is declared: what manual pages and completions are made of.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line; returns how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args: Vec<_> = args.into_iter().collect();
    let mut out = Output::stdio();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            let asks = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
            let told = out.parser(&error).and_then(|exit| {
                if asks && exit != Exit::Ok {
                    out.json(&json!({}))?;
                }
                Ok(exit)
            });
            return out.finish(told.map_err(Into::into));
        }
    };
    let empty = cli.command.empty_answer();
    let result = answer(cli, &mut out);
    let is_missing = result.is_err() && !out.has_answered_in_json() && out.interrupted_by().is_none();
    if let Some(empty) = empty.filter(|_| is_missing) {
        // If it cannot be written, what failed before is still the thing to tell.
        let _ = out.json(&empty);
    }
    let exit = out.finish(result);
    if let Exit::Interrupted(signal) = exit {
        // If it does not, its exit code says the same.
        let _ = end_by(signal);
    }
    exit
}

impl Command {
    /// What is printed in JSON when there is no answer; none unless JSON is asked for.
    fn empty_answer(&self) -> Option<Value> {
        match self {
            Self::List(args) if args.json => Some(list::empty()),
            Self::Protocols(args) if args.json() => Some(protocols::empty()),
            Self::Endpoints(args) if args.json() => Some(endpoints::empty()),
            Self::Conversations(args) if args.json() => Some(conversations::empty()),
            Self::Suspicious(args) if args.json() => Some(suspicious::empty()),
            Self::Status(args) if args.json => Some(status::empty()),
            Self::Check(args) if args.json => Some(check::empty()),
            Self::Config(args) => config::empty(args),
            _ => None,
        }
    }
}

fn answer(cli: Cli, out: &mut Output) -> Result<Exit> {
    let Cli { common, command } = cli;
    if common.utc {
        zone::use_utc();
    } else if let Some(tz) = zone::unknown() {
        out.note(format_args!("TZ={tz} names no zone that this machine knows; times are in UTC"));
        zone::use_utc();
    }
    match command {
        Command::Run(args) => run::run(&args, &common, out),
        Command::Replay(args) => replay::replay(&args, &common, out),
        Command::List(args) => {
            let context = Context::of_query(&common, out)?;
            list::list(&args, &context.place(), &read_ledger, out)
        }
        Command::Protocols(args) => protocols::protocols(&args, &Context::of_query(&common, out)?, out),
        Command::Endpoints(args) => endpoints::endpoints(&args, &Context::of_query(&common, out)?, out),
        Command::Conversations(args) => {
            conversations::conversations(&args, &Context::of_query(&common, out)?, out)
        }
        Command::Flows(args) => flows::flows(&args, &Context::of_query(&common, out)?, out),
        Command::Suspicious(args) => suspicious::suspicious(&args, &Context::of_query(&common, out)?, out),
        Command::Extract(args) => extract::extract(&args, &Context::of_query(&common, out)?, out),
        Command::Hold(args) => hold::hold(&args, &Context::of_query(&common, out)?, out),
        Command::Release(args) => hold::release(&args, &Context::of_query(&common, out)?, out),
        Command::Status(args) => status::status(&args, &common, out),
        Command::Report(args) => report::report(&args, &Context::of_query(&common, out)?, out),
        Command::Top(args) => top::top(&args, &Context::of_query(&common, out)?, out),
        Command::Check(args) => check::check(&args, &common, out),
        Command::Config(args) => config::config(&args, &common, out),
        Command::Index(args) => index::index(&args, &Context::of_query(&common, out)?, out),
    }
}

impl Common {
    /// The sources of the configuration; `flags` beside our own.
    fn sources(&self, mut flags: Vec<(&'static str, String)>) -> Sources {
        if let Some(dir) = &self.data_dir {
            flags.push(("data_dir", dir.display().to_string()));
        }
        Sources::of_process(flags, self.config.clone())
    }

    /// Flags without which the same command would speak of another data directory, as a shell takes them, each behind a blank.
    fn typed(&self) -> String {
        let flags = [("--data-dir", &self.data_dir), ("--config", &self.config)];
        let given = flags.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?)));
        given.map(|(flag, path)| format!(" {flag} {}", suspicious::for_shell(path))).collect()
    }
}

impl Context {
    fn of_query(common: &Common, out: &mut Output) -> Result<Self> {
        let loaded = read_config(&common.sources(Vec::new()), out)?;
        let data_dir = loaded.config.data_dir_of_query();
        let why = data_dir.why.to_string();
        Ok(Self { loaded, data_dir, why, typed: common.typed() })
    }

    fn place(&self) -> list::Place<'_> {
        list::Place {
            data_dir: &self.data_dir.path,
            why: &self.why,
            runtime_dir: &self.loaded.config.service.runtime_dir,
        }
    }
}

/// Reads the configuration; warnings are told, mistakes end the command.
fn read_config(sources: &Sources, out: &mut Output) -> Result<Loaded> {
    let loaded = load(sources).map_err(|mistakes| UsageError(mistakes.to_string()))?;
    for warning in loaded.warnings.iter() {
        out.note(warning);
    }
    Ok(loaded)
}

fn read_ledger(path: &Path) -> Result<Vec<Entry>, String> {
    ledger::load(&RealFs::default(), path).map(|loaded| loaded.entries).map_err(|error| error.to_string())
}
