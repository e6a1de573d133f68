//! Rows: what a record becomes on its way into a table.
//!
//! The table of a message type is derived from its layouts, that of a route from what the database says of it. Cells are
//! decoded once and point into the buffer that the record was read into, so that a row costs no allocation of its own.
//! Stores turn cells into their own format.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use num_bigint::BigInt;

use super::identity::{CLUSTERING_KEY, PARTITION_KEY};

/// A table and how its rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The keyspace that it is in; `None` for the one that the store's own tables are in.
    pub keyspace: Option<String>,
    /// Its name. The table of a message type has the type's.
    pub name: String,
    /// All columns: those of the partition key, those of the clustering key, then the others. Cells of a row come in this
    /// order.
    pub columns: Vec<Column>,
    /// How many of the columns are its key.
    pub key: Key,
    /// How rows of a route are written. `None` for the table of a message type, whose columns begin with the
    /// [identity](super::identity): that has the write timestamp, and rows live as long as the table says.
    pub routed: Option<Routed>,
}

/// How many columns a table's primary key has; they come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Columns of the partition key, at least one.
    pub num_partition: usize,
    /// Columns that order the rows within a partition.
    pub num_clustering: usize,
}

/// How a route's rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The route's name.
    pub route: String,
    /// Whose time decides which of two writes of one row is the newer one.
    pub timestamp: WriteTime,
    /// Whether each row says how long it lives, in a cell after the columns and the write timestamp, if that is one:
    /// [`Cell::Int`] of seconds, [`Cell::Null`] to leave it to the table.
    pub has_ttl: bool,
    /// How many replicas have to confirm a row; `None` for the store's setting.
    pub consistency: Option<Consistency>,
    /// Whether the table is created if it is missing: its route declares key and types.
    pub is_created: bool,
}

/// Where the write timestamp of a route's row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteTime {
    /// From the record: in a cell after the columns, [`Cell::Long`] of microseconds since the Unix epoch.
    Cell,
    /// From the database, when it takes the row.
    Server,
}

/// How many replicas confirm a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// One replica.
    One,
    /// Two replicas.
    Two,
    /// Three replicas.
    Three,
    /// More than half of all replicas.
    Quorum,
    /// All replicas.
    All,
    /// One replica in this data centre.
    LocalOne,
    /// More than half of the replicas in this data centre.
    LocalQuorum,
    /// More than half of the replicas in every data centre.
    EachQuorum,
}

/// The name of a table, as routes have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// The keyspace; `None` for the one that the store's own tables are in.
    pub keyspace: Option<String>,
    /// The table.
    pub name: String,
}

/// A table as the database describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDescription {
    /// All columns: those of the partition key and of the clustering key first, each in the order of the key.
    pub columns: Vec<DescribedColumn>,
}

/// A column as the database describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedColumn {
    /// Its name, exactly.
    pub name: String,
    /// Its type, spelt as the database spells it.
    pub type_text: String,
    /// What values of that type are here; `None` if rows with such a column cannot be written: counters, types that users
    /// have defined, tuples, nested collections.
    pub kind: Option<ColumnKind>,
    /// Its part in the table.
    pub place: ColumnPlace,
}

/// The part of a column in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnPlace {
    /// In the partition key, at this position.
    Partition(usize),
    /// In the clustering key, at this position.
    Clustering(usize),
    /// One value for all rows of a partition.
    Static,
    /// Any other.
    Regular,
}

/// One column of a [`Table`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The name. Of a message type: lower-case; fields of nested groups are joined with `_`.
    pub name: String,
    /// What the column holds.
    pub kind: ColumnKind,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// One value.
    Scalar(ScalarKind),
    /// A list of values of one kind, written as one value (frozen).
    List(ScalarKind),
    /// JSON text: arrays whose items are groups or arrays.
    Json,
    /// A collection in the table of a route.
    Collection(Collection),
}

/// A collection of single values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection {
    /// Of what.
    pub items: Items,
    /// Whether it is one value to the database.
    pub is_frozen: bool,
}

/// What a collection consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Items {
    /// Values in their order: [`Cell::List`].
    List(ScalarKind),
    /// Different values: [`Cell::List`].
    Set(ScalarKind),
    /// Values by key: [`Cell::Map`].
    Map(ScalarKind, ScalarKind),
}

/// The kinds of single values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarKind {
    /// True or false.
    Bool,
    /// A signed 32-bit integer.
    Int,
    /// A signed 64-bit integer.
    Long,
    /// An unsigned 64-bit integer that may not fit a [`ScalarKind::Long`].
    Unsigned,
    /// A 32-bit float.
    Float,
    /// A 64-bit float.
    Double,
    /// Text, also the symbols of enums.
    Text,
    /// Bytes.
    Bytes,
    /// A point in time, in milliseconds since the Unix epoch.
    Timestamp,
    /// Text of ASCII characters. This kind and those below are only in tables of routes.
    Ascii,
    /// A signed 8-bit integer.
    TinyInt,
    /// A signed 16-bit integer.
    SmallInt,
    /// An integer of any size.
    Varint,
    /// A decimal number of any size.
    Decimal,
    /// A UUID.
    Uuid,
    /// A UUID of version 1, which has a time.
    TimeUuid,
    /// An address of IPv4 or IPv6.
    Inet,
    /// A day.
    Date,
    /// A time of day.
    Time,
    /// Months, days and nanoseconds.
    Duration,
}

/// A part of [`RowGroup::data`], in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes that this span names.
    ///
    /// # Panics
    /// If the span does not lie within `data`: a group has the buffer that its cells were decoded from.
    pub fn of<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        &data[self.start as usize..self.end as usize]
    }

    /// The text that this span of a [`Cell::Text`] names.
    ///
    /// # Panics
    /// As [`Span::of`], and if it is not UTF-8: that was checked when the cell was decoded.
    pub fn text_of<'a>(&self, data: &'a [u8]) -> &'a str {
        let Ok(text) = std::str::from_utf8(self.of(data)) else {
            unreachable!("a text was checked when it was decoded")
        };
        text
    }
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value: the column stays as it is.
    Null,
    /// Null is the value: what the column had is deleted. Only in rows of routes.
    Clear,
    /// For [`ScalarKind::Bool`].
    Bool(bool),
    /// For [`ScalarKind::Int`]; within their ranges for [`ScalarKind::SmallInt`] and [`ScalarKind::TinyInt`] too.
    Int(i32),
    /// For [`ScalarKind::Long`].
    Long(i64),
    /// For [`ScalarKind::Unsigned`].
    Unsigned(u64),
    /// For [`ScalarKind::Float`].
    Float(f32),
    /// For [`ScalarKind::Double`].
    Double(f64),
    /// For [`ScalarKind::Text`]: UTF-8 in the group's data.
    Text(Span),
    /// For [`ScalarKind::Text`] too: an enum's symbol, which the schema has and the data has not. Shared, so that a
    /// cell costs a count and no copy.
    Symbol(Arc<str>),
    /// For [`ScalarKind::Bytes`]: bytes in the group's data.
    Bytes(Span),
    /// For [`ScalarKind::Timestamp`], in milliseconds since the Unix epoch.
    Timestamp(i64),
    /// For [`ColumnKind::List`], lists and sets: scalar cells of its kind.
    List(Vec<Cell>),
    /// For [`ColumnKind::Json`].
    Json(String),
    /// For [`ScalarKind::Text`] and [`ScalarKind::Ascii`] too: text that is not in the group's data.
    OwnText(Box<str>),
    /// For [`ScalarKind::Bytes`] too: bytes that are not in the group's data.
    OwnBytes(Box<[u8]>),
    /// For [`ScalarKind::Varint`].
    Varint(Box<BigInt>),
    /// For [`ScalarKind::Decimal`].
    Decimal(Box<DecimalValue>),
    /// For [`ScalarKind::Uuid`] and [`ScalarKind::TimeUuid`]: its bytes in the order of its text.
    Uuid([u8; 16]),
    /// For [`ScalarKind::Inet`].
    Inet(IpAddr),
    /// For [`ScalarKind::Date`]: days since 1970-01-01, below zero before.
    Date(i32),
    /// For [`ScalarKind::Time`]: nanoseconds since midnight, below 86,400 seconds.
    Time(i64),
    /// For [`ScalarKind::Duration`]; the three have the same sign, or are zero.
    #[allow(missing_docs)]
    Duration { months: i32, days: i32, nanoseconds: i64 },
    /// For maps: scalar cells of its kinds.
    Map(Vec<(Cell, Cell)>),
}

/// unscaled × 10^-scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecimalValue {
    /// All digits.
    pub unscaled: BigInt,
    /// How many of them are behind the point; below zero for that many zeros.
    pub scale: i32,
}

/// What is done with the rows of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowOp {
    /// They are written; what is there of them is replaced, column by column.
    Upsert,
    /// They are deleted: only the cells of the key count, and the write timestamp.
    Delete,
}

/// Rows of one table that travel to the store as one write.
#[derive(Debug, Clone, PartialEq)]
pub struct RowGroup {
    /// Where the rows go.
    pub table: Arc<Table>,
    /// What is done with them.
    pub op: RowOp,
    /// The bytes that spans point into: the buffer that the records were read into, shared, not copied.
    pub data: Bytes,
    /// Cells, row after row, [`Table::row_len`] to each.
    pub cells: Vec<Cell>,
}

// === impl Key ===

impl Key {
    /// How many columns it has.
    pub const fn len(&self) -> usize {
        self.num_partition + self.num_clustering
    }

    /// Whether it has none, which no table's has.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

// === impl Table ===

impl Table {
    /// The table of a message type: its columns begin with those of the identity.
    pub fn of_type(name: impl Into<String>, columns: Vec<Column>) -> Self {
        let key = Key { num_partition: PARTITION_KEY.len(), num_clustering: CLUSTERING_KEY.len() };
        Self { keyspace: None, name: name.into(), columns, key, routed: None }
    }

    /// How many cells a row has: one for each column, and what a route's rows have behind them.
    #[inline]
    pub fn row_len(&self) -> usize {
        let behind = |routed: &Routed| usize::from(routed.timestamp == WriteTime::Cell) + usize::from(routed.has_ttl);
        self.columns.len() + self.routed.as_ref().map_or(0, behind)
    }

    /// Where the cell of the write timestamp is, if rows have one.
    pub fn timestamp_cell(&self) -> Option<usize> {
        let routed = self.routed.as_ref()?;
        (routed.timestamp == WriteTime::Cell).then_some(self.columns.len())
    }

    /// Where the cell of the time to live is, if rows have one.
    pub fn ttl_cell(&self) -> Option<usize> {
        self.routed.as_ref().filter(|routed| routed.has_ttl).map(|_| self.row_len() - 1)
    }

    /// The name to show and to count by: with the keyspace, if it is not the store's own.
    pub fn full_name(&self) -> String {
        match &self.keyspace {
            Some(keyspace) => format!("{keyspace}.{}", self.name),
            None => self.name.clone(),
        }
    }
}

// === impl TableName ===

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.keyspace {
            Some(keyspace) => write!(f, "{keyspace}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

// === impl RowGroup ===

impl RowGroup {
    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.cells.len() / self.table.row_len()
    }

    /// The rows, [`Table::row_len`] cells each.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[Cell]> + Clone {
        self.cells.chunks_exact(self.table.row_len())
    }

    /// Some of the rows as a group of their own.
    pub fn part(&self, rows: std::ops::Range<usize>) -> RowGroup {
        let row_len = self.table.row_len();
        let cells = self.cells[rows.start * row_len..rows.end * row_len].to_vec();
        RowGroup { table: Arc::clone(&self.table), op: self.op, data: self.data.clone(), cells }
    }
}
