//! Expressions: what a column, a write timestamp or a time to live is made of.
//!
//! An expression is a path into the record's value, what Kafka says of the record, a constant, or a function of these. There are no
//! operators: a filter, which needs them, is in another language ([`filter`](super::filter)).

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

pub use parse::ExpressionError;

use crate::codec::value::Path;
use crate::schema::Bucket;

/// What something of a row is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// What the record's value has there; of a message type, the column of this name.
    Path(Path),
    /// The record's key.
    Key,
    /// The last header of this name.
    Header(Box<str>),
    /// What Kafka says of the record.
    Kafka(KafkaField),
    /// A text.
    Text(Box<str>),
    /// A number as JSON has them.
    Number(Box<str>),
    /// True or false.
    Bool(bool),
    /// What another column of the route is made of, by its name. Only in functions.
    Column(Box<str>),
    /// A function of others.
    Call(Function, Vec<Expression>),
}

/// What Kafka says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaField {
    /// When it was written, or made, as its topic has it.
    Timestamp,
    /// Its topic.
    Topic,
    /// Its partition.
    Partition,
    /// Its offset.
    Offset,
}

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Any part of the record, as JSON text.
    Json,
    /// A point in time from a number or a text.
    Timestamp(TimeForm),
    /// A UUID from text or 16 bytes.
    Uuid,
    /// A UUID of version 1 from text or 16 bytes.
    TimeUuid,
    /// A number from a text.
    Number,
    /// The start of the hour or day that a time is in, UTC.
    Bucket(Bucket),
    /// A text in lower case.
    Lower,
    /// Texts, one behind the other.
    Concat,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeForm {
    /// RFC 3339 if it is a text, milliseconds if it is a number.
    Any,
    /// Seconds since the Unix epoch.
    Seconds,
    /// Milliseconds since the Unix epoch.
    Millis,
    /// Microseconds since the Unix epoch.
    Micros,
    /// RFC 3339 text.
    Text,
}

// === impl Expression ===

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// If it is none: where, and what is allowed there.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        parse::parse(text)
    }

    /// Whether this holds of any part of it.
    fn any(&self, is: &mut impl FnMut(&Expression) -> bool) -> bool {
        if is(self) {
            return true;
        }
        match self {
            Self::Call(_, arguments) => arguments.iter().any(|argument| argument.any(is)),
            _ => false,
        }
    }

    /// Whether it is the same for all records.
    pub fn is_constant(&self) -> bool {
        !self.any(&mut |part| !matches!(part, Self::Text(_) | Self::Number(_) | Self::Bool(_) | Self::Call(..)))
    }

    /// Whether it needs the record's value. Columns have to be replaced before.
    pub fn needs_value(&self) -> bool {
        self.any(&mut |part| matches!(part, Self::Path(_)))
    }

    /// The names of columns in it.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Self::Column(name) => vec![name],
            Self::Call(_, arguments) => arguments.iter().flat_map(Self::columns).collect(),
            _ => Vec::new(),
        }
    }

    /// It with what `of` says in the place of names of columns.
    ///
    /// # Errors
    /// That of `of`.
    pub fn resolved<E>(&self, of: &impl Fn(&str) -> Result<Expression, E>) -> Result<Expression, E> {
        match self {
            Self::Column(name) => of(name),
            Self::Call(function, arguments) => {
                let arguments = arguments.iter().map(|argument| argument.resolved(of)).collect::<Result<_, E>>()?;
                Ok(Self::Call(*function, arguments))
            }
            other => Ok(other.clone()),
        }
    }

    /// The paths in it.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Path(path) => vec![path],
            Self::Call(_, arguments) => arguments.iter().flat_map(Self::paths).collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Key => f.write_str("key"),
            Self::Header(name) => write!(f, "header.{name}"),
            Self::Kafka(field) => write!(f, "kafka.{}", field.name()),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Self::Number(text) | Self::Column(text) => f.write_str(text),
            Self::Bool(value) => value.fmt(f),
            Self::Call(function, _) => write!(f, "{}()", function.name()),
        }
    }
}

// === impl KafkaField ===

impl KafkaField {
    /// All.
    pub const ALL: [Self; 4] = [Self::Timestamp, Self::Topic, Self::Partition, Self::Offset];

    /// Its name in expressions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::Topic => "topic",
            Self::Partition => "partition",
            Self::Offset => "offset",
        }
    }
}

// === impl Function ===

impl Function {
    /// Its name in expressions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Timestamp(_) => "timestamp",
            Self::Uuid => "uuid",
            Self::TimeUuid => "timeuuid",
            Self::Number => "number",
            Self::Bucket(_) => "bucket",
            Self::Lower => "lower",
            Self::Concat => "concat",
        }
    }
}
