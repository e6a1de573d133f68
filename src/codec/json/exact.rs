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
                    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                    self.at += bytes.iter().skip(start).take_while(|byte| is_part(byte)).count();
                    return self.text.get(start..self.at);
                }
                _ => self.at += 1,
            }
        }
    }
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
    fn test_digits_that_say_nothing_do_not_make_a_number_long() {
        assert!(!has_long_number(
            r#"["12345678901234567890", -0.000000000000000000001, 1e1000000000000000, 123456789.012345]"#
        ));
        assert!(has_long_number("[1234567890.123456]"));
    }
}
