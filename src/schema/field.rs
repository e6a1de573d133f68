//! Fields as checked: what a layout declares, with every bound known to hold.
//!
//! Nothing here is re-checked later: `check` is the only place that builds these values.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::scale::Scale;

/// One field of a layout, or the item of an array.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Lower snake case. Empty for reserved bits; `item` for the item of an array.
    pub name: String,
    /// What the field means.
    pub doc: String,
    /// The unit of the physical value.
    pub unit: Option<String>,
    /// Whether one bit before the field says if it is there.
    pub optional: bool,
    /// The value in records of versions that do not have the field.
    pub default: Option<DefaultValue>,
    /// How it is packed, and what is valid.
    pub kind: Kind,
}

/// How a field is packed. Ranges are inclusive, and full when the layout declares none.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// An unsigned integer of 1 to 64 bits.
    Uint {
        /// Width.
        bits: u32,
        /// Valid values.
        range: RangeInclusive<u64>,
    },
    /// A signed integer of 1 to 64 bits, two's complement.
    Int {
        /// Width.
        bits: u32,
        /// Valid values.
        range: RangeInclusive<i64>,
    },
    /// One bit.
    Bool,
    /// A number that stands for a symbol.
    Enum {
        /// Width, 1 to 16.
        bits: u32,
        /// Symbols with their numbers, in order of their numbers.
        symbols: Vec<Symbol>,
        /// The symbol that stands in for unknown numbers; without it they are refused.
        unknown: Option<Arc<str>>,
    },
    /// A fixed-point number: a raw integer that [`Scale`] turns into the physical value.
    Fixed {
        /// Width, 1 to 53: what a double holds exactly.
        bits: u32,
        /// Whether the raw integer is two's complement.
        signed: bool,
        /// From raw to physical.
        scale: Scale,
        /// Valid raw values.
        range: RangeInclusive<i64>,
    },
    /// An IEEE 754 single that is finite.
    F32 {
        /// Valid values.
        range: Option<RangeInclusive<f64>>,
    },
    /// An IEEE 754 double that is finite.
    F64 {
        /// Valid values.
        range: Option<RangeInclusive<f64>>,
    },
    /// An unsigned count of ticks since the epoch.
    Timestamp {
        /// Width; small enough that the result fits 64 bits.
        bits: u32,
        /// What a tick is.
        resolution: Resolution,
        /// The epoch, in ticks since the Unix epoch.
        epoch: i64,
    },
    /// Bytes after a length.
    Bytes {
        /// Width of the length.
        length_bits: u32,
        /// The longest allowed, in bytes.
        max: u32,
    },
    /// UTF-8 after a length in bytes.
    Text {
        /// Width of the length.
        length_bits: u32,
        /// The longest allowed, in bytes.
        max: u32,
    },
    /// Fields that belong together.
    Group {
        /// The fields; at least one that is not reserved.
        fields: Vec<Field>,
    },
    /// The same thing several times.
    Array {
        /// How many.
        count: Count,
        /// What: any kind but reserved bits, never optional.
        item: Box<Field>,
    },
    /// Bits without meaning: zero when encoding, ignored when decoding.
    Reserved {
        /// Width, at least 1.
        bits: u32,
    },
}

/// A symbol of an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// What Avro and the table call it.
    pub name: Arc<str>,
    /// What is on the wire.
    pub number: u64,
}

/// What a tick of a timestamp is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Seconds. In Avro, milliseconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
}

/// How many items an array has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Always this many.
    Fixed(u32),
    /// As many as a count before the items says.
    Counted {
        /// Width of the count.
        bits: u32,
        /// The largest count allowed.
        max: u32,
    },
}

/// A declared default; fits the kind it was declared for.
#[derive(Debug, Clone, PartialEq)]
pub enum DefaultValue {
    /// For `bool`.
    Bool(bool),
    /// For `uint` and `int`.
    Int(i64),
    /// For `fixed`, `f32` and `f64`.
    Double(f64),
    /// For `text`, and the symbol for `enum`.
    Text(String),
}

// === impl Kind ===

impl Kind {
    /// The kind as layout files name it.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Uint { .. } => "uint",
            Kind::Int { .. } => "int",
            Kind::Bool => "bool",
            Kind::Enum { .. } => "enum",
            Kind::Fixed { .. } => "fixed",
            Kind::F32 { .. } => "f32",
            Kind::F64 { .. } => "f64",
            Kind::Timestamp { .. } => "timestamp",
            Kind::Bytes { .. } => "bytes",
            Kind::Text { .. } => "text",
            Kind::Group { .. } => "group",
            Kind::Array { .. } => "array",
            Kind::Reserved { .. } => "reserved",
        }
    }

    /// The fewest bits that a value takes.
    pub fn min_bits(&self) -> u64 {
        match self {
            Kind::Bytes { length_bits, .. } | Kind::Text { length_bits, .. } => u64::from(*length_bits),
            Kind::Group { fields } => fields.iter().map(Field::min_bits).fold(0, u64::saturating_add),
            Kind::Array { count: Count::Fixed(count), item } => u64::from(*count).saturating_mul(item.min_bits()),
            Kind::Array { count: Count::Counted { bits, .. }, .. } => u64::from(*bits),
            _ => self.max_bits(),
        }
    }

    /// The most bits that a value takes.
    pub fn max_bits(&self) -> u64 {
        match self {
            Kind::Bool => 1,
            Kind::F32 { .. } => 32,
            Kind::F64 { .. } => 64,
            Kind::Uint { bits, .. }
            | Kind::Int { bits, .. }
            | Kind::Enum { bits, .. }
            | Kind::Fixed { bits, .. }
            | Kind::Timestamp { bits, .. }
            | Kind::Reserved { bits } => u64::from(*bits),
            Kind::Bytes { length_bits, max } | Kind::Text { length_bits, max } => {
                u64::from(*length_bits) + 8 * u64::from(*max)
            }
            Kind::Group { fields } => fields.iter().map(Field::max_bits).fold(0, u64::saturating_add),
            Kind::Array { count, item } => {
                let (prefix, most) = match count {
                    Count::Fixed(count) => (0, *count),
                    Count::Counted { bits, max } => (u64::from(*bits), *max),
                };
                u64::from(most).saturating_mul(item.max_bits()).saturating_add(prefix)
            }
        }
    }

    /// Whether this is reserved bits, which are no value.
    pub fn is_reserved(&self) -> bool {
        matches!(self, Kind::Reserved { .. })
    }
}

// === impl Field ===

impl Field {
    /// The fewest bits that the field takes.
    pub fn min_bits(&self) -> u64 {
        if self.optional { 1 } else { self.kind.min_bits() }
    }

    /// The most bits that the field takes.
    pub fn max_bits(&self) -> u64 {
        self.kind.max_bits().saturating_add(u64::from(self.optional))
    }
}

// === impl Resolution ===

impl Resolution {
    /// Units of the Avro value (milliseconds or microseconds) in a tick.
    pub fn units_per_tick(self) -> i64 {
        match self {
            Resolution::Seconds => 1000,
            Resolution::Milliseconds | Resolution::Microseconds => 1,
        }
    }

    /// Ticks in a second.
    pub fn ticks_per_second(self) -> i64 {
        match self {
            Resolution::Seconds => 1,
            Resolution::Milliseconds => 1000,
            Resolution::Microseconds => 1_000_000,
        }
    }
}
