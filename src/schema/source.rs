//! A layout file as it is written: what serde reads, before anything is checked.
//!
//! Unknown keys are refused here. Whether the keys fit the kind, and the values their ranges, is `check`'s job.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One file: one message type with all its versions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSource {
    #[serde(rename = "type")]
    pub name: String,
    pub id: u16,
    pub doc: String,
    #[serde(rename = "version")]
    pub versions: Vec<VersionSource>,
}

/// One `[[version]]` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionSource {
    pub version: u8,
    pub fields: Vec<FieldSource>,
}

/// One field, or the item of an array.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldSource {
    pub name: Option<String>,
    pub kind: String,
    pub doc: Option<String>,
    pub unit: Option<String>,
    pub optional: Option<bool>,
    pub default: Option<toml::Value>,
    pub bits: Option<i64>,
    pub signed: Option<bool>,
    pub scale: Option<Number>,
    pub offset: Option<Number>,
    pub min: Option<Number>,
    pub max: Option<Number>,
    pub symbols: Option<Symbols>,
    pub resolution: Option<String>,
    pub epoch: Option<String>,
    pub length_bits: Option<i64>,
    pub fields: Option<Vec<FieldSource>>,
    pub count: Option<i64>,
    pub count_bits: Option<i64>,
    pub item: Option<Box<FieldSource>>,
}

/// A number with or without a fraction.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

/// Symbols as a list (numbered from zero) or as `name = number`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Symbols {
    List(Vec<String>),
    Numbered(BTreeMap<String, i64>),
}

// === impl Number ===

impl Number {
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Number::Int(int) => int as f64,
            Number::Float(float) => float,
        }
    }
}

// === impl FieldSource ===

impl FieldSource {
    /// The keys that are present, besides `kind` and the ones every kind has.
    pub(super) fn kind_keys(&self) -> impl Iterator<Item = &'static str> {
        [
            ("unit", self.unit.is_some()),
            ("default", self.default.is_some()),
            ("bits", self.bits.is_some()),
            ("signed", self.signed.is_some()),
            ("scale", self.scale.is_some()),
            ("offset", self.offset.is_some()),
            ("min", self.min.is_some()),
            ("max", self.max.is_some()),
            ("symbols", self.symbols.is_some()),
            ("resolution", self.resolution.is_some()),
            ("epoch", self.epoch.is_some()),
            ("length_bits", self.length_bits.is_some()),
            ("fields", self.fields.is_some()),
            ("count", self.count.is_some()),
            ("count_bits", self.count_bits.is_some()),
            ("item", self.item.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, is_set)| is_set.then_some(key))
    }
}
