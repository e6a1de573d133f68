//! The schema registry of the config.

use std::sync::Arc;

use super::EngineError;
use super::backends::registry_settings;
use super::opening::retry_until_ready;
use crate::config::Config;
use crate::log::Log;
use crate::observe::View;
use crate::registry::{Registry, RegistryError};

/// Opens it for a command, if the config names one.
pub async fn open_registry(config: &Config, log: &Arc<dyn Log>) -> Result<Option<Arc<Registry>>, RegistryError> {
    match registry_settings(config) {
        Some(settings) => Registry::open(settings, Arc::clone(log), Arc::default()).await.map(Some),
        None => Ok(None),
    }
}

/// Learns the schemas that are kept in the log, and has the registry watched. `None` if the config names none.
pub(super) async fn open(
    config: &Arc<Config>,
    log: &Arc<dyn Log>,
    view: &View,
) -> Result<Option<Arc<Registry>>, EngineError> {
    let Some(settings) = registry_settings(config) else { return Ok(None) };
    let registry = retry_until_ready("the registry's schemas in the log", config, view, async || {
        let (log, telemetry) = (Arc::clone(log), Arc::clone(&view.telemetry));
        Registry::open(settings.clone(), log, telemetry).await.map_err(|error| match error {
            RegistryError::Log(error) => EngineError::Log(error),
            error => EngineError::Registry(error),
        })
    })
    .await?;
    let watched = Arc::clone(&registry);
    view.status.watch(move || watched.conditions());
    Ok(Some(registry))
}
