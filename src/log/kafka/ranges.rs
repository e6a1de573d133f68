//! Ranges of offsets, each offset of which counts once, in whatever order and however often they are reported.

use super::progress::Gone;

/// How many ranges are kept apart. What is lost lies at the start of a log, which only moves on, so that the earliest are
/// not reported again.
const MAX_RANGES: usize = 16;

/// Offsets that were counted: ranges in order, none of which touches another.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<Gone>);

// === impl Ranges ===

impl Ranges {
    /// Takes a range in. Returns those parts of it that are new.
    pub(super) fn add(&mut self, Gone { mut from, mut to }: Gone) -> Vec<Gone> {
        let mut parts = Vec::new();
        let mut at = from;
        for known in self.0.iter().filter(|known| known.from < to && from < known.to) {
            if at < known.from {
                parts.push(Gone { from: at, to: known.from });
            }
            at = known.to;
        }
        if at < to {
            parts.push(Gone { from: at, to });
        }
        if !parts.is_empty() {
            self.0.retain(|known| {
                let is_apart = known.to < from || to < known.from;
                if !is_apart {
                    (from, to) = (from.min(known.from), to.max(known.to));
                }
                is_apart
            });
            let index = self.0.partition_point(|known| known.from < from);
            self.0.insert(index, Gone { from, to });
            if self.0.len() > MAX_RANGES {
                self.0.remove(0);
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn test_what_was_counted_is_left_out_wherever_it_lies() {
        let mut ranges = Ranges::default();
        let gone = |from, to| Gone { from, to };
        assert_eq!(ranges.add(gone(80, 150)), [gone(80, 150)]);
        assert_eq!(ranges.add(gone(80, 150)), []);
        assert_eq!(ranges.add(gone(40, 160)), [gone(40, 80), gone(150, 160)]);
        assert_eq!(ranges.add(gone(160, 170)), [gone(160, 170)]);
        assert_eq!(ranges.add(gone(200, 210)), [gone(200, 210)]);
        assert_eq!(ranges.0, [gone(40, 170), gone(200, 210)]);
    }

    proptest! {
        /// Whatever is reported in whatever order: each offset counts once.
        #[test]
        fn test_each_offset_counts_once(reports in prop::collection::vec((0u64..30, 1u64..10), 1..40)) {
            let (mut ranges, mut counted) = (Ranges::default(), BTreeSet::new());
            for (from, length) in &reports {
                for part in ranges.add(Gone { from: *from, to: from + length }) {
                    prop_assert!(part.from < part.to);
                    for offset in part.from..part.to {
                        prop_assert!(counted.insert(offset), "{offset} was counted before");
                    }
                }
            }
            let reported: BTreeSet<u64> = reports.iter().flat_map(|(from, length)| *from..from + length).collect();
            prop_assert_eq!(counted, reported);
        }
    }
}
