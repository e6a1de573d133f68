//! What pods tell each other, as JSON with a version: a message of another version is nobody's business.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as HdrDeserializer, Serializer as _, V2Serializer};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::pressure::StorePressure;
use crate::flow::limiter::{Limiter, Sample};

/// Raised whenever older pods would misread a message. They then stay on their own limiters.
const VERSION: u64 = 1;

/// One message on the control channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
// A few a second, none of which is kept.
#[allow(clippy::large_enum_variant)]
pub enum Message {
    /// What a pod has seen.
    Report(Report),
    /// What the leader has decided.
    Budget(Budget),
}

/// What the writes of one pod have shown since its last report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Which pod.
    pub pod: String,
    /// Counts its reports.
    pub seq: u64,
    /// The term of the leader that it follows; 0 if it has never heard one.
    pub epoch: u64,
    /// Record partitions that it holds.
    pub partitions: u32,
    /// What its writes have shown.
    pub sample: Sample,
    /// Latencies of its confirmed writes in microseconds: HdrHistogram V2 in base64. Histograms merge exactly.
    #[serde(with = "as_text")]
    pub histogram: Histogram<u64>,
    /// Its own limiter, while that is what decides there.
    #[serde(default, deserialize_with = "if_readable")]
    pub limiter: Option<Limiter>,
}

/// How many writes all pods may have in flight together, and each of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Budget {
    /// The pod that leads.
    pub leader: String,
    /// Its term: a later leader has a higher one.
    pub epoch: u64,
    /// Counts the messages of the term.
    pub seq: u64,
    /// Writes in flight of all pods together.
    pub budget: u32,
    /// Each known pod and its part.
    pub shares: BTreeMap<String, PodShare>,
    /// Half of the last window's writes of all pods took at most this long (µs).
    pub p50_us: u64,
    /// 99 % of them took at most this long (µs).
    pub p99_us: u64,
    /// What the database says of itself.
    pub database: Option<StorePressure>,
    /// Whether that is a backlog which counts against the budget.
    pub is_backlogged: bool,
    /// The limiter that has decided this, for whoever has to go on without this leader.
    #[serde(default, deserialize_with = "if_readable")]
    pub limiter: Option<Limiter>,
}

/// One pod's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodShare {
    /// Record partitions that it held when it last reported.
    pub partitions: u32,
    /// Its writes in flight.
    pub share: u32,
}

#[derive(Serialize)]
struct Envelope<'a> {
    version: u64,
    #[serde(flatten)]
    message: &'a Message,
}

// === impl Message ===

impl Message {
    /// The message as bytes.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Envelope { version: VERSION, message: self })
    }

    /// Reads a message; `None` if it has another version or is none at all.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let is_ours = value.get("version").and_then(Value::as_u64) == Some(VERSION);
        is_ours.then(|| serde_json::from_value(value).ok()).flatten()
    }
}

/// A limiter whose state this version cannot read is left out; the rest of the message still counts.
fn if_readable<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Limiter>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}

/// Histograms in messages.
mod as_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(histogram: &Histogram<u64>, to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(histogram, &mut bytes).map_err(|error| S::Error::custom(format!("{error:?}")))?;
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Histogram<u64>, D::Error> {
        let bytes = STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)?;
        HdrDeserializer::new().deserialize(&mut bytes.as_slice()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::limiter::LimiterSettings;

    fn report() -> Report {
        let mut histogram = Histogram::new(2).unwrap();
        histogram.record_n(1_500, 40).unwrap();
        histogram.record(2_000_000).unwrap();
        let sample = Sample { max_in_flight: 7, num_dropped: 2, ..Sample::default() };
        let limiter = Some(Limiter::new(&LimiterSettings::default()));
        Report { pod: "pod-1".to_owned(), seq: 9, epoch: 3, partitions: 4, sample, histogram, limiter }
    }

    #[test]
    fn test_report_comes_back_with_its_histogram_and_limiter() {
        let sent = report();
        let Some(Message::Report(read)) = Message::decode(&Message::Report(sent.clone()).encode().unwrap()) else {
            panic!("a report")
        };
        assert_eq!((read.pod, read.seq, read.epoch, read.partitions), ("pod-1".to_owned(), 9, 3, 4));
        assert_eq!((read.sample, read.histogram), (sent.sample, sent.histogram));
        assert_eq!(read.limiter.unwrap().decision(), sent.limiter.unwrap().decision());
    }

    #[test]
    fn test_other_versions_and_other_things_are_ignored() {
        let text = String::from_utf8(Message::Report(report()).encode().unwrap()).unwrap();
        assert!(Message::decode(text.replacen("\"version\":1", "\"version\":2", 1).as_bytes()).is_none());
        for other in ["", "{}", "[1]", "{\"version\":1}", "{\"version\":1,\"kind\":\"hello\"}"] {
            assert!(Message::decode(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn test_limiter_that_cannot_be_read_leaves_the_rest_readable() {
        let mut value: Value = serde_json::from_slice(&Message::Report(report()).encode().unwrap()).unwrap();
        value["limiter"] = serde_json::json!({"adaptive": {"size": 5}});
        let Some(Message::Report(read)) = Message::decode(value.to_string().as_bytes()) else { panic!("a report") };
        assert!(read.limiter.is_none());
        assert_eq!(read.partitions, 4);
    }
}
