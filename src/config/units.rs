//! Quantities as people write them: byte sizes, durations, percentages. Pure. What is displayed reads back as
//! the same value; a number that does not fit is refused, never wrapped.

use std::fmt;
use std::time::Duration;

/// A unit by its names and how many of the smallest unit it is; of two that fit equally well the first is
/// displayed.
type Units = [(&'static str, u64)];

const BYTES: &Units = &[
    ("B", 1),
    ("kB", 1_000),
    ("MB", MB),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", MIB),
    ("GiB", GIB),
    ("TiB", 1 << 40),
];

const MILLISECONDS: &Units = &[
    ("s", 1_000),
    ("ms", 1),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("sec", 1_000),
    ("min", 60_000),
];

/// Bytes in a megabyte.
pub const MB: u64 = 1_000_000;
/// Bytes in a mebibyte.
pub const MIB: u64 = 1 << 20;
/// Bytes in a gibibyte.
pub const GIB: u64 = 1 << 30;

/// Reads `<whole number>[unit]`; a number without a unit counts in `plain`, or is refused unless it is 0.
/// Case does not matter.
fn read(text: &str, units: &Units, plain: Option<u64>) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let factor = match unit.trim_start() {
        "" => plain.or((number == 0).then_some(1))?,
        unit => units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    number.checked_mul(factor)
}

/// Writes `count` in the unit that makes the shortest text.
fn write(f: &mut fmt::Formatter<'_>, count: u64, units: &Units) -> fmt::Result {
    let fitting = units.iter().filter(|(_, factor)| count.is_multiple_of(*factor));
    let texts = fitting.map(|(name, factor)| format!("{}{name}", count / factor));
    f.pad(&texts.min_by_key(String::len).unwrap_or_default())
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads `512B`, `100MB`, `64MiB`, …; a number without a unit counts in units of `plain` bytes, or is
    /// refused (but 0).
    pub fn parse(text: &str, plain: Option<u64>) -> Option<Self> {
        read(text, BYTES, plain).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, BYTES)
    }
}

/// A duration to read and to display, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub u64);

impl Span {
    /// Reads `500ms`, `5s`, `10m`, `2h`, `30d`; a number without a unit counts in seconds.
    pub fn parse(text: &str) -> Option<Self> {
        read(text, MILLISECONDS, Some(1_000)).map(Self)
    }

    /// The standard library's duration of the same length.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Duration> for Span {
    /// Drops what is below a millisecond.
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, MILLISECONDS)
    }
}

/// A whole number of hundredths, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u8);

impl Percent {
    /// All of it.
    pub const ALL: Self = Self(100);

    /// `value` hundredths; what is above 100 is 100.
    pub const fn new(value: u8) -> Self {
        Self(if value > 100 { 100 } else { value })
    }

    /// Hundredths.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Reads `5%`; `0` needs no sign.
    pub fn parse(text: &str) -> Option<Self> {
        let value = read(text, &[("%", 1)], None)?;
        u8::try_from(value).ok().filter(|value| *value <= 100).map(Self)
    }

    /// That part of `whole`, rounded down.
    pub const fn of(self, whole: u64) -> u64 {
        (whole as u128 * self.0 as u128 / 100) as u64
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", self.0))
    }
}

/// A part of a file system, absolute or relative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Share {
    /// So many bytes, whatever its size.
    Bytes(ByteSize),
    /// A part of its size.
    Percent(Percent),
}

impl Share {
    /// Reads a percentage or a byte size with its unit.
    pub fn parse(text: &str) -> Option<Self> {
        let percent = Percent::parse(text).map(Self::Percent);
        percent.or_else(|| ByteSize::parse(text, None).map(Self::Bytes))
    }

    /// Bytes of a file system of `total` bytes.
    pub const fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(size) => size.0,
            Self::Percent(percent) => percent.of(total),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(size) => size.fmt(f),
            Self::Percent(percent) => percent.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_as_written() {
        for (text, bytes) in [
            ("100", 100 * MB),
            ("100MB", 100_000_000),
            (" 100 mb ", 100_000_000),
            ("1GB", 1_000_000_000),
            ("512kB", 512_000),
            ("64MiB", 67_108_864),
            ("1GiB", 1_073_741_824),
            ("2TiB", 2_199_023_255_552),
            ("7B", 7),
            ("0", 0),
        ] {
            assert_eq!(ByteSize::parse(text, Some(MB)), Some(ByteSize(bytes)), "{text}");
        }
        for text in
            ["", "MB", "-1", "1.5GB", "1,000", "1 000", "100M", "+5", "5 MB/s", "18446744073710MB", "١MB"]
        {
            assert_eq!(ByteSize::parse(text, Some(MB)), None, "{text}");
        }
        assert_eq!(ByteSize::parse("5", None), None);
        assert_eq!(ByteSize::parse("0", None), Some(ByteSize(0)));
    }

    #[test]
    fn durations_are_read_as_written() {
        for (text, millis) in [
            ("5s", 5_000),
            ("500ms", 500),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("30d", 2_592_000_000),
            ("7", 7_000),
        ] {
            assert_eq!(Span::parse(text), Some(Span(millis)), "{text}");
        }
        for text in
            ["", "s", "-5s", "5 fortnights", "1h30m", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }

    #[test]
    fn percentages_are_of_something() {
        assert_eq!(Percent::parse("5%").map(|p| p.of(32_000_000_000)), Some(1_600_000_000));
        assert_eq!(Percent::parse("100 %").map(|p| p.of(u64::MAX)), Some(u64::MAX));
        assert_eq!([Percent::parse("101%"), Percent::parse("5"), Percent::parse("%")], [None; 3]);
        assert_eq!(Share::parse("5%"), Some(Share::Percent(Percent::new(5))));
        assert_eq!(Share::parse("2GB").map(|s| s.of(1)), Some(2_000_000_000));
        assert_eq!(Share::parse("5"), None, "percent or bytes?");
    }

    #[test]
    fn the_displayed_unit_is_the_one_people_would_choose() {
        for text in ["0B", "100MB", "64MiB", "1GB", "1GiB", "512kB", "262184B"] {
            assert_eq!(ByteSize::parse(text, None).map(|s| s.to_string()).as_deref(), Some(text));
        }
        for text in ["0s", "5s", "500ms", "10m", "2h", "30d"] {
            assert_eq!(Span::parse(text).map(|s| s.to_string()).as_deref(), Some(text));
        }
    }

    fn numbers() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0_u32..64).prop_map(|(n, shift)| n >> shift)
    }

    proptest! {
        #[test]
        fn what_is_displayed_reads_back(n in numbers(), percent in 0_u8..=100) {
            prop_assert_eq!(ByteSize::parse(&ByteSize(n).to_string(), None), Some(ByteSize(n)));
            prop_assert_eq!(Span::parse(&Span(n).to_string()), Some(Span(n)));
            prop_assert_eq!(Percent::parse(&Percent::new(percent).to_string()), Some(Percent::new(percent)));
            for share in [Share::Bytes(ByteSize(n)), Share::Percent(Percent::new(percent))] {
                // 0 bytes and 0 % are the same amount.
                prop_assert_eq!(Share::parse(&share.to_string()).map(|s| s.of(n)), Some(share.of(n)));
            }
        }

        #[test]
        fn numbers_with_units_multiply(n in 0_u64..=u64::MAX, unit in 0_usize..BYTES.len(), gap in " {0,2}") {
            let (name, factor) = BYTES[unit];
            let expected = n.checked_mul(factor).map(ByteSize);
            prop_assert_eq!(ByteSize::parse(&format!("{n}{gap}{name}"), None), expected);
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[0-9]{0,22} ?[a-zA-Z%]{0,4}") {
            let _ = (ByteSize::parse(&text, Some(MB)), Span::parse(&text), Share::parse(&text));
        }
    }
}
