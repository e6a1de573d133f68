//! The parts of the engine: layouts, actors, the gate, memory, threads, how it stops, and what it logs.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::section::section;
use crate::config::units::{DAY, KIB, MIB, TIB, millis, minutes, seconds};
use crate::telemetry::logging::LoggingFormat;

const LIMITERS: [(&str, GateLimiter); 2] = [("adaptive", GateLimiter::Adaptive), ("fixed", GateLimiter::Fixed)];
const FORMATS: [(&str, LoggingFormat); 2] = [("human", LoggingFormat::Human), ("json", LoggingFormat::Json)];
const LEVELS: &str = "off, error, warn, info, debug or trace, and MODULE=LEVEL after commas";

section! {
    /// Where the message layouts are.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Messages, WrittenMessages {
        /// The directory of layout files. `None`: the built-in fleet set.
        pub directory: Option<PathBuf> = "", path(), live;
    }
}

section! {
    /// Where records go that cannot be stored.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DeadLetter, WrittenDeadLetter {
        /// The topic's name; valid for Kafka and different from all others.
        pub topic: String = "dead-letters", topic_name();
        /// How many partitions it has.
        pub partitions: NonZeroU32 = 1, partitions();
    }
}

section! {
    /// The decoder actors.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Decoder, WrittenDecoder {
        /// How many there are, each on its own thread.
        pub actors: NonZeroUsize = 0, workers();
        /// Credits of each: packages queued or being decoded.
        pub mailbox_packages: NonZeroUsize = 256, capacity(65_536);
    }
}

section! {
    /// The partition producers.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Producer, WrittenProducer {
        /// Credits of each: batches queued or not yet confirmed by the log.
        pub mailbox_batches: NonZeroUsize = 1024, capacity(65_536);
        /// How long a package may wait for a credit before its device is told to retry later.
        pub max_wait: Duration = "2 s", duration(millis(10)..=minutes(1));
    }
}

section! {
    /// The partition consumers.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Consumer, WrittenConsumer {
        /// Most records in one read.
        pub read_records: NonZeroUsize = 65_536, capacity(1_000_000);
        /// Most bytes in one read; one record may exceed it alone.
        pub read_bytes: usize = "8 MiB", buffer(4 * KIB..=256 * MIB);
        /// Most batches read and not yet stored, for each partition.
        pub max_batches_in_flight: NonZeroUsize = 2, capacity(1024);
        /// Most batches of more than 1,024 records that are collected or wait for the store, for all partitions together.
        pub large_batches: NonZeroUsize = 2, capacity(1024);
    }
}

section! {
    /// The writer actors.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Writer, WrittenWriter {
        /// How many there are.
        pub actors: NonZeroUsize = 0, workers();
        /// Credits of each: batches queued or being written.
        pub mailbox_batches: NonZeroUsize = 8, capacity(65_536);
        /// First delay before a failed write is tried again.
        pub retry_min: Duration = "50 ms", duration(millis(1)..=minutes(1));
        /// Longest delay between two tries; at least `retry_min`.
        pub retry_max: Duration = "2 s", duration(millis(1)..=minutes(10));
        /// How long a row may keep failing while others of its table are confirmed, before it becomes a dead letter. `None`:
        /// for ever.
        pub give_up_after: Option<Duration> = "1 h", time_or_never(DAY * 365, seconds(1), "0 s for never, or 1 s to 365 days");
    }
}

section! {
    /// The limits within which the gate decides.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Gate, WrittenGate {
        /// What decides how many writes are in flight.
        pub limiter: GateLimiter = "adaptive", choice(&LIMITERS, GateLimiter::Adaptive), live;
        /// Most writes in flight, over all partitions.
        pub max_writes: Option<NonZeroUsize> = 0, capacity_opt(65_536), live;
        /// For the fixed limiter: partitions are not read while writes take longer.
        pub max_latency: Duration = "100 ms", duration(millis(1)..=minutes(1)), live;
        /// For the fixed limiter: how often it looks again.
        pub look_again: Duration = "1 s", duration(millis(200)..=minutes(1)), live;
        /// For the fixed limiter: reads go on below this part of `max_latency`, in percent.
        pub resume_percent: NonZeroUsize = 80, capacity(100), live;
        /// A partition stops being read once one of its writes has waited this long for leave.
        pub stop_reading_above: Duration = "1 s", duration(millis(10)..=minutes(1)), live;
        /// It is read again when none has waited this long; less than `stop_reading_above`.
        pub read_again_below: Duration = "200 ms", duration(millis(1)..=minutes(1)), live;
        /// It is paused once it has not been read for this long.
        pub pause_after: Duration = "5 s", duration(millis(200)..=minutes(10)), live;
        /// The least time that it is not read.
        pub min_dwell: Duration = "1 s", duration(millis(200)..=minutes(1)), live;
        /// Whether the pods of a Kafka group share one budget.
        pub fleet: bool = true, boolean();
    }
}

section! {
    /// How much may wait in memory.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Memory, WrittenMemory {
        /// Bytes of packages, batches and the log's own buffers. At least eight times `devices.max_package`.
        pub budget: u64 = "256 MiB", size(32 * MIB..=TIB), live;
    }
}

section! {
    /// Threads that actors share.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Threads, WrittenThreads {
        /// Threads for device connections.
        pub connections: NonZeroUsize = 0, workers();
        /// Threads for HTTP ingest.
        pub ingest: NonZeroUsize = 0, workers();
        /// Threads for producers, and as many for consumers and writers.
        pub pipeline: NonZeroUsize = 0, workers();
    }
}

section! {
    /// How often and how fast failed actors are restarted.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Supervision, WrittenSupervision {
        /// Delay before the first restart.
        pub backoff_min: Duration = "50 ms", duration(millis(1)..=minutes(1));
        /// Longest delay before a restart; at least `backoff_min`.
        pub backoff_max: Duration = "5 s", duration(millis(1)..=minutes(10));
        /// More restarts than this within `restart_period` end the process.
        pub max_restarts: NonZeroU32 = 10, non_zero(10_000);
        /// The period in which restarts are counted.
        pub restart_period: Duration = "1 min", duration(seconds(1)..=DAY);
    }
}

section! {
    /// How the engine stops.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Shutdown, WrittenShutdown {
        /// How long the engine goes on as before after it has said that it is no longer ready.
        pub notice: Duration = "1 s", duration(Duration::ZERO..=minutes(1));
        /// Devices that are sent away spread their return over this time.
        pub reconnect_spread: Duration = "5 s", duration(Duration::ZERO..=minutes(10));
        /// How long what is in flight may take to finish before the process ends anyway.
        pub drain_timeout: Duration = "20 s", duration(seconds(1)..=minutes(5));
    }
}

section! {
    /// How changed files are noticed.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Reload, WrittenReload {
        /// How often the config's files are looked at. `None`: never, only SIGHUP makes the engine read them again.
        pub look_every: Option<Duration> = "2 s", time_or_never(minutes(60), millis(100), "0 s for never, or 100 ms to 1 hour"), live;
    }
}

section! {
    /// What is logged, and in which form.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Logging, WrittenLogging {
        /// A level, and levels for single modules: `info,surgetank::log=debug`.
        pub level: String = "warn,surgetank=info", text(are_levels, LEVELS), live;
        /// The form of a line.
        pub format: LoggingFormat = "human", choice(&FORMATS, LoggingFormat::Human);
    }
}

/// What decides how many writes are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateLimiter {
    /// Learned from latencies.
    Adaptive,
    /// What the config says.
    Fixed,
}

/// Stricter than the filter's own parser, which takes a misspelt level for the name of a module.
fn are_levels(text: &str) -> bool {
    let is_level = |level: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&level);
    let is_module = |name: &str| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_:-".contains(letter))
    };
    text.split(',').all(|directive| match directive.trim().split_once('=') {
        Some((module, level)) => is_module(module) && is_level(level),
        None => is_level(directive.trim()),
    })
}
