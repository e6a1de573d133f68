//! Why a body was refused, or a value cannot be packed.

use std::sync::Arc;

use thiserror::Error;

use super::bit_io::OutOfBits;
use super::plan::FieldIndex;

/// A body that does not follow its layout. The device sent it; nothing but that message is affected.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum BodyError {
    /// A field's bits, or the items that a count announces, go past the end.
    #[error("the body ends before field {field} does")]
    TooShort {
        /// The field.
        field: Arc<str>,
    },
    /// There is more after the last field than padding.
    #[error("{num_bits} bits are left after the last field; at most 7 may be, as padding")]
    TrailingBytes {
        /// How much is left.
        num_bits: usize,
    },
    /// A number is outside its declared range.
    #[error("field {field} is {value}, outside its range")]
    OutOfRange {
        /// The field.
        field: Arc<str>,
        /// The physical value.
        value: f64,
    },
    /// A number stands for no symbol, and no symbol is declared for unknown ones.
    #[error("field {field} has number {number}, which is no symbol")]
    UnknownSymbol {
        /// The field.
        field: Arc<str>,
        /// What was sent.
        number: u64,
    },
    /// Text is not UTF-8.
    #[error("field {field} is not UTF-8")]
    BadText {
        /// The field.
        field: Arc<str>,
    },
    /// A length or count is above the declared one.
    #[error("field {field} has length {length}; allowed are {max}")]
    TooLong {
        /// The field.
        field: Arc<str>,
        /// The length or count sent.
        length: u32,
        /// The longest allowed.
        max: u32,
    },
}

/// A value that does not fit the layout that it should be packed by.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum EncodeError {
    /// The value is of another kind than the field.
    #[error("field {field} is not {expected}")]
    WrongKind {
        /// The field; empty for the whole message.
        field: Arc<str>,
        /// What would fit.
        expected: &'static str,
    },
    /// A group has more or fewer values than fields.
    #[error("group {field} has {found} values; it has {expected} fields")]
    WrongNumber {
        /// The field; empty for the whole message.
        field: Arc<str>,
        /// Values given.
        found: usize,
        /// Fields declared, reserved ones not counted.
        expected: usize,
    },
    /// The value is outside the field's range, no symbol, or too long.
    #[error("the value of field {field} is not valid: {problem}")]
    Invalid {
        /// The field.
        field: Arc<str>,
        /// What is wrong.
        problem: &'static str,
    },
}

/// A [`BodyError`] before the field's name is looked up.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    TooShort,
    OutOfRange(f64),
    UnknownSymbol(u64),
    BadText,
    TooLong { length: u32, max: u32 },
}

/// A fault with its field.
pub(super) type FieldFault = (FieldIndex, Fault);

// === impl BodyError ===

impl BodyError {
    /// A short word for counters and dead letters.
    pub fn code(&self) -> &'static str {
        match self {
            BodyError::TooShort { .. } => "too_short",
            BodyError::TrailingBytes { .. } => "trailing_bytes",
            BodyError::OutOfRange { .. } => "out_of_range",
            BodyError::UnknownSymbol { .. } => "unknown_symbol",
            BodyError::BadText { .. } => "bad_text",
            BodyError::TooLong { .. } => "too_long",
        }
    }

    pub(super) fn from_fault((field, fault): FieldFault, paths: &[Arc<str>]) -> BodyError {
        let field = paths[usize::from(field)].clone();
        match fault {
            Fault::TooShort => BodyError::TooShort { field },
            Fault::OutOfRange(value) => BodyError::OutOfRange { field, value },
            Fault::UnknownSymbol(number) => BodyError::UnknownSymbol { field, number },
            Fault::BadText => BodyError::BadText { field },
            Fault::TooLong { length, max } => BodyError::TooLong { field, length, max },
        }
    }
}

// === impl Fault ===

impl From<OutOfBits> for Fault {
    fn from(_: OutOfBits) -> Fault {
        Fault::TooShort
    }
}
