//! Sizes and durations as people write them: `64 MiB`, `250 ms`, `1 day`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One kibibyte.
pub(super) const KIB: u64 = 1 << 10;
/// One mebibyte.
pub(super) const MIB: u64 = 1 << 20;
/// One gibibyte.
pub(super) const GIB: u64 = 1 << 30;
/// One tebibyte.
pub(super) const TIB: u64 = 1 << 40;

/// One day.
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// So many milliseconds.
pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// So many seconds.
pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many minutes.
pub(super) const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// A number of bytes. Without a unit it is refused, except 0: a bare number leaves open whether bytes were meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

/// A length of time. Without a unit it is refused, except 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

/// The text is not a number with a unit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAQuantity;

// === impl Size ===

impl FromStr for Size {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        if text == "0" {
            return Ok(Self(0));
        }
        // The parser also takes signs, `inf` and exponents; none of them is a size.
        let starts_with_digit = text.starts_with(|first: char| first.is_ascii_digit());
        let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
        if !starts_with_digit || !has_unit {
            return Err(NotAQuantity);
        }
        text.parse::<bytesize::ByteSize>().map(|size| Self(size.as_u64())).map_err(|_| NotAQuantity)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
        let exact = units.into_iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        let (unit, name) = exact.unwrap_or((1, "B"));
        write!(f, "{} {name}", self.0 / unit)
    }
}

// === impl Span ===

impl FromStr for Span {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        humantime::parse_duration(text).map(Self).map_err(|_| NotAQuantity)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [(86_400_000, "days"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
        let exact = units.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
        match exact.unwrap_or((1, "ms")) {
            (unit, "days") if millis == unit => f.write_str("1 day"),
            (unit, name) => write!(f, "{} {name}", millis / unit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!("64 MiB".parse(), Ok(Size(64 * MIB)));
        assert_eq!("1.5KiB".parse(), Ok(Size(1536)));
        assert_eq!("2 MB".parse(), Ok(Size(2_000_000)));
        assert_eq!("0".parse(), Ok(Size(0)));
        for text in ["", "12", "12 parsecs", "-1 MiB", "inf", "+1 B", "MiB", "NaN"] {
            assert_eq!(text.parse::<Size>(), Err(NotAQuantity), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!("250 ms".parse(), Ok(Span(Duration::from_millis(250))));
        assert_eq!("1 day".parse(), Ok(Span(Duration::from_secs(86_400))));
        assert_eq!("0 s".parse(), Ok(Span(Duration::ZERO)));
        assert_eq!("0".parse(), Ok(Span(Duration::ZERO)));
        for text in ["", "12", "-1 s", "soon", "999999999999999999 years"] {
            assert_eq!(text.parse::<Span>(), Err(NotAQuantity), "{text}");
        }
    }

    #[test]
    fn quantities_print_in_their_largest_exact_unit() {
        let sizes = [0, 1000, KIB, 1536, 64 * MIB, 3 * GIB, 2 * TIB].map(|bytes| Size(bytes).to_string());
        assert_eq!(sizes, ["0 B", "1000 B", "1 KiB", "1536 B", "64 MiB", "3 GiB", "2 TiB"]);
        let spans = [0, 250, 1000, 90_000, 300_000, 86_400_000, 172_800_000]
            .map(|millis| Span(Duration::from_millis(millis)).to_string());
        assert_eq!(spans, ["0 ms", "250 ms", "1 s", "90 s", "5 min", "1 day", "2 days"]);
    }
}
