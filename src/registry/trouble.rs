//! What is wrong with a registry, while somebody waits for it.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::flow::health::{Condition, Part};

/// Why something that is known or asked for is not done yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The registry cannot be asked, or cannot tell.
    Unavailable(String),
    /// The registry does not let us ask.
    Refused(String),
    /// The schema is known, and cannot be kept.
    NotKept(String),
}

/// The troubles with schemas, by id.
#[derive(Debug)]
pub(super) struct Troubles {
    url: String,
    of_ids: Mutex<BTreeMap<u32, Trouble>>,
}

// === impl Troubles ===

impl Troubles {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), of_ids: Mutex::default() }
    }

    /// What became of the last attempt; `None`: it went well, or nobody waits any more.
    pub(super) fn set(&self, id: u32, trouble: Option<Trouble>) {
        let mut of_ids = self.of_ids.lock();
        match trouble {
            Some(trouble) => of_ids.insert(id, trouble),
            None => of_ids.remove(&id),
        };
    }

    pub(super) fn conditions(&self) -> Vec<Condition> {
        let of_ids = self.of_ids.lock();
        let waiting = |reason_of: fn(&Trouble) -> Option<&String>| {
            let mut reasons = of_ids.iter().filter_map(|(id, trouble)| Some((id, reason_of(trouble)?)));
            let (first, reason) = reasons.next()?;
            let more = match reasons.count() {
                0 => String::new(),
                num => format!(" and {num} more"),
            };
            Some((format!("schema {first}{more}"), reason.clone()))
        };
        let unavailable = waiting(|trouble| match trouble {
            Trouble::Unavailable(reason) => Some(reason),
            _ => None,
        });
        let refused = waiting(|trouble| match trouble {
            Trouble::Refused(reason) => Some(reason),
            _ => None,
        });
        let not_kept = waiting(|trouble| match trouble {
            Trouble::NotKept(reason) => Some(reason),
            _ => None,
        });
        let failing = |code, (ids, reason): (String, String), remedy| {
            let detail = format!("records wait for {ids} of the registry {}: {reason}; {remedy}", self.url);
            Condition::failing(Part::Consume, code, &*self.url, detail)
        };
        let unavailable = unavailable
            .map(|found| failing("registry_unavailable", found, "nothing is lost, partitions go on when it answers"));
        let refused = refused.map(|found| {
            failing(
                "registry_refused",
                found,
                "see registry.username and registry.password, and the rights of that user",
            )
        });
        let not_kept = not_kept.map(|(ids, reason)| {
            let detail = format!(
                "{ids} of the registry {} cannot be kept in the log: {reason}; a pod that starts while the registry is away \
                 cannot read its records",
                self.url
            );
            Condition::degraded(Part::Log, "registry_schemas_not_kept", &*self.url, detail)
        });
        [unavailable, refused, not_kept].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_there_is_one_condition_of_a_kind_until_the_last_schema_is_there() {
        let troubles = Troubles::new("http://registry");
        assert_eq!(troubles.conditions(), []);
        troubles.set(7, Some(Trouble::Unavailable("it is away".to_owned())));
        troubles.set(8, Some(Trouble::Unavailable("it is away".to_owned())));
        troubles.set(9, Some(Trouble::Refused("it answers 401".to_owned())));
        troubles.set(10, Some(Trouble::NotKept("too large".to_owned())));
        let codes: Vec<_> = troubles.conditions().iter().map(|condition| condition.code).collect();
        assert_eq!(codes, ["registry_unavailable", "registry_refused", "registry_schemas_not_kept"]);
        assert!(troubles.conditions()[0].detail.contains("schema 7 and 1 more"));
        troubles.set(7, None);
        assert!(troubles.conditions()[0].detail.contains("schema 8 of"));
        for id in [8, 9, 10] {
            troubles.set(id, None);
        }
        assert_eq!(troubles.conditions(), []);
    }
}
