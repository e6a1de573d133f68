//! `surgetank simulate`: devices against a running engine.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::args::SimulateArgs;
use super::output::tell;
use super::report::RunReport;
use super::{Failure, Outcome, runtime, signals};
use crate::codec::Codecs;
use crate::engine::descriptors;
use crate::simulate::{Progress, SimulateError, SimulateOptions, SimulateReport, simulate as run_devices};
use crate::tls::ServerTrust;

pub(super) fn simulate(args: &SimulateArgs) -> Outcome {
    // Each device is an open file.
    let _ = descriptors::raise_limit();
    let codecs = match &args.messages {
        Some(directory) => Codecs::load(directory),
        None => Codecs::builtin(),
    }
    .map_err(Failure::usage)?;
    let options = SimulateOptions {
        target: args.target.clone(),
        devices: args.devices as usize,
        rate: args.rate,
        duration: Duration::from_secs(args.seconds),
        package_size: args.package_size,
        tls: args.ca.clone().map(|ca| ServerTrust { ca, identity: args.cert.clone().zip(args.key.clone()) }),
        token: args.token.clone(),
        device_prefix: args.device_prefix.clone(),
        drain_timeout: Duration::from_secs(args.drain_seconds),
        source_addresses: args.source_addresses,
        ..SimulateOptions::default()
    };
    let report = runtime(2)?.block_on(async {
        let stop = signals::stop_requested()?;
        drive(&codecs, &options, stop).await.map_err(failure)
    })?;
    if let Some(path) = &args.ledger {
        let write = report.ledger.write(path);
        write.map_err(|error| Failure::Job(format!("cannot write the ledger to {}: {error}", path.display())))?;
    }
    let run = RunReport::new(&report, None);
    run.print();
    if let Some(trouble) = &report.last_trouble {
        tell!("\n  the last connection that failed: {trouble}");
    }
    if args.json {
        run.print_json()?;
    }
    if report.unacked_at_end > 0 {
        let count = report.unacked_at_end;
        return Err(Failure::Job(format!("{count} messages were not acknowledged within {} s", args.drain_seconds)));
    }
    if report.acked == 0 {
        return Err(Failure::Job(format!("no message was acknowledged by {}", args.target)));
    }
    Ok(())
}

/// Runs devices with a live display of what they do.
pub(super) async fn drive(
    codecs: &Codecs,
    options: &SimulateOptions,
    stop: watch::Receiver<bool>,
) -> Result<SimulateReport, SimulateError> {
    let progress = Arc::new(Progress::default());
    let display = tokio::spawn(display(Arc::clone(&progress), options.clone()));
    let outcome = run_devices(codecs, options, progress, stop).await;
    display.abort();
    // Its last word: what it showed is in the ledger.
    let _ = display.await;
    outcome
}

async fn display(progress: Arc<Progress>, options: SimulateOptions) {
    let bar = ProgressBar::new(options.duration.as_millis() as u64);
    let template = "{elapsed_precise} {wide_bar} {msg}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    let bar = ClearedOnDrop(bar);
    let started = std::time::Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        bar.0.set_position((started.elapsed().as_millis() as u64).min(options.duration.as_millis() as u64));
        bar.0.set_message(format!(
            "{} of {} devices, {} sent, {} acknowledged",
            progress.connected.get(),
            options.devices,
            progress.sent.get(),
            progress.acked.get(),
        ));
    }
}

struct ClearedOnDrop(ProgressBar);

impl Drop for ClearedOnDrop {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Options that make no sense are wrong use.
pub(super) fn failure(error: SimulateError) -> Failure {
    match error {
        SimulateError::Option { .. } | SimulateError::DeviceId(_) | SimulateError::Token(_) | SimulateError::Tls(_) => {
            Failure::usage(error)
        }
        other => Failure::job(other),
    }
}
