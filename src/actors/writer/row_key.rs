//! Keys of rows as bytes: two rows have the same key exactly if these are equal, wherever their cells point to.

use std::net::IpAddr;

use num_bigint::BigInt;

use crate::schema::row::Cell;

/// Appends the cells to `out`. `data` is what spans point into.
pub(super) fn encode(cells: &[Cell], data: &[u8], out: &mut Vec<u8>) {
    cells.iter().for_each(|cell| encode_one(cell, data, out));
}

fn encode_one(cell: &Cell, data: &[u8], out: &mut Vec<u8>) {
    // Cells at one place of a table's rows are of one kind, but for texts and bytes, which may be in the data or not: they
    // have one tag, the others need none of their own.
    match cell {
        Cell::Null => out.push(0),
        Cell::Clear => out.push(1),
        Cell::Text(span) | Cell::Bytes(span) => bytes(span.of(data), out),
        Cell::Symbol(text) => bytes(text.as_bytes(), out),
        Cell::OwnText(text) => bytes(text.as_bytes(), out),
        Cell::OwnBytes(own) => bytes(own, out),
        Cell::Json(text) => bytes(text.as_bytes(), out),
        Cell::Bool(value) => fixed(&[u8::from(*value)], out),
        Cell::Int(value) | Cell::Date(value) => fixed(&value.to_le_bytes(), out),
        Cell::Long(value) | Cell::Timestamp(value) | Cell::Time(value) => fixed(&value.to_le_bytes(), out),
        Cell::Unsigned(value) => fixed(&value.to_le_bytes(), out),
        Cell::Float(value) => fixed(&value.to_bits().to_le_bytes(), out),
        Cell::Double(value) => fixed(&value.to_bits().to_le_bytes(), out),
        Cell::Uuid(value) => fixed(value, out),
        Cell::Inet(IpAddr::V4(address)) => bytes(&address.octets(), out),
        Cell::Inet(IpAddr::V6(address)) => bytes(&address.octets(), out),
        Cell::Varint(value) => integer(value, out),
        Cell::Decimal(value) => {
            integer(&value.unscaled, out);
            fixed(&value.scale.to_le_bytes(), out);
        }
        Cell::Duration { months, days, nanoseconds } => {
            fixed(&months.to_le_bytes(), out);
            fixed(&days.to_le_bytes(), out);
            fixed(&nanoseconds.to_le_bytes(), out);
        }
        Cell::List(items) => {
            length(items.len(), out);
            encode(items, data, out);
        }
        Cell::Map(items) => {
            length(items.len(), out);
            items.iter().for_each(|(key, item)| {
                encode_one(key, data, out);
                encode_one(item, data, out);
            });
        }
    }
}

fn integer(value: &BigInt, out: &mut Vec<u8>) {
    bytes(&value.to_signed_bytes_le(), out);
}

fn fixed(value: &[u8], out: &mut Vec<u8>) {
    out.push(2);
    out.extend_from_slice(value);
}

fn bytes(value: &[u8], out: &mut Vec<u8>) {
    length(value.len(), out);
    out.extend_from_slice(value);
}

fn length(length: usize, out: &mut Vec<u8>) {
    out.push(3);
    out.extend_from_slice(&(length as u32).to_le_bytes());
}

/// What a cell takes in memory and on its way to the store beyond itself, in bytes, about.
pub(super) fn size_behind(cell: &Cell) -> usize {
    match cell {
        Cell::Text(span) | Cell::Bytes(span) => (span.end - span.start) as usize,
        Cell::Symbol(text) => text.len(),
        Cell::OwnText(text) => text.len(),
        Cell::Json(text) => text.len(),
        Cell::OwnBytes(own) => own.len(),
        Cell::Varint(value) => value.bits() as usize / 8 + size_of::<BigInt>(),
        Cell::Decimal(value) => value.unscaled.bits() as usize / 8 + size_of::<BigInt>(),
        Cell::List(items) => items.iter().map(|item| size_of::<Cell>() + size_behind(item)).sum(),
        Cell::Map(items) => {
            items.iter().map(|(key, item)| 2 * size_of::<Cell>() + size_behind(key) + size_behind(item)).sum()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::row::Span;

    fn key(cells: &[Cell], data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(cells, data, &mut out);
        out
    }

    #[test]
    fn test_texts_are_compared_by_what_they_point_to() {
        let span = |start, end| Cell::Text(Span { start, end });
        let first = key(&[span(0, 3), Cell::Int(1)], b"abcabc");
        assert_eq!(first, key(&[span(3, 6), Cell::Int(1)], b"abcabc"));
        assert_eq!(first, key(&[Cell::OwnText("abc".into()), Cell::Int(1)], b""));
        assert_eq!(first, key(&[Cell::Symbol("abc".into()), Cell::Int(1)], b""));
        assert_ne!(first, key(&[span(0, 3), Cell::Int(2)], b"abcabc"));
        assert_ne!(first, key(&[span(0, 2), Cell::Int(1)], b"abcabc"));
    }

    #[test]
    fn test_where_one_cell_ends_and_the_next_begins_counts() {
        let text = |text: &str| Cell::OwnText(text.into());
        assert_ne!(key(&[text("ab"), text("c")], b""), key(&[text("a"), text("bc")], b""));
        let list = |words: &[&str]| Cell::List(words.iter().map(|word| text(word)).collect());
        assert_ne!(key(&[list(&["a", "b"]), list(&[])], b""), key(&[list(&["a"]), list(&["b"])], b""));
        assert_ne!(key(&[Cell::Double(0.0)], b""), key(&[Cell::Double(-0.0)], b""));
    }
}
