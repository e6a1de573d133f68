//! From a record to rows of tables: which columns come from where, and how values become what a column holds.
//!
//! A route is written in the config ([`spec`]) and compiled against what the database says of its table ([`compile`]). It is
//! pure: no clock, no I/O. The own table of a message type is the route that is there without being written; it does not
//! pass here.

pub mod compile;
pub mod spec;

pub use compile::{Made, RecordView, RouteProblem, RouteReject, RouteTable, TopicRoutes};
pub use spec::{ColumnSpec, Format, NullRule, RouteSpec, Source, TimestampSpec, TombstoneRule};
