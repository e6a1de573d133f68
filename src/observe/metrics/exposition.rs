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
