//! Times as text: RFC 3339 with `Z` or an offset from UTC, days, times of day.

use super::Resolution;

/// Why a leap second is refused: which time is meant is the client's to decide.
pub(crate) const NO_LEAP_SECONDS: &str = "Unix time has no second 60";

/// What a text that is a time stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instant {
    /// Since the Unix epoch.
    Nanoseconds(i128),
    /// A second 60, which Unix time does not have.
    LeapSecond,
}

/// A time in whole nanoseconds since the Unix epoch; digits behind those are cut, which no rounding up at half notices.
/// `None` for what is no time: another form, or a day that does not exist.
pub(crate) fn nanoseconds(text: &str) -> Option<Instant> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't'])?;
    let (time, rest) = rest.split_at_checked(8)?;
    let days = day(date)?;
    let [hour, minute, second] = numbers(time.as_bytes(), b':', [2, 2, 2])?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at_checked(rest.bytes().take_while(u8::is_ascii_digit).count())?,
        None => ("0", rest),
    };
    if hour > 23 || minute > 59 || second > 60 || fraction.is_empty() {
        return None;
    }
    let ahead = offset(zone)?;
    if second == 60 {
        return Some(Instant::LeapSecond);
    }
    let seconds = i64::from(days) * 86_400 + hour * 3600 + minute * 60 + second - ahead;
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    Some(Instant::Nanoseconds(i128::from(seconds) * 1_000_000_000 + nanoseconds))
}

/// Days since 1970-01-01 of a text such as `2026-11-30`; `None` for what is no day.
pub(crate) fn day(text: &str) -> Option<i32> {
    let [year, month, day] = numbers(text.as_bytes(), b'-', [4, 2, 2])?;
    let is_valid = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    let days = is_valid.then(|| days_since_epoch(year, month, day))?;
    i32::try_from(days).ok()
}

/// Nanoseconds since midnight of a text such as `23:59:59` or `23:59:59.123456789`; `None` for what is no time of day.
pub(crate) fn time_of_day(text: &str) -> Option<i64> {
    let (time, rest) = text.split_at_checked(8)?;
    let [hour, minute, second] = numbers(time.as_bytes(), b':', [2, 2, 2])?;
    let fraction = match rest.strip_prefix('.') {
        Some(digits) if !digits.is_empty() => digits,
        None if rest.is_empty() => "0",
        _ => return None,
    };
    let is_valid = hour < 24 && minute < 60 && second < 60 && fraction.len() <= 9;
    if !is_valid || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Some((hour * 3600 + minute * 60 + second) * 1_000_000_000 + nanoseconds)
}

/// A time in Avro's unit, rounded to the resolution, ties up.
pub(crate) fn rounded(nanoseconds: i128, resolution: Resolution) -> i64 {
    let tick = 1_000_000_000 / i128::from(resolution.ticks_per_second());
    let ticks = (nanoseconds + tick / 2).div_euclid(tick);
    let units = i64::try_from(ticks * i128::from(resolution.units_per_tick()));
    let Ok(units) = units else { panic!("a time with a year of four digits has {ticks} ticks") };
    units
}

/// Seconds that the zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let (sign, rest) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+')?),
    };
    let [hours, minutes] = numbers(rest.as_bytes(), b':', [2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Numbers of so many digits each, with `between` between them and nothing else.
fn numbers<const N: usize>(mut text: &[u8], between: u8, lens: [usize; N]) -> Option<[i64; N]> {
    let mut found = [0; N];
    for (index, (number, len)) in found.iter_mut().zip(lens).enumerate() {
        if index > 0 {
            text = text.strip_prefix(&[between])?;
        }
        let (digits, rest) = text.split_at_checked(len)?;
        for digit in digits {
            *number = *number * 10 + i64::from(char::from(*digit).to_digit(10)?);
        }
        text = rest;
    }
    text.is_empty().then_some(found)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar. Years begin in March here, so that the leap day is the last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A time in microseconds since the Unix epoch as RFC 3339 in UTC, with as many digits behind the second as it needs. Years beyond
/// four digits are written as they are.
pub(crate) fn rfc3339(time_us: i64) -> String {
    const DAY: i64 = 86_400_000_000;
    let day = date(time_us.div_euclid(DAY));
    format!("{day}T{}Z", clock(time_us.rem_euclid(DAY)))
}

/// A time of day in microseconds since midnight: `23:59:59.5`.
pub(crate) fn clock(time_us: i64) -> String {
    let (seconds, micros) = (time_us / 1_000_000, time_us % 1_000_000);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match micros {
        0 => text,
        micros => format!("{text}.{micros:06}").trim_end_matches('0').to_owned(),
    }
}

/// A day since 1970-01-01 as `2026-11-30`: the inverse of [`day`].
pub(crate) fn date(days: i64) -> String {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, ahead) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year_of_era + ahead;
    let width = if year < 0 { 5 } else { 4 };
    format!("{year:0width$}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> Option<i64> {
        match nanoseconds(text)? {
            Instant::Nanoseconds(time) => Some(rounded(time, Resolution::Milliseconds)),
            Instant::LeapSecond => None,
        }
    }

    #[test]
    fn test_offsets_fractions_and_both_cases_are_read() {
        for (text, expected) in [
            ("2026-11-26T12:00:00Z", 1_795_694_400_000),
            ("2026-11-26t12:00:00z", 1_795_694_400_000),
            ("2026-11-26T12:00:00+01:00", 1_795_690_800_000),
            ("2026-11-26T12:00:00-03:30", 1_795_707_000_000),
            ("2026-11-26T12:00:00-00:00", 1_795_694_400_000),
            ("2026-11-26T12:00:00.0004999999999Z", 1_795_694_400_000),
            ("2026-11-26T12:00:00.0005Z", 1_795_694_400_001),
            ("2024-02-29T23:59:59.9995Z", 1_709_251_200_000),
            ("1969-12-31T23:59:59.9984Z", -2),
            ("1969-12-31T23:59:59.9985Z", -1),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59-23:59", 253_402_387_139_000),
        ] {
            assert_eq!(ms(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn test_a_time_is_rounded_to_its_resolution() {
        let Some(Instant::Nanoseconds(time)) = nanoseconds("2026-11-26T12:00:00.5000005Z") else { panic!() };
        assert_eq!(rounded(time, Resolution::Seconds), 1_795_694_401_000);
        assert_eq!(rounded(time, Resolution::Milliseconds), 1_795_694_400_500);
        assert_eq!(rounded(time, Resolution::Microseconds), 1_795_694_400_500_001);
    }

    #[test]
    fn test_what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-11-26",
            "2026-11-26T12:00:00",
            "2026-11-26T12:00:00.Z",
            "2026-11-26T12:00:60Z",
            "2026-11-26T24:00:00Z",
            "2026-11-26T12:60:00Z",
            "2026-11-31T12:00:00Z",
            "2025-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-00-01T12:00:00Z",
            "2026-01-00T12:00:00Z",
            "2026-11-26 12:00:00Z",
            "2026-11-26T12:00:00+0100",
            "2026-11-26T12:00:00+01",
            "2026-11-26T12:00:00+24:00",
            "2026-11-26T12:00:00+01:60",
            "2026-11-26T12:00:00Zx",
            "26-11-26T12:00:00Z",
            "+026-11-26T12:00:00Z",
            "2026-11-26T12:00:00,5Z",
            "2026-1１-26T12:00:00Z",
            "２026-11-26T12:00:00Z",
        ] {
            assert_eq!(ms(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn test_times_in_utc_are_those_of_another_reader(seconds in 0u64..253_402_300_799, nanos in 0u32..1_000_000_000) {
            let time = UNIX_EPOCH + std::time::Duration::new(seconds, nanos);
            let text = humantime::format_rfc3339_nanos(time).to_string();
            let expected = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
            prop_assert_eq!(nanoseconds(&text), Some(Instant::Nanoseconds(expected)));
            // And what is written is read again.
            let micros = i128::from(nanos / 1000) * 1000;
            let written = rfc3339((seconds * 1_000_000 + u64::from(nanos / 1000)) as i64);
            prop_assert_eq!(nanoseconds(&written), Some(Instant::Nanoseconds(i128::from(seconds) * 1_000_000_000 + micros)));
        }
    }
}
