//! What identifies a record, in every form that it takes: the first fields of its Avro record, the first columns of its
//! row, the row's key and its write timestamp.

use super::row::{Cell, ColumnKind, ScalarKind};
use super::shape::Shape;

/// A column that every table has. In this order they come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityColumn {
    /// Who sent it.
    DeviceId,
    /// The start of the [`Bucket`] that its event time falls into. Only rows have it.
    Bucket,
    /// When it happened.
    EventTime,
    /// What tells two records of one device and time apart.
    Sequence,
    /// When it came in.
    ReceivedAt,
    /// The version of the type that it was made with.
    Version,
}

/// How many columns these are.
pub const NUM_IDENTITY_COLUMNS: usize = IdentityColumn::ALL.len();

/// The columns of a database partition's key.
pub const PARTITION_KEY: [IdentityColumn; 2] = [IdentityColumn::DeviceId, IdentityColumn::Bucket];

/// The columns that order the rows of a database partition: the rest of the primary key.
pub const CLUSTERING_KEY: [IdentityColumn; 2] = [IdentityColumn::EventTime, IdentityColumn::Sequence];

/// How many columns the primary key has; they are the first ones.
pub const NUM_KEY_COLUMNS: usize = PARTITION_KEY.len() + CLUSTERING_KEY.len();

/// The fields that every record starts with, in this order.
pub const RECORD_FIELDS: [IdentityColumn; 5] = [
    IdentityColumn::DeviceId,
    IdentityColumn::EventTime,
    IdentityColumn::Sequence,
    IdentityColumn::ReceivedAt,
    IdentityColumn::Version,
];

/// The name of [`IdentityColumn::DeviceId`], for statements.
pub const DEVICE_ID: &str = IdentityColumn::DeviceId.name();
/// The name of [`IdentityColumn::Bucket`].
pub const BUCKET: &str = IdentityColumn::Bucket.name();
/// The name of [`IdentityColumn::EventTime`].
pub const EVENT_TIME: &str = IdentityColumn::EventTime.name();
/// The name of [`IdentityColumn::Sequence`].
pub const SEQUENCE: &str = IdentityColumn::Sequence.name();
/// The name of [`IdentityColumn::Version`].
pub const VERSION: &str = IdentityColumn::Version.name();

/// How long one database partition of a device lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// From one full hour to the next, UTC.
    Hour,
    /// From one midnight to the next, UTC.
    Day,
}

// === impl IdentityColumn ===

impl IdentityColumn {
    /// All, in the order of the columns.
    pub const ALL: [Self; 6] =
        [Self::DeviceId, Self::Bucket, Self::EventTime, Self::Sequence, Self::ReceivedAt, Self::Version];

    /// The position among a row's cells.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name of the column, of the field, and of the member of an event.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeviceId => "device_id",
            Self::Bucket => "bucket",
            Self::EventTime => "event_time",
            Self::Sequence => "sequence",
            Self::ReceivedAt => "received_at",
            Self::Version => "version",
        }
    }

    /// What the column holds: what a field of that type would, but that all times here are in milliseconds.
    pub fn kind(self) -> ColumnKind {
        match (self, self.shape().column()) {
            (Self::ReceivedAt, _) => ColumnKind::Scalar(ScalarKind::Timestamp),
            (_, Some(kind)) => kind,
            (_, None) => unreachable!("{} is no group", self.name()),
        }
    }

    /// The type of the record's field.
    pub const fn shape(self) -> Shape {
        match self {
            Self::DeviceId => Shape::Text,
            Self::Bucket | Self::EventTime => Shape::TimestampMillis,
            Self::Sequence => Shape::Long,
            Self::ReceivedAt => Shape::TimestampMicros,
            Self::Version => Shape::Int,
        }
    }

    /// What it means, for readers of a schema.
    pub const fn doc(self) -> &'static str {
        match self {
            Self::DeviceId => "the device that sent the message",
            Self::Bucket => "the start of the hour or day that the event time falls into",
            Self::EventTime => "when the event happened, by the device's clock",
            Self::Sequence => "the device's own counter",
            Self::ReceivedAt => "when the engine read the message from its socket",
            Self::Version => "the version of the layout that the body followed",
        }
    }

    /// The time in a row's column of this kind, in milliseconds since the Unix epoch.
    ///
    /// # Panics
    /// If the row has no time there: rows are made by a plan that puts one there.
    #[inline]
    pub fn time_ms(self, row: &[Cell]) -> i64 {
        match row.get(self.index()) {
            Some(Cell::Timestamp(time_ms)) => *time_ms,
            other => unreachable!("the column {} of a row is a time, not {other:?}", self.name()),
        }
    }
}

/// The write timestamp of a row in microseconds since the Unix epoch: its event time, so that it is the same whenever and
/// however often the row is written.
#[inline]
pub fn write_timestamp_us(row: &[Cell]) -> i64 {
    IdentityColumn::EventTime.time_ms(row).saturating_mul(1000)
}

// === impl Bucket ===

impl Bucket {
    /// The start of the bucket that a time in milliseconds falls into, in milliseconds.
    #[inline]
    pub fn start_of(self, time_ms: i64) -> i64 {
        let length_ms = match self {
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        };
        time_ms.saturating_sub(time_ms.rem_euclid(length_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_columns_are_where_their_index_says_and_the_key_comes_first() {
        assert!(IdentityColumn::ALL.iter().enumerate().all(|(position, column)| column.index() == position));
        let key: Vec<_> = PARTITION_KEY.into_iter().chain(CLUSTERING_KEY).collect();
        assert_eq!(key, IdentityColumn::ALL[..NUM_KEY_COLUMNS]);
        let fields: Vec<_> =
            IdentityColumn::ALL.into_iter().filter(|column| *column != IdentityColumn::Bucket).collect();
        assert_eq!(fields, RECORD_FIELDS);
    }

    #[test]
    fn test_write_timestamp_is_the_event_time() {
        let mut row = vec![Cell::Null; NUM_IDENTITY_COLUMNS];
        row[IdentityColumn::EventTime.index()] = Cell::Timestamp(1_700_000_000_123);
        assert_eq!(write_timestamp_us(&row), 1_700_000_000_123_000);
        assert!(std::panic::catch_unwind(|| write_timestamp_us(&[])).is_err());
    }
}
