//! The configuration: one TOML file, the environment over it, checked once.
//!
//! Two steps. First the raw structs, which take whatever is written under a known key and hold the defaults; then the
//! checks, which turn them into the types that are public here. `diff` says what of another config a running engine
//! takes over. Nothing outside this module re-checks a value, and
//! nothing outside it reads a variable. `config/surgetank.toml` tells the meaning of every key.

mod backends;
mod checks;
mod diff;
mod document;
mod entry;
mod environment;
mod ingest;
mod limits;
mod loader;
mod problem;
mod raw;
mod raw_backends;
mod raw_devices;
mod raw_ingest;
mod raw_limits;
mod schema;
mod secret;
mod sources;
mod substitute;
#[cfg(test)]
mod tests;
mod types;
mod units;
mod validate;

pub use backends::{
    Bucket, CassandraStore, Compression, Consistency, EmbeddedLog, EmbeddedStore, KafkaLog, Log, LogKind, Login,
    SaslMechanism, Store, StoreKind,
};
pub use diff::{LoadedConfig, Renewal};
pub use ingest::Ingest;
pub use limits::Limits;
pub use problem::ConfigErrors;
pub use secret::Secret;
pub use types::{
    Config, Consumer, Credentials, DeadLetter, Decoder, Devices, Gate, GateLimiter, Http, Logging, LoggingFormat,
    Memory, Messages, Producer, Reload, Shutdown, Supervision, Threads, Topic, TypeSelection, Writer,
};
pub(crate) use units::Span;
