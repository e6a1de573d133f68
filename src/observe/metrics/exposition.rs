//! Writes all metrics, as OpenMetrics or in the classic text format. Both are `prometheus-client`'s: it has the names, the
//! escapes and the numbers of either right.

use std::fmt::{Error, Write};

use actix_web::HttpRequest;
use actix_web::http::header::{Accept, Header};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, NoLabelSet};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::groups::GROUPS;
use super::registry::{Kind, Metric};
use super::samples::{Samples, Value};
use super::scrape::Scrape;
use crate::observe::View;

const OPEN_METRICS: &str = "application/openmetrics-text";

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own text format, version 0.0.4.
    Classic,
}

/// All metrics of an engine, ready to be written at any moment.
pub struct Exposition {
    registry: Registry,
}

/// Reads the engine whenever metrics are written.
struct Reader {
    view: View,
}

/// The labels of one sample. Asked for once for each line that it takes.
struct Labels<V> {
    names: &'static [&'static str],
    values: V,
}

// === impl Format ===

impl Format {
    /// The one that a request prefers; the classic one if it says nothing of either.
    pub fn asked_by(request: &HttpRequest) -> Self {
        // A header that cannot be read says nothing.
        let accepted = Accept::parse(request).map(|accept| accept.0).unwrap_or_default();
        let quality = |matches: fn(&str) -> bool| {
            accepted.iter().filter(|item| matches(item.item.essence_str())).map(|item| item.quality).max()
        };
        let open =
            quality(|name| name == OPEN_METRICS).filter(|quality| *quality > actix_web::http::header::Quality::ZERO);
        if open.is_some() && open >= quality(|name| name == "text/plain") { Self::OpenMetrics } else { Self::Classic }
    }

    /// The content type of what is written like this.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => prometheus_text::CONTENT_TYPE,
        }
    }
}

// === impl Exposition ===

impl Exposition {
    /// The metrics of what can be seen in `view`.
    pub fn new(view: View) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Reader { view }));
        Self { registry }
    }

    /// Writes all metrics as they are now. Fails only where the writer does; a text never does.
    pub fn write(&self, format: Format, to: &mut impl Write) -> Result<(), Error> {
        match format {
            Format::OpenMetrics => text::encode(to, &self.registry),
            Format::Classic => prometheus_text::encode(to, &self.registry),
        }
    }
}

// === impl Reader ===

impl Collector for Reader {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let scrape = Scrape::new(&self.view);
        let mut samples = Samples::default();
        for metric in GROUPS.iter().flat_map(|group| group.metrics) {
            samples.clear();
            (metric.read)(&scrape, &mut samples);
            if samples.len() > 0 {
                write(metric, &samples, &mut encoder)?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

// === impl Labels ===

impl<'a, V: Iterator<Item = &'a str> + Clone> EncodeLabelSet for Labels<V> {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> Result<(), Error> {
        self.names.iter().zip(self.values.clone()).try_for_each(|label| {
            let (name, value) = label;
            (*name, value).encode(encoder.encode_label())
        })
    }
}

/// Writes one metric with its samples.
fn write(metric: &Metric, samples: &Samples, encoder: &mut DescriptorEncoder) -> Result<(), Error> {
    let (name, unit) = name_and_unit(metric.family());
    let kind = match metric.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    let mut family = encoder.encode_descriptor(name, metric.help, unit.as_ref(), kind)?;
    for (values, value) in samples.iter(metric.labels.len()) {
        let labels = Labels { names: metric.labels, values };
        let mut sample = family.encode_family(&labels)?;
        match (metric.kind, value) {
            (Kind::Counter, Value::Whole(value)) => sample.encode_counter::<NoLabelSet, _, u64>(value, None)?,
            (Kind::Counter, Value::Real(value)) => sample.encode_counter::<NoLabelSet, _, u64>(value, None)?,
            (Kind::Gauge, Value::Whole(value)) => sample.encode_gauge(value)?,
            (Kind::Gauge, Value::Real(value)) => sample.encode_gauge(value)?,
            (Kind::Histogram, Value::Buckets { buckets, sum, count }) => {
                sample.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)?;
            }
            (kind, value) => unreachable!("{}: no value of a {}: {value:?}", metric.name, kind.name()),
        }
    }
    Ok(())
}

/// The encoder adds the unit to the name by itself.
fn name_and_unit(name: &'static str) -> (&'static str, Option<Unit>) {
    let units = [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)];
    let of_name = units.into_iter().find_map(|(suffix, unit)| Some((name.strip_suffix(suffix)?, Some(unit))));
    of_name.unwrap_or((name, None))
}

#[cfg(test)]
mod tests {
    use super::super::registry::{counter, gauge, histogram};
    use super::*;
    use crate::telemetry::Stage;

    /// Writes one metric with these samples in both formats.
    #[derive(Debug)]
    struct One(Metric, Samples);

    impl Collector for One {
        fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
            write(&self.0, &self.1, &mut encoder)
        }
    }

    fn both(metric: Metric, fill: impl FnOnce(&mut Samples)) -> (String, String) {
        let mut samples = Samples::default();
        fill(&mut samples);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(One(metric, samples)));
        let exposition = Exposition { registry };
        let (mut classic, mut open) = (String::new(), String::new());
        exposition.write(Format::Classic, &mut classic).unwrap();
        exposition.write(Format::OpenMetrics, &mut open).unwrap();
        (classic, open)
    }

    #[test]
    fn test_a_counter_has_its_name_in_both_formats_and_its_family_another_in_open_metrics() {
        let metric = counter("surgetank_waited_seconds_total", &["actor"], "Help.", |_, _| {});
        let (classic, open) = both(metric, |out| out.put(&["a"], 1.5));
        assert_eq!(
            classic,
            "# HELP surgetank_waited_seconds_total Help.\n# TYPE surgetank_waited_seconds_total counter\n\
             surgetank_waited_seconds_total{actor=\"a\"} 1.5\n"
        );
        assert_eq!(
            open,
            "# HELP surgetank_waited_seconds Help.\n# TYPE surgetank_waited_seconds counter\n\
             # UNIT surgetank_waited_seconds seconds\nsurgetank_waited_seconds_total{actor=\"a\"} 1.5\n# EOF\n"
        );
    }

    #[test]
    fn test_labels_are_escaped_and_what_is_not_known_is_nan() {
        let fill = |out: &mut Samples| {
            out.put(&["a\"b\\c\nd", "é"], None::<u64>);
            out.put(&["", "x"], u64::MAX);
        };
        let (classic, open) = both(gauge("surgetank_x", &["p", "q"], "Help.", |_, _| {}), fill);
        let lines =
            "surgetank_x{p=\"a\\\"b\\\\c\\nd\",q=\"é\"} NaN\nsurgetank_x{p=\"\",q=\"x\"} 18446744073709551615\n";
        assert!(classic.ends_with(lines), "{classic}");
        assert!(open.ends_with(&format!("{lines}# EOF\n")), "{open}");
    }

    #[test]
    fn test_buckets_are_cumulative_and_the_last_has_all() {
        let stage = Stage::default();
        let recorder = stage.recorder();
        [700, 1_000_000, 3_600_000_000].into_iter().for_each(|us| recorder.record(us));
        let (classic, open) = both(histogram("surgetank_x_seconds", &[], "Help.", |_, _| {}), |out| out.times(&stage));
        for (text, one) in [(&classic, "1"), (&open, "1.0")] {
            for (le, count) in [("0.0005", 0), ("0.001", 1), ("0.5", 1), (one, 2), ("+Inf", 3)] {
                let line = format!("\nsurgetank_x_seconds_bucket{{le=\"{le}\"}} {count}\n");
                assert!(text.contains(&line), "no {line} in {text}");
            }
            assert!(text.contains("\nsurgetank_x_seconds_count 3\n"), "{text}");
        }
    }
}
