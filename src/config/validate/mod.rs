//! From the configuration as written to the checked types: every rule is applied here, once.
//!
//! This file has most sections; `ingest` has HTTP ingest, `limits` what devices and addresses may ask for, `backends` the
//! log and the store, `tls` certificates and keys, `topics` the topics, `relations` the rules between keys.

mod backends;
mod ingest;
mod limits;
mod relations;
mod tls;
mod topics;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::checks::{Checker, Section};
use super::entry::Entry;
use super::problem::Problem;
use super::raw::{RawConfig, RawCredentials, RawGate, RawLogging, RawReload};
use super::raw_devices::RawDevices;
use super::sources::Sources;
use super::types::{
    Config, Consumer, Credentials, DeadLetter, Decoder, Devices, Gate, GateLimiter, Http, Logging, LoggingFormat,
    Memory, Messages, Producer, Reload, Shutdown, Supervision, Threads, Writer,
};
use super::units::{GIB, KIB, MIB, TIB};

const DAY: Duration = Duration::from_secs(86_400);

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// What is not in the file but decides how it is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// The directory of the file, which relative paths of layouts start from.
    pub directory: PathBuf,
    /// The name of the pod that this process runs in.
    pub pod_name: Option<String>,
}

/// Applies every rule. The configuration is to be used only if there is no problem. `faulty` are keys whose problem
/// is known already.
pub(super) fn validate(
    raw: &RawConfig,
    sources: &Sources,
    surroundings: &Surroundings,
    faulty: BTreeSet<String>,
) -> (Config, Vec<Problem>) {
    let mut checker = Checker::new(sources, faulty);
    let check = &mut checker;
    let config = Config {
        data_dir: data_dir(&mut check.section(""), &raw.data_dir),
        credentials: credentials(check, &raw.credentials, surroundings),
        devices: devices(check, &raw.devices, surroundings),
        limits: limits::limits(&mut check.section("limits"), &raw.limits),
        http: {
            let tls = tls::http(check, "http.tls", &raw.http.tls, surroundings);
            let mut section = check.section("http");
            Http {
                listen: section.address("listen", &raw.http.listen),
                max_connections: section.capacity("max_connections", &raw.http.max_connections, 65_536),
                tls,
            }
        },
        ingest: ingest::ingest(check, &raw.ingest, surroundings),
        messages: messages(check, &raw.messages.directory, surroundings),
        topics: topics::topics(check, &raw.topics),
        dead_letter: DeadLetter {
            topic: topics::name(&mut check.section("dead_letter"), "topic", &raw.dead_letter.topic),
            partitions: topics::partitions(&mut check.section("dead_letter"), &raw.dead_letter.partitions),
        },
        log: backends::log(check, &raw.log, surroundings),
        store: backends::store(check, &raw.store, surroundings),
        decoder: {
            let mut section = check.section("decoder");
            Decoder {
                actors: section.workers("actors", &raw.decoder.actors),
                mailbox_packages: section.capacity("mailbox_packages", &raw.decoder.mailbox_packages, 65_536),
            }
        },
        producer: {
            let mut section = check.section("producer");
            Producer {
                mailbox_batches: section.capacity("mailbox_batches", &raw.producer.mailbox_batches, 65_536),
                max_wait: section.duration("max_wait", &raw.producer.max_wait, millis(10)..=minutes(1)),
            }
        },
        consumer: {
            let mut section = check.section("consumer");
            let raw = &raw.consumer;
            Consumer {
                read_records: section.capacity("read_records", &raw.read_records, 1_000_000),
                read_bytes: section.buffer("read_bytes", &raw.read_bytes, 4 * KIB..=256 * MIB),
                max_batches_in_flight: section.capacity("max_batches_in_flight", &raw.max_batches_in_flight, 1024),
                large_batches: section.capacity("large_batches", &raw.large_batches, 1024),
            }
        },
        writer: {
            let mut section = check.section("writer");
            Writer {
                actors: section.workers("actors", &raw.writer.actors),
                mailbox_batches: section.capacity("mailbox_batches", &raw.writer.mailbox_batches, 65_536),
                retry_min: section.duration("retry_min", &raw.writer.retry_min, millis(1)..=minutes(1)),
                retry_max: section.duration("retry_max", &raw.writer.retry_max, millis(1)..=minutes(10)),
            }
        },
        gate: gate(&mut check.section("gate"), &raw.gate),
        memory: Memory { budget: check.section("memory").size("budget", &raw.memory.budget, 32 * MIB..=TIB) },
        threads: {
            let mut section = check.section("threads");
            Threads {
                connections: section.workers("connections", &raw.threads.connections),
                ingest: section.workers("ingest", &raw.threads.ingest),
                pipeline: section.workers("pipeline", &raw.threads.pipeline),
            }
        },
        supervision: {
            let mut section = check.section("supervision");
            let raw = &raw.supervision;
            Supervision {
                backoff_min: section.duration("backoff_min", &raw.backoff_min, millis(1)..=minutes(1)),
                backoff_max: section.duration("backoff_max", &raw.backoff_max, millis(1)..=minutes(10)),
                max_restarts: section.non_zero("max_restarts", &raw.max_restarts, 10_000),
                restart_period: section.duration("restart_period", &raw.restart_period, seconds(1)..=DAY),
            }
        },
        shutdown: {
            let mut section = check.section("shutdown");
            let raw = &raw.shutdown;
            Shutdown {
                notice: section.duration("notice", &raw.notice, Duration::ZERO..=minutes(1)),
                reconnect_spread: section.duration(
                    "reconnect_spread",
                    &raw.reconnect_spread,
                    Duration::ZERO..=minutes(10),
                ),
                drain_timeout: section.duration("drain_timeout", &raw.drain_timeout, seconds(1)..=minutes(5)),
            }
        },
        reload: reload(&mut check.section("reload"), &raw.reload),
        logging: logging(&mut check.section("logging"), &raw.logging),
    };
    relations::check(check, &config);
    (config, checker.problems)
}

fn data_dir(section: &mut Section<'_, '_>, entry: &Entry) -> PathBuf {
    section.text("data_dir", entry, |text| !text.is_empty(), "the path of a directory").into()
}

fn devices(check: &mut Checker<'_>, raw: &RawDevices, surroundings: &Surroundings) -> Devices {
    let tls = tls::devices(check, &raw.tls, surroundings);
    let section = &mut check.section("devices");
    let max_size = |section: &mut Section<'_, '_>, name: &str, entry: &Entry, max: u64| {
        u32::try_from(section.size(name, entry, KIB..=max)).unwrap_or(u32::MAX)
    };
    Devices {
        listen: section.address("listen", &raw.listen),
        tls,
        max_connections: section.capacity("max_connections", &raw.max_connections, 1_000_000),
        max_frame: max_size(section, "max_frame", &raw.max_frame, 64 * MIB),
        max_package: max_size(section, "max_package", &raw.max_package, GIB / 4),
        max_messages: section.count_u16("max_messages", &raw.max_messages, 1..=u16::MAX),
        max_unacknowledged_packages: section.count_u16(
            "max_unacknowledged_packages",
            &raw.max_unacknowledged_packages,
            1..=1024,
        ),
        hello_timeout: section.duration("hello_timeout", &raw.hello_timeout, millis(100)..=minutes(5)),
        idle_timeout: section.duration("idle_timeout", &raw.idle_timeout, seconds(1)..=DAY),
        max_event_time_ahead: section.duration(
            "max_event_time_ahead",
            &raw.max_event_time_ahead,
            seconds(1)..=DAY * 365,
        ),
        max_event_time_behind: section.duration(
            "max_event_time_behind",
            &raw.max_event_time_behind,
            seconds(1)..=DAY * 36500,
        ),
        retry_delay: section.duration("retry_delay", &raw.retry_delay, millis(10)..=minutes(5)),
    }
}

fn credentials(check: &mut Checker<'_>, raw: &RawCredentials, surroundings: &Surroundings) -> Credentials {
    Credentials {
        file: path(check, "credentials", "file", &raw.file, surroundings),
        insecure: check.section("credentials").boolean("insecure", &raw.insecure),
    }
}

fn messages(check: &mut Checker<'_>, entry: &Entry, surroundings: &Surroundings) -> Messages {
    Messages { directory: path(check, "messages", "directory", entry, surroundings) }
}

/// A path or nothing. A path in the file is relative to the file, so that both can move together; a path in a variable
/// is relative to where its writer stands, the working directory.
fn path(
    check: &mut Checker<'_>,
    section: &str,
    name: &str,
    entry: &Entry,
    surroundings: &Surroundings,
) -> Option<PathBuf> {
    let from_variable = check.sources.variables.contains_key(&format!("{section}.{name}"));
    let text = check.section(section).text(name, entry, |_| true, "a path, or empty");
    let resolve = |path: String| if from_variable { path.into() } else { surroundings.directory.join(path) };
    (!text.is_empty()).then_some(text).map(resolve)
}

fn gate(section: &mut Section<'_, '_>, raw: &RawGate) -> Gate {
    let limiters = [("adaptive", GateLimiter::Adaptive), ("fixed", GateLimiter::Fixed)];
    Gate {
        limiter: section.choice("limiter", &raw.limiter, &limiters, GateLimiter::Adaptive),
        max_writes: section.capacity_opt("max_writes", &raw.max_writes, 65_536),
        max_latency: section.duration("max_latency", &raw.max_latency, millis(1)..=minutes(1)),
        look_again: section.duration("look_again", &raw.look_again, millis(200)..=minutes(1)),
        resume_percent: section.capacity("resume_percent", &raw.resume_percent, 100),
        stop_reading_above: section.duration("stop_reading_above", &raw.stop_reading_above, millis(10)..=minutes(1)),
        read_again_below: section.duration("read_again_below", &raw.read_again_below, millis(1)..=minutes(1)),
        pause_after: section.duration("pause_after", &raw.pause_after, millis(200)..=minutes(10)),
        min_dwell: section.duration("min_dwell", &raw.min_dwell, millis(200)..=minutes(1)),
        fleet: section.boolean("fleet", &raw.fleet),
    }
}

fn reload(section: &mut Section<'_, '_>, raw: &RawReload) -> Reload {
    let look_every = section.duration("look_every", &raw.look_every, seconds(0)..=minutes(60));
    if !look_every.is_zero() && look_every < millis(100) {
        section.fault("look_every", "is too small; raise it (allowed: 0 s for never, or 100 ms to 1 hour)");
    }
    Reload { look_every: (!look_every.is_zero()).then_some(look_every) }
}

fn logging(section: &mut Section<'_, '_>, raw: &RawLogging) -> Logging {
    let allowed = "off, error, warn, info, debug or trace, and MODULE=LEVEL after commas";
    let formats = [("human", LoggingFormat::Human), ("json", LoggingFormat::Json)];
    Logging {
        level: section.text("level", &raw.level, are_levels, allowed),
        format: section.choice("format", &raw.format, &formats, LoggingFormat::Human),
    }
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
