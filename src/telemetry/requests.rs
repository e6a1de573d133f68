//! Answers of HTTP ingest, by endpoint and status.

use std::sync::atomic::{AtomicU64, Ordering};

use super::counters::add;

/// The statuses that are told apart, those that come often first.
const STATUSES: [u16; 14] = [200, 202, 400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 431, 503];
/// Where all others are counted.
const OTHER: usize = STATUSES.len();

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Events of a message type.
    Events,
    /// A package.
    Packages,
    /// Anything else.
    Other,
}

/// Answers that were given.
#[derive(Debug, Default)]
pub struct Requests([[AtomicU64; OTHER + 1]; Endpoint::ALL.len()]);

// === impl Endpoint ===

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 3] = [Self::Events, Self::Packages, Self::Other];

    /// The endpoint that serves this path.
    pub fn of(path: &str) -> Self {
        match path.strip_prefix("/v1/") {
            Some("packages") => Self::Packages,
            Some(rest) if rest.strip_prefix("events").is_some_and(|name| name.is_empty() || name.starts_with('/')) => {
                Self::Events
            }
            _ => Self::Other,
        }
    }

    /// Its name as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Packages => "packages",
            Self::Other => "other",
        }
    }
}

// === impl Requests ===

impl Requests {
    /// Counts an answer.
    pub fn answered(&self, endpoint: Endpoint, status: u16) {
        let index = STATUSES.iter().position(|known| *known == status).unwrap_or(OTHER);
        add(&self.0[endpoint as usize][index], 1);
    }

    /// Every endpoint and status and how many answers there were, be it none. A status that is never expected is `other`.
    pub fn read(&self) -> Vec<(Endpoint, &'static str, u64)> {
        let of = |endpoint: Endpoint| {
            let counts = self.0[endpoint as usize].iter().enumerate();
            counts.map(move |(index, count)| (endpoint, status_name(index), count.load(Ordering::Relaxed)))
        };
        Endpoint::ALL.into_iter().flat_map(of).collect()
    }
}

const fn status_name(index: usize) -> &'static str {
    const NAMES: [&str; OTHER + 1] =
        ["200", "202", "400", "401", "403", "404", "405", "408", "413", "415", "422", "429", "431", "503", "other"];
    NAMES[index]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_answers_are_counted_by_endpoint_and_status() {
        let requests = Requests::default();
        requests.answered(Endpoint::of("/v1/events/position"), 200);
        requests.answered(Endpoint::of("/v1/events"), 404);
        requests.answered(Endpoint::of("/v1/packages"), 503);
        requests.answered(Endpoint::of("/v1/packages"), 503);
        requests.answered(Endpoint::of("/v1/eventsx"), 404);
        requests.answered(Endpoint::of("/v1/packages/x"), 418);
        let seen: Vec<_> = requests.read().into_iter().filter(|(_, _, count)| *count > 0).collect();
        let expected = [
            (Endpoint::Events, "200", 1),
            (Endpoint::Events, "404", 1),
            (Endpoint::Packages, "503", 2),
            (Endpoint::Other, "404", 1),
            (Endpoint::Other, "other", 1),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn test_each_status_has_its_own_name() {
        for (index, status) in STATUSES.iter().enumerate() {
            assert_eq!(status_name(index), status.to_string());
        }
    }
}
