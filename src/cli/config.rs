//! `tapkeep config`: what is configured, from where, and what is wrong with it.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Common;
use super::output::{Exit, Output, UsageError};
use crate::config::{Loaded, load, show};

/// What `config` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tapkeep config show
  tapkeep config check")]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show every key, its value, and where that comes from
    #[command(after_help = "\
Examples:
  tapkeep config show
  PCAP_ROTATION_SIZE=50 tapkeep config show
  tapkeep config show --json | jq -r '.settings[] | select(.from != \"default\") | .key'")]
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check all of it, unknown keys too
    #[command(after_help = "\
Examples:
  tapkeep config check
  tapkeep config check --config new.toml && sudo systemctl reload tapkeep")]
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn config(args: &ConfigArgs, common: &Common, out: &mut Output) -> Result<Exit> {
    let loaded = load(&common.sources(Vec::new()));
    match args.what {
        What::Show { json } => {
            let loaded = loaded.map_err(|mistakes| UsageError(mistakes.to_string()))?;
            let data_dir = loaded.config.data_dir_of_query();
            loaded.warnings.iter().for_each(|warning| out.note(warning));
            if json {
                out.json(&show::json(&loaded, &data_dir))?;
            } else {
                show::text(&loaded, &data_dir).lines().try_for_each(|line| out.line(line))?;
            }
            Ok(Exit::Ok)
        }
        What::Check { json } => {
            let mistakes = loaded.and_then(Loaded::strict).err().unwrap_or_default();
            let valid = mistakes.is_empty();
            match (json, valid) {
                (true, _) => out.json(&show::mistakes_json(&mistakes))?,
                (false, true) => out.line("the configuration is valid")?,
                (false, false) => return Err(UsageError(mistakes.to_string()).into()),
            }
            Ok(if valid { Exit::Ok } else { Exit::Usage })
        }
    }
}

/// What `show` says in JSON of a configuration that cannot be read; `check` always has an answer.
pub(super) fn empty(args: &ConfigArgs) -> Option<Value> {
    let empty = || json!({ "data_dir": null, "data_dir_from": null, "settings": [], "ignore": [] });
    matches!(args.what, What::Show { json: true }).then(empty)
}
