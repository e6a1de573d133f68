//! From a record to rows of tables: which columns come from where, and how values become what a column holds.
//!
//! A route is written in the config ([`spec`]) and compiled against what the database says of its table ([`compile`]). It is
//! pure: no clock, no I/O. The own table of a message type is the route that is there without being written; it does not
//! pass here.

mod apply;
mod check;
pub mod compile;
mod convert;
mod expression;
mod filter;
mod functions;
mod gives;
mod idempotence;
mod plan;
mod reject;
pub mod spec;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use check::{KeyProblem, check_texts};
pub use compile::{Because, Made, RecordView, RouteProblem, RouteReject, RouteTable, TopicRoutes};
pub use expression::{Expression, ExpressionError};
pub use idempotence::Idempotence;
pub use reject::REJECT_CODES;
pub use spec::{ColumnSpec, Format, NullRule, RouteSpec, Source, TimestampSpec, TombstoneRule, TtlSpec};
