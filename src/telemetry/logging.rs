//! What is logged and in which form: one subscriber for the whole process, set up once by the command line. Only its
//! levels can change afterwards.
//!
//! Lines go to stderr, so that the output of commands on stdout stays clean.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, registry, reload};

use super::lines::Lines;

/// Libraries that log what any outsider can send, requests that are not HTTP and handshakes that are not TLS, as errors or
/// warnings; and the driver of Cassandra, which repeats several times a second that a node is away. Nobody outside may decide
/// how much is logged; what matters is counted, is a condition, or comes back as an error of ours.
const TALKATIVE: &str = "actix_http=off,h2=off,rustls=off,scylla=off";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The levels are not a filter.
    #[error("logging.level {level:?} is not a filter: {source}")]
    Level {
        /// The levels.
        level: String,
        /// What the parser said.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in this process has set up logging already.
    #[error("logging is set up already: {0}")]
    AlreadySet(#[from] TryInitError),
}

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoggingFormat {
    /// One compact line for people.
    Human,
    /// One JSON object per line, for collectors.
    Json,
}

/// The levels of the process's logging, which can be changed.
#[derive(Debug, Clone)]
pub struct LogLevels {
    handle: reload::Handle<EnvFilter, Registry>,
}

/// Checked levels.
#[derive(Debug)]
pub struct Levels(EnvFilter);

/// Sets up logging for the process. Levels come from the configuration only, and so from its override
/// `SURGETANK__LOGGING__LEVEL`: `RUST_LOG` is not read, one key has one way to be set.
pub fn init(level: &str, format: LoggingFormat) -> Result<LogLevels, LoggingError> {
    let Levels(filter) = levels(level)?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(|| Lines);
    let lines = match format {
        LoggingFormat::Human => lines.compact().with_ansi(std::io::stderr().is_terminal()).boxed(),
        LoggingFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    registry().with(filter).with(lines).try_init()?;
    Ok(LogLevels { handle })
}

/// Checks levels, for [`LogLevels::set`]. Libraries that others can make talk are silent unless they are named.
pub fn levels(text: &str) -> Result<Levels, LoggingError> {
    let level = |source| LoggingError::Level { level: text.to_owned(), source };
    // What comes later replaces what is said of the same module before.
    EnvFilter::builder().parse(format!("{TALKATIVE},{text}")).map(Levels).map_err(level)
}

// === impl LogLevels ===

impl LogLevels {
    /// Logs by these levels from now on.
    pub fn set(&self, Levels(filter): Levels) {
        // Fails only when the subscriber is gone, and then nothing is logged any more.
        let _ = self.handle.reload(filter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logging_is_set_up_once_and_its_levels_change() {
        let (level, format) = ("off,surgetank::log=error", LoggingFormat::Json);
        let log_levels = init(level, format).unwrap();
        assert!(matches!(init(level, format), Err(LoggingError::AlreadySet(_))));
        assert!(!tracing::enabled!(target: "surgetank::actors", tracing::Level::DEBUG));
        log_levels.set(levels("debug").unwrap());
        assert!(tracing::enabled!(target: "surgetank::actors", tracing::Level::DEBUG));
        // Whatever the level is, others cannot make a library talk; who wants to hear it names it.
        assert!(!tracing::enabled!(target: "actix_http::h1::dispatcher", tracing::Level::ERROR));
        assert!(!tracing::enabled!(target: "rustls::msgs::handshake", tracing::Level::WARN));
        assert!(!tracing::enabled!(target: "scylla::cluster::metadata", tracing::Level::ERROR));
        assert!(tracing::enabled!(target: "actix_server::accept", tracing::Level::ERROR));
        log_levels.set(levels("off,actix_http=debug").unwrap());
        assert!(tracing::enabled!(target: "actix_http::h1::dispatcher", tracing::Level::DEBUG));
        log_levels.set(levels("info,scylla=warn").unwrap());
        assert!(tracing::enabled!(target: "scylla::cluster::metadata", tracing::Level::WARN));
        log_levels.set(levels("off").unwrap());
    }

    #[test]
    fn levels_that_are_no_filter_are_refused() {
        let (level, format) = ("a=b=c", LoggingFormat::Human);
        assert!(matches!(init(level, format), Err(LoggingError::Level { .. })));
    }
}
