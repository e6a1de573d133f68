//! HTTP ingest: its rules outside of those between keys.

use super::super::checks::{Checker, Section};
use super::super::entry::Entry;
use super::super::ingest::Ingest;
use super::super::raw_ingest::RawIngest;
use super::super::units::{GIB, KIB, MIB, TIB};
use super::{DAY, Surroundings, millis, minutes, seconds, tls};

pub(super) fn ingest(check: &mut Checker<'_>, raw: &RawIngest, surroundings: &Surroundings) -> Ingest {
    let tls = tls::http(check, "ingest.tls", &raw.tls, surroundings);
    let section = &mut check.section("ingest");
    let is_off = raw.listen.text() == Some("");
    Ingest {
        listen: (!is_off).then(|| section.address("listen", &raw.listen)),
        max_connections: section.capacity("max_connections", &raw.max_connections, 1_000_000),
        max_requests: section.capacity("max_requests", &raw.max_requests, 1_000_000),
        max_body: section.size("max_body", &raw.max_body, 64 * KIB..=TIB),
        max_expansion: section.non_zero("max_expansion", &raw.max_expansion, 100_000),
        max_event: section.buffer("max_event", &raw.max_event, KIB..=MIB),
        max_events: section.non_zero("max_events", &raw.max_events, 100_000_000),
        max_listed: section.capacity("max_listed", &raw.max_listed, 1_000_000),
        piece: section.buffer("piece", &raw.piece, 4 * KIB..=16 * MIB),
        max_pieces: section.capacity("max_pieces", &raw.max_pieces, 1024),
        head_timeout: section.duration("head_timeout", &raw.head_timeout, millis(100)..=minutes(5)),
        body_timeout: section.duration("body_timeout", &raw.body_timeout, millis(100)..=minutes(10)),
        min_body_rate: section.size("min_body_rate", &raw.min_body_rate, 1..=GIB),
        idle_timeout: section.duration("idle_timeout", &raw.idle_timeout, seconds(1)..=DAY),
        tls,
        cors_origins: origins(section, "cors_origins", &raw.cors_origins),
    }
}

/// A list of `scheme://host` or `scheme://host:port`, or `*` alone.
fn origins(section: &mut Section<'_, '_>, name: &str, entry: &Entry) -> Vec<String> {
    let origins = entry.texts();
    let are_origins = |origins: &[String]| *origins == ["*"] || origins.iter().all(|origin| is_origin(origin));
    if !origins.as_deref().is_some_and(are_origins) {
        let remedy = "write each as a browser does, such as [\"https://app.example\"] (allowed: scheme://host with or without a port, or [\"*\"])";
        section.fault(name, &format!("is not a list of origins; {remedy}"));
    }
    origins.unwrap_or_default()
}

fn is_origin(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || ".-:[]".contains(letter);
    let is_host = |host: &str| !host.is_empty() && host.chars().all(is_letter);
    text.split_once("://").is_some_and(|(scheme, host)| ["http", "https"].contains(&scheme) && is_host(host))
}
