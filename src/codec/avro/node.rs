//! The writer's schema as a tree that is quick to walk: what skips, reads and prints values that are in a record.
//!
//! Records come out of a log, so they may be damaged: every length is compared with what is left, and no count makes
//! this work longer than `MAX_ITEMS` items.

use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, UuidSchema};
use thiserror::Error;

use super::varint;

/// The most items of one array or map; layouts allow 65,535.
const MAX_ITEMS: u64 = 65_535;
/// The deepest nesting of a schema; layouts allow less.
const MAX_DEPTH: usize = 32;

/// A record that does not follow its schema, or does not fit the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RowError {
    /// The record ends within a value.
    #[error("the record ends within a value")]
    TooShort,
    /// There is more after the last field.
    #[error("{0} bytes are left after the last field")]
    TrailingBytes(usize),
    /// Bytes that no value of the schema is written as.
    #[error("the record holds {0}")]
    Malformed(&'static str),
    /// A number that a wider writer wrote and the column cannot hold.
    #[error("a number does not fit its column")]
    DoesNotFit,
}

/// Where reading is, within one record.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    len: usize,
}

/// A type of the writer's schema.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool,
    /// An int or a long.
    Long,
    TimestampMillis,
    TimestampMicros,
    Float,
    Double,
    Bytes,
    Text,
    /// An integer as decimal bytes.
    Unsigned,
    Fixed(usize),
    Enum(Vec<Arc<str>>),
    Array(Box<Node>),
    Map(Box<Node>),
    Union(Vec<Node>),
    Record(Vec<(String, Node)>),
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    pub(super) fn new(record: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: record, len: record.len() }
    }

    /// Another cursor at the same place.
    pub(super) fn fork(&self) -> Cursor<'a> {
        Cursor { rest: self.rest, len: self.len }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    pub(super) fn num_left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, RowError> {
        let (value, rest) = varint::read_long(self.rest).ok_or(RowError::TooShort)?;
        self.rest = rest;
        Ok(value)
    }

    #[inline]
    pub(super) fn take(&mut self, num_bytes: usize) -> Result<&'a [u8], RowError> {
        let (taken, rest) = self.rest.split_at_checked(num_bytes).ok_or(RowError::TooShort)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn chunk<const N: usize>(&mut self) -> Result<[u8; N], RowError> {
        let (chunk, rest) = self.rest.split_first_chunk::<N>().ok_or(RowError::TooShort)?;
        self.rest = rest;
        Ok(*chunk)
    }

    #[inline]
    pub(super) fn bool(&mut self) -> Result<bool, RowError> {
        match self.chunk::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(RowError::Malformed("a boolean that is neither true nor false")),
        }
    }

    /// Bytes after their length.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], RowError> {
        let len = usize::try_from(self.long()?).map_err(|_| RowError::Malformed("a negative length"))?;
        self.take(len)
    }

    /// Text after its length.
    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str, RowError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RowError::Malformed("text that is not UTF-8"))
    }

    /// A decimal of scale zero that is at least zero.
    pub(super) fn unsigned(&mut self) -> Result<u64, RowError> {
        let bytes = self.bytes()?;
        let (sign, digits) = match bytes {
            [] => return Err(RowError::Malformed("an empty decimal")),
            [0, digits @ ..] => (0, digits),
            [sign, ..] => (*sign, bytes),
        };
        if sign >= 0x80 || digits.len() > 8 {
            return Err(RowError::DoesNotFit);
        }
        Ok(digits.iter().fold(0, |value, digit| (value << 8) | u64::from(*digit)))
    }

    /// Calls `each` for every item of an array or map, whose blocks come with their counts.
    pub(super) fn items(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), RowError>) -> Result<(), RowError> {
        let mut num_items = 0u64;
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            // A negative count is followed by the block's size in bytes.
            if count < 0 {
                self.long()?;
            }
            num_items = num_items.saturating_add(count.unsigned_abs());
            if num_items > MAX_ITEMS {
                return Err(RowError::Malformed("more items than an array may have"));
            }
            for _ in 0..count.unsigned_abs() {
                each(self)?;
            }
        }
    }
}

// === impl Node ===

impl Node {
    /// The tree for a schema. `Err` says what in the schema no layout produces.
    pub(super) fn of(schema: &Schema) -> Result<Node, String> {
        Node::within(schema, 0)
    }

    fn within(schema: &Schema, depth: usize) -> Result<Node, String> {
        if depth > MAX_DEPTH {
            return Err(format!("types nested deeper than {MAX_DEPTH}"));
        }
        let inner = |schema: &Schema| Node::within(schema, depth + 1);
        Ok(match schema {
            Schema::Null => Node::Null,
            Schema::Boolean => Node::Bool,
            Schema::Int | Schema::Long | Schema::Date | Schema::TimeMillis | Schema::TimeMicros => Node::Long,
            Schema::TimestampNanos | Schema::LocalTimestampNanos => Node::Long,
            Schema::TimestampMillis | Schema::LocalTimestampMillis => Node::TimestampMillis,
            Schema::TimestampMicros | Schema::LocalTimestampMicros => Node::TimestampMicros,
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Node::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Node::Text,
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                Node::Fixed(fixed.size)
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes if decimal.scale == 0 => Node::Unsigned,
                InnerDecimalSchema::Bytes => Node::Bytes,
                InnerDecimalSchema::Fixed(fixed) => Node::Fixed(fixed.size),
            },
            Schema::Enum(schema) => Node::Enum(schema.symbols.iter().map(|symbol| symbol.as_str().into()).collect()),
            Schema::Array(array) => Node::Array(Box::new(inner(&array.items)?)),
            Schema::Map(map) => Node::Map(Box::new(inner(&map.types)?)),
            Schema::Union(union) => Node::Union(union.variants().iter().map(inner).collect::<Result<_, _>>()?),
            Schema::Record(record) => {
                let field = |field: &apache_avro::schema::RecordField| Ok((field.name.clone(), inner(&field.schema)?));
                Node::Record(record.fields.iter().map(field).collect::<Result<_, String>>()?)
            }
            // It could refer to itself, and then a record of few bytes could nest without end.
            Schema::Ref { name } => return Err(format!("a reference to the type {name}")),
        })
    }

    /// What is inside `["null", T]` or `[T, "null"]`, with the branch of null; otherwise the node itself.
    pub(super) fn into_nullable(self) -> (Option<i64>, Node) {
        match self {
            Node::Union(mut variants) if variants.len() == 2 => {
                match variants.iter().position(|variant| matches!(variant, Node::Null)) {
                    Some(null) => (Some(null as i64), variants.swap_remove(1 - null)),
                    None => (None, Node::Union(variants)),
                }
            }
            node => (None, node),
        }
    }

    /// Passes over one value.
    pub(super) fn skip(&self, cursor: &mut Cursor<'_>) -> Result<(), RowError> {
        match self {
            Node::Null => {}
            Node::Bool => drop(cursor.bool()?),
            Node::Long | Node::TimestampMillis | Node::TimestampMicros | Node::Enum(_) => drop(cursor.long()?),
            Node::Float => drop(cursor.take(4)?),
            Node::Double => drop(cursor.take(8)?),
            Node::Bytes | Node::Text | Node::Unsigned => drop(cursor.bytes()?),
            Node::Fixed(size) => drop(cursor.take(*size)?),
            Node::Array(item) => cursor.items(|cursor| item.skip(cursor))?,
            Node::Map(value) => cursor.items(|cursor| {
                cursor.bytes()?;
                value.skip(cursor)
            })?,
            Node::Union(variants) => branch(variants, cursor)?.skip(cursor)?,
            Node::Record(fields) => {
                for (_, field) in fields {
                    field.skip(cursor)?;
                }
            }
        }
        Ok(())
    }
}

/// The branch of a union that a value takes.
pub(super) fn branch<'n>(variants: &'n [Node], cursor: &mut Cursor<'_>) -> Result<&'n Node, RowError> {
    let index = usize::try_from(cursor.long()?).ok();
    index.and_then(|index| variants.get(index)).ok_or(RowError::Malformed("a branch that the union does not have"))
}

/// The symbol that an enum's value stands for.
pub(super) fn symbol<'n>(symbols: &'n [Arc<str>], cursor: &mut Cursor<'_>) -> Result<&'n Arc<str>, RowError> {
    let index = usize::try_from(cursor.long()?).ok();
    index.and_then(|index| symbols.get(index)).ok_or(RowError::Malformed("a symbol that the enum does not have"))
}
