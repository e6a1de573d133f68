//! Cutting a batch that is too large for one append into several that are not.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{AppendBatch, AppendError, Completion, Keys};

// === impl AppendBatch ===

impl AppendBatch {
    /// Bytes of key and value of the largest record; none if there is no record.
    pub fn largest_record(&self) -> usize {
        self.iter().map(|(key, value)| key.len() + value.len()).max().unwrap_or_default()
    }

    /// Cuts the batch into batches of at most `max_bytes` of keys and values each, in order. A record that is larger by
    /// itself is alone in its batch.
    pub fn cut(&self, max_bytes: usize) -> Vec<AppendBatch> {
        let (mut cuts, mut start, mut num_bytes) = (Vec::new(), 0, 0);
        for (index, (key, value)) in self.iter().enumerate() {
            let record = key.len() + value.len();
            if index > start && num_bytes + record > max_bytes {
                cuts.push(self.part(start, index));
                (start, num_bytes) = (index, 0);
            }
            num_bytes += record;
        }
        cuts.push(self.part(start, self.ends.len()));
        cuts
    }

    /// The records from `start` up to `end`, sharing the buffers.
    fn part(&self, start: usize, end: usize) -> AppendBatch {
        // A batch without records has one part, which ends where it begins.
        let (value_ends, value_start) = rebased(&self.ends, start, end);
        let value_end = value_start + value_ends.last().copied().unwrap_or_default() as usize;
        let keys = match &self.keys {
            Keys::Same(key) => Keys::Same(key.clone()),
            Keys::Each { text, ends } => {
                let (ends, start) = rebased(ends, start, end);
                let end = start + ends.last().copied().unwrap_or_default() as usize;
                Keys::Each { text: text.slice(start..end), ends }
            }
        };
        let values = self.values.slice(value_start..value_end);
        AppendBatch { keys, values, ends: value_ends, trace: self.trace.clone() }
    }
}

/// The ends `start..end` counted from where the first begins, and where that is.
fn rebased(ends: &[u32], start: usize, end: usize) -> (Vec<u32>, usize) {
    let base = start.checked_sub(1).map_or(0, |before| ends[before]);
    (ends[start..end].iter().map(|end| end - base).collect(), base as usize)
}

// === impl Completion ===

impl Completion {
    /// One completion for each of `num_parts` appends; this one is reported when all are, with the first error if there was
    /// one.
    pub fn split(self, num_parts: usize) -> Vec<Completion> {
        let shared = Arc::new(Mutex::new((num_parts, None::<AppendError>, Some(self))));
        let part = |_| {
            let shared = Arc::clone(&shared);
            Completion::new(move |outcome| {
                let mut state = shared.lock();
                let (num_left, error, whole) = &mut *state;
                *num_left -= 1;
                if let Err(failure) = outcome {
                    error.get_or_insert(failure);
                }
                if *num_left == 0 {
                    let (error, whole) = (error.take(), whole.take());
                    drop(state);
                    let Some(whole) = whole else { unreachable!("the last part is reported once") };
                    whole.complete(error.map_or(Ok(()), Err));
                }
            })
        };
        (0..num_parts).map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use proptest::prelude::*;

    use super::*;

    fn batch_of(records: &[(Vec<u8>, Vec<u8>)], same_key: bool) -> AppendBatch {
        let (mut values, mut ends, mut text, mut key_ends) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (key, value) in records {
            values.extend_from_slice(value);
            ends.push(values.len() as u32);
            text.extend_from_slice(key);
            key_ends.push(text.len() as u32);
        }
        let keys = match same_key {
            true => Keys::Same(records.first().map(|(key, _)| key.clone()).unwrap_or_default().into()),
            false => Keys::Each { text: text.into(), ends: key_ends },
        };
        AppendBatch { keys, values: values.into(), ends, trace: None }
    }

    proptest! {
        #[test]
        fn test_cuts_make_the_whole_and_fit(
            records in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..9), proptest::collection::vec(any::<u8>(), 0..40)), 1..30),
            same_key in any::<bool>(),
            max_bytes in 1..100usize,
        ) {
            let batch = batch_of(&records, same_key);
            let cuts = batch.cut(max_bytes);
            let owned = |batch: &AppendBatch| -> Vec<_> {
                batch.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
            };
            prop_assert_eq!(cuts.iter().flat_map(owned).collect::<Vec<_>>(), owned(&batch));
            for cut in &cuts {
                let num_bytes: usize = cut.iter().map(|(key, value)| key.len() + value.len()).sum();
                prop_assert!(num_bytes <= max_bytes || cut.num_records() == 1);
                prop_assert!(cut.largest_record() <= batch.largest_record());
            }
        }
    }

    #[test]
    fn test_the_whole_is_reported_with_its_last_part_and_its_first_error() {
        let (sender, outcomes) = mpsc::channel();
        let whole = Completion::new(move |outcome| sender.send(outcome).unwrap());
        let mut parts = whole.split(3).into_iter();
        parts.next().unwrap().complete(Ok(()));
        parts.next().unwrap().complete(Err(AppendError::Full("first".to_owned())));
        assert!(outcomes.try_recv().is_err());
        drop(parts);
        assert!(matches!(outcomes.try_recv().unwrap(), Err(AppendError::Full(_))));
        assert!(outcomes.try_recv().is_err());
    }
}
