//! What is logged and in which form: one subscriber for the whole process, set up once by the command line.
//!
//! Lines go to stderr, so that the output of commands on stdout stays clean.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Logging, LoggingFormat};

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

/// Sets up logging for the process. Levels come from the configuration only, and so from its override
/// `SURGETANK__LOGGING__LEVEL`: `RUST_LOG` is not read, one key has one way to be set.
pub fn init(logging: &Logging) -> Result<(), LoggingError> {
    let filter = EnvFilter::builder()
        .parse(&logging.level)
        .map_err(|source| LoggingError::Level { level: logging.level.clone(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match logging.format {
        LoggingFormat::Human => builder.compact().with_ansi(std::io::stderr().is_terminal()).finish().try_init()?,
        LoggingFormat::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logging_is_set_up_once() {
        let logging = Logging { level: "off,surgetank::log=error".to_owned(), format: LoggingFormat::Json };
        assert!(init(&logging).is_ok());
        assert!(matches!(init(&logging), Err(LoggingError::AlreadySet(_))));
    }

    #[test]
    fn levels_that_are_no_filter_are_refused() {
        let logging = Logging { level: "a=b=c".to_owned(), format: LoggingFormat::Human };
        assert!(matches!(init(&logging), Err(LoggingError::Level { .. })));
    }
}
