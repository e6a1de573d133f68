//! A dead letter within what one record may have: in parts, or cut. [`LetterParts`](super::super::LetterParts) puts the
//! parts together again.

use std::borrow::Cow;

use super::carried::Carried;
use super::{DeadLetter, PartOf, Source};

/// Less than this of a payload is not worth a part of its own.
const LEAST_PART_BYTES: usize = 64;

// === impl DeadLetter ===

impl<'a> DeadLetter<'a> {
    /// Appends the letter as one record, or, where that would have more than `max_bytes`, as several that do not; the end
    /// of each goes to `ends`. `whole` names the letter: no other that is written at the same time has that name. Where
    /// there is no room for parts, the payload is cut, and texts are shortened; both say what the full size was.
    pub fn encode_within(
        &self,
        max_bytes: usize,
        whole: impl FnOnce() -> String,
        out: &mut Vec<u8>,
        ends: &mut Vec<u32>,
    ) {
        let start = out.len();
        self.encode(out);
        if out.len() - start <= max_bytes {
            return ends.push(out.len() as u32);
        }
        out.truncate(start);
        let whole = whole();
        let payload_bytes = self.payload.len();
        // With numbers as large as they can become.
        let most = PartOf { part: payload_bytes, num_parts: payload_bytes, payload_bytes, whole: &whole };
        let len_of = |letter: DeadLetter<'_>| {
            let mut bytes = Vec::new();
            // The length of a part is a number, too, of up to five bytes.
            letter.encode_part(most, &mut bytes);
            bytes.len() + 4
        };
        // Key and headers are in the first part only.
        let place = self.source.map(|source| Source { key: None, headers: &[], ..source });
        let bare: DeadLetter<'_> = DeadLetter { payload: &[], source: place, ..*self };
        let detail = shortened(self.detail, (max_bytes / 2).saturating_sub(len_of(DeadLetter { detail: "", ..bare })));
        let room = max_bytes.saturating_sub(len_of(DeadLetter { detail: &detail, ..bare }));
        let budget = room.min(max_bytes / 2);
        let note = self.source.and_then(|source| Carried::of(&source, budget).note(&source));
        let detail = match note {
            Some(note) if note.len() + LEAST_PART_BYTES <= room => Cow::Owned(format!("{detail}{note}")),
            _ => detail,
        };
        let bare = DeadLetter { detail: &detail, ..bare };
        let room = max_bytes.saturating_sub(len_of(bare));
        let cut = |source: &Source<'a>| Carried::of(source, room.min(budget)).cut(source);
        let first = DeadLetter { source: self.source.as_ref().map(cut), ..bare };
        let first_room = max_bytes.saturating_sub(len_of(first));
        let (head, rest) = self.payload.split_at(first_room.min(payload_bytes));
        let rest: Vec<&[u8]> = if room >= LEAST_PART_BYTES { rest.chunks(room).collect() } else { Vec::new() };
        let num_parts = 1 + rest.len();
        for (index, payload) in std::iter::once(head).chain(rest).enumerate() {
            let of = PartOf { part: index + 1, num_parts, payload_bytes, whole: &whole };
            let letter = if index == 0 { first } else { bare };
            DeadLetter { payload, ..letter }.encode_part(of, out);
            ends.push(out.len() as u32);
        }
    }
}

/// A text of at most about `max_len` bytes, with its full length where it was cut.
fn shortened(text: &str, max_len: usize) -> Cow<'_, str> {
    if text.len() <= max_len {
        return Cow::Borrowed(text);
    }
    let note = format!("… ({} bytes)", text.len());
    let mut len = max_len.saturating_sub(note.len());
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    Cow::Owned(format!("{}{note}", &text[..len]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{LETTER, SOURCE};
    use super::super::{Header, OwnedDeadLetter};
    use super::*;
    use crate::codec::avro::{Joined, LetterParts};

    fn letters_of(letter: DeadLetter<'_>, max_bytes: usize) -> Vec<OwnedDeadLetter> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        letter.encode_within(max_bytes, || "telemetry/3@1234".to_owned(), &mut bytes, &mut ends);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let each = starts.zip(&ends).map(|(start, end)| &bytes[start as usize..*end as usize]);
        each.inspect(|record| assert!(record.len() <= max_bytes, "{}", record.len()))
            .map(|record| OwnedDeadLetter::decode(record).unwrap())
            .collect()
    }

    #[test]
    fn test_letter_that_fits_is_whole() {
        let letters = letters_of(LETTER, 1000);
        assert_eq!((letters.len(), letters[0].num_parts, letters[0].payload_bytes), (1, 1, 3));
        assert_eq!(letters[0].whole, "");
    }

    #[test]
    fn test_letter_that_does_not_fit_comes_in_parts() {
        let payload: Vec<u8> = (0..10_000).map(|index| (index / 7) as u8).collect();
        for max_bytes in [300, 1000, 5000, 9000, 10_100] {
            let letters = letters_of(DeadLetter { payload: &payload, ..LETTER }, max_bytes);
            assert!(letters.len() > 1);
            let numbers: Vec<u32> = letters.iter().map(|letter| letter.part).collect();
            assert_eq!(numbers, (1..=letters.len() as u32).collect::<Vec<_>>());
            for letter in &letters {
                assert_eq!((letter.num_parts, letter.payload_bytes), (letters.len() as u32, 10_000));
                assert_eq!((letter.whole.as_str(), letter.detail.as_str()), ("telemetry/3@1234", LETTER.detail));
            }
            assert_eq!(letters.concat_payloads(), payload);
        }
    }

    #[test]
    fn test_without_room_for_parts_texts_and_payload_are_cut_and_say_so() {
        let detail = "é".repeat(20_000);
        let letters = letters_of(DeadLetter { detail: &detail, ..LETTER }, 16_000);
        assert_eq!((letters.len(), letters[0].payload.as_slice()), (1, LETTER.payload));
        assert!(letters[0].detail.ends_with("é… (40000 bytes)"), "{}", letters[0].detail);

        let letters = letters_of(DeadLetter { payload: &[7; 5000], detail: "", ..LETTER }, 130);
        assert_eq!((letters.len(), letters[0].num_parts, letters[0].payload_bytes), (1, 1, 5000));
        assert!(letters[0].payload.len() < LEAST_PART_BYTES);
    }

    #[test]
    fn test_key_and_headers_come_with_the_first_part() {
        let headers: Vec<Header<'_>> = (0..20).map(|_| (&b"name"[..], Some(&[5u8; 40][..]))).collect();
        let source = Source { key: Some(&[9; 100]), headers: &headers, ..SOURCE };
        let letter = DeadLetter { payload: &[7; 5000], trace: Some("00-1"), source: Some(source), ..LETTER };
        for max_bytes in [2500, 3000, 5000] {
            let letters = letters_of(letter, max_bytes);
            assert!(letters.len() > 1);
            assert_eq!(letters.concat_payloads(), letter.payload);
            for (index, read) in letters.iter().enumerate() {
                let source = read.source.as_ref().unwrap();
                assert_eq!((source.offset, read.trace.as_deref(), &*read.detail), (1234, Some("00-1"), LETTER.detail));
                let (key_bytes, num_headers) = if index == 0 { (Some(100), 20) } else { (None, 0) };
                assert_eq!((source.key.as_ref().map(Vec::len), source.headers.len()), (key_bytes, num_headers));
            }
        }
    }

    #[test]
    fn test_key_and_headers_that_have_no_room_are_cut_and_say_so() {
        let headers: Vec<Header<'_>> = (0..20).map(|_| (&b"name"[..], Some(&[5u8; 400][..]))).collect();
        let source = Source { key: Some(&[9; 100]), headers: &headers, ..SOURCE };
        let letter = DeadLetter { payload: &[7; 5000], source: Some(source), ..LETTER };
        let letters = letters_of(letter, 2500);
        let first = letters[0].source.as_ref().unwrap();
        assert_eq!((first.key.as_ref().map(Vec::len), first.headers.len()), (Some(100), 2));
        let note = "(its key of 100 bytes and its 20 headers had no room, and are cut)";
        assert!(letters.iter().all(|letter| letter.detail == format!("{} {note}", LETTER.detail)));
        assert_eq!(letters.concat_payloads(), letter.payload);
        let letters =
            letters_of(DeadLetter { source: Some(Source { key: Some(&[9; 9000]), ..source }), ..letter }, 2500);
        let first = letters[0].source.as_ref().unwrap();
        assert!((1000..1250).contains(&first.key.as_ref().unwrap().len()) && first.headers.is_empty());
        assert!(letters[0].detail.contains("key of 9000 bytes"));
        assert_eq!(letters.concat_payloads(), letter.payload);
    }

    proptest! {
        #[test]
        fn test_no_part_is_larger_than_allowed_and_all_make_the_whole(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..600)),
            headers in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..20), prop::option::of(prop::collection::vec(any::<u8>(), 0..300))),
                0..9,
            ),
            payload in prop::collection::vec(any::<u8>(), 0..3000),
            detail in ".{0,400}",
            max_bytes in 400usize..4000,
        ) {
            let headers: Vec<Header<'_>> = headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
            let source = Source { key: key.as_deref(), headers: &headers, ..SOURCE };
            let letter = DeadLetter { detail: &detail, payload: &payload, source: Some(source), ..LETTER };
            let letters = letters_of(letter, max_bytes);
            prop_assert_eq!(letters.concat_payloads(), payload);
            let mut parts = LetterParts::new(usize::MAX);
            let mut joined: Vec<Joined> = letters.into_iter().flat_map(|part| parts.add(part)).collect();
            let (whole, read) = (joined.len(), joined.remove(0).letter);
            let source = read.source.unwrap();
            let is_cut = source.key.as_deref() != key.as_deref() || source.headers.len() < headers.len();
            prop_assert_eq!((whole, is_cut), (1, read.detail.contains("are cut")));
            let values = headers.iter().map(|(_, value)| value.map(<[u8]>::to_vec));
            prop_assert!(source.headers.iter().map(|(_, value)| value.clone()).eq(values.take(source.headers.len())));
        }
    }

    trait Payloads {
        fn concat_payloads(&self) -> Vec<u8>;
    }

    impl Payloads for [OwnedDeadLetter] {
        fn concat_payloads(&self) -> Vec<u8> {
            self.iter().flat_map(|letter| letter.payload.iter().copied()).collect()
        }
    }
}
