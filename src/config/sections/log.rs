//! The log: which backend, and its settings. The file may hold the sections of both; only the chosen one is checked: a section
//! that is not used may wait, half filled in, for the day it is.

use std::num::NonZeroU16;
use std::time::Duration;

use super::login::{Login, login};
use super::tls::{self, WrittenClientTls};
use crate::config::checks::{Checker, Section};
use crate::config::entry::Entry;
use crate::config::section::{Checked, join, section, written};
use crate::config::units::{DAY, GIB, KIB, MIB, TIB, millis, minutes, seconds};
use crate::tls::ServerTrust;

const COMPRESSIONS: [(&str, Compression); 4] = [
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
];
const MECHANISMS: [(&str, Option<SaslMechanism>); 4] = [
    ("none", None),
    ("plain", Some(SaslMechanism::Plain)),
    ("scram-sha-256", Some(SaslMechanism::ScramSha256)),
    ("scram-sha-512", Some(SaslMechanism::ScramSha512)),
];

section! {
    /// The durable log.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Log, WrittenLog {
        /// Whether missing topics are created when the engine starts.
        pub apply_on_start: bool = true, boolean();
    }
    keys {
        kind = "embedded";
    }
    below {
        embedded: WrittenEmbeddedLog;
        kafka: WrittenKafkaLog;
    }
    made_of_these {
        /// Which log it is.
        pub kind: LogKind, log_kind;
    }
}

section! {
    /// The log in the data directory.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct EmbeddedLog, WrittenEmbeddedLog {
        /// How long consumed records are kept.
        pub retention: Duration = "1 day", duration(minutes(1)..=DAY * 3650);
        /// How many bytes of consumed records are kept. At most `disk_budget`.
        pub retention_size: u64 = "10 GiB", size(MIB..=1024 * TIB);
        /// Most bytes on disk; past it, appends are refused until records have been consumed.
        pub disk_budget: u64 = "20 GiB", size(64 * MIB..=1024 * TIB);
        /// Bytes of appends that may wait for the next flush. At least `devices.max_package`.
        pub write_buffer: usize = "32 MiB", buffer(MIB..=GIB);
        /// Bytes of the newest records that are kept in memory for the consumers.
        pub tail_cache: usize = "16 MiB", buffer(0..=4 * GIB);
    }
}

section! {
    /// Kafka as the log.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct KafkaLog, WrittenKafkaLog {
        /// `host:port` of the brokers to ask first; never empty.
        pub brokers: Vec<String> = ["127.0.0.1:9092"], hosts();
        /// The consumer group.
        pub group: String = "surgetank", text(|text| !text.is_empty(), "any text but the empty one");
        /// The static member id (`group.instance.id`): the configured one, else the pod's name. `None`: a new member at
        /// each start.
        pub instance_id: Option<String> = "", member_id();
        /// Replicas of the topics that are created.
        pub replication_factor: NonZeroU16 = 1, non_zero_u16(16);
        /// Replicas that must confirm an append; at most `replication_factor`.
        pub min_insync_replicas: NonZeroU16 = 1, non_zero_u16(16);
        /// How long a silent member keeps its partitions.
        pub session_timeout: Duration = "10 s", duration(seconds(6)..=minutes(30));
        /// How long an append may take, retries included.
        pub delivery_timeout: Duration = "10 s", duration(seconds(1)..=minutes(5));
        /// How long the client waits to fill a batch. Shorter than `delivery_timeout`.
        pub linger: Duration = "1 ms", duration(millis(0)..=seconds(1));
        /// Compression of batches.
        pub compression: Compression = "lz4", choice(&COMPRESSIONS, Compression::None);
        /// Bytes that may be prefetched for each partition.
        pub fetch_buffer: usize = "384 KiB", buffer(64 * KIB..=GIB);
        /// The topic that keeps the schemas; different from all other topics.
        pub schema_topic: String = "surgetank.schemas", topic_name();
        /// The topic on which pods share a budget; different from all other topics.
        pub control_topic: String = "surgetank-control", topic_name();
    }
    sections {
        /// TLS to the brokers. `None`: plain TCP.
        pub tls: Option<ServerTrust>, WrittenClientTls, tls::client;
        /// How to log in. `None`: without a login.
        pub sasl: Option<(SaslMechanism, Login)>, WrittenSasl, sasl;
    }
}

written! {
    /// A login at Kafka.
    WrittenSasl {
        mechanism = "none";
        username = "";
        password = "";
    }
}

/// The backends of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum LogKind {
    /// On disk, in the data directory.
    Embedded(EmbeddedLog),
    /// Kafka.
    Kafka(Box<KafkaLog>),
}

/// How to log in at Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password as it is.
    Plain,
    /// Proof of the password with SHA-256.
    ScramSha256,
    /// Proof of the password with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    /// The name that Kafka clients know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How Kafka batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip: smallest, slowest.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4: fastest.
    Lz4,
}

impl Compression {
    /// The name that Kafka clients know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
        }
    }
}

fn log_kind(check: &mut Checker<'_>, path: &str, written: &WrittenLog) -> LogKind {
    let is_remote = check.section(path).choice("kind", &written.kind, &[("embedded", false), ("kafka", true)], false);
    match is_remote {
        false => LogKind::Embedded(EmbeddedLog::read(check, &join(path, "embedded"), &written.embedded)),
        true => LogKind::Kafka(Box::new(KafkaLog::read(check, &join(path, "kafka"), &written.kafka))),
    }
}

fn sasl(check: &mut Checker<'_>, path: &str, written: &WrittenSasl) -> Option<(SaslMechanism, Login)> {
    let section = &mut check.section(path);
    let mechanism = section.choice("mechanism", &written.mechanism, &MECHANISMS, None);
    let login = login(section, &written.username, &written.password);
    match (mechanism, login) {
        (Some(mechanism), Some(login)) => return Some((mechanism, login)),
        (Some(_), None) => section.fault("username", "is empty but there is a mechanism; set username and password"),
        (None, Some(_)) => section.fault("mechanism", "logs nobody in but there is a username; choose a mechanism"),
        (None, None) => {}
    }
    None
}

// === impl Section ===

impl Section<'_, '_> {
    /// The id of this member of the group: any text, or empty for the pod's name.
    fn member_id(&mut self, name: &str, entry: &Entry) -> Option<String> {
        let id = self.text(name, entry, |_| true, "any text, or empty for the pod's name");
        Some(id).filter(|id| !id.is_empty()).or_else(|| self.surroundings().pod_name.clone())
    }
}
