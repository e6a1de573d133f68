//! One question to one node, and whether a question that brings no rows is worth asking again.

use std::time::Duration;

use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;

/// Why there are no rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The server has understood the question and has no answer, or none that is understood here: it lacks the table or a
    /// column of it, or this login may not read it.
    Refused(String),
    /// It has not answered: away, frozen, overloaded, just starting.
    Silent(String),
}

/// Asks one node for all rows of its own view of things.
pub(super) async fn rows<R>(
    session: &Session,
    node: &NodeIdentifier,
    cql: &str,
    timeout: Duration,
) -> Result<Vec<R>, Unanswered>
where
    R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
{
    let mut question = Statement::new(cql);
    question.set_consistency(Consistency::One);
    question.set_request_timeout(Some(timeout));
    question.set_load_balancing_policy(Some(SingleTargetLoadBalancingPolicy::new(node.clone(), None)));
    let answer = session.query_unpaged(question, ()).await.map_err(|error| match is_refusal(&error) {
        true => Unanswered::Refused(error.to_string()),
        false => Unanswered::Silent(error.to_string()),
    })?;
    let rows = answer.into_rows_result().map_err(refused)?;
    let rows = rows.rows::<R>().map_err(refused)?.collect::<Result<Vec<R>, _>>();
    rows.map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> Unanswered {
    Unanswered::Refused(error.to_string())
}

/// Whether the server has understood the question and has no answer.
fn is_refusal(error: &ExecutionError) -> bool {
    use DbError::{ConfigError, Invalid, SyntaxError, Unauthorized};
    let ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) = error else { return false };
    matches!(error, Invalid | SyntaxError | Unauthorized | ConfigError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_only_a_server_that_has_understood_the_question_refuses_it() {
        let answered = |code| RequestAttemptError::DbError(code, "table nonsense does not exist".to_owned()).into();
        for (error, expected) in [
            (answered(DbError::Invalid), true),
            (answered(DbError::Unauthorized), true),
            (answered(DbError::SyntaxError), true),
            (answered(DbError::Overloaded), false),
            (answered(DbError::ServerError), false),
            (ExecutionError::RequestTimeout(Duration::from_secs(1)), false),
            (ExecutionError::EmptyPlan, false),
        ] {
            assert_eq!(is_refusal(&error), expected, "{error}");
        }
    }
}
