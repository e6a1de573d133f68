//! What an expression makes, as far as that is known before any record, and which columns take it.

use super::expression::{Expression, Function, KafkaField};
use crate::schema::row::{ColumnKind, Items, ScalarKind, Table};
use crate::schema::{Bucket, cql};

/// What an expression makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gives {
    /// The record says it.
    Anything,
    /// What a column of a message type holds.
    Own(ColumnKind),
    /// Bytes, which may be text.
    Octets,
    /// Text.
    Text,
    /// Text of `json()`.
    JsonText,
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// A point in time.
    Time,
    /// The beginning of a day.
    Day,
    /// A UUID.
    Uuid,
    /// A UUID of version 1.
    TimeUuid,
}

/// What an expression makes. `own` is the table of the message type, if that is where records come from.
pub(super) fn gives(expression: &Expression, own: Option<&Table>) -> Gives {
    match expression {
        Expression::Path(path) => match own.and_then(|table| own_column(table, path)) {
            Some(index) => own.map_or(Gives::Anything, |table| Gives::Own(table.columns[index].kind)),
            None => Gives::Anything,
        },
        Expression::Key | Expression::Header(_) => Gives::Octets,
        Expression::Kafka(KafkaField::Timestamp) => Gives::Time,
        Expression::Kafka(KafkaField::Topic) | Expression::Text(_) => Gives::Text,
        Expression::Kafka(KafkaField::Partition | KafkaField::Offset) => Gives::Whole,
        Expression::Number(_) => Gives::Number,
        Expression::Bool(_) => Gives::Bool,
        Expression::Column(_) => Gives::Anything,
        Expression::Call(function, _) => match function {
            Function::Json => Gives::JsonText,
            Function::Timestamp(_) | Function::Bucket(Bucket::Hour) => Gives::Time,
            Function::Bucket(Bucket::Day) => Gives::Day,
            Function::Uuid => Gives::Uuid,
            Function::TimeUuid => Gives::TimeUuid,
            Function::Number => Gives::Number,
            Function::Lower | Function::Concat => Gives::Text,
        },
    }
}

/// The column of a message type that a path names.
pub(super) fn own_column(table: &Table, path: &crate::codec::value::Path) -> Option<usize> {
    let [crate::codec::value::PathStep::Member(name)] = &*path.steps else { return None };
    table.columns.iter().position(|column| *column.name == **name)
}

// === impl Gives ===

impl Gives {
    /// What it is called.
    pub fn describe(self) -> String {
        match self {
            Self::Anything => "what the record has there".to_owned(),
            Self::Own(kind) => cql::type_text(kind),
            Self::Octets => "text or bytes".to_owned(),
            Self::Text => "text".to_owned(),
            Self::JsonText => "JSON as text".to_owned(),
            Self::Whole => "a whole number".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Time => "a time".to_owned(),
            Self::Day => "a day".to_owned(),
            Self::Uuid => "a UUID".to_owned(),
            Self::TimeUuid => "a UUID of version 1".to_owned(),
        }
    }

    /// Whether a column of this kind may take it; what it is, is looked at again with each record.
    pub fn fits(self, kind: ColumnKind) -> bool {
        let ColumnKind::Scalar(kind) = kind else {
            return match self {
                Self::Anything => true,
                Self::Own(ColumnKind::Json) => true,
                Self::Own(ColumnKind::List(own)) => match kind {
                    ColumnKind::List(items) => Self::Own(ColumnKind::Scalar(own)).fits(ColumnKind::Scalar(items)),
                    ColumnKind::Collection(collection) => match collection.items {
                        Items::List(items) | Items::Set(items) => {
                            Self::Own(ColumnKind::Scalar(own)).fits(ColumnKind::Scalar(items))
                        }
                        Items::Map(..) => false,
                    },
                    ColumnKind::Json => true,
                    ColumnKind::Scalar(_) => false,
                },
                _ => false,
            };
        };
        match self {
            Self::Anything => true,
            Self::Own(ColumnKind::Scalar(own)) => scalar_of(own).fits_scalar(kind),
            Self::Own(_) => false,
            other => other.fits_scalar(kind),
        }
    }

    fn fits_scalar(self, kind: ScalarKind) -> bool {
        use ScalarKind as S;
        let is_text = matches!(kind, S::Text | S::Ascii);
        let is_whole = matches!(kind, S::Int | S::Long | S::Unsigned | S::TinyInt | S::SmallInt | S::Varint);
        let is_number = is_whole || matches!(kind, S::Float | S::Double | S::Decimal);
        let has_form = matches!(
            kind,
            S::Timestamp | S::Varint | S::Decimal | S::Uuid | S::TimeUuid | S::Inet | S::Date | S::Time | S::Duration
        );
        match self {
            Self::Anything | Self::Own(_) => true,
            Self::Octets => is_text || has_form || kind == S::Bytes,
            Self::Text => is_text || has_form,
            Self::JsonText => is_text,
            Self::Whole => is_number,
            Self::Number => is_number || kind == S::Timestamp,
            Self::Bool => kind == S::Bool,
            Self::Time => kind == S::Timestamp,
            Self::Day => matches!(kind, S::Timestamp | S::Date),
            Self::Uuid => kind == S::Uuid,
            Self::TimeUuid => matches!(kind, S::Uuid | S::TimeUuid),
        }
    }

    /// What to write instead, if a column of this kind does not take it.
    pub fn remedy(self, kind: ColumnKind) -> &'static str {
        use ScalarKind as S;
        match (self, kind) {
            (
                Self::Text | Self::Octets | Self::Own(ColumnKind::Scalar(S::Text)),
                ColumnKind::Scalar(S::Int | S::Long),
            ) => "number(…) reads digits",
            (Self::Time | Self::Own(ColumnKind::Scalar(S::Timestamp)), ColumnKind::Scalar(S::Date)) => {
                "bucket('day', …) makes a day of it"
            }
            (Self::Uuid, ColumnKind::Scalar(S::TimeUuid)) => "write timeuuid(…)",
            (Self::Own(ColumnKind::Json | ColumnKind::List(_)), ColumnKind::Scalar(S::Text)) => "write json(…)",
            (Self::JsonText, ColumnKind::Collection(_) | ColumnKind::List(_)) => "leave json() out",
            (_, ColumnKind::Scalar(S::Text | S::Ascii)) => "concat(…) writes it as text",
            _ => "take another expression or another column",
        }
    }
}

/// What a single value of a message type is.
fn scalar_of(kind: ScalarKind) -> Gives {
    match kind {
        ScalarKind::Bool => Gives::Bool,
        ScalarKind::Int | ScalarKind::Long | ScalarKind::Unsigned | ScalarKind::TinyInt | ScalarKind::SmallInt => {
            Gives::Whole
        }
        ScalarKind::Varint => Gives::Whole,
        ScalarKind::Float | ScalarKind::Double | ScalarKind::Decimal => Gives::Number,
        ScalarKind::Text | ScalarKind::Ascii => Gives::Text,
        ScalarKind::Bytes => Gives::Octets,
        ScalarKind::Timestamp => Gives::Time,
        ScalarKind::Date => Gives::Day,
        ScalarKind::Uuid => Gives::Uuid,
        ScalarKind::TimeUuid => Gives::TimeUuid,
        ScalarKind::Inet | ScalarKind::Time | ScalarKind::Duration => Gives::Anything,
    }
}
