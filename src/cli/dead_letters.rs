//! `surgetank dead-letters`: what could never be written, and why. A letter that was written in parts is shown as one.

use std::ops::ControlFlow;

use serde_json::{Value, json};

use super::args::{DeadLettersArgs, Format};
use super::listing::Listing;
use super::output::Results;
use super::ranges::{Place, Selection, ago, read_topic};
use super::{Failure, Outcome, load, runtime};
use crate::codec::avro::{Joined, LetterParts, NotDeadLetter, OwnedDeadLetter, OwnedHeader, OwnedSource};
use crate::engine::{ReadableLog, dead_letter_topic};
use crate::log::{RangeEnd, RangeStart, TopicPartition};
use crate::schema::cell_text::hex;

/// Payloads of letters of which parts are still to come, in bytes: parts lie side by side, so that few are open.
const MAX_OPEN_BYTES: usize = 64 << 20;

/// The columns of the table.
const HEADER: [&str; 11] =
    ["at", "device", "reason", "detail", "origin", "type", "version", "sequence", "event time", "bytes", "trace"];

pub(super) fn dead_letters(args: &DeadLettersArgs) -> Outcome {
    let selection = selection(args)?;
    let config = load(Some(&args.config))?;
    let topic = dead_letter_topic(&config);
    runtime(1)?.block_on(async {
        let log = ReadableLog::open(&config).await.map_err(Failure::job)?;
        let mut parts = LetterParts::new(MAX_OPEN_BYTES);
        let mut table = Listing::new(HEADER);
        let (mut results, mut written) = (Results::new(), Ok(()));
        let mut show = |place: Option<(&TopicPartition, u64)>, letter: &Joined| match args.format {
            Format::Json => {
                written = results.line(to_json(place, letter));
                if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            }
            Format::Table => table.add(to_row(letter)),
        };
        let mut visit = |from: &TopicPartition, offset: u64, value: &[u8]| {
            let letters = match OwnedDeadLetter::decode(value) {
                Ok(letter) => parts.add(letter),
                Err(error) => vec![not_a_letter(error, value)],
            };
            letters.iter().try_for_each(|letter| show(Some((from, offset)), letter))
        };
        let read = read_topic(log.ranges(), &topic, selection, &mut visit).await.map_err(Failure::job);
        // What was found goes out, however far the reading came. A table that is full takes no more, and knows.
        let _ = parts.finish().iter().try_for_each(|letter| show(None, letter));
        log.close().await;
        written?;
        results.finish()?;
        if let Format::Table = args.format {
            table.print()?;
        }
        read
    })
}

/// What the options ask for.
fn selection(args: &DeadLettersArgs) -> Result<Selection, Failure> {
    let is_offset = |place| matches!(place, Some(Place::Offset(_)));
    if args.partition.is_none() && (is_offset(args.from) || is_offset(args.to)) {
        return Err(Failure::usage("an offset is one of a partition: say which with --partition"));
    }
    let from = match (args.from, args.since) {
        (Some(Place::Offset(offset)), _) => RangeStart::Offset(offset),
        (Some(Place::TimeMs(at_ms)), _) => RangeStart::TimeMs(at_ms),
        (None, Some(age)) => RangeStart::TimeMs(ago(age).map_err(|error| Failure::usage(format!("--since: {error}")))?),
        (None, None) => RangeStart::Earliest,
    };
    let to = match args.to {
        Some(Place::Offset(offset)) => RangeEnd::Offset(offset),
        Some(Place::TimeMs(at_ms)) => RangeEnd::TimeMs(at_ms),
        None => RangeEnd::Now,
    };
    Ok(Selection { partition: args.partition, from, to })
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
        trace: None,
        source: None,
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
        "trace": letter.trace,
    });
    if let Some(source) = &letter.source {
        shown["source"] = source_json(source);
    }
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

fn source_json(source: &OwnedSource) -> Value {
    let header = |(name, value): &OwnedHeader| json!({ "name": name, "value_hex": value.as_deref().map(hex) });
    json!({
        "topic": source.topic,
        "partition": source.partition,
        "offset": source.offset,
        "timestamp_ms": source.timestamp_ms,
        "key_hex": source.key.as_deref().map(hex),
        "headers": source.headers.iter().map(header).collect::<Vec<Value>>(),
        "has_value": source.has_value,
    })
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
        letter.trace.clone().unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_trace_and_source_of_a_letter_are_shown() {
        let mut joined = not_a_letter(NotDeadLetter::OtherSchema, b"x");
        joined.letter.num_parts = 1;
        let shown = to_json(None, &joined);
        assert!(shown["trace"].is_null() && shown.get("source").is_none());

        joined.letter.trace = Some("00-1".to_owned());
        joined.letter.source = Some(OwnedSource {
            topic: "app-events".to_owned(),
            partition: 3,
            offset: 1234,
            timestamp_ms: Some(-1),
            key: Some(vec![0xff, 0]),
            headers: vec![("a".to_owned(), Some(b"1".to_vec())), ("a".to_owned(), None)],
            has_value: false,
        });
        let shown = to_json(None, &joined);
        assert_eq!(shown["trace"], "00-1");
        let expected = json!({
            "topic": "app-events", "partition": 3, "offset": 1234, "timestamp_ms": -1, "key_hex": "ff00",
            "headers": [{"name": "a", "value_hex": "31"}, {"name": "a", "value_hex": null}], "has_value": false,
        });
        assert_eq!(shown["source"], expected);
        assert_eq!(to_row(&joined).last().map(String::as_str), Some("00-1"));
    }
}
