//! `tapkeep index`: the index by hand.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::output::{Exit, Output};
use super::progress::Bar;
use super::settings;
use super::table::counted;
use super::{Context, read_ledger};
use crate::daemon::setup::DataDirectory;
use crate::index::analysis::summary_of;
use crate::index::rebuild;
use crate::store::catalog::{Catalog, Unknown};
use crate::store::layout::Layout;
use crate::store::names::Role;
use crate::store::scan::{ScanError, scan};
use crate::sys::fs::{Fs, RealFs};

/// What `index` is asked.
#[derive(Debug, Args)]
pub(super) struct IndexArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the index anew from capture files and ledger; the service must not be running, and does this by itself
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
    let bar = Bar::new("reading capture files");
    let read = |file: &Unknown| {
        let path = captures.join(file.name.file_name(file.role));
        let file = fs.open_read(&path).map_err(|source| ScanError::Io { offset: 0, source })?;
        scan(file.as_ref())
    };
    rebuild::complete(&mut catalog, read, |at| bar.at(at.done, Some(at.total)));
    drop(bar);
    let limits = settings::summary(&context.loaded.config);
    let total = catalog.captures().map(|facts| facts.size).sum();
    let (bar, mut done) = (Bar::new("analysing capture files"), 0);
    rebuild::replace_with(&layout.index(), &catalog, |facts| {
        bar.at(done, Some(total));
        done += facts.size;
        summary_of(&layout, &fs, facts, limits)
    })?;
    drop(bar);
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
