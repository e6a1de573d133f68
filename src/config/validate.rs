//! From the configuration as written to the checked one: every rule is applied here, once.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::checks::Checker;
use super::problem::Problem;
use super::relations;
use super::section::Checked;
use super::sections::{Config, WrittenConfig};
use super::sources::Sources;

/// What is not in the file but decides how it is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// The directory of the file, which relative paths of layouts start from.
    pub directory: PathBuf,
    /// The name of the pod that this process runs in.
    pub pod_name: Option<String>,
}

/// Applies every rule. The configuration is to be used only if there is no problem. `faulty` are keys whose problem
/// is known already.
pub(super) fn validate(
    written: &WrittenConfig,
    sources: &Sources,
    surroundings: &Surroundings,
    faulty: BTreeSet<String>,
) -> (Config, Vec<Problem>) {
    let mut checker = Checker::new(sources, surroundings, faulty);
    let config = Config::read(&mut checker, "", written);
    relations::check(&mut checker, &config);
    (config, checker.problems)
}
