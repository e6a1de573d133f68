//! From a record to the cells of a row, by a plan made once for a pair of writer's schema and table.
//!
//! The writer may be another pod with other versions of the layouts: what it knows and the table does not is passed
//! over, what the table has and it does not know is null.

use std::sync::Arc;

use apache_avro::Schema;
use thiserror::Error;

use super::json;
use super::node::{Cursor, Node, RowError, symbol};
use crate::schema::row::{Cell, Column, ColumnKind, ScalarKind, Span, Table};
use crate::schema::{Bucket, IdentityColumn};

/// A plan that decodes records of one writer's schema into rows of one table.
#[derive(Debug)]
pub struct RowPlan {
    steps: Vec<Step>,
    num_columns: usize,
    bucket: Bucket,
}

/// A schema whose records cannot become rows of the table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowPlanError {
    /// The schema has something that no layout produces.
    #[error("the writer's schema is not one of ours: {0}")]
    Foreign(String),
    /// An identity column has no field.
    #[error("the writer's schema has no field for the column {0}")]
    MissingIdentity(&'static str),
    /// A field's values do not fit its column.
    #[error("the writer's field for column {column} does not fit {kind:?}")]
    WrongKind {
        /// The column.
        column: String,
        /// What it holds.
        kind: ColumnKind,
    },
}

/// What to do with the next value of the record.
#[derive(Debug)]
enum Step {
    Skip(Node),
    Scalar { column: usize, read: Read },
    List { column: usize, read: Read },
    Json { column: usize, node: Node },
    Group(Vec<Step>),
    Nullable { null_branch: i64, step: Box<Step> },
}

/// How one value becomes a cell: what the writer wrote and what the column holds, as one choice.
#[derive(Debug)]
enum Read {
    Bool,
    Int,
    Long,
    LongAsUnsigned,
    LongAsDouble,
    Millis,
    MicrosAsMillis,
    Float,
    FloatAsDouble,
    Double,
    Unsigned,
    Symbol(Vec<Arc<str>>),
    Text,
    Bytes,
    Fixed(usize),
}

// === impl RowPlan ===

impl RowPlan {
    /// Plans rows of `table` from records written with `writer_schema`.
    pub fn compile(writer_schema: &Schema, table: &Table, bucket: Bucket) -> Result<RowPlan, RowPlanError> {
        let Node::Record(fields) = Node::of(writer_schema).map_err(RowPlanError::Foreign)? else {
            return Err(RowPlanError::Foreign("it is no record".to_owned()));
        };
        for (position, identity) in IdentityColumn::ALL.into_iter().enumerate() {
            let name = identity.name();
            let is_nullable = |node: &Node| matches!(node, Node::Union(_));
            let is_there = fields.iter().any(|(field, node)| field == name && !is_nullable(node));
            let is_column = table.columns.get(position).is_some_and(|column| column.name == name);
            if !is_column || (!is_there && identity != IdentityColumn::Bucket) {
                return Err(RowPlanError::MissingIdentity(name));
            }
        }
        // `partition` reads these two without the plan.
        if !matches!(fields.first(), Some((_, Node::Text)))
            || !matches!(fields.get(1), Some((_, Node::TimestampMillis)))
        {
            return Err(RowPlanError::Foreign("it does not begin with device_id and event_time".to_owned()));
        }
        let steps = group_steps("", fields, table)?;
        Ok(RowPlan { steps, num_columns: table.columns.len(), bucket })
    }

    /// The database partition of a record's row: its device, and the start of its bucket in milliseconds. Reads no further
    /// than that needs.
    pub fn partition<'a>(&self, record: &'a [u8]) -> Result<(&'a [u8], i64), RowError> {
        let mut cursor = Cursor::new(record);
        let device = cursor.bytes()?;
        Ok((device, self.bucket.start_of(cursor.long()?)))
    }

    /// Appends one cell per column of the table, or none on an error.
    ///
    /// `record` is the datum, after the single-object header. It starts at `base` in the buffer that the spans of
    /// the cells are to point into.
    pub fn decode(&self, record: &[u8], base: u32, cells: &mut Vec<Cell>) -> Result<(), RowError> {
        let start = cells.len();
        cells.extend(std::iter::repeat_n((), self.num_columns).map(|()| Cell::Null));
        let result = self.fill(record, base, &mut cells[start..]);
        if result.is_err() {
            cells.truncate(start);
        }
        result
    }

    fn fill(&self, record: &[u8], base: u32, row: &mut [Cell]) -> Result<(), RowError> {
        let mut cursor = Cursor::new(record);
        for step in &self.steps {
            step.run(&mut cursor, base, row)?;
        }
        if cursor.num_left() > 0 {
            return Err(RowError::TrailingBytes(cursor.num_left()));
        }
        let start = self.bucket.start_of(IdentityColumn::EventTime.time_ms(row));
        row[IdentityColumn::Bucket.index()] = Cell::Timestamp(start);
        Ok(())
    }
}

fn group_steps(prefix: &str, fields: Vec<(String, Node)>, table: &Table) -> Result<Vec<Step>, RowPlanError> {
    let mut steps = Vec::with_capacity(fields.len());
    for (name, node) in fields {
        steps.push(field_step(format!("{prefix}{name}"), node, table)?);
    }
    Ok(steps)
}

fn field_step(name: String, node: Node, table: &Table) -> Result<Step, RowPlanError> {
    let (null_branch, node) = node.into_nullable();
    let step = match node {
        Node::Record(fields) => Step::Group(group_steps(&format!("{name}_"), fields, table)?),
        node => match table.columns.iter().enumerate().find(|(_, column)| column.name == name) {
            None => Step::Skip(node),
            Some((column, declared)) => column_step(column, declared, node)?,
        },
    };
    Ok(match null_branch {
        Some(null_branch) => Step::Nullable { null_branch, step: Box::new(step) },
        None => step,
    })
}

fn column_step(column: usize, declared: &Column, node: Node) -> Result<Step, RowPlanError> {
    let wrong = || RowPlanError::WrongKind { column: declared.name.clone(), kind: declared.kind };
    Ok(match (declared.kind, node) {
        (ColumnKind::Json, node) => Step::Json { column, node },
        (ColumnKind::List(kind), Node::Array(item)) => {
            Step::List { column, read: Read::of(*item, kind).ok_or_else(wrong)? }
        }
        (ColumnKind::Scalar(kind), node) => Step::Scalar { column, read: Read::of(node, kind).ok_or_else(wrong)? },
        (ColumnKind::List(_) | ColumnKind::Collection(_), _) => return Err(wrong()),
    })
}

// === impl Step ===

impl Step {
    fn run(&self, cursor: &mut Cursor<'_>, base: u32, row: &mut [Cell]) -> Result<(), RowError> {
        match self {
            Step::Scalar { column, read } => read.run(cursor, base, &mut row[*column])?,
            Step::Nullable { null_branch, step } => match cursor.long()? {
                // The cell is null already.
                branch if branch == *null_branch => {}
                0 | 1 => step.run(cursor, base, row)?,
                _ => return Err(RowError::Malformed("a branch that the union does not have")),
            },
            Step::Skip(node) => node.skip(cursor)?,
            Step::List { column, read } => {
                let mut list = Vec::new();
                cursor.items(|cursor| {
                    let mut item = Cell::Null;
                    read.run(cursor, base, &mut item)?;
                    list.push(item);
                    Ok(())
                })?;
                row[*column] = Cell::List(list);
            }
            Step::Json { column, node } => {
                let mut text = String::new();
                json::write(node, cursor, &mut text)?;
                row[*column] = Cell::Json(text);
            }
            Step::Group(steps) => {
                for step in steps {
                    step.run(cursor, base, row)?;
                }
            }
        }
        Ok(())
    }
}

// === impl Read ===

impl Read {
    /// How values of `node` become cells of `kind`, if they can. Integers of a wider writer can, if each fits by its value.
    fn of(node: Node, kind: ScalarKind) -> Option<Read> {
        Some(match (kind, node) {
            (ScalarKind::Bool, Node::Bool) => Read::Bool,
            (ScalarKind::Int, Node::Long) => Read::Int,
            (ScalarKind::Long, Node::Long | Node::TimestampMicros | Node::TimestampMillis) => Read::Long,
            (ScalarKind::Unsigned, Node::Unsigned) => Read::Unsigned,
            (ScalarKind::Unsigned, Node::Long) => Read::LongAsUnsigned,
            (ScalarKind::Float, Node::Float) => Read::Float,
            (ScalarKind::Double, Node::Double) => Read::Double,
            (ScalarKind::Double, Node::Float) => Read::FloatAsDouble,
            (ScalarKind::Double, Node::Long) => Read::LongAsDouble,
            (ScalarKind::Text, Node::Text) => Read::Text,
            (ScalarKind::Text, Node::Enum(symbols)) => Read::Symbol(symbols),
            (ScalarKind::Bytes, Node::Bytes) => Read::Bytes,
            (ScalarKind::Bytes, Node::Fixed(size)) => Read::Fixed(size),
            (ScalarKind::Timestamp, Node::TimestampMillis) => Read::Millis,
            (ScalarKind::Timestamp, Node::TimestampMicros) => Read::MicrosAsMillis,
            _ => return None,
        })
    }

    #[inline]
    fn run(&self, cursor: &mut Cursor<'_>, base: u32, cell: &mut Cell) -> Result<(), RowError> {
        let value = match self {
            Read::Bool => Cell::Bool(cursor.bool()?),
            Read::Int => Cell::Int(i32::try_from(cursor.long()?).map_err(|_| RowError::DoesNotFit)?),
            Read::Long => Cell::Long(cursor.long()?),
            Read::LongAsUnsigned => Cell::Unsigned(u64::try_from(cursor.long()?).map_err(|_| RowError::DoesNotFit)?),
            Read::LongAsDouble => Cell::Double(cursor.long()? as f64),
            Read::Millis => Cell::Timestamp(cursor.long()?),
            Read::MicrosAsMillis => Cell::Timestamp(cursor.long()?.div_euclid(1000)),
            Read::Float => Cell::Float(f32::from_le_bytes(cursor.chunk()?)),
            Read::FloatAsDouble => Cell::Double(f32::from_le_bytes(cursor.chunk()?).into()),
            Read::Double => Cell::Double(f64::from_le_bytes(cursor.chunk()?)),
            Read::Unsigned => Cell::Unsigned(cursor.unsigned()?),
            Read::Symbol(symbols) => Cell::Symbol(symbol(symbols, cursor)?.clone()),
            Read::Text => {
                let len = cursor.text()?.len();
                Cell::Text(span(cursor, len, base))
            }
            Read::Bytes => {
                let len = cursor.bytes()?.len();
                Cell::Bytes(span(cursor, len, base))
            }
            Read::Fixed(size) => {
                cursor.take(*size)?;
                Cell::Bytes(span(cursor, *size, base))
            }
        };
        // Each column is filled once, and was null, which has nothing to drop: looking whether it has costs as much as the
        // rest of a short value.
        std::mem::forget(std::mem::replace(cell, value));
        Ok(())
    }
}

/// The span of the `len` bytes that were read last. The record lies in its buffer as a whole, with ends of 32 bits.
#[inline]
fn span(cursor: &Cursor<'_>, len: usize, base: u32) -> Span {
    let end = base + cursor.position() as u32;
    Span { start: end - len as u32, end }
}
