//! Log lines on their way to stderr, and how many of them did not get there: a full disk or a collector that has gone takes
//! them without a word, and an engine that nobody can hear has to say so elsewhere.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::flow::health::{Condition, Gauge, Part};

/// A loss is told of for this long.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Losses of this process: it has one stderr.
static LOSSES: OnceLock<Mutex<Losses>> = OnceLock::new();

/// Where log lines go.
pub(super) struct Lines;

/// Lines that were lost.
#[derive(Debug, Default)]
struct Losses {
    num_lines: u64,
    last: Option<(Instant, String)>,
}

// === impl Lines ===

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A line is given up at its first error, so that each error is a line.
        io::stderr().write(bytes).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                LOSSES.get_or_init(Mutex::default).lock().add(error, Instant::now());
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

// === impl Losses ===

impl Losses {
    fn add(&mut self, error: &io::Error, now: Instant) {
        self.num_lines += 1;
        self.last = Some((now, error.to_string()));
    }

    fn condition(&self, now: Instant) -> Option<Condition> {
        let (at, error) = self.last.as_ref()?;
        let detail = format!(
            "log lines cannot be written to stderr, {} so far: {error}; see where stderr goes, a full disk or a collector \
             that has gone",
            self.num_lines,
        );
        let is_recent = now.saturating_duration_since(*at) < REMEMBERED;
        is_recent.then(|| Condition::degraded(Part::Disk, "log_lines_lost", "stderr", detail))
    }
}

/// That log lines get lost, if some did in the last minute.
pub fn conditions() -> Vec<Condition> {
    LOSSES.get().and_then(|losses| losses.lock().condition(Instant::now())).into_iter().collect()
}

/// How many log lines were lost since the process began.
pub fn num_lost() -> u64 {
    LOSSES.get().map_or(0, |losses| losses.lock().num_lines)
}

/// The same, for `/histograms`.
pub fn gauges() -> Vec<Gauge> {
    vec![Gauge { name: "log_lines_lost", value: num_lost() }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_losses_are_told_of_for_a_minute() {
        let (mut losses, now) = (Losses::default(), Instant::now());
        assert_eq!(losses.condition(now), None);
        losses.add(&io::Error::other("no room"), now);
        losses.add(&io::Error::other("no room"), now);
        let told = losses.condition(now + REMEMBERED - Duration::from_millis(1)).unwrap();
        assert!(told.detail.contains("2 so far: no room"), "{}", told.detail);
        assert_eq!(losses.condition(now + REMEMBERED), None);
    }
}
