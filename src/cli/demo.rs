//! `surgetank demo`: the whole path in one process, with simulated devices and a ledger at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::args::DemoArgs;
use super::output::tell;
use super::reconcile::reconcile;
use super::report::{RunReport, StoreSide};
use super::simulate::drive;
use super::{Failure, Outcome, load_for_engine, run, runtime, signals, simulate};
use crate::config::{LoadedConfig, StoreKind};
use crate::engine::{Engine, ReadableStore, Started, dead_letter_topic};
use crate::simulate::{SimulateOptions, SimulateReport};

/// Where the demo keeps its data unless a config says otherwise; replaced by the next demo.
const DATA_DIR: &str = "data/demo";

/// How long the rows may take to arrive after the last acknowledgement.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(120);

/// How long servers may take to be there.
const START_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn demo(args: &DemoArgs) -> Outcome {
    let loaded = configure(args)?;
    let config = &loaded.config;
    let embedded = matches!(config.store.kind, StoreKind::Embedded(_));
    let data_dir = config.data_dir.clone();
    let (report, store_side) = runtime(2)?.block_on(run_demo(args, loaded))?;
    let run = RunReport::new(&report, Some(&store_side));
    tell!();
    run.print();
    if embedded {
        print_hint(args, &data_dir);
    }
    if args.json {
        run.print_json()?;
    }
    judge(&run, &store_side)
}

fn configure(args: &DemoArgs) -> Result<LoadedConfig, Failure> {
    let (mut loaded, _) = load_for_engine(args.config.as_deref())?;
    let config = &mut loaded.config;
    if args.config.is_none() {
        config.data_dir = PathBuf::from(DATA_DIR);
        if config.data_dir.exists() {
            tell!("replacing the last demo's data in {DATA_DIR}");
            std::fs::remove_dir_all(&config.data_dir)
                .map_err(|error| Failure::Job(format!("cannot remove {DATA_DIR}: {error}")))?;
        }
        // Nobody balances load to it.
        config.shutdown.notice = Duration::ZERO;
        // Any free port: a demo should not fail because an engine is running.
        config.devices.listen.set_port(0);
        config.http.listen.set_port(0);
        config.ingest.listen = None;
    }
    Ok(loaded)
}

async fn run_demo(args: &DemoArgs, loaded: LoadedConfig) -> Result<(SimulateReport, StoreSide), Failure> {
    let stop = signals::stop_requested()?;
    let dead_letters = dead_letter_topic(&loaded.config);
    let mut engine = Engine::launch(loaded).map_err(run::failure)?;
    let started = tokio::time::timeout(START_TIMEOUT, engine.started()).await.ok().flatten();
    let Some(started) = started else {
        engine.stop();
        let reason = tokio::time::timeout(Duration::from_secs(5), engine.ended()).await.ok().and_then(Result::err);
        return Err(reason.map_or_else(|| Failure::Job("the engine did not start in time".to_owned()), run::failure));
    };
    tell!(
        "{} devices send {} messages/s in packages of {} for {} s to {}; look at http://{}/histograms",
        args.devices,
        args.rate,
        args.package_size,
        args.seconds,
        engine.devices_addr,
        engine.http_addr
    );
    let options = SimulateOptions {
        target: engine.devices_addr.to_string(),
        devices: args.devices as usize,
        rate: args.rate,
        duration: Duration::from_secs(args.seconds),
        package_size: args.package_size,
        token: args.token.clone(),
        device_prefix: device_prefix(args),
        ..SimulateOptions::default()
    };
    let first_message = Instant::now();
    let mut report = drive(&started.codecs, &options, stop.clone()).await.map_err(simulate::failure)?;
    let caught_up = catch_up(&started, stop).await;
    let seconds = first_message.elapsed().as_secs_f64();
    let device_to_row_us = started.view.telemetry.device_to_row.histogram();

    let ledger = std::mem::take(&mut report.ledger);
    let (log, store) = (&*started.backends.log, ReadableStore::Own(Arc::clone(&started.backends.store)));
    let comparison =
        reconcile(ledger, started.codecs.catalog(), log, &dead_letters, &store).await.map_err(Failure::Job)?;
    engine.stop();
    engine.ended().await.map_err(run::failure)?;
    if !caught_up {
        tell!("the store had not caught up after {} s", CATCH_UP_TIMEOUT.as_secs());
    }
    Ok((report, StoreSide { comparison, device_to_row_us, seconds }))
}

/// With a config the store may hold rows of earlier demos; this one's devices have names of their own.
fn device_prefix(args: &DemoArgs) -> String {
    match args.config {
        None => "truck-".to_owned(),
        Some(_) => format!("truck-{:x}-", crate::telemetry::now_us() / 1000),
    }
}

/// Waits until every record is settled and committed. A lag may be a second old, so that confirmed work is counted too.
async fn catch_up(started: &Started, mut stop: watch::Receiver<bool>) -> bool {
    let quiet = async {
        let mut quiet_rounds = 0;
        while quiet_rounds < 3 {
            let lags = started.view.lags.read();
            let is_read = !lags.is_empty() && lags.iter().all(|lag| lag.records == Some(0));
            let counted = started.view.telemetry.counters.snapshot();
            let is_settled = counted.rows + counted.dead_letters >= counted.accepted + counted.rejected;
            quiet_rounds = if is_read && is_settled { quiet_rounds + 1 } else { 0 };
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        outcome = tokio::time::timeout(CATCH_UP_TIMEOUT, quiet) => outcome.is_ok(),
        _ = stop.wait_for(|stop| *stop) => false,
    }
}

fn print_hint(args: &DemoArgs, data_dir: &Path) {
    let place = match &args.config {
        Some(config) => format!("--config {}", config.display()),
        None => format!("--data-dir {}", data_dir.display()),
    };
    let binary = std::env::args().next().unwrap_or_else(|| "surgetank".to_owned());
    tell!("\nLook at the rows:\n  {binary} query {place} 'select * from position limit 5'");
}

fn judge(run: &RunReport, store_side: &StoreSide) -> Outcome {
    let found = &store_side.comparison;
    if found.lost > 0 {
        return Err(Failure::Job(format!(
            "{} acknowledged messages are lost, such as {:?}",
            found.lost, found.lost_examples
        )));
    }
    if found.duplicate_rows > 0 {
        return Err(Failure::Job(format!("{} rows are stored twice", found.duplicate_rows)));
    }
    if run.acked == 0 {
        return Err(Failure::Job("no message was acknowledged".to_owned()));
    }
    Ok(())
}
