//! A dead letter within what one record may have: in parts, or cut. [`LetterParts`](super::super::LetterParts) puts the
//! parts together again.

use std::borrow::Cow;

use super::{DeadLetter, PartOf};

/// Less than this of a payload is not worth a part of its own.
const LEAST_PART_BYTES: usize = 64;

// === impl DeadLetter ===

impl DeadLetter<'_> {
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
        let bare: DeadLetter<'_> = DeadLetter { payload: &[], ..*self };
        let detail = shortened(self.detail, (max_bytes / 2).saturating_sub(len_of(DeadLetter { detail: "", ..bare })));
        let bare = DeadLetter { detail: &detail, ..bare };
        let room = max_bytes.saturating_sub(len_of(bare));
        let parts: Vec<&[u8]> = match room {
            LEAST_PART_BYTES.. => self.payload.chunks(room).collect(),
            _ => vec![&self.payload[..room.min(payload_bytes)]],
        };
        // A letter whose texts alone were too long is one part that may be empty.
        let parts = if parts.is_empty() { vec![self.payload] } else { parts };
        let num_parts = parts.len();
        for (index, payload) in parts.into_iter().enumerate() {
            let of = PartOf { part: index + 1, num_parts, payload_bytes, whole: &whole };
            DeadLetter { payload, ..bare }.encode_part(of, out);
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
    use super::super::OwnedDeadLetter;
    use super::super::tests::LETTER;
    use super::*;

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

    trait Payloads {
        fn concat_payloads(&self) -> Vec<u8>;
    }

    impl Payloads for [OwnedDeadLetter] {
        fn concat_payloads(&self) -> Vec<u8> {
            self.iter().flat_map(|letter| letter.payload.iter().copied()).collect()
        }
    }
}
