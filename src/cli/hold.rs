//! `tapkeep hold` and `tapkeep release`: keep evidence from retention, and give it back.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;

use super::output::{Exit, Output, UsageError};
use super::time::RangeArgs;
use super::zone::Here;
use super::{Context, absence, read_ledger, settings};
use crate::index::view::{View, Viewer};
use crate::store::catalog::Row;
use crate::store::hold;
use crate::store::layout::Layout;
use crate::store::names::CaptureName;
use crate::store::range::TimeRange;
use crate::store::retention::{Candidate, allowance, may_hold};
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs::{Fs, RealFs};

/// Which files are meant.
#[derive(Debug, Args)]
pub(super) struct HoldArgs {
    /// Capture files of the data directory, by name
    #[arg(value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    range: RangeArgs,
}

/// Keeps files from retention, all of them or none.
pub(super) fn hold(args: &HoldArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    let place = Place::of(context);
    let view = place.look(out)?;
    let range = args.range.resolve(RealClock.now().wall, &Here)?;
    let chosen = choose(args, range, &view, context)?;
    if chosen.is_empty() {
        return nothing(range, &view, context, out);
    }
    place.check_room(&view.rows, &chosen, context)?;
    for name in chosen {
        let new = refused("hold", name, hold::hold(&place.fs, &place.layout, name))?;
        out.line(format_args!("{name} {}", if new { "is held" } else { "was held already" }))?;
    }
    Ok(Exit::Ok)
}

/// Gives files back to retention.
pub(super) fn release(args: &HoldArgs, context: &Context, out: &mut Output) -> Result<Exit> {
    let place = Place::of(context);
    let view = place.look(out)?;
    let range = args.range.resolve(RealClock.now().wall, &Here)?;
    let chosen = choose(args, range, &view, context)?;
    if chosen.is_empty() {
        return nothing(range, &view, context, out);
    }
    for name in chosen {
        let new = refused("release", name, hold::release(&place.fs, &place.layout, name))?;
        out.line(format_args!("{name} {}", if new { "is released" } else { "was not held" }))?;
    }
    Ok(Exit::Ok)
}

/// Says who may, where the caller may not.
fn refused(what: &str, name: CaptureName, result: io::Result<bool>) -> Result<bool> {
    let advice = match &result {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => "; the data directory's owner and root may",
        _ => "",
    };
    result.map_err(|error| anyhow!("{what} {name}: {error}{advice}"))
}

fn nothing(range: TimeRange, view: &View, context: &Context, out: &mut Output) -> Result<Exit> {
    out.note(match context.data_dir.path.exists() {
        true => absence::nothing("packets", range, &context.data_dir, view.kept()),
        false => absence::no_place("capture files", &context.data_dir),
    });
    Ok(Exit::NothingLeft)
}

struct Place {
    layout: Layout,
    fs: RealFs,
}

impl Place {
    fn of(context: &Context) -> Self {
        let layout = Layout::new(&context.data_dir.path);
        Self { fs: RealFs::for_dir(&layout.captures()), layout }
    }

    fn look(&self, out: &mut Output) -> Result<View> {
        let ledger = || read_ledger(&self.layout.ledger());
        let mut view = Viewer { layout: &self.layout, fs: &self.fs, ledger: &ledger }.look()?;
        view.notes.iter().for_each(|note| out.note(note));
        view.rows.retain(|row| row.evicted.is_none());
        Ok(view)
    }

    /// Refuses what would leave retention too little to work with.
    fn check_room(&self, rows: &[Row], chosen: &[CaptureName], context: &Context) -> Result<()> {
        let candidate = |row: &Row| Candidate {
            number: row.facts.name.number(),
            size: row.facts.size,
            age: Duration::ZERO,
            held: row.held || chosen.contains(&row.facts.name),
        };
        let files: Vec<_> = rows.iter().map(candidate).collect();
        let limits = settings::limits(&context.loaded.config);
        let root: &Path = self.layout.root();
        let space =
            self.fs.space(root).with_context(|| format!("look at the free space of {}", root.display()))?;
        let kept = files.iter().map(|file| file.size).sum();
        let allowed = allowance(&limits, space, kept, context.loaded.config.recorder.rotation_size.0);
        Ok(may_hold(&files, &limits, allowed)?)
    }
}

/// The files named, and those with packets of the range.
fn choose(args: &HoldArgs, range: TimeRange, view: &View, context: &Context) -> Result<Vec<CaptureName>> {
    if args.files.is_empty() && !range.is_bounded() {
        bail!(UsageError("name capture files, or a time with --since, --until or --last".to_owned()));
    }
    let mut chosen = Vec::new();
    for file in &args.files {
        let base = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or(file);
        let name: CaptureName = base.parse().map_err(|error| UsageError(format!("{error}")))?;
        if !view.rows.iter().any(|row| row.facts.name == name) {
            bail!("find {name}: it is not in {}; tapkeep list shows what is", context.data_dir);
        }
        if view.aside.contains(&name) {
            bail!("{name} is put aside as damaged; retention never removes it");
        }
        chosen.push(name);
    }
    let of_range = view.rows.iter().map(|row| &row.facts).filter(|facts| {
        range.is_bounded()
            && facts.first.zip(facts.last).is_some_and(|(first, last)| range.touches(first, last))
    });
    chosen.extend(of_range.map(|facts| facts.name));
    chosen.sort_by_key(|name| name.number());
    chosen.dedup();
    Ok(chosen)
}
