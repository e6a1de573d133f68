//! The rules between keys. Each says which two values do not go together and which one to change.

use std::collections::BTreeMap;

use super::checks::Checker;
use super::sections::Config;
use super::sections::{LogKind, StoreKind};
use crate::routes::Source;

/// Checks every rule between keys of the chosen backends.
pub(super) fn check(check: &mut Checker<'_>, config: &Config) {
    limits(check, config);
    times(check, config);
    log(check, config);
    names(check, config);
    routes(check, config);
    exposure(check, config);
}

/// Reports `left` for being over `right`, unless it is not.
fn at_most(check: &mut Checker<'_>, holds: bool, left: &str, right: &str) {
    if !holds {
        check.conflict(left, "is more than", right, &format!("lower {left} or raise {right}"));
    }
}

/// Reports `left` for not being under `right`, unless it is.
fn below(check: &mut Checker<'_>, holds: bool, left: &str, right: &str) {
    if !holds {
        check.conflict(left, "is not less than", right, &format!("lower {left} or raise {right}"));
    }
}

fn limits(check: &mut Checker<'_>, config: &Config) {
    let devices = &config.devices;
    at_most(check, devices.max_frame <= devices.max_package, "devices.max_frame", "devices.max_package");
    let frame_fits = u64::from(devices.max_frame) <= config.limits.frame_buffers;
    at_most(check, frame_fits, "devices.max_frame", "limits.frame_buffers");
    // A package that never finds room would come back for ever.
    if u64::from(devices.max_package) > config.memory.budget / 8 {
        let remedy = "lower devices.max_package or raise memory.budget";
        check.conflict("devices.max_package", "is more than an eighth of", "memory.budget", remedy);
    }
    let (gate, ingest) = (&config.gate, &config.ingest);
    at_most(check, ingest.max_event as u64 <= ingest.max_body, "ingest.max_event", "ingest.max_body");
    // As for packages: a piece, and what is made of it.
    if (ingest.piece + ingest.max_event) as u64 > config.memory.budget / 16 {
        let remedy = "lower ingest.piece or raise memory.budget";
        check.conflict("ingest.piece", "is, with ingest.max_event, more than a sixteenth of", "memory.budget", remedy);
    }
    let (devices_listen, http_listen) = (Some(devices.listen), Some(config.http.listen));
    for (key, address, other, other_address) in [
        ("http.listen", http_listen, "devices.listen", devices_listen),
        ("ingest.listen", ingest.listen, "devices.listen", devices_listen),
        ("ingest.listen", ingest.listen, "http.listen", http_listen),
    ] {
        if address == other_address && address.is_some_and(|address| address.port() != 0) {
            check.conflict(key, "is the same address as", other, "give one of them another port");
        }
    }
    let has_gap = gate.read_again_below < gate.stop_reading_above;
    below(check, has_gap, "gate.read_again_below", "gate.stop_reading_above");
}

/// Time limits that lie inside one another: the inner one must end first, or the outer one reports the wrong reason.
fn times(check: &mut Checker<'_>, config: &Config) {
    let Config { devices, writer, supervision, producer, shutdown, .. } = config;
    below(check, devices.hello_timeout < devices.idle_timeout, "devices.hello_timeout", "devices.idle_timeout");
    at_most(check, writer.retry_min <= writer.retry_max, "writer.retry_min", "writer.retry_max");
    let backoff_grows = supervision.backoff_min <= supervision.backoff_max;
    at_most(check, backoff_grows, "supervision.backoff_min", "supervision.backoff_max");
    // What is in flight when the engine is told to stop must be able to end by itself within the drain time.
    let drain = shutdown.drain_timeout;
    at_most(check, producer.max_wait <= drain, "producer.max_wait", "shutdown.drain_timeout");
    if let StoreKind::Cassandra(store) = &config.store.kind {
        at_most(check, store.request_timeout <= drain, "store.cassandra.request_timeout", "shutdown.drain_timeout");
    }
    if let LogKind::Kafka(log) = &config.log.kind {
        at_most(check, log.delivery_timeout <= drain, "log.kafka.delivery_timeout", "shutdown.drain_timeout");
    }
}

fn log(check: &mut Checker<'_>, config: &Config) {
    match &config.log.kind {
        LogKind::Embedded(log) => {
            for others in &config.topics.others {
                let key = format!("topics.{}.owned", others.name);
                check.fault(&key, "but the embedded log has no topics of others; set log.kind = \"kafka\"");
            }
            let budget_fits = log.retention_size <= log.disk_budget;
            at_most(check, budget_fits, "log.embedded.retention_size", "log.embedded.disk_budget");
            // A package that does not fit the buffer could never be appended.
            let package_fits = config.devices.max_package as usize <= log.write_buffer;
            at_most(check, package_fits, "devices.max_package", "log.embedded.write_buffer");
        }
        LogKind::Kafka(log) => {
            let replicas_suffice = log.min_insync_replicas <= log.replication_factor;
            at_most(check, replicas_suffice, "log.kafka.min_insync_replicas", "log.kafka.replication_factor");
            below(check, log.linger < log.delivery_timeout, "log.kafka.linger", "log.kafka.delivery_timeout");
        }
    }
}

/// All topics have names of their own. Kafka takes `.` and `_` for the same letter in the names of its metrics and
/// warns; that is left to the operator.
fn names(check: &mut Checker<'_>, config: &Config) {
    let mut owners: BTreeMap<&str, String> = BTreeMap::new();
    let named = config.topics.others.iter().filter(|others| others.pattern.is_none()).map(|others| &others.name);
    for name in config.topics.own.iter().map(|topic| &topic.name).chain(named) {
        owners.insert(name, format!("topics.{name}"));
    }
    let mut others = vec![("dead_letter.topic", config.dead_letter.topic.as_str())];
    if let LogKind::Kafka(log) = &config.log.kind {
        others.push(("log.kafka.schema_topic", &log.schema_topic));
        others.push(("log.kafka.control_topic", &log.control_topic));
    }
    // A name that was refused is empty here.
    for (key, name) in others.into_iter().filter(|(_, name)| !name.is_empty()) {
        match owners.get(name) {
            Some(owner) => {
                let at = if check.sources.is_set(key) { key } else { owner };
                let shown = check.sources.shown(key);
                let text = format!("{key} = {shown} is the name of {owner} too; rename one of them");
                check.problems.push(check.sources.problem_at(at, &text));
            }
            None => {
                owners.insert(name, key.to_owned());
            }
        }
    }
}

/// Routes begin at topics of others. Records of ours have message types, which a route names instead.
fn routes(check: &mut Checker<'_>, config: &Config) {
    for route in &config.routes {
        let Source::Topics(topics) = &route.from else { continue };
        let key = format!("routes.{}.from", route.name);
        for name in topics {
            if config.topics.others.iter().any(|others| others.name == *name) {
                continue;
            }
            let what = match config.topics.own.iter().any(|own| own.name == *name) {
                true => format!("names topics.{name}, which is ours; name its message types in types instead"),
                false => format!("names {name:?}, which is no topic of others; add [topics.{name}] with owned = false"),
            };
            check.fault(&key, &what);
        }
    }
}

/// An address that others can reach needs tokens or certificates, so that nobody opens an engine to the world without
/// meaning to.
fn exposure(check: &mut Checker<'_>, config: &Config) {
    let Config { credentials, devices, http, .. } = config;
    // Whoever has misspelt one of them meant to set it.
    let is_meant = check.is_faulty("credentials.file") || check.is_faulty("credentials.insecure");
    if credentials.file.is_some() || credentials.insecure || is_meant {
        return;
    }
    let clients = devices.tls.as_ref().and_then(|tls| tls.clients.as_ref());
    let have_certificates = clients.is_some_and(|clients| clients.is_required);
    let mut ports = vec![("devices.listen", devices.listen, have_certificates), ("http.listen", http.listen, false)];
    ports.extend(config.ingest.listen.map(|address| ("ingest.listen", address, false)));
    for (key, address, is_guarded) in ports {
        if !address.ip().is_loopback() && !is_guarded {
            let what = "can be reached by others but credentials.file is empty";
            let remedy = "set credentials.file, bind 127.0.0.1, or set credentials.insecure = true";
            check.fault(key, &format!("{what}; {remedy}"));
        }
    }
}
