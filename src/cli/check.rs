//! `surgetank check`: everything that can be validated without starting anything.

use std::path::Path;

use super::{Failure, Outcome};
use crate::config::Config;
use crate::engine::{check_topics, descriptors, load_catalog};

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
