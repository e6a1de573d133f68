//! The shape of a type's record: what all its versions together hold, before it is written as a schema or a table.
//!
//! What a kind becomes stands here alone: a [`Shape`], which is its type in Avro, and by that its column. The shape stands in
//! between because versions of different kinds share one, see [`merge`](super::evolution::merge). docs/layouts.md has the
//! table for users, which tests hold to this.

use std::sync::Arc;

use super::field::{DefaultValue, Kind, Resolution};
use super::row::{ColumnKind, ScalarKind};

/// The fields that all versions together hold, in order of first appearance.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordShape {
    /// The fields.
    pub fields: Vec<FieldShape>,
}

/// One field of the record.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldShape {
    /// Its name in layouts, Avro, and (nested names joined) the table.
    pub name: String,
    /// What it means.
    pub doc: String,
    /// The unit of its value.
    pub unit: Option<String>,
    /// Whether a record may lack it: it is optional, or some version has no such field and no default is declared.
    pub nullable: bool,
    /// What records of versions without the field hold. Never together with `nullable`.
    pub default: Option<DefaultValue>,
    /// Its type.
    pub shape: Shape,
}

/// A type, after Avro's.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Shape {
    Bool,
    Int,
    Long,
    /// 64 bits without sign: a decimal in Avro, which has no such integer.
    Unsigned,
    Float,
    Double,
    TimestampMillis,
    TimestampMicros,
    Bytes,
    Text,
    Enum(EnumShape),
    Array(Box<Shape>),
    Record(RecordShape),
}

/// The symbols that all versions together have, in order of first appearance.
#[derive(Debug, Clone, PartialEq)]
pub struct EnumShape {
    /// The symbols; the position is Avro's index.
    pub symbols: Vec<Arc<str>>,
    /// The symbol that stands in for unknown ones.
    pub unknown: Option<Arc<str>>,
}

// === impl RecordShape ===

impl RecordShape {
    /// The position of a field.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}

// === impl Shape ===

impl Shape {
    /// What a single value of this kind is in Avro; none for kinds that are put together of others or have symbols.
    pub fn of_single(kind: &Kind) -> Option<Shape> {
        Some(match kind {
            Kind::Uint { bits: 64.., .. } => Shape::Unsigned,
            Kind::Uint { bits: 32.., .. } | Kind::Int { bits: 33.., .. } => Shape::Long,
            Kind::Uint { .. } | Kind::Int { .. } => Shape::Int,
            Kind::Bool => Shape::Bool,
            Kind::Fixed { .. } | Kind::F64 { .. } => Shape::Double,
            Kind::F32 { .. } => Shape::Float,
            Kind::Timestamp { resolution: Resolution::Microseconds, .. } => Shape::TimestampMicros,
            Kind::Timestamp { resolution: Resolution::Seconds | Resolution::Milliseconds, .. } => {
                Shape::TimestampMillis
            }
            Kind::Text { .. } => Shape::Text,
            Kind::Bytes { .. } => Shape::Bytes,
            Kind::Enum { .. } | Kind::Group { .. } | Kind::Array { .. } | Kind::Reserved { .. } => return None,
        })
    }

    /// What its column holds; none for groups, whose fields have columns of their own.
    pub fn column(&self) -> Option<ColumnKind> {
        Some(match self {
            Shape::Record(_) => return None,
            Shape::Array(item) => match item.column() {
                Some(ColumnKind::Scalar(kind)) => ColumnKind::List(kind),
                Some(ColumnKind::List(_) | ColumnKind::Json | ColumnKind::Collection(_)) | None => ColumnKind::Json,
            },
            Shape::Bool => ColumnKind::Scalar(ScalarKind::Bool),
            Shape::Int => ColumnKind::Scalar(ScalarKind::Int),
            // Tables keep times in milliseconds; finer ones stay integers rather than lose digits.
            Shape::Long | Shape::TimestampMicros => ColumnKind::Scalar(ScalarKind::Long),
            Shape::Unsigned => ColumnKind::Scalar(ScalarKind::Unsigned),
            Shape::Float => ColumnKind::Scalar(ScalarKind::Float),
            Shape::Double => ColumnKind::Scalar(ScalarKind::Double),
            Shape::TimestampMillis => ColumnKind::Scalar(ScalarKind::Timestamp),
            Shape::Bytes => ColumnKind::Scalar(ScalarKind::Bytes),
            Shape::Text | Shape::Enum(_) => ColumnKind::Scalar(ScalarKind::Text),
        })
    }

    /// The shape in words, for messages about what does not fit.
    pub fn name(&self) -> &'static str {
        match self {
            Shape::Bool => "bool",
            Shape::Int | Shape::Long => "an integer",
            Shape::Unsigned => "an unsigned integer of 64 bits",
            Shape::Float | Shape::Double => "a number with a fraction",
            Shape::TimestampMillis => "a time in milliseconds",
            Shape::TimestampMicros => "a time in microseconds",
            Shape::Bytes => "bytes",
            Shape::Text => "text",
            Shape::Enum(_) => "an enum",
            Shape::Array(_) => "an array",
            Shape::Record(_) => "a group",
        }
    }

    /// # Panics
    /// Always: a shape is merged from the kinds of all versions, so that each of these fits it.
    pub(crate) fn does_not_fit(&self, kind: &Kind) -> ! {
        unreachable!("a {} in a record that has {} in its place", kind.name(), self.name())
    }
}
