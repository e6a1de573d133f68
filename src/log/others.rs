//! Topics that others fill: they are read, and never created, produced to or altered.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::Regex;

/// How a topic of others is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Others {
    /// All topics that match are read; `None`: the one topic of the name.
    pub pattern: Option<TopicPattern>,
    /// Where reading begins in a partition of which the group has committed nothing.
    pub start: Start,
    /// What happens if the records where reading was to go on are gone.
    pub on_gap: OnGap,
}

/// Where reading begins without a commit. Decided once for each partition, and committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first record that is there.
    Earliest,
    /// At the end of the log, but for partitions that were added while this process ran: those from their first record.
    Latest,
    /// At the first record of this time or a later one, in milliseconds since the Unix epoch; at the end if there is none.
    TimeMs(u64),
}

/// What happens when records were removed before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGap {
    /// The partition stands, until somebody has decided.
    Stop,
    /// Reading goes on at the first record that is there.
    Earliest,
    /// Reading goes on at the end of the log.
    Latest,
}

/// A pattern of topic names: a regular expression that begins with `^`.
#[derive(Debug, Clone)]
pub struct TopicPattern {
    regex: Regex,
    /// Topics of ours, which it never matches.
    except: BTreeSet<Arc<str>>,
}

// === impl TopicPattern ===

impl TopicPattern {
    /// Compiles a pattern; an error says what is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, String> {
        if !pattern.starts_with('^') {
            return Err("it does not begin with ^".to_owned());
        }
        let said = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().trim().to_owned();
        Ok(Self { regex: Regex::new(pattern).map_err(said)?, except: BTreeSet::new() })
    }

    /// The same, but for these topics.
    #[must_use]
    pub fn except(self, topics: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self { except: topics.into_iter().collect(), ..self }
    }

    /// Whether a topic of this name matches. Topics of Kafka itself, such as `__consumer_offsets`, never do.
    pub fn matches(&self, topic: &str) -> bool {
        !topic.starts_with("__") && !self.except.contains(topic) && self.regex.is_match(topic)
    }
}

impl PartialEq for TopicPattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str() && self.except == other.except
    }
}

impl Eq for TopicPattern {}

impl std::fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.regex.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_pattern_matches_from_the_start_and_neither_our_topics_nor_kafkas_own() {
        let pattern = TopicPattern::new("^app-").unwrap();
        assert!(pattern.matches("app-events") && !pattern.matches("my-app-events"));
        let all = TopicPattern::new("^.*").unwrap().except(["dead-letters".into()]);
        assert!(all.matches("app") && !all.matches("dead-letters") && !all.matches("__consumer_offsets"));
        assert!(TopicPattern::new("app-.*").unwrap_err().contains('^'));
        assert!(TopicPattern::new("^app(").unwrap_err().contains("unclosed group"));
    }
}
