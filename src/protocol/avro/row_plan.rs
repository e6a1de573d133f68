//! From a record to the cells of a row, by a plan made once for a pair of writer's schema and table.
//!
//! The writer may be another pod with other versions of the layouts: what it knows and the table does not is passed
//! over, what the table has and it does not know is null.

use apache_avro::Schema;
use thiserror::Error;

use super::json;
use super::node::{Cursor, Node, RowError, branch, symbol};
use super::table::IDENTITY_COLUMNS;
use crate::protocol::row::{Cell, ColumnKind, ScalarKind, Span, Table};

const BUCKET_COLUMN: usize = 1;
const EVENT_TIME_COLUMN: usize = 2;

/// How long one database partition of a device lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// From one full hour to the next, UTC.
    Hour,
    /// From one midnight to the next, UTC.
    Day,
}

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
    Scalar { column: usize, node: Node, kind: ScalarKind },
    List { column: usize, item: Node, kind: ScalarKind },
    Json { column: usize, node: Node },
    Group(Vec<Step>),
    Nullable { null_branch: i64, step: Box<Step> },
}

// === impl Bucket ===

impl Bucket {
    /// The start of the bucket that a time in milliseconds falls into, in milliseconds.
    pub fn start_of(self, time_ms: i64) -> i64 {
        let length_ms = match self {
            Bucket::Hour => 3_600_000,
            Bucket::Day => 86_400_000,
        };
        time_ms.saturating_sub(time_ms.rem_euclid(length_ms))
    }
}

// === impl RowPlan ===

impl RowPlan {
    /// Plans rows of `table` from records written with `writer_schema`.
    pub fn compile(writer_schema: &Schema, table: &Table, bucket: Bucket) -> Result<RowPlan, RowPlanError> {
        let Node::Record(fields) = Node::of(writer_schema).map_err(RowPlanError::Foreign)? else {
            return Err(RowPlanError::Foreign("it is no record".to_owned()));
        };
        for (name, _) in IDENTITY_COLUMNS {
            let is_nullable = |node: &Node| matches!(node, Node::Union(_));
            let is_there = fields.iter().any(|(field, node)| field == name && !is_nullable(node));
            let is_column = table.columns.iter().any(|column| column.name == name);
            if !is_column || (!is_there && name != "bucket") {
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
        cells.resize(start + self.num_columns, Cell::Null);
        let result = self.fill(record, base, cells.get_mut(start..).unwrap_or_default());
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
        if let Some(Cell::Timestamp(event_time)) = row.get(EVENT_TIME_COLUMN) {
            let start = self.bucket.start_of(*event_time);
            set(row, BUCKET_COLUMN, Cell::Timestamp(start));
        }
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
        node => match table.columns.iter().position(|column| column.name == name) {
            None => Step::Skip(node),
            Some(column) => column_step(column, node, table)?,
        },
    };
    Ok(match null_branch {
        Some(null_branch) => Step::Nullable { null_branch, step: Box::new(step) },
        None => step,
    })
}

fn column_step(column: usize, node: Node, table: &Table) -> Result<Step, RowPlanError> {
    let Some(declared) = table.columns.get(column) else { return Ok(Step::Skip(node)) };
    let wrong = || RowPlanError::WrongKind { column: declared.name.clone(), kind: declared.kind };
    match (declared.kind, node) {
        (ColumnKind::Json, node) => Ok(Step::Json { column, node }),
        (ColumnKind::List(kind), Node::Array(item)) if fits(&item, kind) => {
            Ok(Step::List { column, item: *item, kind })
        }
        (ColumnKind::Scalar(kind), node) if fits(&node, kind) => Ok(Step::Scalar { column, node, kind }),
        _ => Err(wrong()),
    }
}

/// Whether values of `node` can become cells of `kind`. Integers of a wider writer may, if each fits by its value.
fn fits(node: &Node, kind: ScalarKind) -> bool {
    match kind {
        ScalarKind::Bool => matches!(node, Node::Bool),
        ScalarKind::Int => matches!(node, Node::Long),
        ScalarKind::Long => matches!(node, Node::Long | Node::TimestampMicros | Node::TimestampMillis),
        ScalarKind::Unsigned => matches!(node, Node::Unsigned | Node::Long),
        ScalarKind::Float => matches!(node, Node::Float),
        ScalarKind::Double => matches!(node, Node::Double | Node::Float | Node::Long),
        ScalarKind::Text => matches!(node, Node::Text | Node::Enum(_)),
        ScalarKind::Bytes => matches!(node, Node::Bytes | Node::Fixed(_)),
        ScalarKind::Timestamp => matches!(node, Node::TimestampMillis | Node::TimestampMicros),
    }
}

// === impl Step ===

impl Step {
    fn run(&self, cursor: &mut Cursor<'_>, base: u32, row: &mut [Cell]) -> Result<(), RowError> {
        match self {
            Step::Scalar { column, node, kind } => set(row, *column, scalar(node, *kind, cursor, base)?),
            Step::Nullable { null_branch, step } => match cursor.long()? {
                branch if branch == *null_branch => {}
                0 | 1 => step.run(cursor, base, row)?,
                _ => return Err(RowError::Malformed("a branch that the union does not have")),
            },
            Step::Skip(node) => node.skip(cursor)?,
            Step::List { column, item, kind } => {
                let mut list = Vec::new();
                cursor.items(|cursor| {
                    list.push(scalar(item, *kind, cursor, base)?);
                    Ok(())
                })?;
                set(row, *column, Cell::List(list));
            }
            Step::Json { column, node } => {
                let mut text = String::new();
                json::write(node, cursor, &mut text)?;
                set(row, *column, Cell::Json(text));
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

/// One value as a cell; `fits` has said that the two go together.
#[inline]
fn scalar(node: &Node, kind: ScalarKind, cursor: &mut Cursor<'_>, base: u32) -> Result<Cell, RowError> {
    Ok(match node {
        Node::Null => Cell::Null,
        Node::Bool => Cell::Bool(cursor.bool()?),
        Node::Long => integer(cursor.long()?, kind)?,
        Node::TimestampMillis => match kind {
            ScalarKind::Long => Cell::Long(cursor.long()?),
            _ => Cell::Timestamp(cursor.long()?),
        },
        Node::TimestampMicros => match kind {
            ScalarKind::Long => Cell::Long(cursor.long()?),
            _ => Cell::Timestamp(cursor.long()?.div_euclid(1000)),
        },
        Node::Float => match (kind, f32::from_le_bytes(cursor.chunk()?)) {
            (ScalarKind::Double, value) => Cell::Double(value.into()),
            (_, value) => Cell::Float(value),
        },
        Node::Double => Cell::Double(f64::from_le_bytes(cursor.chunk()?)),
        Node::Unsigned => Cell::Unsigned(cursor.unsigned()?),
        Node::Enum(symbols) => Cell::Symbol(symbol(symbols, cursor)?.clone()),
        Node::Text => {
            let len = cursor.text()?.len();
            Cell::Text(span(cursor, len, base))
        }
        Node::Bytes => {
            let len = cursor.bytes()?.len();
            Cell::Bytes(span(cursor, len, base))
        }
        Node::Fixed(size) => {
            cursor.take(*size)?;
            Cell::Bytes(span(cursor, *size, base))
        }
        Node::Union(variants) => scalar(branch(variants, cursor)?, kind, cursor, base)?,
        Node::Array(_) | Node::Map(_) | Node::Record(_) => {
            node.skip(cursor)?;
            Cell::Null
        }
    })
}

#[inline]
fn integer(value: i64, kind: ScalarKind) -> Result<Cell, RowError> {
    Ok(match kind {
        ScalarKind::Int => Cell::Int(i32::try_from(value).map_err(|_| RowError::DoesNotFit)?),
        ScalarKind::Unsigned => Cell::Unsigned(u64::try_from(value).map_err(|_| RowError::DoesNotFit)?),
        ScalarKind::Double => Cell::Double(value as f64),
        _ => Cell::Long(value),
    })
}

/// The span of the `len` bytes that were read last.
#[inline]
fn span(cursor: &Cursor<'_>, len: usize, base: u32) -> Span {
    let end = base.saturating_add(cursor.position() as u32);
    Span { start: end.saturating_sub(len as u32), end }
}

#[inline]
fn set(row: &mut [Cell], column: usize, cell: Cell) {
    if let Some(slot) = row.get_mut(column) {
        *slot = cell;
    }
}
