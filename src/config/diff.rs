//! A newer config against the one in force: which of its keys a running engine takes over, and which need a restart.
//!
//! Works on the values as they were written, so that a new key needs a restart until it is declared live, and runs them
//! through the same checks as at the start, so that no mixture of old and new comes into force that nobody would have
//! been allowed to write.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use super::problem::{ConfigErrors, Problem};
use super::section::Written;
use super::sections::WrittenConfig;
use super::sections::{Config, Topic, Topics};
use super::sources::Sources;
use super::validate::{Surroundings, validate};

/// The keys that a running engine takes over, as they are declared.
fn live_keys() -> Vec<String> {
    let mut live = Vec::new();
    WrittenConfig::list_live("", &mut live);
    live
}

/// A section whose keys are names that the operator chooses.
const TOPICS: &str = "topics";
/// Another one.
const ROUTES: &str = "routes";

/// A checked config with what it was checked from.
pub struct LoadedConfig {
    /// The checked config.
    pub config: Config,
    /// The values as written, section by section, with defaults for what was left out.
    pub(super) values: Value,
    /// Where they were written.
    pub(super) sources: Sources,
    /// What is not in the file but decides how it is read.
    pub(super) surroundings: Surroundings,
}

/// What a newer config comes to.
#[derive(Debug)]
pub struct Renewal {
    /// What is in force if the engine can take it over: keys that need a restart are as before.
    pub loaded: LoadedConfig,
    /// The keys that change.
    pub taken: Vec<String>,
    /// The keys that would change with a restart.
    pub needs_restart: Vec<String>,
}

// === impl LoadedConfig ===

impl fmt::Debug for LoadedConfig {
    /// Leaves out what was written, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedConfig").field("config", &self.config).finish_non_exhaustive()
    }
}

impl LoadedConfig {
    /// The files and directories that it was made of, beside the file itself, and those that the config names: a change of
    /// any of them is a reason to read everything again.
    pub fn places(&self) -> Vec<PathBuf> {
        let mut places = self.config.places();
        places.extend_from_slice(&self.sources.files);
        places
    }

    /// What `newer` comes to while this config is in force. An error if what can be taken over does not go together
    /// with what cannot.
    pub fn renewed_by(&self, newer: LoadedConfig) -> Result<Renewal, ConfigErrors> {
        let mut values = self.values.clone();
        let (mut taken, mut needs_restart) = (Vec::new(), Vec::new());
        let (written, live) = (keys(&newer.values), live_keys());
        for (key, value) in &written {
            if self.would_change(key, value, &newer) {
                let is_live = live.contains(key);
                let list = if is_live { &mut taken } else { &mut needs_restart };
                list.push(key.clone());
                if is_live {
                    set(&mut values, key, (*value).clone());
                }
            }
        }
        match same_topics(&self.config.topics, &newer.config.topics) {
            true => {
                taken.extend(changed_types(&self.config.topics.own, &newer.config.topics.own));
                set(&mut values, TOPICS, newer.values.get(TOPICS).cloned().unwrap_or_default());
            }
            false => needs_restart.push(TOPICS.to_owned()),
        }
        match self.config.routes == newer.config.routes {
            true => set(&mut values, ROUTES, newer.values.get(ROUTES).cloned().unwrap_or_default()),
            false => needs_restart.push(ROUTES.to_owned()),
        }
        let loaded = check(values, newer, &needs_restart)?;
        Ok(Renewal { loaded, taken, needs_restart })
    }

    /// Whether this value makes another config, and is not only written in another way or in a section that is not used:
    /// set by itself now, or left out of the newer one, as with the halves of a pair that mean nothing alone.
    fn would_change(&self, key: &str, value: &Value, newer: &LoadedConfig) -> bool {
        let in_force = key.split('.').try_fold(&self.values, |table, name| table.get(name));
        if in_force == Some(value) {
            return false;
        }
        let is_other = |base: &LoadedConfig, value: Value| {
            let mut values = base.values.clone();
            set(&mut values, key, value);
            // Only this value counts, not whether it goes together with the others.
            checked(&values, &newer.sources, &newer.surroundings).is_none_or(|(config, _)| config != base.config)
        };
        is_other(self, value.clone()) || in_force.is_some_and(|before| is_other(newer, before.clone()))
    }
}

/// The config of these values. `left` are keys that are as they were in spite of the newer config.
fn check(values: Value, newer: LoadedConfig, left: &[String]) -> Result<LoadedConfig, ConfigErrors> {
    let LoadedConfig { mut sources, surroundings, .. } = newer;
    // An error is to show the value in force, not the one that waits for a restart.
    sources.places.retain(|key, _| !left.contains(key));
    sources.variables.retain(|key, _| !left.contains(key));
    sources.defaults = values.clone();
    let unreadable = || ConfigErrors(vec![Problem::general("the values in force cannot be read again")]);
    let (config, mut problems) = checked(&values, &sources, &surroundings).ok_or_else(unreadable)?;
    if problems.is_empty() {
        return Ok(LoadedConfig { config, values, sources, surroundings });
    }
    for problem in &mut problems {
        problem.text.push_str(&format!(" (in force until a restart: {})", left.join(", ")));
    }
    problems.sort();
    Err(ConfigErrors(problems))
}

fn checked(values: &Value, sources: &Sources, surroundings: &Surroundings) -> Option<(Config, Vec<Problem>)> {
    let raw: WrittenConfig = serde_json::from_value(values.clone()).ok()?;
    Some(validate(&raw, sources, surroundings, BTreeSet::new()))
}

/// All keys with their values but those of topics and routes: `devices.listen` and the like.
fn keys(values: &Value) -> BTreeMap<String, &Value> {
    fn collect<'a>(path: &str, value: &'a Value, keys: &mut BTreeMap<String, &'a Value>) {
        let Some(table) = value.as_object() else {
            keys.insert(path.to_owned(), value);
            return;
        };
        for (name, value) in table {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if path != TOPICS && path != ROUTES {
                collect(&path, value, keys);
            }
        }
    }
    let mut found = BTreeMap::new();
    collect("", values, &mut found);
    found
}

fn set(values: &mut Value, key: &str, value: Value) {
    let place = key.split('.').try_fold(values, |table, name| table.get_mut(name));
    // Every key has a value, if only its default.
    if let Some(place) = place {
        *place = value;
    }
}

fn same_topics(before: &Topics, after: &Topics) -> bool {
    let shape = |topics: &Topics| -> BTreeMap<String, u32> {
        topics.own.iter().map(|topic| (topic.name.clone(), topic.partitions.get())).collect()
    };
    shape(before) == shape(after) && before.others == after.others
}

fn changed_types(before: &[Topic], after: &[Topic]) -> Vec<String> {
    let differs = |topic: &&Topic| before.iter().any(|old| old.name == topic.name && old.types != topic.types);
    after.iter().filter(differs).map(|topic| format!("{TOPICS}.{}.types", topic.name)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::loader::load_text;
    use super::super::schema::Schema;
    use super::*;

    fn loaded(text: &str) -> LoadedConfig {
        load_text("x.toml", text, Path::new("dir"), &BTreeMap::new()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn renewed(before: &str, after: &str) -> Renewal {
        loaded(before).renewed_by(loaded(after)).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// A value that is allowed and not the default, for a key whose default this is.
    fn another(key: &str, value: &Value) -> String {
        let text = match (key, value) {
            (_, Value::Bool(value)) => return (!value).to_string(),
            // For a number of actors 0 means one for each core.
            (_, Value::Number(number)) if number.as_i64() == Some(0) => return "255".to_owned(),
            (_, Value::Number(number)) => return (number.as_i64().unwrap() + 1).to_string(),
            ("devices.listen" | "http.listen" | "ingest.listen", _) => "127.0.0.1:9",
            ("ingest.max_event" | "ingest.piece", _) => "128 KiB",
            ("ingest.cors_origins", _) => "https://app.example",
            ("devices.max_frame" | "devices.max_package", _) => "2 MiB",
            ("memory.budget", _) => "64 MiB",
            ("limits.frame_rate", _) => "2 KiB",
            ("log.embedded.disk_budget", _) => "30 GiB",
            ("devices.idle_timeout" | "log.embedded.retention" | "store.ttl", _) => "2 min",
            ("writer.retry_min" | "supervision.backoff_min", _) => "60 ms",
            ("gate.read_again_below", _) => "100 ms",
            ("gate.limiter", _) => "fixed",
            ("log.kind", _) => "kafka",
            ("store.kind", _) => "cassandra",
            ("store.bucket", _) => "hour",
            ("registry.url", _) => "http://registry:8081",
            ("logging.level", _) => "debug",
            ("logging.format", _) => "json",
            (_, Value::String(text)) if text.ends_with("iB") => "20 MiB",
            (_, Value::String(text)) if text == "10 s" => "11 s",
            (_, Value::String(text)) if text.starts_with(char::is_numeric) => "10 s",
            _ => "else",
        };
        format!("{text:?}")
    }

    #[test]
    fn every_key_is_taken_over_or_needs_a_restart_and_does_not_touch_others() {
        let schema = Schema::new().unwrap();
        let mut live: BTreeSet<String> = live_keys().into_iter().collect();
        for (key, value) in keys(schema.defaults()) {
            // What is written for a backend that is not chosen changes nothing, and no key of TLS can be set alone.
            // Neither can one half of a login.
            if key.starts_with("log.kafka.")
                || matches!(&*key, "registry.username" | "registry.password")
                || key.starts_with("store.cassandra.")
                || key.contains(".tls.")
            {
                continue;
            }
            let text = format!("{key} = {}", another(&key, value));
            let Renewal { loaded: in_force, taken, needs_restart } = renewed("", &text);
            if live.remove(&key) {
                assert_eq!((taken, needs_restart), (vec![key.clone()], vec![]), "{text}");
                assert_eq!(in_force.config, loaded(&text).config, "{key}");
            } else {
                assert_eq!((taken, needs_restart), (vec![], vec![key.clone()]), "{text}");
                assert_eq!(in_force.config, Config::default(), "{key}");
            }
        }
        assert!(live.is_empty(), "unknown keys: {live:?}");
    }

    #[test]
    fn tls_is_turned_on_by_a_restart() {
        let Renewal { loaded: in_force, taken, needs_restart } =
            renewed("", "[http.tls]\ncertificate = \"c\"\nkey = \"k\"");
        assert_eq!(
            (taken.len(), needs_restart),
            (0, vec!["http.tls.certificate".to_owned(), "http.tls.key".to_owned()])
        );
        assert_eq!(in_force.config, Config::default());
    }

    #[test]
    fn another_spelling_and_a_room_that_is_not_used_change_nothing() {
        let after = "devices.idle_timeout = \"300 s\"\nlog.kafka.brokers = [\"b:1\"]\nmemory.budget = \"268435456 B\"";
        let Renewal { taken, needs_restart, .. } = renewed("", after);
        assert_eq!((taken, needs_restart), (vec![], vec![]));
    }

    #[test]
    fn what_waits_for_a_restart_goes_on_waiting_and_can_be_taken_back() {
        let first = renewed("", "devices.max_connections = 5\ndevices.max_messages = 7");
        assert_eq!(first.needs_restart, ["devices.max_connections"]);
        let second = first.loaded.renewed_by(loaded("devices.max_connections = 5\ndevices.max_messages = 8")).unwrap();
        assert_eq!((second.taken, second.needs_restart.len()), (vec!["devices.max_messages".to_owned()], 1));
        let third = second.loaded.renewed_by(loaded("")).unwrap();
        assert_eq!((third.taken, third.needs_restart), (vec!["devices.max_messages".to_owned()], vec![]));
        assert_eq!(third.loaded.config, Config::default());
    }

    #[test]
    fn a_mixture_of_old_and_new_keeps_to_the_rules() {
        let before = loaded("log.embedded.write_buffer = \"4 MiB\"");
        let after = "log.embedded.write_buffer = \"8 MiB\"\ndevices.max_package = \"8 MiB\"";
        let error = before.renewed_by(loaded(after)).unwrap_err().to_string();
        let expected = "x.toml:2: devices.max_package = \"8 MiB\" is more than log.embedded.write_buffer = \"4 MiB\"; \
            lower devices.max_package or raise log.embedded.write_buffer (in force until a restart: \
            log.embedded.write_buffer)";
        assert_eq!(error, expected);
    }

    #[test]
    fn changed_routes_wait_for_a_restart() {
        let route = |table: &str| {
            format!("[routes.r]\ntypes = [\"position\"]\ntable = \"{table}\"\ncolumns.id = \"$.device_id\"")
        };
        let Renewal { loaded: in_force, taken, needs_restart } = renewed(&route("a"), &route("b"));
        assert_eq!((taken, needs_restart), (vec![], vec!["routes".to_owned()]));
        assert_eq!(in_force.config.routes, loaded(&route("a")).config.routes);
        assert_eq!(renewed(&route("a"), &route("a")).needs_restart, [""; 0]);
    }

    #[test]
    fn types_move_between_topics_but_topics_stay() {
        let topics = "[topics.a]\ntypes = [\"gps\"]\n[topics.b]\n";
        let moved = renewed(topics, "[topics.a]\ntypes = [\"gps\", \"door\"]\n[topics.b]");
        assert_eq!((moved.taken, moved.needs_restart), (vec!["topics.a.types".to_owned()], vec![]));
        assert_eq!(moved.loaded.config.topic_of("door").unwrap().name, "a");
        for other in [
            "[topics.a]\n[topics.c]\ntypes = [\"x\"]",
            "[topics.a]",
            "[topics.a]\npartitions = 3\n[topics.b]\ntypes = [\"y\"]",
        ] {
            let Renewal { loaded: in_force, taken, needs_restart } = renewed(topics, other);
            assert_eq!((taken, needs_restart), (vec![], vec!["topics".to_owned()]), "{other}");
            assert_eq!(in_force.config.topics, loaded(topics).config.topics);
        }
    }
}
