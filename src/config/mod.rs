//! The configuration: one TOML file, the environment over it, checked once.
//!
//! Each key is declared once, in [`sections`] (how is told in `section`): what it is written as, its default, its check, and
//! whether a running engine takes another value over (`diff`). Nothing outside this module re-checks a value, and
//! nothing outside it reads a variable. `config/surgetank.toml` tells the meaning of every key.

mod checks;
mod diff;
mod document;
mod entry;
mod environment;
mod loader;
mod problem;
mod relations;
mod schema;
mod secret;
mod section;
mod sections;
mod sources;
mod substitute;
#[cfg(test)]
mod tests;
mod units;
mod validate;

pub use diff::{LoadedConfig, Renewal};
pub use problem::ConfigErrors;
pub use secret::Secret;
pub use sections::{
    CassandraStore, Compression, Config, Consumer, Credentials, DeadLetter, Decoder, Devices, EmbeddedLog,
    EmbeddedStore, Gate, GateLimiter, Http, Ingest, KafkaLog, Limits, Log, LogKind, Logging, Login, Memory, Messages,
    OthersTopic, Producer, Reload, SaslMechanism, Shutdown, Store, StoreKind, Supervision, Threads, Topic, Topics,
    TypeSelection, Writer,
};
pub(crate) use units::Span;

pub use crate::schema::Bucket;
pub use crate::store::cassandra::Consistency;
pub use crate::telemetry::logging::LoggingFormat;
