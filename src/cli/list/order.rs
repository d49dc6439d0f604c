//! Which files are shown, and in which order.

use clap::ValueEnum;

use super::super::sort::{Rank, SortArgs};
use crate::packet::Nanos;
use crate::store::catalog::{FlowRow, Row};
use crate::store::losses::Losses;

/// What files can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(in crate::cli) enum Key {
    /// Index number: as they were recorded, the oldest first
    #[default]
    Time,
    /// Bytes on disk
    Size,
    /// Packets
    Packets,
    /// Bytes on the wire
    Bytes,
    /// Lost packets, those that somebody counted
    Lost,
    /// From the first packet to the last
    Lasted,
}

/// The capture files to show.
pub(super) fn captures(rows: &[Row], order: SortArgs<Key>, limit: usize) -> Vec<&Row> {
    chosen(rows, order, limit, |by, Row { facts: f, .. }| {
        rank(by, f.name.number(), f.first.zip(f.last), [f.packets, f.bytes, f.size], &f.losses)
    })
}

/// The flow files to show.
pub(super) fn flows(rows: &[FlowRow], order: SortArgs<Key>, limit: usize) -> Vec<&FlowRow> {
    chosen(rows, order, limit, |by, FlowRow { facts: f, .. }| {
        rank(by, f.name.number(), f.first.zip(f.last), [f.packets, f.bytes, f.size], &f.losses)
    })
}

fn rank(
    by: Key,
    number: u64,
    range: Option<(Nanos, Nanos)>,
    [packets, bytes, size]: [u64; 3],
    losses: &Losses,
) -> Rank {
    match by {
        Key::Time => Rank::Time(i64::try_from(number).unwrap_or(i64::MAX)),
        Key::Size => Rank::number(size),
        Key::Packets => Rank::number(packets),
        Key::Bytes => Rank::number(bytes),
        Key::Lost => Rank::number(losses.by_cause().iter().filter_map(|(_, lost)| *lost).sum()),
        Key::Lasted => Rank::number(range.map_or(0, |(first, last)| first.abs_diff(last))),
    }
}

/// The first `limit` rows in the order asked for; unless one is asked for, the latest, the oldest of them first. 0 is all.
fn chosen<T>(rows: &[T], order: SortArgs<Key>, limit: usize, rank: impl Fn(Key, &T) -> Rank) -> Vec<&T> {
    let limit = if limit == 0 { rows.len() } else { limit.min(rows.len()) };
    if !order.is_asked() {
        return rows[rows.len() - limit..].iter().collect();
    }
    let mut chosen: Vec<_> = rows.iter().collect();
    order.sort(&mut chosen, |by, row| rank(by, row));
    chosen.truncate(limit);
    chosen
}
