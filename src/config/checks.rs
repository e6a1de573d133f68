//! One check per kind of value: what a key may hold, and what its error says.
//!
//! A check always gives a value back, the lowest allowed one where there was a problem, so that one pass finds every
//! problem. What was made up that way is never used: with a problem there is no configuration.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::entry::Entry;
use super::problem::Problem;
use super::section::join;
use super::sources::Sources;
use super::units::{Size, Span};
use super::validate::Surroundings;

/// Collects the problems of one configuration.
pub(super) struct Checker<'a> {
    /// Where the values came from.
    pub sources: &'a Sources,
    surroundings: &'a Surroundings,
    /// What has been found so far.
    pub problems: Vec<Problem>,
    faulty: BTreeSet<String>,
}

/// The checks of one section: names are those of its keys.
pub(super) struct Section<'c, 'a> {
    checker: &'c mut Checker<'a>,
    path: String,
}

// === impl Checker ===

impl<'a> Checker<'a> {
    /// Nothing found yet but what is wrong with the keys in `faulty`, which are not blamed again.
    pub(super) fn new(sources: &'a Sources, surroundings: &'a Surroundings, faulty: BTreeSet<String>) -> Self {
        Self { sources, surroundings, problems: Vec::new(), faulty }
    }

    /// The section at this path; the empty path is the top of the file.
    pub(super) fn section(&mut self, path: &str) -> Section<'_, 'a> {
        Section { checker: self, path: path.to_owned() }
    }

    /// Reports that the value of a key is wrong; once for each key, since the rest may follow from the first.
    pub(super) fn fault(&mut self, key: &str, what: &str) {
        if self.faulty.insert(key.to_owned()) {
            self.problems.push(self.sources.problem(key, what));
        }
    }

    /// Whether the value of a key has been found wrong.
    pub(super) fn is_faulty(&self, key: &str) -> bool {
        self.faulty.contains(key)
    }

    /// Reports that two values do not go together, at the first of them that somebody has set. Silent when one of
    /// them is wrong in itself: then the other cannot be blamed.
    pub(super) fn conflict(&mut self, left: &str, relation: &str, right: &str, remedy: &str) {
        if self.is_faulty(left) || self.is_faulty(right) {
            return;
        }
        let at = if self.sources.is_set(left) || !self.sources.is_set(right) { left } else { right };
        let (left_shown, right_shown) = (self.sources.shown(left), self.sources.shown(right));
        let text = format!("{left} = {left_shown} {relation} {right} = {right_shown}; {remedy}");
        self.problems.push(self.sources.problem_at(at, &text));
    }
}

// === impl Section ===

impl Section<'_, '_> {
    /// Reports that the value of a key of this section is wrong.
    pub(super) fn fault(&mut self, name: &str, what: &str) {
        self.checker.fault(&self.key(name), what);
    }

    /// Whether an error may tell more of the value than the file shows.
    pub(super) fn may_show(&self, name: &str) -> bool {
        !self.checker.sources.is_substituted(&self.key(name))
    }

    /// What is not in the file but decides how it is read.
    pub(super) fn surroundings(&self) -> &Surroundings {
        self.checker.surroundings
    }

    fn key(&self, name: &str) -> String {
        join(&self.path, name)
    }

    // What is not valid has been noted as a fault, which keeps the config from being used: what stands in for it below is never
    // seen. Numbers that fit their range fit its type.

    /// A number of bytes.
    pub(super) fn size(&mut self, name: &str, entry: &Entry, range: RangeInclusive<u64>) -> u64 {
        let size = quantity::<Size>(entry).map(|size| size.0);
        let allowed = format!("{} to {}", Size(*range.start()), Size(*range.end()));
        self.within(name, size, range, "a size; write a number with a unit, such as \"1 MiB\"", &allowed)
    }

    /// A number of bytes that one buffer holds.
    pub(super) fn buffer(&mut self, name: &str, entry: &Entry, range: RangeInclusive<u64>) -> usize {
        usize::try_from(self.size(name, entry, range)).unwrap_or(usize::MAX)
    }

    /// A number of bytes that fits four of them.
    pub(super) fn size_u32(&mut self, name: &str, entry: &Entry, range: RangeInclusive<u64>) -> u32 {
        u32::try_from(self.size(name, entry, range)).unwrap_or(u32::MAX)
    }

    /// A length of time from `least` to `most`, or 0 for never; `allowed` tells that.
    pub(super) fn time_or_never(
        &mut self,
        name: &str,
        entry: &Entry,
        most: Duration,
        least: Duration,
        allowed: &str,
    ) -> Option<Duration> {
        let time = self.duration(name, entry, Duration::ZERO..=most);
        if !time.is_zero() && time < least {
            self.fault(name, &format!("is too small; raise it (allowed: {allowed})"));
        }
        (!time.is_zero()).then_some(time)
    }

    /// The path of a directory.
    pub(super) fn directory(&mut self, name: &str, entry: &Entry) -> PathBuf {
        self.text(name, entry, |text| !text.is_empty(), "the path of a directory").into()
    }

    /// A path or nothing. A path in the file is relative to the file, so that both can move together; a path in a variable
    /// is relative to where its writer stands, the working directory.
    pub(super) fn path(&mut self, name: &str, entry: &Entry) -> Option<PathBuf> {
        let from_variable = self.checker.sources.variables.contains_key(&self.key(name));
        let text = self.text(name, entry, |_| true, "a path, or empty");
        let resolve = |path: String| if from_variable { path.into() } else { self.surroundings().directory.join(path) };
        (!text.is_empty()).then_some(text).map(resolve)
    }

    /// A text, or the empty one for none.
    pub(super) fn text_or_none(&mut self, name: &str, entry: &Entry, allowed: &str) -> Option<String> {
        let text = self.text(name, entry, |_| true, allowed);
        (!text.is_empty()).then_some(text)
    }

    /// A length of time.
    pub(super) fn duration(&mut self, name: &str, entry: &Entry, range: RangeInclusive<Duration>) -> Duration {
        let duration = quantity::<Span>(entry).map(|span| span.0);
        let allowed = format!("{} to {}", Span(*range.start()), Span(*range.end()));
        self.within(name, duration, range, "a duration; write a number with a unit, such as \"10 s\"", &allowed)
    }

    /// A whole number.
    pub(super) fn count(&mut self, name: &str, entry: &Entry, range: RangeInclusive<u32>) -> u32 {
        let allowed = format!("{} to {}", range.start(), range.end());
        let range = i64::from(*range.start())..=i64::from(*range.end());
        let number = self.within(name, entry.integer(), range, "a whole number; write digits only", &allowed);
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// A whole number that fits two bytes.
    pub(super) fn count_u16(&mut self, name: &str, entry: &Entry, range: RangeInclusive<u16>) -> u16 {
        let number = self.count(name, entry, u32::from(*range.start())..=u32::from(*range.end()));
        u16::try_from(number).unwrap_or(u16::MAX)
    }

    /// A whole number from 1 to `max`.
    pub(super) fn non_zero(&mut self, name: &str, entry: &Entry, max: u32) -> NonZeroU32 {
        NonZeroU32::new(self.count(name, entry, 1..=max)).unwrap_or(NonZeroU32::MIN)
    }

    /// A whole number from 1 to `max` that fits two bytes.
    pub(super) fn non_zero_u16(&mut self, name: &str, entry: &Entry, max: u16) -> NonZeroU16 {
        NonZeroU16::new(self.count_u16(name, entry, 1..=max)).unwrap_or(NonZeroU16::MIN)
    }

    /// How many of something there is room for, from 1 to `max`.
    pub(super) fn capacity(&mut self, name: &str, entry: &Entry, max: u32) -> NonZeroUsize {
        non_zero_usize(self.count(name, entry, 1..=max))
    }

    /// How much fits into something; 0 leaves it to the part.
    pub(super) fn capacity_opt(&mut self, name: &str, entry: &Entry, max: u32) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.count(name, entry, 0..=max) as usize)
    }

    /// How many actors or threads there are; 0 means one per core.
    pub(super) fn workers(&mut self, name: &str, entry: &Entry) -> NonZeroUsize {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        NonZeroUsize::new(self.count(name, entry, 0..=256) as usize).unwrap_or_else(cores)
    }

    /// True or false.
    pub(super) fn boolean(&mut self, name: &str, entry: &Entry) -> bool {
        if entry.boolean().is_none() {
            self.fault(name, "is neither true nor false; write one of them (allowed: true, false)");
        }
        entry.boolean().unwrap_or_default()
    }

    /// An IP address and a port to bind.
    pub(super) fn address(&mut self, name: &str, entry: &Entry) -> SocketAddr {
        let address = entry.text().and_then(|text| text.parse().ok());
        if address.is_none() {
            let remedy = "write both, such as \"127.0.0.1:7400\" or \"[::]:7400\" (allowed: ports 0 to 65535)";
            self.fault(name, &format!("is not an IP address with a port; {remedy}"));
        }
        address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// A text that a rule accepts; `allowed` tells the rule.
    pub(super) fn text(&mut self, name: &str, entry: &Entry, accept: fn(&str) -> bool, allowed: &str) -> String {
        let text = entry.text().filter(|text| accept(text));
        if text.is_none() {
            self.fault(name, &format!("is not valid; change it (allowed: {allowed})"));
        }
        text.unwrap_or_default().to_owned()
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, entry: &Entry, choices: &[(&str, T)], fallback: T) -> T {
        let word = entry.text().unwrap_or_default();
        let chosen = choices.iter().find(|(choice, _)| choice.eq_ignore_ascii_case(word));
        if chosen.is_none() {
            let shown = |choice: &str| if choice.is_empty() { "\"\"".to_owned() } else { choice.to_owned() };
            let words = choices.iter().map(|(choice, _)| shown(choice)).collect::<Vec<_>>().join(", ");
            self.fault(name, &format!("is not a choice; take another (allowed: {words})"));
        }
        chosen.map_or(fallback, |(_, value)| *value)
    }

    /// A list of `host:port`, at least one.
    pub(super) fn hosts(&mut self, name: &str, entry: &Entry) -> Vec<String> {
        let hosts = entry.texts().unwrap_or_default();
        if hosts.is_empty() || !hosts.iter().all(|host| is_host_and_port(host)) {
            let remedy = "write at least one, such as [\"127.0.0.1:9092\"] (allowed: host:port, ports 1 to 65535)";
            self.fault(name, &format!("is not a list of hosts with ports; {remedy}"));
        }
        hosts
    }

    fn within<T: PartialOrd + Copy>(
        &mut self,
        name: &str,
        value: Option<T>,
        range: RangeInclusive<T>,
        kind: &str,
        allowed: &str,
    ) -> T {
        let fault = match value {
            None => format!("is not {kind} (allowed: {allowed})"),
            Some(value) if value < *range.start() => format!("is too small; raise it (allowed: {allowed})"),
            Some(value) if value > *range.end() => format!("is too large; lower it (allowed: {allowed})"),
            Some(value) => return value,
        };
        self.fault(name, &fault);
        *range.start()
    }
}

fn non_zero_usize(number: u32) -> NonZeroUsize {
    NonZeroUsize::new(number as usize).unwrap_or(NonZeroUsize::MIN)
}

/// A quantity with its unit. A bare 0 needs none, whether it is written with quotes or without.
fn quantity<T: std::str::FromStr>(entry: &Entry) -> Option<T> {
    match entry {
        Entry::Integer(0) => "0".parse().ok(),
        _ => entry.text().and_then(|text| text.parse().ok()),
    }
}

fn is_host_and_port(text: &str) -> bool {
    let is_host =
        |host: &str| !host.is_empty() && !host.contains(|letter: char| letter.is_whitespace() || letter == '/');
    text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
}
