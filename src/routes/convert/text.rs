//! Texts in the standard forms of what columns hold.

use uuid::Uuid;

/// A UUID with hyphens or without.
pub(in crate::routes) fn uuid(text: &str) -> Option<[u8; 16]> {
    // Other forms, in braces and as a URN, are no standard among those who write events.
    matches!(text.len(), 32 | 36).then(|| Uuid::try_parse(text).ok()).flatten().map(Uuid::into_bytes)
}

/// Whether a UUID has a time as those of version 1 have.
pub(in crate::routes) fn is_time_uuid(uuid: &[u8; 16]) -> bool {
    uuid[6] >> 4 == 1
}

/// Months, days and nanoseconds of a duration, as ISO 8601 has them (`P1Y2M3W4DT5H6M7S`) or as Cassandra does
/// (`1y2mo3w4d5h6m7s8ms9us10ns`), with a minus before all of it for those below zero. `None` for other texts, and for what does
/// not fit.
pub(super) fn duration(text: &str) -> Option<(i32, i32, i64)> {
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (months, days, nanoseconds) = match text.strip_prefix('P') {
        Some(text) => iso_duration(text)?,
        None => parts(text, &SHORT)?,
    };
    let sign = if is_negative { -1 } else { 1 };
    let months = i32::try_from(months).ok()? * sign;
    let days = i32::try_from(days).ok()? * sign;
    Some((months, days, i64::try_from(nanoseconds).ok()? * i64::from(sign)))
}

type Parts = (u64, u64, u64);
/// A unit, and what one of it is.
type Unit = (&'static str, Parts);

const SECOND: u64 = 1_000_000_000;

/// In the order in which they may come.
const SHORT: [Unit; 11] = [
    ("y", (12, 0, 0)),
    ("mo", (1, 0, 0)),
    ("w", (0, 7, 0)),
    ("d", (0, 1, 0)),
    ("h", (0, 0, 3600 * SECOND)),
    ("m", (0, 0, 60 * SECOND)),
    ("s", (0, 0, SECOND)),
    ("ms", (0, 0, 1_000_000)),
    ("us", (0, 0, 1000)),
    ("µs", (0, 0, 1000)),
    ("ns", (0, 0, 1)),
];
const ISO_DATE: [Unit; 4] = [("Y", (12, 0, 0)), ("M", (1, 0, 0)), ("W", (0, 7, 0)), ("D", (0, 1, 0))];
const ISO_TIME: [Unit; 3] = [("H", (0, 0, 3600 * SECOND)), ("M", (0, 0, 60 * SECOND)), ("S", (0, 0, SECOND))];

fn iso_duration(text: &str) -> Option<Parts> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let date = if date.is_empty() && time.is_some() { (0, 0, 0) } else { parts(date, &ISO_DATE)? };
    let time = time.map_or(Some((0, 0, 0)), |time| parts(time, &ISO_TIME))?;
    Some((date.0, date.1, time.2))
}

/// Numbers with their units, at least one, each unit at most once and in this order.
fn parts(mut text: &str, mut units: &[Unit]) -> Option<Parts> {
    let mut sum: Parts = (0, 0, 0);
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let num_digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = text.split_at(num_digits);
        let number: u64 = digits.parse().ok()?;
        let name = &rest[..rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len())];
        let position = units.iter().position(|(unit, _)| *unit == name)?;
        let (_, one) = units[position];
        let add = |sum: u64, one: u64| sum.checked_add(number.checked_mul(one)?);
        sum = (add(sum.0, one.0)?, add(sum.1, one.1)?, add(sum.2, one.2)?);
        units = &units[position + 1..];
        text = &rest[name.len()..];
    }
    Some(sum)
}
