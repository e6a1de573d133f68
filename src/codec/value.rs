//! A value that a record of others has at some path, as its format has it: what routes make cells of.
//!
//! Text and bytes are borrowed from the record wherever they stand in it as they are, so that a cell can point to them.

use std::borrow::Cow;
use std::sync::Arc;

use num_bigint::BigInt;

/// The way to a value in a record: `$.user.tags[0]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Path {
    /// From the outside to the inside; none for the value as a whole.
    pub steps: Vec<PathStep>,
}

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathStep {
    /// The member of an object, the field of a record, the value of a map by its key.
    Member(Arc<str>),
    /// The item of an array, from 0.
    Item(usize),
}

/// A value. What a format does not tell apart it does not make: JSON knows [`Value::Number`] alone, Avro never makes one.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// The record has nothing there.
    Absent,
    /// Null.
    Null,
    /// True or false.
    Bool(bool),
    /// A number as it is written, by the grammar of JSON.
    Number(&'a str),
    /// An integer.
    Long(i64),
    /// A single.
    Float(f32),
    /// A double.
    Double(f64),
    /// unscaled × 10^-scale.
    Decimal(BigInt, i32),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(&'a [u8]),
    /// An object, an array, a record, a map: as JSON text.
    Json(Cow<'a, str>),
    /// A point in time, in microseconds since the Unix epoch.
    Instant(i64),
    /// Days since 1970-01-01.
    Day(i32),
    /// Microseconds since midnight.
    TimeOfDay(i64),
    /// A UUID.
    Uuid([u8; 16]),
}

/// A record that is not what its format says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Why the values of a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not of its format.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its schema is unknown for good, or of no use.
    #[error("{0}")]
    UnknownSchema(String),
}

/// Reads the values at some paths out of records of one format. Made once for a set of paths; for one thread at a time.
pub trait Extract: Send {
    /// Puts one value for each path, in the order of the paths, into `values`, which it empties first. `record` is the
    /// record's value, whole.
    ///
    /// # Errors
    /// If the record cannot be read; `values` has no meaning then.
    fn extract<'a>(&mut self, record: &'a [u8], values: &mut Vec<Value<'a>>) -> Result<(), Unreadable>;
}

// === impl Path ===

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("$")?;
        self.steps.iter().try_for_each(|step| match step {
            PathStep::Member(name) => write!(f, ".{name}"),
            PathStep::Item(index) => write!(f, "[{index}]"),
        })
    }
}
