//! `surgetank check`: everything that can be validated without starting anything.

use std::path::Path;

use super::{Failure, Outcome};
use crate::config::{Config, TypeSelection};
use crate::engine::{descriptors, load_catalog};
use crate::protocol::layout::Catalog;

pub(super) fn check(path: &Path) -> Outcome {
    let config = Config::load(Some(path)).map_err(Failure::usage)?;
    let catalog = load_catalog(&config).map_err(Failure::usage)?;
    check_topics(&config, &catalog).map_err(Failure::Usage)?;
    let num_versions: usize = catalog.types().iter().map(|message_type| message_type.versions.len()).sum();
    eprintln!(
        "{}: fine ({} topics, {} message types in {num_versions} versions)",
        path.display(),
        config.topics.len(),
        catalog.types().len(),
    );
    if let Some(shortage) = descriptors::shortage(&config, descriptors::raise_limit()) {
        eprintln!("{}: note: {shortage}", path.display());
    }
    Ok(())
}

/// That every type that a topic names has a layout, and every type with a layout has a topic.
pub(super) fn check_topics(config: &Config, catalog: &Catalog) -> Result<(), String> {
    let names = || catalog.types().iter().map(|message_type| message_type.name.as_str()).collect::<Vec<_>>().join(", ");
    for topic in &config.topics {
        if let TypeSelection::Named(types) = &topic.types
            && let Some(unknown) = types.iter().find(|name| catalog.by_name(name).is_none())
        {
            let key = format!("topics.{}.types", topic.name);
            return Err(format!("{key}: there is no layout for type {unknown:?} (allowed: \"*\", {})", names()));
        }
    }
    for message_type in catalog.types() {
        if config.topic_of(&message_type.name).is_none() {
            let name = &message_type.name;
            return Err(format!(
                "no topic takes type {name:?}: name it in topics.NAME.types, or give one topic [\"*\"]"
            ));
        }
    }
    Ok(())
}
