//! `suspicious --follow` and `--cursor-file`: findings as they are told, one that has grown again under its id.

use anyhow::{Context as _, Result};

use super::super::Context;
use super::super::format::{Kind, Lines, Places, Row};
use super::super::output::{Exit, Output};
use super::super::table::count;
use super::super::tail::{self, Of, Source};
use super::{SuspiciousArgs, Whereabouts, show};
use crate::detect::Finding;
use crate::store::finding::MAX_FINDINGS;
use crate::store::layout::Layout;
use crate::store::ledger::{FindingCursor, FindingFollower};
use crate::sys::fs::RealFs;

pub(super) fn follow(
    args: &SuspiciousArgs,
    layout: &Layout,
    context: &Context,
    out: &mut Output,
) -> Result<Exit> {
    let continues = args.tail.cursor_file.is_some() && out.continues_file()?;
    let follower = match tail::saved(&args.tail, Of::Findings)? {
        Some(cursor) => FindingFollower::resume(cursor),
        None if !args.tail.follow => FindingFollower::resume(FindingCursor::default()),
        None => FindingFollower::new(&RealFs::default(), &layout.ledger()).with_context(|| failed(layout))?,
    };
    let lines = args.format.get().map(|format| Lines::new(format, Kind::Findings));
    if let Some(lines) = lines.as_ref().filter(|_| !continues) {
        lines.head(out)?;
    }
    let typed = &context.typed;
    tail::tail(&mut Findings { args, layout, typed, lines, follower }, &args.tail, Of::Findings, out)
}

fn failed(layout: &Layout) -> String {
    format!("follow the ledger {}", layout.ledger().display())
}

struct Findings<'a> {
    args: &'a SuspiciousArgs,
    layout: &'a Layout,
    typed: &'a String,
    /// None for people.
    lines: Option<Lines>,
    follower: FindingFollower,
}

impl Source for Findings<'_> {
    type Place = FindingCursor;

    fn tell(&mut self, out: &mut Output) -> Result<bool> {
        let mut findings: Vec<Finding> = Vec::new();
        let mut seen = 0;
        let ledger = self.layout.ledger();
        let polled = self.follower.poll(&RealFs::default(), &ledger, |kept| {
            seen += 1;
            let fits = |finding: &Finding| self.args.fits(finding);
            findings.extend(kept.read().filter(fits));
        });
        polled.with_context(|| failed(self.layout))?;
        if self.follower.take_lost_place() {
            let kept = if seen >= MAX_FINDINGS {
                format!("; of those before only the last {} are kept", count(MAX_FINDINGS as u64))
            } else {
                String::new()
            };
            out.note(format_args!("the ledger has none of the findings told last; all are told again{kept}"));
        }
        if !findings.is_empty() {
            let packets = Whereabouts {
                places: Places::of(self.layout),
                typed: self.typed.clone(),
                ..Whereabouts::default()
            };
            findings.iter().try_for_each(|finding| match &self.lines {
                Some(lines) => Ok(lines.row(Row::Finding(finding, &packets.places), out)?),
                None => show(finding, &packets, out),
            })?;
        }
        Ok(false)
    }

    fn place(&self) -> &FindingCursor {
        self.follower.cursor()
    }
}
