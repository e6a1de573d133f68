//! `surgetank run`: the engine until it is told to stop.

use std::path::Path;

use super::{Failure, Outcome, load, runtime, signals};
use crate::engine::{Engine, EngineError};

pub(super) fn run(config: &Path) -> Outcome {
    let config = load(Some(config))?;
    runtime(1)?.block_on(async {
        let mut stop = signals::stop_requested()?;
        let mut engine = Engine::launch(config).map_err(failure)?;
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => engine.stop(),
            ended = engine.ended() => return ended.map_err(failure),
        }
        engine.ended().await.map_err(failure)
    })
}

/// Layouts that cannot be used are a wrong config; everything else is a failure of the job.
pub(super) fn failure(error: EngineError) -> Failure {
    match error {
        EngineError::Catalog(error) => Failure::usage(error),
        other => Failure::job(other),
    }
}
