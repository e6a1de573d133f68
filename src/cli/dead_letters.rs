//! `surgetank dead-letters`: what could never be written, and why. A letter that was written in parts is shown as one.

use serde_json::{Value, json};

use super::args::{DeadLettersArgs, Format};
use super::listing::Listing;
use super::output::Results;
use super::{Failure, Outcome, end, load, runtime};
use crate::codec::avro::{Joined, LetterParts, NotDeadLetter, OwnedDeadLetter};
use crate::engine::{dead_letter_topic, open_log};
use crate::log::TopicPartition;

/// Payloads of letters of which parts are still to come, in bytes: parts lie side by side, so that few are open.
const MAX_OPEN_BYTES: usize = 64 << 20;

/// The columns of the table.
const HEADER: [&str; 10] =
    ["at", "device", "reason", "detail", "origin", "type", "version", "sequence", "event time", "bytes"];

pub(super) fn dead_letters(args: &DeadLettersArgs) -> Outcome {
    let config = load(Some(&args.config))?;
    let topic = dead_letter_topic(&config);
    runtime(1)?.block_on(async {
        let log = open_log(&config).map_err(Failure::job)?;
        let mut parts = LetterParts::new(MAX_OPEN_BYTES);
        let mut table = Listing::new(HEADER);
        let (mut results, mut is_full) = (Results::new(), false);
        let mut show = |place: Option<(&TopicPartition, u64)>, letter: &Joined| match args.format {
            // The scan takes no for an answer only this way, and would go on for as long as the topic is.
            Format::Json => results.line(to_json(place, letter)).unwrap_or_else(|failure| end(failure)),
            Format::Table if is_full => {}
            Format::Table => is_full = table.add(to_row(letter)).is_break(),
        };
        let mut visit = |from: &TopicPartition, offset: u64, _: &[u8], value: &[u8]| {
            let letters = match OwnedDeadLetter::decode(value) {
                Ok(letter) => parts.add(letter),
                Err(error) => vec![not_a_letter(error, value)],
            };
            letters.iter().for_each(|letter| show(Some((from, offset)), letter));
        };
        let scanned = log.scan(&topic, &mut visit).map_err(Failure::job);
        // What was found goes out, however far the scan came.
        parts.finish().iter().for_each(|letter| show(None, letter));
        results.finish()?;
        scanned?;
        log.close().await;
        match args.format {
            Format::Json => Ok(()),
            Format::Table => table.print(),
        }
    })
}

/// Something else in the topic, shown as far as that goes.
fn not_a_letter(error: NotDeadLetter, value: &[u8]) -> Joined {
    let letter = OwnedDeadLetter {
        device_id: String::new(),
        reason_code: error.to_string(),
        detail: String::new(),
        origin: String::new(),
        at_us: 0,
        type_id: None,
        version: None,
        sequence: None,
        event_time_ms: None,
        payload: value.to_owned(),
        part: 1,
        num_parts: 0,
        payload_bytes: value.len() as u64,
        whole: String::new(),
    };
    Joined { letter, missing: Vec::new() }
}

/// `place` is that of the record that made the letter whole.
fn to_json(place: Option<(&TopicPartition, u64)>, Joined { letter, missing }: &Joined) -> Value {
    let mut shown = json!({
        "at_us": letter.at_us,
        "device_id": letter.device_id,
        "reason": letter.reason_code,
        "detail": letter.detail,
        "origin": letter.origin,
        "type_id": letter.type_id,
        "version": letter.version,
        "sequence": letter.sequence,
        "event_time_ms": letter.event_time_ms,
        "payload_bytes": letter.payload_bytes,
        "num_parts": letter.num_parts,
        "payload_hex": hex(&letter.payload),
    });
    if letter.num_parts == 0 {
        shown = json!({ "reason": letter.reason_code, "payload_hex": hex(&letter.payload) });
    }
    if let Some((from, offset)) = place {
        shown["partition"] = from.to_string().into();
        shown["offset"] = offset.into();
    }
    if !missing.is_empty() {
        shown["missing_parts"] = missing.clone().into();
    }
    shown
}

fn to_row(Joined { letter, missing }: &Joined) -> Vec<String> {
    if letter.num_parts == 0 {
        return vec![String::new(), String::new(), letter.reason_code.clone()];
    }
    let shown = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let kept = letter.payload.len() as u64;
    let size = match missing.len() {
        0 if kept == letter.payload_bytes => kept.to_string(),
        0 => format!("{kept} of {}", letter.payload_bytes),
        missing => format!("{kept} of {} ({missing} of {} parts missing)", letter.payload_bytes, letter.num_parts),
    };
    vec![
        time(letter.at_us),
        letter.device_id.clone(),
        letter.reason_code.clone(),
        letter.detail.clone(),
        letter.origin.clone(),
        shown(letter.type_id.map(u64::from)),
        shown(letter.version.map(u64::from)),
        shown(letter.sequence.map(u64::from)),
        letter.event_time_ms.map(|at_ms| time(at_ms.saturating_mul(1000))).unwrap_or_default(),
        size,
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
