//! The driver's errors as the writer needs them: worth another try, or the rows' own fault.

use scylla::errors::{DbError, ExecutionError, RequestAttemptError};

use crate::store::WriteError;

/// Longest cause that is passed on; some of the driver's errors quote whole statements.
const MAX_CAUSE_BYTES: usize = 300;

/// What Cassandra and ScyllaDB say about a missing keyspace, table or column, in lower case.
const MISSING_SCHEMA: [&str; 7] = [
    "unconfigured table",
    "does not exist",
    "doesn't exist",
    "can't find a",
    "unknown keyspace",
    "undefined column",
    "unknown identifier",
];

/// Rows are at fault only where the driver or the server says so. Whatever an operator can mend is transient: a table
/// dropped or a permission revoked by mistake must not send everything to the dead letters.
pub(super) fn write_error(error: &ExecutionError) -> WriteError {
    let is_invalid = match error {
        ExecutionError::BadQuery(_) => true,
        ExecutionError::LastAttemptError(error) => is_invalid(error),
        _ => false,
    };
    let cause = short(error.to_string());
    if is_invalid { WriteError::Invalid(cause) } else { WriteError::Transient(cause) }
}

fn is_invalid(error: &RequestAttemptError) -> bool {
    match error {
        RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_) => true,
        RequestAttemptError::DbError(DbError::Invalid | DbError::ConfigError, message) => {
            let message = message.to_lowercase();
            !MISSING_SCHEMA.iter().any(|missing| message.contains(missing))
        }
        RequestAttemptError::DbError(
            DbError::SyntaxError | DbError::ProtocolError | DbError::FunctionFailure { .. },
            _,
        ) => true,
        _ => false,
    }
}

fn short(mut cause: String) -> String {
    if cause.len() > MAX_CAUSE_BYTES {
        let end = (0..=MAX_CAUSE_BYTES).rev().find(|end| cause.is_char_boundary(*end)).unwrap_or_default();
        cause.truncate(end);
        cause.push('…');
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(error: DbError, message: &str) -> WriteError {
        write_error(&ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, message.to_string())))
    }

    #[test]
    fn test_write_error_blames_rows_only_for_what_they_hold() {
        assert!(matches!(answer(DbError::Invalid, "Expected 4 or 0 byte int (8)"), WriteError::Invalid(_)));
        assert!(matches!(answer(DbError::Invalid, "Batch too large"), WriteError::Invalid(_)));
        for message in ["unconfigured table t", "Keyspace x does not exist", "Undefined column name c in table t"] {
            assert!(matches!(answer(DbError::Invalid, message), WriteError::Transient(_)), "{message}");
        }
        assert!(matches!(answer(DbError::Overloaded, ""), WriteError::Transient(_)));
        assert!(matches!(answer(DbError::Unauthorized, ""), WriteError::Transient(_)));
    }

    #[test]
    fn test_write_error_shortens_causes_between_characters() {
        let WriteError::Transient(cause) = answer(DbError::Overloaded, &"ü".repeat(1000)) else {
            panic!("overload is transient")
        };
        assert!(cause.len() <= MAX_CAUSE_BYTES + '…'.len_utf8());
    }
}
