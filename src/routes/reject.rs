//! Why a record is no row.

use crate::codec::value::Value;

/// Every code that a [`RouteReject`](super::RouteReject) may have.
pub const REJECT_CODES: [&str; 13] = [
    MALFORMED,
    UNKNOWN_SCHEMA,
    KEY_MISSING,
    WRONG_TYPE,
    OUT_OF_RANGE,
    NOT_WHOLE,
    WRONG_FORM,
    NOT_UTF8,
    NOT_ASCII,
    NULL_ITEM,
    NO_TIMESTAMP,
    NOT_A_DAY,
    FILTER_FAILED,
];

/// The record is not of its format.
pub(super) const MALFORMED: &str = "malformed";
/// The record's schema is unknown for good, or of no use.
pub(super) const UNKNOWN_SCHEMA: &str = "unknown_schema";
/// A column of the key has no value, or null.
pub(super) const KEY_MISSING: &str = "key_missing";
/// The column does not take values of this kind.
pub(super) const WRONG_TYPE: &str = "wrong_type";
/// The column does not hold a value of this size.
pub(super) const OUT_OF_RANGE: &str = "out_of_range";
/// A number with a fraction for a column of whole numbers.
pub(super) const NOT_WHOLE: &str = "not_whole";
/// A text that does not have the form of what it is to be.
pub(super) const WRONG_FORM: &str = "wrong_form";
/// Bytes that are not UTF-8, where text is needed.
pub(super) const NOT_UTF8: &str = "not_utf8";
/// Text with other letters than ASCII has.
pub(super) const NOT_ASCII: &str = "not_ascii";
/// Null in a collection.
pub(super) const NULL_ITEM: &str = "null_item";
/// The record has no timestamp in Kafka.
pub(super) const NO_TIMESTAMP: &str = "no_timestamp";
/// A time that is not midnight, for a column of days.
pub(super) const NOT_A_DAY: &str = "not_a_day";
/// The filter could not be evaluated, or says neither yes nor no.
pub(super) const FILTER_FAILED: &str = "filter_failed";

/// What is wrong with a value, before it is known whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// One of [`REJECT_CODES`].
    pub code: &'static str,
    /// The sentence: what the value is, and what is needed.
    pub what: String,
}

/// So much of a value is shown, in bytes.
const MAX_SHOWN: usize = 80;

// === impl Fault ===

impl Fault {
    #[cold]
    pub fn new(code: &'static str, what: impl Into<String>) -> Self {
        Self { code, what: what.into() }
    }

    /// For a value that is not what is needed.
    #[cold]
    pub fn of(code: &'static str, value: &Value<'_>, needed: &str) -> Self {
        Self::new(code, format!("{} is not {needed}", shown(value)))
    }

    /// The same with the name of whose value it is before it.
    #[cold]
    pub fn at(mut self, whose: &str) -> Self {
        self.what = format!("{whose}: {}", self.what);
        self
    }
}

/// A value as a sentence shows it.
pub(super) fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Absent => "nothing".to_owned(),
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(text) => format!("the number {}", cut(text)),
        Value::Long(number) => format!("the number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Double(number) => format!("the number {number}"),
        Value::Decimal(unscaled, scale) => format!("the number {}", cut(&format!("{unscaled}e{}", -i64::from(*scale)))),
        Value::Text(text) => format!("the text {:?}", cut(text)),
        Value::Bytes(bytes) => format!("a value of {} bytes", bytes.len()),
        Value::Json(text) => format!("the JSON {}", cut(text)),
        Value::Instant(_) => "a time".to_owned(),
        Value::Day(_) => "a day".to_owned(),
        Value::TimeOfDay(_) => "a time of day".to_owned(),
        Value::Uuid(_) => "a UUID".to_owned(),
    }
}

fn cut(text: &str) -> String {
    if text.len() <= MAX_SHOWN {
        return text.to_owned();
    }
    let end = (0..=MAX_SHOWN).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}
