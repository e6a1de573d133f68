//! The types of a schema, each at its place in one list, so that a type can refer to itself.

use std::sync::Arc;

/// A schema with everything that it refers to.
#[derive(Debug)]
pub struct Types {
    pub(super) kinds: Vec<Kind>,
    /// The type of the record as a whole.
    pub(super) top: TypeId,
}

/// The place of a type in [`Types`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TypeId(pub usize);

/// A type: what its values look like in bytes, and what they mean.
#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Bool,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<Arc<str>>),
    Array(TypeId),
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(Vec<Field>),
    /// An int of days.
    Date,
    /// An int of milliseconds since midnight.
    TimeMillis,
    /// A long of microseconds since midnight.
    TimeMicros,
    /// A long since the Unix epoch.
    Timestamp(Unit),
    /// Bytes or fixed bytes, unscaled, with this scale.
    Decimal(Blob, i32),
    /// Bytes that hold unscaled bytes and a scale of their own.
    BigDecimal,
    /// A text that should be a UUID.
    UuidText,
    /// Sixteen bytes.
    UuidBytes(Blob),
    /// Twelve bytes: months, days, milliseconds.
    Duration,
}

/// What a timestamp counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blob {
    /// After their length.
    Counted,
    /// So many.
    Fixed(usize),
}

/// A field of a record.
#[derive(Debug)]
pub(super) struct Field {
    pub name: Arc<str>,
    /// Its earlier names.
    pub aliases: Vec<String>,
    pub kind: TypeId,
}

// === impl Types ===

impl Types {
    #[inline]
    pub(super) fn kind(&self, id: TypeId) -> &Kind {
        // Every id was given out with a place in the list.
        &self.kinds[id.0]
    }
}
