//! Whether the servers' own settings let rows be written and kept: guardrails, and the last day on which a row may expire.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use scylla::errors::{DbError, ExecutionError, RequestAttemptError};

use super::super::settings::Consistency;
use crate::flow::health::{Condition, Part};

/// The settings that matter to us, as `system_views.settings` calls them.
pub(super) const NAMES: [&str; 5] =
    ["storage_compatibility_mode", USER_TIMESTAMPS, LEVELS_DISALLOWED, MAX_TIMESTAMP, MIN_TIMESTAMP];
const USER_TIMESTAMPS: &str = "user_timestamps_enabled";
const LEVELS_DISALLOWED: &str = "write_consistency_levels_disallowed";
const MAX_TIMESTAMP: &str = "maximum_timestamp_fail_threshold";
const MIN_TIMESTAMP: &str = "minimum_timestamp_fail_threshold";

/// No row expires later on a server that keeps 31 bits of a second: 2038-01-19T03:14:06Z.
const LAST_SECOND_OF_31_BITS: u64 = 0x7fff_fffe;
/// And on one that keeps 32: 2106-02-07T06:28:13Z.
const LAST_SECOND_OF_32_BITS: u64 = 0xffff_fffd;

/// This long before rows are refused it is told.
const WARNING: Duration = Duration::from_secs(180 * 86_400);

/// The settings of one server that it tells of.
pub(super) type Settings = BTreeMap<String, Option<String>>;

/// What a server says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Server {
    /// Its address.
    pub(super) node: String,
    pub(super) is_scylla: bool,
    /// `None` if it tells of none.
    pub(super) settings: Option<Settings>,
}

/// What a node answers when it is asked for its settings.
#[derive(Debug)]
pub(super) enum Answer {
    /// These.
    Settings(Settings),
    /// It has none, or none for this login.
    Nothing,
    /// It has not answered: frozen, overloaded, just starting.
    Silence,
}

/// What each node said last, by its address: one that is silent is taken for what it was.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<String, Option<Settings>>);

impl Known {
    /// A node's settings with its newest answer; `None` while nothing is known of it.
    pub(super) fn with(&mut self, node: &str, answer: Answer) -> Option<Option<Settings>> {
        match answer {
            Answer::Settings(settings) => _ = self.0.insert(node.to_owned(), Some(settings)),
            Answer::Nothing => _ = self.0.insert(node.to_owned(), None),
            Answer::Silence => {}
        }
        self.0.get(node).cloned()
    }
}

/// Whether the error is a server's answer that there is nothing to read, or not for this login. One that is frozen or away
/// says nothing of the kind, and tells its settings when it is back.
pub(super) fn tells_none(error: &ExecutionError) -> bool {
    let ExecutionError::LastAttemptError(RequestAttemptError::DbError(code, _)) = error else { return false };
    // A keyspace, a table or a column that is not there is `Invalid`.
    matches!(code, DbError::Invalid | DbError::Unauthorized)
}

/// The last second, since the Unix epoch, at which a row may expire; `None` if there is no such bound.
fn last_expiry(server: &Server) -> Option<u64> {
    if server.is_scylla {
        return None;
    }
    // Only Cassandra 5.0 can keep more than 31 bits, and only where it has been told that it need not go back.
    let mode = server.settings.as_ref().and_then(|settings| settings.get("storage_compatibility_mode")?.as_deref());
    let is_free = mode.is_some_and(|mode| mode.eq_ignore_ascii_case("none"));
    Some(if is_free { LAST_SECOND_OF_32_BITS } else { LAST_SECOND_OF_31_BITS })
}

/// Rows of a table that live so long, written at `now_s` (seconds since the Unix epoch).
pub(super) fn lifetime(table: &str, ttl: Duration, servers: &[Server], now_s: u64) -> Option<Condition> {
    let last_s = servers.iter().filter_map(last_expiry).min()?;
    // The day on which rows begin to be refused.
    let from_s = last_s.saturating_sub(ttl.as_secs());
    let left = Duration::from_secs(from_s.saturating_sub(now_s));
    let day = |seconds: u64| {
        let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        text.split('T').next().unwrap_or_default().to_owned()
    };
    let days = ttl.as_secs() / 86_400;
    let remedy = format!(
        "set store.ttl lower and ALTER TABLE {table} WITH default_time_to_live, or let the servers keep later times \
         (Cassandra 5.0 on all nodes with storage_compatibility_mode: NONE)"
    );
    if left.is_zero() {
        let detail = format!(
            "rows of table {table} live {days} days, and the database keeps none that expire after {}: it refuses every \
             row; {remedy}",
            day(last_s)
        );
        return Some(Condition::failing(Part::Store, "ttl_beyond_server", table, detail).refusing_start());
    }
    (left < WARNING).then(|| {
        let detail = format!(
            "from {} on the database will refuse every row of table {table}: they live {days} days, and none may expire \
             after {}; {remedy}",
            day(from_s),
            day(last_s)
        );
        Condition::degraded(Part::Store, "ttl_soon_beyond_server", table, detail)
    })
}

/// Guardrails that refuse what we write.
pub(super) fn guardrails(servers: &[Server], consistency: Consistency) -> Vec<Condition> {
    let mut found: BTreeMap<&str, (Vec<&str>, &str, bool)> = BTreeMap::new();
    let mut note = |name: &'static str, node, why, is_certain| {
        let entry = found.entry(name).or_insert((Vec::new(), why, is_certain));
        entry.0.push(node);
    };
    for server in servers {
        let Some(settings) = &server.settings else { continue };
        let value = |name: &str| settings.get(name).and_then(Option::as_deref);
        if value(USER_TIMESTAMPS) == Some("false") {
            let why = "every row is written with its event time as its timestamp, so every write is refused";
            note(USER_TIMESTAMPS, &server.node, why, true);
        }
        if value(LEVELS_DISALLOWED).is_some_and(|levels| has_level(levels, consistency)) {
            let why = "store.cassandra.consistency is among them, so every write is refused";
            note(LEVELS_DISALLOWED, &server.node, why, true);
        }
        for (name, why) in [
            (MAX_TIMESTAMP, "rows whose event time lies further ahead are refused (see devices.max_event_time_ahead)"),
            (
                MIN_TIMESTAMP,
                "rows whose event time lies further behind are refused (see devices.max_event_time_behind)",
            ),
        ] {
            if value(name).is_some_and(|threshold| !threshold.is_empty() && threshold != "null") {
                note(name, &server.node, why, false);
            }
        }
    }
    let told = found.into_iter().map(|(name, (nodes, why, is_certain))| {
        let detail =
            format!("the database's guardrail {name} is set on {}: {why}; take it back there", nodes.join(", "));
        match is_certain {
            true => Condition::failing(Part::Store, "guardrail", name, detail).refusing_start(),
            false => Condition::degraded(Part::Store, "guardrail", name, detail),
        }
    });
    told.collect()
}

/// The guardrail against a consistency level that this key asks for, if a server has it. Only rows that are written with
/// this level are refused.
pub(super) fn disallowed(servers: &[Server], consistency: Consistency, setting: &str) -> Option<Condition> {
    let is_set = |server: &&Server| {
        let levels = server.settings.as_ref().and_then(|settings| settings.get(LEVELS_DISALLOWED)?.as_deref());
        levels.is_some_and(|levels| has_level(levels, consistency))
    };
    let nodes: Vec<&str> = servers.iter().filter(is_set).map(|server| server.node.as_str()).collect();
    let detail = format!(
        "the database's guardrail {LEVELS_DISALLOWED} is set on {}: {setting} is among them, so every write of its rows is refused; \
         take it back there, or ask for another level",
        nodes.join(", ")
    );
    (!nodes.is_empty()).then(|| Condition::failing(Part::Store, "guardrail", LEVELS_DISALLOWED, detail))
}

/// Whether a list such as `[ONE, LOCAL_ONE]` holds a level.
fn has_level(list: &str, consistency: Consistency) -> bool {
    let name = match consistency {
        Consistency::One => "ONE",
        Consistency::Two => "TWO",
        Consistency::Three => "THREE",
        Consistency::Quorum => "QUORUM",
        Consistency::All => "ALL",
        Consistency::LocalOne => "LOCAL_ONE",
        Consistency::LocalQuorum => "LOCAL_QUORUM",
        Consistency::EachQuorum => "EACH_QUORUM",
    };
    list.split(|letter: char| !letter.is_ascii_alphabetic() && letter != '_').any(|level| level == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::health::Verdict;

    const DAY: Duration = Duration::from_secs(86_400);
    /// 2026-11-30.
    const NOW_S: u64 = 1_796_000_000;

    fn server(pairs: &[(&str, Option<&str>)]) -> Server {
        let settings = pairs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
        Server { node: "10.0.0.1".to_owned(), is_scylla: false, settings: Some(settings) }
    }

    fn code(ttl: Duration, servers: &[Server], now_s: u64) -> Option<(&'static str, Verdict)> {
        lifetime("ks.t", ttl, servers, now_s).map(|condition| (condition.code, condition.verdict))
    }

    #[test]
    fn test_the_sum_of_now_and_the_time_to_live_counts() {
        let old = [server(&[("storage_compatibility_mode", None)])];
        assert_eq!(code(DAY * 7300, &old, NOW_S), Some(("ttl_beyond_server", Verdict::Failing)));
        assert_eq!(code(DAY * 3650, &old, NOW_S), None);
        // 3650 days before the last second: 2028-01-22.
        let end_s = LAST_SECOND_OF_31_BITS - 3650 * 86_400;
        assert_eq!(code(DAY * 3650, &old, end_s - 181 * 86_400), None);
        let soon = Some(("ttl_soon_beyond_server", Verdict::Degraded));
        assert_eq!(code(DAY * 3650, &old, end_s - 179 * 86_400), soon);
        assert_eq!(code(DAY * 3650, &old, end_s - 1), soon);
        assert_eq!(code(DAY * 3650, &old, end_s), Some(("ttl_beyond_server", Verdict::Failing)));
        let condition = lifetime("ks.t", DAY * 3650, &old, end_s - 86_400).unwrap();
        assert!(condition.detail.starts_with("from 2028-01-22 on"), "{}", condition.detail);
        assert!(!condition.refuses_start);
    }

    #[test]
    fn test_only_a_server_that_has_left_its_old_format_takes_more_and_the_strictest_counts() {
        let free = server(&[("storage_compatibility_mode", Some("NONE"))]);
        let careful = server(&[("storage_compatibility_mode", Some("CASSANDRA_4"))]);
        assert_eq!(code(DAY * 7300, std::slice::from_ref(&free), NOW_S), None);
        assert!(code(DAY * 7300, &[free.clone(), careful], NOW_S).is_some());
        let silent = Server { settings: None, ..free.clone() };
        assert!(code(DAY * 7300, &[silent], NOW_S).is_some(), "an older server tells nothing");
        let scylla = Server { is_scylla: true, settings: None, ..free };
        assert_eq!(code(DAY * 7300, &[scylla], NOW_S), None);
        assert_eq!(code(DAY * 7300, &[], NOW_S), None);
    }

    #[test]
    fn test_a_node_that_is_silent_is_what_it_was_and_nothing_if_it_never_spoke() {
        let free = server(&[("storage_compatibility_mode", Some("NONE"))]).settings.unwrap();
        let mut known = Known::default();
        assert_eq!(known.with("a", Answer::Silence), None, "no reason to think that it keeps only 31 bits");
        assert_eq!(known.with("a", Answer::Settings(free.clone())), Some(Some(free.clone())));
        assert_eq!(known.with("a", Answer::Silence), Some(Some(free.clone())));
        assert_eq!(known.with("b", Answer::Silence), None);
        assert_eq!(known.with("a", Answer::Nothing), Some(None), "it is older now");
        let silent =
            Server { node: "a".to_owned(), is_scylla: false, settings: known.with("a", Answer::Silence).unwrap() };
        assert!(code(DAY * 7300, &[silent], NOW_S).is_some());
    }

    #[test]
    fn test_guardrails_that_refuse_all_writes_refuse_the_start() {
        let open = server(&[(USER_TIMESTAMPS, Some("true")), (LEVELS_DISALLOWED, Some("[]")), (MAX_TIMESTAMP, None)]);
        assert!(guardrails(&[open], Consistency::LocalQuorum).is_empty());
        let closed = server(&[(USER_TIMESTAMPS, Some("false")), (LEVELS_DISALLOWED, Some("[ONE, LOCAL_QUORUM]"))]);
        let found =
            guardrails(&[closed.clone(), Server { node: "10.0.0.2".to_owned(), ..closed }], Consistency::LocalQuorum);
        let subjects: Vec<&str> = found.iter().map(|condition| condition.subject.as_str()).collect();
        assert_eq!(subjects, [USER_TIMESTAMPS, LEVELS_DISALLOWED]);
        assert!(found.iter().all(|condition| condition.refuses_start), "{found:?}");
        assert!(found[0].detail.contains("10.0.0.1, 10.0.0.2"), "{}", found[0].detail);
        let closed = [server(&[(LEVELS_DISALLOWED, Some("[ONE, LOCAL_QUORUM]"))])];
        let of_route = disallowed(&closed, Consistency::One, "routes.r.consistency").unwrap();
        assert!(!of_route.refuses_start && of_route.detail.contains("routes.r.consistency"), "{of_route}");
        assert_eq!(disallowed(&closed, Consistency::Quorum, "routes.r.consistency"), None);
    }

    #[test]
    fn test_a_level_is_not_found_within_the_name_of_another() {
        for (list, consistency, expected) in [
            ("[LOCAL_ONE]", Consistency::One, false),
            ("[LOCAL_ONE]", Consistency::LocalOne, true),
            ("LOCAL_QUORUM,EACH_QUORUM", Consistency::Quorum, false),
            ("{QUORUM}", Consistency::Quorum, true),
        ] {
            assert_eq!(has_level(list, consistency), expected, "{list} {consistency:?}");
        }
    }

    #[test]
    fn test_only_an_answer_says_that_there_are_no_settings() {
        let answered = |code| RequestAttemptError::DbError(code, "unconfigured table settings".to_owned()).into();
        for (error, expected) in [
            (answered(DbError::Invalid), true),
            (answered(DbError::Unauthorized), true),
            (answered(DbError::Overloaded), false),
            (answered(DbError::IsBootstrapping), false),
            (ExecutionError::RequestTimeout(Duration::from_secs(2)), false),
            (ExecutionError::EmptyPlan, false),
            (RequestAttemptError::UnableToAllocStreamId.into(), false),
        ] {
            assert_eq!(tells_none(&error), expected, "{error}");
        }
    }

    #[test]
    fn test_bounds_of_timestamps_are_told_and_stop_nothing() {
        let bounded = server(&[(MIN_TIMESTAMP, Some("1d")), (MAX_TIMESTAMP, Some("null"))]);
        let found = guardrails(&[bounded], Consistency::One);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].verdict, found[0].refuses_start), (Verdict::Degraded, false));
    }
}
