//! `tapkeep config`: what is configured, from where, and what is wrong with it.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Common;
use super::output::{Exit, Output, UsageError};
use crate::capture::filter::Filter;
use crate::config::{Loaded, load, show};
use crate::packet::LinkType;

/// What `config` is asked.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show every key, its value, and where that comes from
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check all of it, unknown keys too
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
            let mistakes = match loaded.and_then(Loaded::strict) {
                Ok(loaded) => return check_filter(&loaded.config.capture.filter, json, out),
                Err(mistakes) => mistakes,
            };
            if json {
                out.json(&show::mistakes_json(&mistakes))?;
                return Ok(Exit::Usage);
            }
            Err(UsageError(mistakes.to_string()).into())
        }
    }
}

/// What `show` says in JSON of a configuration that cannot be read; `check` always has an answer.
pub(super) fn empty(args: &ConfigArgs) -> Option<Value> {
    let empty = || json!({ "data_dir": null, "data_dir_from": null, "settings": [] });
    matches!(args.what, What::Show { json: true }).then(empty)
}

/// The one mistake that only libpcap finds.
fn check_filter(filter: &str, json: bool, out: &mut Output) -> Result<Exit> {
    let error = Filter::compile(filter, LinkType::ETHERNET).err().map(|error| error.to_string());
    if json {
        let mistakes: Vec<_> = error.iter().map(|text| json!({ "text": text, "warning": false })).collect();
        out.json(&json!({ "mistakes": mistakes, "count": mistakes.len() }))?;
        return Ok(if error.is_some() { Exit::Usage } else { Exit::Ok });
    }
    match error {
        Some(error) => Err(UsageError(error).into()),
        None => {
            out.line("the configuration is valid")?;
            Ok(Exit::Ok)
        }
    }
}
