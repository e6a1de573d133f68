//! The tables of docs/metrics.md.

use std::fmt::Write;

use super::groups::GROUPS;

/// A heading and a table for each group, as Markdown.
pub fn table() -> String {
    let mut text = String::new();
    for group in GROUPS {
        // Nothing that is written into a text fails.
        let _ = write!(text, "## {}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n", group.title);
        for metric in group.metrics {
            let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            let only = metric.only.map(|when| format!(" Only {when}.")).unwrap_or_default();
            let (name, kind, help) = (metric.name, metric.kind.name(), metric.help);
            let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help}{only} |");
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}
