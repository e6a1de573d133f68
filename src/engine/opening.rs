//! Opening what a start cannot do without: tried until it is there, as long as waiting may help.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::EngineError;
use super::backends::{all_topics, open_log};
use crate::config::Config;
use crate::flow::backoff::Backoff;
use crate::flow::health::{Condition, Part};
use crate::log::Log;
use crate::observe::{Phase, View};
use crate::supervision::jitter;

/// How long a start that is held up waits before it looks again.
const HOLD_UP: Duration = Duration::from_millis(20);

/// Opens the log, and creates or checks its topics.
pub(super) async fn open_ready_log(config: &Config, view: &View) -> Result<Arc<dyn Log>, EngineError> {
    let topics = all_topics(config);
    let log = retry_until_ready("the log", config, view, async || {
        let log = open_log(config)?;
        match config.log.apply_on_start {
            true => log.apply(&topics).await?.iter().for_each(|change| info!("{change}")),
            false => log.check(&topics).await?,
        }
        refuse_start(log.inspect(&topics).await?)?;
        Ok(log)
    })
    .await?;
    let (asked, measured) = (Arc::clone(&log), Arc::clone(&log));
    view.status.watch(move || asked.conditions());
    view.status.measure(move || measured.gauges());
    view.status.heard_of(Part::Log);
    Ok(log)
}

/// Tries something with the log until it works, if the error is one that may pass: a server that is not there yet.
pub(super) async fn retry_until_ready<T>(
    part: &'static str,
    config: &Config,
    view: &View,
    attempt: impl AsyncFn() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let status = &view.status;
    status.set_phase(Phase::starting(part));
    let is_remote = matches!(config.log.kind, crate::config::LogKind::Kafka(_));
    let mut backoff = backoff();
    loop {
        if is_held_up() {
            tokio::time::sleep(HOLD_UP).await;
            continue;
        }
        match attempt().await {
            Ok(value) => {
                status.clear_hindrance(Part::Log);
                return Ok(value);
            }
            Err(error) if is_remote && error.is_retryable() => {
                status.set_phase(Phase::Starting { part, waiting_for: format!("{part}: {error}") });
                let detail = format!("the start waits for {part} and tries again: {error}");
                status.set_hindrance(Condition::failing(Part::Log, "start_waits", part, detail).refusing_intake());
                tokio::time::sleep(backoff.next_delay(jitter())).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The delays between attempts to reach a server.
pub(super) fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(5))
}

/// What only an operator can mend ends a start.
pub(super) fn refuse_start(conditions: Vec<Condition>) -> Result<(), EngineError> {
    let reasons: Vec<String> =
        conditions.iter().filter(|condition| condition.refuses_start).map(ToString::to_string).collect();
    if reasons.is_empty() { Ok(()) } else { Err(EngineError::Unfit(reasons.join("; "))) }
}

/// Whether a test wants the start to wait as it does for a server that is not there.
fn is_held_up() -> bool {
    fail::fail_point!("start", |_| true);
    false
}
