//! Which of a query's conditions are looked at before a record is handed to SQLite, so that files and records are passed over.
//! Only those are taken that leave out nothing SQLite would let through; SQLite looks at all of them again. Pure.

use rusqlite::Result;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::ValueRef;
use rusqlite::vtab::{Filters, IndexConstraintOp, IndexInfo};

use super::super::flows::place_of;
use super::columns;
use crate::packet::{Nanos, Place};
use crate::store::range::TimeRange;

/// The most texts of an `IN` that are looked for one by one.
const MAX_NEEDLES: usize = 256;

/// What a scan looks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wanted {
    /// Records that touch this time.
    pub range: TimeRange,
    /// Texts of which a record must hold at least one in its bytes, unless there are none.
    pub needles: Vec<String>,
    /// The first packet of the flow, if one flow is asked for.
    pub begun: Option<Place>,
}

impl Wanted {
    /// Whether it leaves anything out.
    pub(super) fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    /// Equal to one of several.
    In,
    /// Greater, or greater or equal.
    From,
    /// Less, or less or equal.
    To,
}

const OPS: [(Op, &str); 4] = [(Op::Equal, "="), (Op::In, " IN "), (Op::From, ">"), (Op::To, "<")];

/// The conditions taken, in the order of their values. SQLite keeps it as text from the planning to the reading, and shows it in
/// `EXPLAIN QUERY PLAN`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan(Vec<(&'static str, Op)>);

impl Plan {
    /// Takes what it can of a query's conditions, and says what the reading will cost.
    pub(super) fn choose(info: &mut IndexInfo) -> Result<bool> {
        let mut taken = Vec::new();
        for (at, condition) in info.constraints().enumerate() {
            let Some(name) = columns::name(condition.column()).filter(|_| condition.is_usable()) else {
                continue;
            };
            let op = match condition.operator() {
                IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ => Op::Equal,
                IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GT
                | IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GE => Op::From,
                IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LT
                | IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LE => Op::To,
                _ => continue,
            };
            let fits = if is_text(name) { op == Op::Equal } else { is_time(name) };
            // Where letters of either case are equal, bytes cannot be looked for.
            if fits && info.collation(at)? == "BINARY" {
                taken.push((at, name, op));
            }
        }
        let mut plan = Self::default();
        for (at, name, mut op) in taken {
            if info.is_in_constraint(at)? {
                // Of a time each value would be a reading of its own.
                if !is_text(name) || !info.set_in_constraint(at, true)? {
                    continue;
                }
                op = Op::In;
            }
            plan.0.push((name, op));
            info.constraint_usage(at).set_argv_index(plan.0.len() as i32);
        }
        let rows = plan.0.iter().fold(1e6, |rows: f64, &(name, op)| match op {
            _ if name == "flow_id" || name == "community_id" => rows / 1e5,
            Op::Equal | Op::In if is_text(name) => rows / 1e3,
            Op::Equal => rows / 1e4,
            _ => rows / 4.0,
        });
        info.set_estimated_rows(rows.max(1.0) as i64);
        // Whatever is passed over, most files are read.
        info.set_estimated_cost(1e6 + rows);
        info.set_idx_str(&plan.to_string());
        Ok(true)
    }

    /// From what [`Plan::to_string`] gave.
    pub(super) fn parse(text: &str) -> Self {
        let one = |word: &str| {
            OPS.iter().find_map(|&(op, sign)| {
                let name = word.strip_suffix('?')?.strip_suffix(sign)?;
                let name = (0..).map_while(columns::name).find(|&known| known == name)?;
                Some((name, op))
            })
        };
        Self(text.split(", ").filter_map(one).collect())
    }

    /// What to look for, with the values that the conditions have now.
    pub(super) fn wanted(&self, values: &Filters<'_>) -> Result<Wanted> {
        let mut wanted = Wanted::default();
        // The condition that fewest records fulfil: of the others, SQLite is left to judge.
        let mut best = usize::MAX;
        for ((at, &(name, op)), value) in self.0.iter().enumerate().zip(values.iter()) {
            match op {
                Op::Equal | Op::In if is_text(name) => {
                    let texts = if op == Op::In {
                        texts_of(values, at)?
                    } else {
                        text_of(value).map(|text| vec![text])
                    };
                    let rank = TEXTS.iter().position(|&text| text == name).unwrap_or(TEXTS.len());
                    if let Some(texts) = texts.filter(|_| rank < best) {
                        best = rank;
                        wanted.begun =
                            if let ("flow_id", [id]) = (name, &texts[..]) { place_of(id) } else { None };
                        wanted.needles = texts;
                    }
                }
                _ => {
                    let moments = if name.ends_with("_ns") { of_number(value) } else { of_text(value) };
                    if let Some((first, last)) = moments {
                        narrow(&mut wanted.range, op, first, last);
                    }
                }
            }
        }
        Ok(wanted)
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (name, op)) in self.0.iter().enumerate() {
            let sign =
                OPS.iter().find_map(|(known, sign)| (known == op).then_some(*sign)).unwrap_or_default();
            write!(f, "{}{name}{sign}?", if at > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// Columns whose text stands in a record as it is, the rarest first.
const TEXTS: [&str; 4] = ["flow_id", "community_id", "src_ip", "dst_ip"];

fn is_text(name: &str) -> bool {
    TEXTS.contains(&name)
}

fn is_time(name: &str) -> bool {
    matches!(name, "start" | "end" | "start_ns" | "end_ns")
}

/// A text that a record can only hold byte for byte: JSON has no other way to write these characters that anyone takes.
fn text_of(value: ValueRef<'_>) -> Option<String> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".:-+=".contains(byte);
    let text = value.as_str().ok().filter(|text| !text.is_empty())?;
    // A Community ID is base64, of which the slash may be escaped in JSON: what is before the first is looked for.
    let text = text.split('/').next().filter(|text| text.len() >= 4)?;
    text.as_bytes().iter().all(plain).then(|| text.to_owned())
}

fn texts_of(values: &Filters<'_>, at: usize) -> Result<Option<Vec<String>>> {
    let (mut list, mut texts) = (values.in_values(at)?, Vec::new());
    while let Some(value) = list.next()? {
        match text_of(value) {
            Some(text) if texts.len() < MAX_NEEDLES => texts.push(text),
            // Nothing equals it.
            None if value == ValueRef::Null => {}
            _ => return Ok(None),
        }
    }
    // Of an empty list nothing is to be found, and SQLite will say so.
    Ok(Some(texts).filter(|texts| !texts.is_empty()))
}

/// A record ends no earlier than it starts: a bound on either is one on the time that it touches.
fn narrow(range: &mut TimeRange, op: Op, first: Nanos, last: Nanos) {
    if op != Op::To {
        range.since = range.since.max(Some(first));
    }
    if op != Op::From {
        // `until` itself does not count; behind the last of all moments there is none.
        let until = last.checked_add(1);
        range.until = [range.until, until].into_iter().flatten().min();
    }
}

fn of_number(value: ValueRef<'_>) -> Option<(Nanos, Nanos)> {
    value.as_i64().ok().map(|moment| (moment, moment))
}

/// The first and the last moment that a text may stand for in a comparison with stamps: all whose text begins as it does.
///
/// Stamps are texts of one form, so that they sort as they follow. Of a text that is no whole stamp, such as `2024-12-31T14`, that
/// much counts which has the form of one.
fn of_text(value: ValueRef<'_>) -> Option<(Nanos, Nanos)> {
    moments(value.as_str().ok()?)
}

/// How much of a stamp stands for what, longest first: bytes, and nanoseconds less one.
const UNITS: [(usize, Nanos); 15] = [
    (29, 0),
    (28, 9),
    (27, 99),
    (26, 999),
    (25, 9_999),
    (24, 99_999),
    (23, 999_999),
    (22, 9_999_999),
    (21, 99_999_999),
    (19, 999_999_999),
    (16, 60_000_000_000 - 1),
    (13, 3_600_000_000_000 - 1),
    (10, 86_400_000_000_000 - 1),
    (7, 31 * 86_400_000_000_000 - 1),
    (4, 366 * 86_400_000_000_000 - 1),
];

pub(super) fn moments(text: &str) -> Option<(Nanos, Nanos)> {
    const LEAST: &str = "0000-01-01T00:00:00.000000000Z";
    let fits =
        |(byte, form): &(u8, u8)| if form.is_ascii_digit() { byte.is_ascii_digit() } else { byte == form };
    let formed = text.bytes().zip(LEAST.bytes()).take_while(fits).count();
    UNITS.iter().filter(|(len, _)| *len <= formed).find_map(|&(len, span)| {
        let stamp = format!("{}{}", &text[..len], &LEAST[len..]);
        let first = chrono::DateTime::parse_from_rfc3339(&stamp).ok()?.timestamp_nanos_opt()?;
        Some((first, first.saturating_add(span)))
    })
}
