//! Puts dead letters together again that were written in parts.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::dead_letter::{OwnedDeadLetter, OwnedSource};

/// The number of the part that has key and headers of the record.
const FIRST: u32 = 1;

/// Letters of which parts are still to come. Bounded: past that, the oldest is given up as it is.
#[derive(Debug)]
pub struct LetterParts {
    max_bytes: usize,
    num_bytes: usize,
    open: HashMap<Name, Open>,
    /// The oldest first.
    order: VecDeque<Name>,
}

/// A letter that is whole, or as much of it as there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The letter, with the payloads of all parts that were found.
    pub letter: OwnedDeadLetter,
    /// Numbers of the parts that were not.
    pub missing: Vec<u32>,
}

/// A letter that is written again may be cut otherwise: its parts do not go with those of before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    whole: String,
    at_us: u64,
    num_parts: u32,
}

#[derive(Debug)]
struct Open {
    /// One of the parts, without its payload; with key and headers of the record once the part is there that has them.
    letter: OwnedDeadLetter,
    payloads: BTreeMap<u32, Vec<u8>>,
}

// === impl LetterParts ===

impl LetterParts {
    /// Keeps payloads of up to `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, num_bytes: 0, open: HashMap::new(), order: VecDeque::new() }
    }

    /// Takes in a letter or a part of one; returns those that are done with.
    pub fn add(&mut self, mut letter: OwnedDeadLetter) -> Vec<Joined> {
        if letter.num_parts <= 1 {
            return vec![Joined { letter, missing: Vec::new() }];
        }
        let name = Name { whole: letter.whole.clone(), at_us: letter.at_us, num_parts: letter.num_parts };
        let (part, payload) = (letter.part, std::mem::take(&mut letter.payload));
        let source = if part == FIRST { letter.source.take() } else { None };
        let open = self.open.entry(name.clone()).or_insert_with(|| {
            self.order.push_back(name.clone());
            Open { letter, payloads: BTreeMap::new() }
        });
        // A part that was written again is the same.
        if let std::collections::btree_map::Entry::Vacant(place) = open.payloads.entry(part) {
            self.num_bytes += payload.len() + source.as_ref().map_or(0, num_bytes);
            place.insert(payload);
            open.letter.source = source.or(open.letter.source.take());
        }
        let is_whole = open.payloads.len() == name.num_parts as usize;
        let mut done: Vec<Joined> = is_whole.then(|| self.close(&name)).flatten().into_iter().collect();
        if let Some(joined) = done.first() {
            self.forget_attempts(&joined.letter.whole, joined.letter.payload_bytes);
        }
        while self.num_bytes > self.max_bytes
            && let Some(oldest) = self.order.front().cloned()
        {
            done.extend(self.close(&oldest));
        }
        done
    }

    /// What is left without its other parts.
    pub fn finish(mut self) -> Vec<Joined> {
        std::iter::from_fn(|| {
            let oldest = self.order.front().cloned()?;
            self.close(&oldest)
        })
        .collect()
    }

    /// Some parts may have been written before the topic refused another: then the letter was cut anew and written again.
    fn forget_attempts(&mut self, whole: &str, payload_bytes: u64) {
        let is_attempt = |(name, open): (&Name, &Open)| {
            (name.whole == whole && open.letter.payload_bytes == payload_bytes).then(|| name.clone())
        };
        let attempts: Vec<Name> = self.open.iter().filter_map(is_attempt).collect();
        attempts.iter().for_each(|name| drop(self.close(name)));
    }

    fn close(&mut self, name: &Name) -> Option<Joined> {
        self.order.retain(|other| other != name);
        let Open { mut letter, payloads } = self.open.remove(name)?;
        let missing = (1..=name.num_parts).filter(|part| !payloads.contains_key(part)).collect();
        letter.payload = payloads.into_values().flatten().collect();
        // Of a letter without its first part that is nothing.
        self.num_bytes -= letter.payload.len() + letter.source.as_ref().map_or(0, num_bytes);
        Some(Joined { letter, missing })
    }
}

/// What a record's key and headers take.
fn num_bytes(source: &OwnedSource) -> usize {
    let headers = source.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
    source.key.as_ref().map_or(0, Vec::len) + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::super::dead_letter::DeadLetter;
    use super::*;

    fn parts(whole: &str, at_us: u64, payload: &[u8]) -> Vec<OwnedDeadLetter> {
        let letter = DeadLetter {
            device_id: "truck-7",
            reason_code: "undecodable",
            detail: "",
            origin: "writer",
            at_us,
            type_id: None,
            version: None,
            sequence: None,
            event_time_ms: None,
            payload,
            trace: None,
            source: None,
        };
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        letter.encode_within(400, || whole.to_owned(), &mut bytes, &mut ends);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts
            .zip(&ends)
            .map(|(start, end)| OwnedDeadLetter::decode(&bytes[start as usize..*end as usize]).unwrap())
            .collect()
    }

    #[test]
    fn test_parts_of_several_letters_find_together_in_any_order() {
        let (first, second): (Vec<u8>, Vec<u8>) = ((0..3000).map(|i| i as u8).collect(), vec![5; 2000]);
        let mut mixed = parts("a", 1, &first);
        mixed.extend(parts("a", 2, &second));
        mixed.extend(parts("b", 1, &second));
        // A part that came twice, and all in another order.
        mixed.push(mixed[0].clone());
        mixed.reverse();
        let mut letters = LetterParts::new(usize::MAX);
        let mut found: Vec<Joined> = mixed.into_iter().flat_map(|part| letters.add(part)).collect();
        found.sort_by_key(|joined| (joined.letter.whole.clone(), joined.letter.at_us));
        let payloads: Vec<&[u8]> = found.iter().map(|joined| joined.letter.payload.as_slice()).collect();
        assert_eq!(payloads, [first.as_slice(), &second, &second]);
        assert!(found.iter().all(|joined| joined.missing.is_empty()));
        let left = letters.finish();
        assert_eq!(left.len(), 1, "the part that came twice");
    }

    #[test]
    fn test_what_lacks_a_part_is_told_with_what_lacks() {
        let mut mixed = parts("a", 1, &[7; 3000]);
        mixed.remove(2);
        let mut letters = LetterParts::new(usize::MAX);
        assert!(mixed.iter().all(|part| letters.add(part.clone()).is_empty()));
        let left = letters.finish();
        assert_eq!((left.len(), left[0].missing.as_slice()), (1, &[3][..]));
        assert!(left[0].letter.payload.len() < 3000 && left[0].letter.payload_bytes == 3000);
    }

    #[test]
    fn test_parts_of_an_attempt_that_was_given_up_are_forgotten() {
        let payload: Vec<u8> = (0..3000).map(|i| i as u8).collect();
        let mut mixed = parts("a", 1, &payload);
        mixed.pop();
        mixed.extend(parts("a", 2, &payload));
        let mut letters = LetterParts::new(usize::MAX);
        let found: Vec<Joined> = mixed.into_iter().flat_map(|part| letters.add(part)).collect();
        assert!(found.len() == 1 && found[0].letter.payload == payload);
        assert_eq!((letters.num_bytes, letters.finish().len()), (0, 0));
    }

    #[test]
    fn test_memory_is_bounded() {
        let mut letters = LetterParts::new(5000);
        let mut num_given_up = 0;
        for number in 0..100 {
            let mut mixed = parts(&number.to_string(), 1, &[7; 3000]);
            mixed.pop();
            num_given_up += mixed.into_iter().flat_map(|part| letters.add(part)).count();
            assert!(letters.num_bytes <= 5000);
        }
        assert_eq!(num_given_up + letters.finish().len(), 100);
    }
}
