//! `surgetank verify`: is everything that devices were told is durable really there?

use serde_json::json;

use super::args::VerifyArgs;
use super::output::{print, tell};
use super::reconcile::reconcile;
use super::{Failure, Outcome, load, runtime};
use crate::engine::{ReadableLog, ReadableStore, dead_letter_topic, load_codecs};
use crate::simulate::Ledger;

pub(super) fn verify(args: &VerifyArgs) -> Outcome {
    let config = load(Some(&args.config))?;
    let codecs = load_codecs(&config).map_err(Failure::usage)?;
    let ledger = Ledger::read(&args.ledger)
        .map_err(|error| Failure::Usage(format!("cannot read the ledger {}: {error}", args.ledger.display())))?;
    let runtime = runtime(2)?;
    let found = runtime.block_on(async {
        let log = ReadableLog::open(&config).await.map_err(Failure::job)?;
        let store = ReadableStore::open(&config, codecs.catalog(), runtime.handle().clone());
        let store = store.await.map_err(Failure::job)?;
        let found = reconcile(ledger, codecs.catalog(), log.ranges(), &dead_letter_topic(&config), &store)
            .await
            .map_err(Failure::Job)?;
        store.close().await;
        log.close().await;
        Ok(found)
    })?;
    tell!(
        "{} acknowledged, {} rows, {} dead letters, {} lost, {} rows twice",
        found.acked,
        found.stored,
        found.dead_lettered,
        found.lost,
        found.duplicate_rows
    );
    if args.json {
        let outcome = json!({
            "acked": found.acked,
            "stored": found.stored,
            "dead_lettered": found.dead_lettered,
            "lost": found.lost,
            "unknown_rows": found.unknown_rows,
            "duplicate_rows": found.duplicate_rows,
        });
        print(outcome)?;
    }
    if found.acked == 0 {
        return Err(Failure::Usage(format!("the ledger {} has no acknowledged message", args.ledger.display())));
    }
    if found.lost > 0 || found.duplicate_rows > 0 {
        return Err(Failure::Job(format!("{} lost, such as {:?}", found.lost, found.lost_examples)));
    }
    Ok(())
}
