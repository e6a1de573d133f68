//! `surgetank run`: the engine until it is told to stop.

use std::path::Path;

use super::reload::{self, Files};
use super::{Failure, Outcome, load_for_engine, runtime, signals};
use crate::engine::{Engine, EngineError};

pub(super) fn run(path: &Path) -> Outcome {
    let mut files = Files::new(path);
    let (loaded, levels) = load_for_engine(Some(path))?;
    files.extend(&loaded);
    runtime(1)?.block_on(async {
        let mut stop = signals::stop_requested()?;
        let hang_ups = signals::hang_ups()?;
        let mut engine = Engine::launch(loaded).map_err(failure)?;
        let reloads = tokio::spawn(reload::serve(engine.opened(), files, levels, hang_ups));
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => engine.stop(),
            ended = engine.ended() => return ended.map_err(failure),
        }
        // What is under way at the end is to be drained, not changed.
        reloads.abort();
        engine.ended().await.map_err(failure)
    })
}

/// Layouts, tokens and certificates that cannot be used are a wrong config; everything else is a failure of the job.
pub(super) fn failure(error: EngineError) -> Failure {
    match error {
        EngineError::Codecs(error) => Failure::usage(error),
        EngineError::Secrets(error) => Failure::usage(error),
        other => Failure::job(other),
    }
}
