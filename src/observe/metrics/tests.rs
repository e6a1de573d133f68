use std::collections::BTreeSet;

use super::*;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

fn all() -> impl Iterator<Item = &'static Metric> {
    GROUPS.iter().flat_map(|group| group.metrics)
}

#[test]
fn test_the_document_has_the_tables_of_the_registry() {
    let text = std::fs::read_to_string(DOCUMENT).unwrap();
    let (head, mark) = text.split_once("\n<!-- The tables from here").unwrap();
    let (mark, tables) = mark.split_once("-->\n\n").unwrap();
    if std::env::var_os("SURGETANK_WRITE_METRICS").is_some() {
        let written = format!("{head}\n<!-- The tables from here{mark}-->\n\n{}", table());
        return std::fs::write(DOCUMENT, written).unwrap();
    }
    let hint = "docs/metrics.md is not as the registry says: SURGETANK_WRITE_METRICS=1 cargo test --lib metrics";
    assert!(tables == table(), "{hint}");
}

#[test]
fn test_names_follow_the_conventions_of_prometheus() {
    let mut families = BTreeSet::new();
    for metric in all() {
        let (name, family) = (metric.name, metric.family());
        let is_word =
            |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        assert!(name.split('_').all(is_word), "{name}: words in small letters");
        assert!(name.starts_with("surgetank_") || name.starts_with("process_"), "{name}: whose is it?");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}: _total is for counters");
        assert!(families.insert(family), "{name}: another one is called {family}");
        for suffix in
            ["_count", "_sum", "_bucket", "_created", "_ms", "_us", "_milliseconds", "_microseconds", "_kilobytes"]
        {
            assert!(!family.ends_with(suffix), "{name}: {suffix} means something else, or is no base unit");
        }
        for unit in ["seconds", "bytes"] {
            let holds = !family.contains(unit) || family.ends_with(unit);
            assert!(holds, "{name}: the unit stands at the end");
        }
    }
}

#[test]
fn test_labels_are_names_that_prometheus_leaves_to_us() {
    for metric in all() {
        let labels: BTreeSet<_> = metric.labels.iter().collect();
        assert_eq!(labels.len(), metric.labels.len(), "{}: a label twice", metric.name);
        for label in metric.labels {
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}: {label}", metric.name);
            let taken = ["le", "quantile", "job", "instance", "device", "device_id", "address"];
            assert!(!taken.contains(label), "{}: {label} is taken, or has no bound", metric.name);
        }
    }
}

#[test]
fn test_what_is_said_of_a_metric_fits_both_formats_and_the_tables() {
    for metric in all() {
        let help = metric.help;
        assert!(help.ends_with('.') && help.len() > 5 && help.len() < 250, "{}: {help:?}", metric.name);
        // OpenMetrics and the classic format escape different ones of these, and a cell of a table ends with the last.
        assert!(!help.contains(['\n', '\\', '"', '|']), "{}: {help:?}", metric.name);
        assert!(metric.only.is_none_or(|when| !when.ends_with('.')), "{}: {:?}", metric.name, metric.only);
    }
}
