//! `surgetank dead-letters`: what could never be written, and why.

use serde_json::{Value, json};

use super::args::{DeadLettersArgs, Format};
use super::listing::Listing;
use super::output::Results;
use super::{Failure, Outcome, end, load, runtime};
use crate::engine::{dead_letter_topic, open_log};
use crate::log::TopicPartition;
use crate::protocol::avro::OwnedDeadLetter;

pub(super) fn dead_letters(args: &DeadLettersArgs) -> Outcome {
    let config = load(Some(&args.config))?;
    let topic = dead_letter_topic(&config);
    runtime(1)?.block_on(async {
        let log = open_log(&config).map_err(Failure::job)?;
        let mut table = Listing::new([
            "at",
            "device",
            "reason",
            "detail",
            "origin",
            "type",
            "version",
            "sequence",
            "event time",
            "bytes",
        ]);
        let (mut results, mut is_full) = (Results::new(), false);
        let mut visit = |from: &TopicPartition, offset: u64, _: &[u8], value: &[u8]| match args.format {
            // The scan takes no for an answer only this way, and would go on for as long as the topic is.
            Format::Json => results.line(to_json(from, offset, value)).unwrap_or_else(|failure| end(failure)),
            Format::Table if is_full => {}
            Format::Table => is_full = table.add(to_row(value)).is_break(),
        };
        let scanned = log.scan(&topic, &mut visit).map_err(Failure::job);
        // What was found goes out, however far the scan came.
        results.finish()?;
        scanned?;
        log.close().await;
        match args.format {
            Format::Json => Ok(()),
            Format::Table => table.print(),
        }
    })
}

fn to_json(from: &TopicPartition, offset: u64, value: &[u8]) -> Value {
    match OwnedDeadLetter::decode(value) {
        Ok(letter) => json!({
            "partition": from.to_string(),
            "offset": offset,
            "at_us": letter.at_us,
            "device_id": letter.device_id,
            "reason": letter.reason_code,
            "detail": letter.detail,
            "origin": letter.origin,
            "type_id": letter.type_id,
            "version": letter.version,
            "sequence": letter.sequence,
            "event_time_ms": letter.event_time_ms,
            "payload_hex": hex(&letter.payload),
        }),
        Err(error) => json!({
            "partition": from.to_string(),
            "offset": offset,
            "reason": error.to_string(),
            "payload_hex": hex(value),
        }),
    }
}

fn to_row(value: &[u8]) -> Vec<String> {
    let letter = match OwnedDeadLetter::decode(value) {
        Ok(letter) => letter,
        Err(error) => return vec![String::new(), String::new(), error.to_string()],
    };
    let shown = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    vec![
        time(letter.at_us),
        letter.device_id,
        letter.reason_code,
        letter.detail,
        letter.origin,
        shown(letter.type_id.map(u64::from)),
        shown(letter.version.map(u64::from)),
        shown(letter.sequence.map(u64::from)),
        letter.event_time_ms.map(|at_ms| time(at_ms.saturating_mul(1000))).unwrap_or_default(),
        letter.payload.len().to_string(),
    ]
}

fn time(at_us: u64) -> String {
    // The library's own limit; a device's clock may say anything.
    const YEAR_10000_US: u64 = 253_402_300_800_000_000;
    if at_us >= YEAR_10000_US {
        return format!("{at_us} us");
    }
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_micros(at_us);
    humantime::format_rfc3339_millis(at).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
