//! `surgetank check`: everything that can be validated without starting anything, and with `--online` without running.

use super::args::CheckArgs;
use super::check_online::check_online;
use super::output::tell;
use super::routes::tell_routes;
use super::{Failure, Outcome};
use crate::config::Config;
use crate::engine::{Secrets, capacity, check_routes, check_topics, descriptors, load_codecs};
use crate::schema::Catalog;

pub(super) fn check(args: &CheckArgs) -> Outcome {
    let path = args.config.as_path();
    let config = Config::load(Some(path)).map_err(Failure::usage)?;
    let codecs = load_codecs(&config).map_err(Failure::usage)?;
    let catalog = codecs.catalog();
    check_topics(&config, catalog).map_err(Failure::Usage)?;
    check_routes(&config, catalog).map_err(Failure::Usage)?;
    let secrets = check_secrets(&config, catalog)?;
    let num_versions: usize = catalog.types().iter().map(|message_type| message_type.versions.len()).sum();
    tell!(
        "{}: fine ({} topics, {} message types in {num_versions} versions)",
        path.display(),
        config.topics.own.len() + config.topics.others.len(),
        catalog.types().len(),
    );
    let limit = descriptors::raise_limit();
    let notes =
        [descriptors::refusal(&config, limit), descriptors::shortage(&config, limit), capacity::shortage(&config)];
    let notes = notes.into_iter().chain([secrets.nobody_may_look(&config)]);
    for note in notes.flatten() {
        tell!("{}: note: {note}", path.display());
    }
    tell_routes(&path.display().to_string(), &config);
    if args.online { check_online(path, &config, &codecs) } else { Ok(()) }
}

/// That tokens and certificates can be read, and every type that a token names has a layout.
fn check_secrets(config: &Config, catalog: &Catalog) -> Result<Secrets, Failure> {
    let secrets = Secrets::open(config).map_err(Failure::usage)?;
    match secrets.credentials.load().http_types().find(|(_, type_name)| catalog.by_name(type_name).is_none()) {
        None => Ok(secrets),
        Some((token, type_name)) => Err(Failure::Usage(format!(
            "credentials.file: token {token:?} may send type {type_name:?}, for which there is no layout; correct its types"
        ))),
    }
}
