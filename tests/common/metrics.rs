//! What `/metrics` tells, taken apart: both formats.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::http::Request;

/// What asks for OpenMetrics, as Prometheus does.
pub const OPEN_METRICS: &str =
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.7,*/*;q=0.1";

/// One answer of `/metrics`.
#[derive(Debug, Default)]
pub struct Scraped {
    /// The type of each family, by the name of the family.
    pub types: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

/// The classic text of an engine, which has to be answered.
pub async fn scrape(server: SocketAddr) -> Scraped {
    let answer = Request::new("GET", "/metrics").send(server).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    Scraped::parse(&String::from_utf8(answer.body).unwrap())
}

// === impl Scraped ===

impl Scraped {
    /// Takes a text apart; what is not as the formats are fails.
    pub fn parse(text: &str) -> Self {
        let mut scraped = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "TYPE", name, kind] => {
                    assert!(scraped.types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
                }
                ["#", "HELP" | "UNIT" | "EOF", ..] => {}
                _ => scraped.samples.push(Sample::parse(line)),
            }
        }
        scraped
    }

    /// The value of a series: its name, and all its labels in any order. Fails if there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no {name}{labels:?} among {:?}", self.of(name)))
    }

    /// The value of a series, if there is one.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| sample.labels.iter().any(|(l, v)| l == label && v == value);
            sample.name == name && sample.labels.len() == labels.len() && labels.iter().all(has)
        };
        self.samples.iter().find(fits).map(|sample| sample.value)
    }

    /// All series of a name.
    pub fn of(&self, name: &str) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.name == name).collect()
    }

    /// The values of all series of a name, added up.
    pub fn sum(&self, name: &str) -> f64 {
        self.of(name).iter().map(|sample| sample.value).sum()
    }
}

// === impl Sample ===

impl Sample {
    fn parse(line: &str) -> Self {
        let name: String = line.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let mut rest = &line[name.len()..];
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (label, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
                let (value, after) = unquoted(quoted);
                labels.push((label.to_owned(), value));
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            rest = &rest[1..];
        }
        let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
        // Nothing after it: there are no timestamps.
        Self { name, labels, value: value.parse().unwrap_or_else(|_| panic!("{line}")) }
    }

    /// The name of the family that a sample belongs to, given those that there are.
    pub fn family<'a>(&'a self, types: &BTreeMap<String, String>) -> &'a str {
        let suffixes = ["", "_total", "_bucket", "_sum", "_count"];
        let family = suffixes.iter().find_map(|suffix| {
            let stem = self.name.strip_suffix(suffix)?;
            types.contains_key(stem).then_some(stem)
        });
        family.unwrap_or_else(|| panic!("{} has no type", self.name))
    }
}

/// Reads up to the quote at the end; returns what comes after it, too.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().unwrap().1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            c => value.push(c),
        }
    }
    panic!("no end: {text}");
}
