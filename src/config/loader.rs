//! The way from a file and the environment to a checked configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use config::{ConfigError, Environment, Map, Source, Value};

use super::diff::LoadedConfig;
use super::document::{self, Document};
use super::environment;
use super::problem::{ConfigErrors, Problem};
use super::schema::Schema;
use super::sections::Config;
use super::sections::WrittenConfig;
use super::sections::{LogKind, StoreKind};
use super::sources::{Sources, Variable};
use super::substitute;
use super::validate::{Surroundings, validate};

impl LoadedConfig {
    /// Reads the file, then the environment over it, and checks everything. Without a file, the defaults take its
    /// place. All problems are reported together.
    pub fn load(path: Option<&Path>) -> Result<LoadedConfig, ConfigErrors> {
        // Variables that are not text are left out: whoever names one is told that it is not set. An override would
        // be left out in silence, so it is refused.
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => variables.push((name, value)),
                (Ok(name), Err(_)) if name.starts_with(environment::PREFIX) => {
                    let text = format!("environment variable {name}: its value is not UTF-8 text; set it anew");
                    return Err(ConfigErrors(vec![Problem::general(text)]));
                }
                _ => {}
            }
        }
        Self::load_with(path, variables)
    }

    /// [`LoadedConfig::load`] with an environment that the caller names.
    pub fn load_with(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<LoadedConfig, ConfigErrors> {
        let variables: BTreeMap<String, String> = environment.into_iter().collect();
        let Some(path) = path else { return load_text("", "", Path::new(""), &variables) };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let remedy = "name a readable TOML file";
            ConfigErrors(vec![Problem::general(format!("{name}: cannot be read: {error}; {remedy}"))])
        })?;
        load_text(&name, &text, path.parent().unwrap_or(Path::new("")), &variables)
    }
}

impl Config {
    /// What [`LoadedConfig::load`] has checked, for who reads it once.
    pub fn load(path: Option<&Path>) -> Result<Config, ConfigErrors> {
        LoadedConfig::load(path).map(|loaded| loaded.config)
    }

    /// [`Config::load`] with an environment that the caller names.
    pub fn load_with(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigErrors> {
        LoadedConfig::load_with(path, environment).map(|loaded| loaded.config)
    }
}

impl Default for Config {
    /// What the shipped file says. A test holds the two together.
    fn default() -> Self {
        validate(&WrittenConfig::default(), &Sources::default(), &Surroundings::default(), BTreeSet::new()).0
    }
}

/// Loads from the text of a file called `name` in `directory`.
pub(super) fn load_text(
    name: &str,
    text: &str,
    directory: &Path,
    variables: &BTreeMap<String, String>,
) -> Result<LoadedConfig, ConfigErrors> {
    let schema = Schema::new().map_err(|error| ConfigErrors(vec![Problem::general(error.to_string())]))?;
    let value_names = substitute::Names { variables, directory, files: Vec::new() };
    let document = document::read(name, text, &schema, value_names).map_err(ConfigErrors)?;
    let has_topic = |topic: &str| has_topic(&document, &schema, topic);
    let (overrides, mut problems) = environment::overrides(variables, &schema, has_topic);
    let Document { mut values, places, problems: in_file, unresolved, files } = document;
    problems.extend(in_file);
    let unreadable = |error: ConfigError| ConfigErrors(vec![Problem::general(error.to_string())]);
    // Names of columns may have any letters, which the merge would read as paths. Routes have no overrides.
    let routes = values.remove("routes").map(Value::try_deserialize).transpose().map_err(unreadable)?;
    let mut raw = merge(values, &overrides).map_err(unreadable)?;
    raw.routes = routes.unwrap_or_default();

    let sources =
        Sources { file: name.to_owned(), places, variables: overrides, files, defaults: schema.defaults().clone() };
    let surroundings = Surroundings { directory: directory.to_owned(), pod_name: pod_name(variables) };
    let faulty = problems.iter().chain(&unresolved).map(|problem| problem.key.clone()).collect();
    let (config, found) = validate(&raw, &sources, &surroundings, faulty);
    problems.extend(found);
    problems.extend(unresolved.into_iter().filter(|problem| is_in_use(&problem.key, &sources, &config)));
    if problems.is_empty() {
        let Ok(values) = serde_json::to_value(&raw) else { unreachable!("what was read from TOML is plain data") };
        return Ok(LoadedConfig { config, values, sources, surroundings });
    }
    problems.sort();
    Err(ConfigErrors(problems))
}

/// Whether a key can matter: it is neither overridden nor in the section of a backend that is not chosen.
fn is_in_use(key: &str, sources: &Sources, config: &Config) -> bool {
    let unused_log = match config.log.kind {
        LogKind::Embedded(_) => "log.kafka.",
        LogKind::Kafka(_) => "log.embedded.",
    };
    let unused_store = match config.store.kind {
        StoreKind::Embedded(_) => "store.cassandra.",
        StoreKind::Cassandra(_) => "store.embedded.",
    };
    !sources.variables.contains_key(key) && !key.starts_with(unused_log) && !key.starts_with(unused_store)
}

/// The file's values with the environment's over them, as written sections. Only known keys come here: the merge would
/// take the brackets of a name like `a[999999999]` for an index and make room for it.
fn merge(values: Map<String, Value>, overrides: &BTreeMap<String, Variable>) -> Result<WrittenConfig, ConfigError> {
    let source = overrides.iter().map(|(key, variable)| (format!("surgetank.{key}"), variable.value.clone())).collect();
    let environment = Environment::with_prefix("surgetank").separator(".").source(Some(source));
    let builder = config::Config::builder().add_source(FileValues(values)).add_source(environment);
    builder.build()?.try_deserialize()
}

/// The values of the file as a source of the merge.
#[derive(Debug, Clone)]
struct FileValues(Map<String, Value>);

impl Source for FileValues {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

fn has_topic(document: &Document, schema: &Schema, topic: &str) -> bool {
    // Topics in the file replace the default ones.
    if document.values.contains_key("topics") {
        return document.places.contains_key(&format!("topics.{topic}"));
    }
    schema.defaults().get("topics").and_then(|topics| topics.get(topic)).is_some()
}

/// The name of the pod: as the downward API is usually told to give it, else the host name, which is the pod's name
/// in Kubernetes. Elsewhere two processes may share a host name, so there it is nobody's identity.
fn pod_name(variables: &BTreeMap<String, String>) -> Option<String> {
    let in_kubernetes = variables.contains_key("KUBERNETES_SERVICE_HOST");
    let host_name = || variables.get("HOSTNAME").filter(|_| in_kubernetes);
    variables.get("POD_NAME").or_else(host_name).filter(|name| !name.is_empty()).cloned()
}
