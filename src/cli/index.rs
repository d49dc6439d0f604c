//! `tapkeep index`: the index by hand.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::output::{Exit, Output};
use super::progress::Waiting;
use super::settings;
use super::table::counted;
use super::{Context, read_ledger};
use crate::daemon::setup::DataDirectory;
use crate::index::count::summary_beside;
use crate::index::{IndexError, rebuild};
use crate::store::catalog::{Catalog, Unknown};
use crate::store::layout::Layout;
use crate::store::names::Role;
use crate::store::progress::Walk;
use crate::store::scan::{ScanError, scan_beside};
use crate::sys::fs::{Fs, RealFs};

/// What `index` is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tapkeep index rebuild --data-dir /srv/backup/tapkeep")]
pub(super) struct IndexArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the index anew from capture files and ledger; the service must not be running, and does this by itself
    #[command(after_help = "\
Examples:
  sudo -u tapkeep tapkeep index rebuild
  tapkeep index rebuild --data-dir /srv/backup/tapkeep")]
    Rebuild,
}

pub(super) fn index(args: &IndexArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    match args.what {
        What::Rebuild => rebuild_index(context, out),
    }
}

fn rebuild_index(context: &Context, out: &mut Output) -> Result<Exit> {
    let root = &context.data_dir.path;
    let _locked = DataDirectory::lock_existing(root)?;
    let (layout, fs) = (Layout::new(root), RealFs::for_dir(root));
    let entries = read_ledger(&layout.ledger()).map_err(anyhow::Error::msg)?;
    let captures = layout.captures();
    let listing = match fs.read_dir(&captures) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        other => other.with_context(|| format!("list {}", captures.display()))?,
    };
    let mut catalog = Catalog::new(&entries, &listing);
    let waiting = Waiting::new("reading", out);
    let read = |file: &Unknown, walk: &mut Walk<'_>| {
        let path = captures.join(file.name.file_name(file.role));
        let file = fs.open_read(&path).map_err(|source| ScanError::Io { offset: 0, source })?;
        scan_beside(file.as_ref(), walk)
    };
    rebuild::complete(&mut catalog, read, &|at| waiting.at(at));
    waiting.over().context("rebuild the index")?;
    let limits = settings::summary(&context.loaded.config);
    let waiting = Waiting::new("analysing", out);
    let watch = |at| waiting.at(at);
    let mut walk = Walk::new(catalog.captures().map(|facts| facts.size).sum(), &watch);
    let replaced = rebuild::replace_with(&layout.index(), &catalog, |facts| {
        walk.begin(facts.size);
        let summary = summary_beside(&layout, &fs, facts, limits, &mut walk);
        if walk.is_given_up() { Err(IndexError::GivenUp) } else { Ok(summary) }
    });
    waiting.over().context("rebuild the index")?;
    replaced?;
    let files = catalog.captures().count();
    let parts = listing.iter().filter(|file| file.name.ends_with(Role::Part.suffix())).count();
    out.line(format_args!(
        "rebuilt {} from {}",
        layout.index().display(),
        counted(files as u64, "capture file")
    ))?;
    if parts > 0 {
        let parts = counted(parts as u64, "unfinished file");
        out.note(format_args!("{parts} not in it: salvaged when the service starts"));
    }
    Ok(Exit::Ok)
}
