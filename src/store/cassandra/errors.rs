//! The driver's errors as the writer needs them, by their codes alone: what a row may have caused, what an operator has
//! to mend, and what may be a matter of load.

use scylla::errors::{DbError, ExecutionError, RequestAttemptError};

use crate::store::{TransientKind, WriteError};

/// Longest cause that is passed on; some of the driver's errors quote whole statements.
const MAX_CAUSE_BYTES: usize = 300;

/// The one code that a row can cause is `Invalid`, on Cassandra and on ScyllaDB alike, and so can settings, guardrails and
/// dropped tables: it stands for a suspicion. What the driver could not put into a request is of this kind, too.
pub(super) fn write_error(error: &ExecutionError) -> WriteError {
    let cause = short(cause(error));
    match error {
        ExecutionError::BadQuery(_) => WriteError::Invalid(cause),
        ExecutionError::EmptyPlan | ExecutionError::ConnectionPoolError(_) => {
            WriteError::Transient(TransientKind::Connection, cause)
        }
        ExecutionError::RequestTimeout(_) => WriteError::Transient(TransientKind::Timeout, cause),
        ExecutionError::LastAttemptError(error) => match error {
            RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_) => {
                WriteError::Invalid(cause)
            }
            RequestAttemptError::UnableToAllocStreamId | RequestAttemptError::BrokenConnectionError(_) => {
                WriteError::Transient(TransientKind::Connection, cause)
            }
            RequestAttemptError::DbError(code, _) => answered(code, cause),
            _ => WriteError::Table(cause),
        },
        _ => WriteError::Table(cause),
    }
}

/// What a server's answer means. Permissions, a login, a syntax that a changed table no longer allows, replicas that fail
/// at a write (which is how ScyllaDB refuses a mutation larger than its commit log takes): nothing that pressing less
/// hard would change, nor proof against a row.
fn answered(code: &DbError, cause: String) -> WriteError {
    match code {
        DbError::Invalid => WriteError::Invalid(cause),
        DbError::Overloaded => WriteError::Transient(TransientKind::Overloaded, cause),
        // ScyllaDB's `per_partition_rate_limit`, an option of the table.
        DbError::RateLimitReached { .. } => WriteError::Transient(TransientKind::RowLimited, cause),
        DbError::Unavailable { .. } | DbError::IsBootstrapping => {
            WriteError::Transient(TransientKind::Unavailable, cause)
        }
        DbError::WriteTimeout { .. } | DbError::ReadTimeout { .. } => {
            WriteError::Transient(TransientKind::Timeout, cause)
        }
        _ => WriteError::Table(cause),
    }
}

/// What the server said, without the driver's words around it.
fn cause(error: &ExecutionError) -> String {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Invalid, message)) => message.clone(),
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(code, message)) => format!("{code}: {message}"),
        other => other.to_string(),
    }
}

fn short(mut cause: String) -> String {
    if cause.len() > MAX_CAUSE_BYTES {
        let mut end = MAX_CAUSE_BYTES;
        while !cause.is_char_boundary(end) {
            end -= 1;
        }
        cause.truncate(end);
        cause.push('…');
    }
    cause
}

#[cfg(test)]
mod tests {
    use scylla::errors::OperationType;

    use super::*;

    fn answer(error: DbError, message: &str) -> WriteError {
        write_error(&ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, message.to_string())))
    }

    #[test]
    fn test_write_error_depends_on_the_code_and_never_on_the_text() {
        let texts = [
            "",
            "Expected 4 or 0 byte int (8)",
            "unconfigured table t",
            "Keyspace x does not exist",
            "Undefined column name c in table t",
            "Provided values [ONE] are not allowed for Write Consistency Levels",
            "a text that no server has said before",
        ];
        for text in texts {
            assert!(matches!(answer(DbError::Invalid, text), WriteError::Invalid(_)), "{text}");
            assert!(
                matches!(answer(DbError::Overloaded, text), WriteError::Transient(TransientKind::Overloaded, _)),
                "{text}"
            );
            for code in [
                DbError::Unauthorized,
                DbError::AuthenticationError,
                DbError::ConfigError,
                DbError::SyntaxError,
                DbError::ProtocolError,
                DbError::ServerError,
            ] {
                let what = format!("{code:?} {text}");
                assert!(matches!(answer(code, text), WriteError::Table(_)), "{what}");
            }
        }
    }

    #[test]
    fn test_a_limit_of_one_partition_is_no_overload() {
        let limit = DbError::RateLimitReached { op_type: OperationType::Write, rejected_by_coordinator: true };
        let error = answer(limit, "per-partition rate limit reached");
        assert!(matches!(error, WriteError::Transient(TransientKind::RowLimited, _)), "{error:?}");
        assert_eq!(error.retry_reason(), "row_limited");
    }

    #[test]
    fn test_write_error_shortens_causes_between_characters() {
        let WriteError::Transient(_, cause) = answer(DbError::Overloaded, &"ü".repeat(1000)) else {
            panic!("overload is transient")
        };
        assert!(cause.len() <= MAX_CAUSE_BYTES + '…'.len_utf8());
    }
}
