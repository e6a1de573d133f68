//! The plan of a layout: a flat list of steps that packing, unpacking and transcoding all follow.
//!
//! Groups and optional fields say how many of the steps after them are theirs, so that a plan is walked without
//! looking anything up. What only Avro needs (`Emit`, `Reordered`) is passed over by the other two.

use std::sync::Arc;

use crate::codec::avro::sink::NumberType;
use crate::schema::{Count, Resolution, Scale};

/// Which field a step belongs to: an index into the layout's paths.
pub(super) type FieldIndex = u16;

/// One step.
#[derive(Debug)]
pub(super) enum Op {
    Uint {
        field: FieldIndex,
        bits: u32,
        min: u64,
        max: u64,
        into: NumberType,
    },
    Int {
        field: FieldIndex,
        bits: u32,
        min: i64,
        max: i64,
        into: NumberType,
    },
    Fixed {
        field: FieldIndex,
        bits: u32,
        signed: bool,
        min: i64,
        max: i64,
        scale: Scale,
    },
    F32 {
        field: FieldIndex,
        min: f64,
        max: f64,
        into: NumberType,
    },
    F64 {
        field: FieldIndex,
        min: f64,
        max: f64,
    },
    Bool {
        field: FieldIndex,
    },
    Enum {
        field: FieldIndex,
        bits: u32,
        symbols: Box<SymbolTable>,
    },
    Timestamp {
        field: FieldIndex,
        bits: u32,
        epoch: i64,
        resolution: Resolution,
    },
    Bytes {
        field: FieldIndex,
        length_bits: u32,
        max: u32,
    },
    Text {
        field: FieldIndex,
        length_bits: u32,
        max: u32,
    },
    /// `field` is the one before: it is what the body was cut off after.
    Reserved {
        field: FieldIndex,
        bits: u32,
    },
    /// One presence bit; without it, the next `num_ops` are passed over.
    Optional {
        field: FieldIndex,
        num_ops: u32,
    },
    /// The next `num_ops` are one group of `num_values` values.
    Group {
        field: FieldIndex,
        num_ops: u32,
        num_values: u32,
    },
    Array(Box<ArrayOp>),
    /// Bytes that Avro has at this place whatever the body says: a field that this version lacks, the branch of a
    /// union.
    Emit(Box<[u8]>),
    /// The fields of a group whose order in Avro is not that of the bits.
    Reordered(Box<ReorderedOp>),
}

/// The items of an array.
#[derive(Debug)]
pub(super) struct ArrayOp {
    pub field: FieldIndex,
    pub count: Count,
    /// One item. A count that the rest of the body cannot hold is refused before anything is reserved for it.
    pub item_ops: Vec<Op>,
    pub min_item_bits: u64,
}

/// Fields in the order of the bits, and how Avro wants them.
#[derive(Debug)]
pub(super) struct ReorderedOp {
    pub ops: Vec<Op>,
    /// The end of each field's steps in `ops`.
    pub ends: Vec<usize>,
    pub pieces: Vec<Piece>,
}

/// A part of a reordered group as Avro has it.
#[derive(Debug)]
pub(super) enum Piece {
    /// What the steps of this field wrote.
    Field(usize),
    /// Bytes for a field that this version lacks.
    Constant(Box<[u8]>),
}

/// The symbols of an enum by their numbers.
#[derive(Debug)]
pub(super) struct SymbolTable {
    /// In ascending order of numbers.
    pub entries: Vec<SymbolEntry>,
    /// The entry for unknown numbers.
    pub unknown: Option<usize>,
}

#[derive(Debug)]
pub(super) struct SymbolEntry {
    pub number: u64,
    pub name: Arc<str>,
    /// The position among the symbols of all versions.
    pub avro_index: i64,
}

// === impl SymbolTable ===

impl SymbolTable {
    /// The entry for a number, or the one for unknown numbers.
    #[inline]
    pub(super) fn by_number(&self, number: u64) -> Option<&SymbolEntry> {
        // Numbers without gaps from zero are the rule: then the number is the position.
        let position = match self.entries.get(number as usize) {
            Some(entry) if entry.number == number => Some(number as usize),
            _ => self.entries.binary_search_by_key(&number, |entry| entry.number).ok(),
        };
        self.entries.get(position.or(self.unknown)?)
    }

    /// The entry with a name.
    pub(super) fn by_name(&self, name: &str) -> Option<&SymbolEntry> {
        self.entries.iter().find(|entry| &*entry.name == name)
    }
}
