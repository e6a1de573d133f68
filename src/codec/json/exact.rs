//! The numbers of an event as they are written, for the few events in which a double does not say enough.
//!
//! The JSON reader hands over numbers with a fraction or an exponent as doubles. Where that leaves in doubt which value is
//! meant, the event is read again with the text of each number beside it: numbers are met in the order of the text.

use crate::schema::number::DOUBLE_DIGITS;

/// How much is in doubt after an event was read with numbers as doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Doubt {
    /// Every value is the one that its decimal means.
    #[default]
    None,
    /// The values are right if no number has more digits than doubles tell apart.
    IfLong,
    /// A value is not known.
    Certain,
}

/// The texts of an event's numbers, the next one first.
#[derive(Debug)]
pub(super) struct NumberTexts {
    /// Last one first.
    rest: Vec<Box<str>>,
}

/// Where the numbers of a JSON text lie that was read once without a syntax error up to the last of them.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

// === impl NumberTexts ===

impl NumberTexts {
    pub(super) fn of(json: &str) -> Self {
        let mut rest: Vec<Box<str>> = Scan { text: json, at: 0 }.map(Box::from).collect();
        rest.reverse();
        Self { rest }
    }

    /// The text of the number that is met now.
    pub(super) fn next(&mut self) -> Box<str> {
        let Some(text) = self.rest.pop() else { panic!("a number was met that is not in the text of the event") };
        text
    }
}

/// Whether a number of the text has more digits than doubles tell apart.
pub(super) fn has_long_number(json: &str) -> bool {
    Scan { text: json, at: 0 }.any(|number| {
        let (mantissa, _) = number.split_once(['e', 'E']).unwrap_or((number, ""));
        let digits = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0');
        digits.count() > DOUBLE_DIGITS
    })
}

/// The number in which reading ended, or behind which: at this line and column, as the JSON reader counts them.
pub(super) fn number_before(json: &str, (line, column): (usize, usize)) -> Option<&str> {
    let start_of_line: usize = json.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let end = start_of_line + column;
    let mut scan = Scan { text: json, at: 0 };
    while let Some(number) = scan.next() {
        if scan.at >= end {
            // Where only its first byte was looked at, no number may stand.
            return (scan.at - number.len() + 1 < end).then_some(number);
        }
    }
    None
}

/// Whether a text is a number as JSON writes them, and one that is larger than all doubles.
pub(super) fn is_beyond_doubles(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    // Rust's numbers are more: they may begin with zeros or a plus, and end with a point.
    let is_json = is_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(is_digits)
        && exponent.is_none_or(|exponent| is_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    is_json && text.parse().is_ok_and(f64::is_infinite)
}

// === impl Scan ===

impl<'a> Iterator for Scan<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    while let Some(byte) = bytes.get(self.at).filter(|byte| **byte != b'"') {
                        self.at += if *byte == b'\\' { 2 } else { 1 };
                    }
                    self.at += 1;
                }
                b'-' | b'0'..=b'9' => {
                    let start = self.at;
                    self.at += number_len(&bytes[start..]);
                    return self.text.get(start..self.at);
                }
                _ => self.at += 1,
            }
        }
    }
}

/// How long the number is that begins here. The JSON reader hands a number over before it looks at what follows it, which
/// may be anything, such as another sign.
fn number_len(bytes: &[u8]) -> usize {
    let mut len = usize::from(bytes.first() == Some(&b'-'));
    let mut skip = |is_wanted: fn(&u8) -> bool, most: usize| {
        let count = bytes.iter().skip(len).take(most).take_while(|byte| is_wanted(byte)).count();
        len += count;
        count > 0
    };
    skip(u8::is_ascii_digit, usize::MAX);
    if skip(|byte| *byte == b'.', 1) {
        skip(u8::is_ascii_digit, usize::MAX);
    }
    if skip(|byte| matches!(byte, b'e' | b'E'), 1) {
        skip(|byte| matches!(byte, b'+' | b'-'), 1);
        skip(u8::is_ascii_digit, usize::MAX);
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_numbers_are_found_outside_of_texts() {
        let json = r#"{"a 1":-1.5e+3,"b\"2":["3",4,[5e0],{"c":0}],"d\\":null,"e":true}"#;
        let found: Vec<&str> = Scan { text: json, at: 0 }.collect();
        assert_eq!(found, ["-1.5e+3", "4", "5e0", "0"]);
    }

    #[test]
    fn test_a_number_ends_where_the_reader_of_json_ends_it() {
        for (text, number) in [
            ("3.001-", "3.001"),
            ("-1.5e-3-2", "-1.5e-3"),
            ("12-3", "12"),
            ("1.2.3", "1.2"),
            ("1e5.5", "1e5"),
            ("1e5e5", "1e5"),
            ("0+", "0"),
            ("7", "7"),
            ("1e+", "1e+"),
            ("-", "-"),
        ] {
            assert_eq!(number_len(text.as_bytes()), number.len(), "{text}");
        }
    }

    #[test]
    fn test_a_number_beyond_doubles_is_known_by_its_place_and_its_text() {
        let cases = [
            ("[1, 1e400]", Some("1e400")),
            ("{\"a\":\n\n  -12.5e99999999999,\"b\":1}", Some("-12.5e99999999999")),
            ("[1e400", Some("1e400")),
            // Something else is wrong, before, in or behind it.
            ("[tru, 1e400]", None),
            ("[01e400]", None),
            ("[1.e400]", None),
            ("[1e308 1e400]", None),
            ("[\"1e400\", }", None),
        ];
        for (json, expected) in cases {
            let error = serde_json::from_str::<serde_json::Value>(json).unwrap_err();
            let found = number_before(json, (error.line(), error.column())).filter(|text| is_beyond_doubles(text));
            assert_eq!(found, expected, "{json}: {error}");
            assert_eq!(found.is_some(), error.to_string().starts_with("number out of range"), "{json}: {error}");
        }
        let digits = "9".repeat(400);
        assert!(is_beyond_doubles(&digits) && is_beyond_doubles("-1e309"));
        assert!(
            ["1e308", "1e-400", "0e400", "inf", "1e+", "+1e400", "01e400", "1.e400", ".1e400", ""]
                .iter()
                .all(|text| !is_beyond_doubles(text))
        );
    }

    #[test]
    fn test_digits_that_say_nothing_do_not_make_a_number_long() {
        assert!(!has_long_number(
            r#"["12345678901234567890", -0.000000000000000000001, 1e1000000000000000, 123456789.012345]"#
        ));
        assert!(has_long_number("[1234567890.123456]"));
    }
}
