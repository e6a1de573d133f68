//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends the process at once. SIGHUP asks for a
//! reload.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::Failure;
use super::output::tell;

/// Becomes true with the first signal. Has to be called within a runtime.
pub(super) fn stop_requested() -> Result<watch::Receiver<bool>, Failure> {
    let (ask, asked) = watch::channel(false);
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::spawn(async move {
        for signals in 0.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if signals > 0 {
                tell!("surgetank: second signal, ending now; what was acknowledged is in the log");
                std::process::exit(1);
            }
            ask.send_replace(true);
        }
    });
    Ok(asked)
}

/// Each SIGHUP from now on. Has to be called within a runtime.
pub(super) fn hang_ups() -> Result<Signal, Failure> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::Job(format!("cannot listen for signals: {error}")))
}
