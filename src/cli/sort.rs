//! The order of an answer's rows: `--sort` and `--reverse`, alike in every table.

use std::cmp::Reverse;

use clap::{Args, ValueEnum};

use crate::packet::Nanos;

/// What rows are sorted by; the default is what the rows come in.
pub(super) trait Key: ValueEnum + Clone + Copy + Default + PartialEq + Send + Sync + 'static {}

impl<K: ValueEnum + Clone + Copy + Default + PartialEq + Send + Sync + 'static> Key for K {}

/// The flags that order an answer.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct SortArgs<K: Key> {
    /// What to sort by: numbers from the largest on, times and names from the first [default: the first of these]
    #[arg(long = "sort", id = "sort", value_name = "KEY", value_enum)]
    key: Option<K>,
    /// Sort the other way round
    #[arg(long)]
    reverse: bool,
}

/// What a row has to show for its place, in the order that is usual for it: all ranks of one answer are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank<N = String> {
    /// The largest first.
    Number(Reverse<u64>),
    /// The earliest first.
    Time(Nanos),
    /// The latest first.
    Latest(Reverse<Nanos>),
    /// As names, or what stands in their place, are sorted.
    Name(N),
}

impl<N> Rank<N> {
    pub(super) fn number(n: u64) -> Self {
        Self::Number(Reverse(n))
    }

    pub(super) fn latest(at: Nanos) -> Self {
        Self::Latest(Reverse(at))
    }
}

/// A rank, the other way round if that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place<N = String> {
    Usual(Rank<N>),
    Turned(Reverse<Rank<N>>),
}

impl<K: Key> SortArgs<K> {
    /// Whether anything else than the usual order is asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.key() != K::default() || self.reverse
    }

    /// What is sorted by.
    pub(super) fn key(&self) -> K {
        // clap keeps one default for all generic instances of a type, so none is told to it.
        self.key.unwrap_or_default()
    }

    /// The place of a row of this rank.
    pub(super) fn place<N>(&self, rank: Rank<N>) -> Place<N> {
        if self.reverse { Place::Turned(Reverse(rank)) } else { Place::Usual(rank) }
    }

    /// Sorts rows; those of one rank stay in the order they came in.
    pub(super) fn sort<T, N: Ord>(&self, rows: &mut [T], rank: impl Fn(K, &T) -> Rank<N>) {
        rows.sort_by_cached_key(|row| self.place(rank(self.key(), row)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, Default, PartialEq, ValueEnum)]
    enum By {
        #[default]
        Size,
        Name,
    }

    #[test]
    fn numbers_fall_names_rise_and_both_turn() {
        let sorted = |key, reverse| {
            let mut rows = [("b", 2), ("a", 9), ("c", 2)];
            SortArgs { key: Some(key), reverse }.sort(&mut rows, |key, (name, size)| match key {
                By::Size => Rank::number(*size),
                By::Name => Rank::Name((*name).to_owned()),
            });
            rows.map(|(name, _)| name).concat()
        };
        assert_eq!([sorted(By::Size, false), sorted(By::Name, false)], ["abc", "abc"]);
        assert_eq!([sorted(By::Size, true), sorted(By::Name, true)], ["bca", "cba"]);
        assert!(!SortArgs::<By>::default().is_asked());
    }
}
