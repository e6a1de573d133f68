//! The order in which rows of one table are written: that of SQLite's key tree, as far as cells tell. It decides speed only,
//! but for two things: rows of one key are equal, since they have to stay in the order that they came in, and it is an order
//! over all cells.

use std::cmp::Ordering;

use crate::schema::row::{Cell, RowGroup, Span};

/// A cell of a key, as far as it is compared.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum KeyPart<'a> {
    /// Those whose order is of no interest.
    Other,
    Number(i64),
    Unsigned(u64),
    /// Bits of a double in the order of their numbers.
    Double(i64),
    Bytes(&'a [u8]),
    Address(std::net::IpAddr),
    Varint(&'a num_bigint::BigInt),
}

/// The order of two rows by the first `num_keys` of their cells.
pub(super) fn compare(
    (left, left_group): (&[Cell], &RowGroup),
    (right, right_group): (&[Cell], &RowGroup),
    num_keys: usize,
) -> Ordering {
    let pairs = left.iter().zip(right).take(num_keys);
    let mut orders = pairs.map(|(a, b)| part(a, &left_group.data).cmp(&part(b, &right_group.data)));
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn part<'a>(cell: &'a Cell, data: &'a [u8]) -> KeyPart<'a> {
    let bytes = |span: &Span| KeyPart::Bytes(span.of(data));
    match cell {
        Cell::Text(span) | Cell::Bytes(span) => bytes(span),
        Cell::Symbol(text) => KeyPart::Bytes(text.as_bytes()),
        Cell::OwnText(text) => KeyPart::Bytes(text.as_bytes()),
        Cell::OwnBytes(bytes) => KeyPart::Bytes(bytes),
        Cell::Uuid(bytes) => KeyPart::Bytes(bytes),
        Cell::Timestamp(value) | Cell::Long(value) | Cell::Time(value) => KeyPart::Number(*value),
        Cell::Int(value) | Cell::Date(value) => KeyPart::Number(i64::from(*value)),
        Cell::Bool(value) => KeyPart::Number(i64::from(*value)),
        Cell::Unsigned(value) => KeyPart::Unsigned(*value),
        Cell::Float(value) => double(f64::from(*value)),
        Cell::Double(value) => double(*value),
        Cell::Inet(address) => KeyPart::Address(*address),
        Cell::Varint(value) => KeyPart::Varint(value),
        Cell::Null
        | Cell::Clear
        | Cell::List(_)
        | Cell::Map(_)
        | Cell::Json(_)
        | Cell::Decimal(_)
        | Cell::Duration { .. } => KeyPart::Other,
    }
}

/// Zero is one number to SQLite, with and without a sign.
fn double(value: f64) -> KeyPart<'static> {
    let bits = (value + 0.0).to_bits() as i64;
    KeyPart::Double(bits ^ (((bits >> 63) as u64) >> 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_key_is_the_same_however_its_cells_are_held() {
        let data = b"abc";
        let span = |start, end| Span { start, end };
        let text = [Cell::Text(span(0, 2)), Cell::OwnText("ab".into()), Cell::Symbol("ab".into())];
        for (a, b) in text.iter().flat_map(|a| text.iter().map(move |b| (a, b))) {
            assert_eq!(part(a, data), part(b, data));
        }
        assert!(part(&Cell::Text(span(0, 2)), data) < part(&Cell::OwnText("b".into()), data));
        assert_eq!(part(&Cell::Double(0.0), data), part(&Cell::Double(-0.0), data));
        let numbers = [f64::NEG_INFINITY, -1.5, -1e-300, 0.0, 1e-300, 2.0, f64::INFINITY];
        assert!(numbers.is_sorted_by(|a, b| double(*a) < double(*b)));
        assert!(part(&Cell::Long(-1), data) < part(&Cell::Long(1), data));
    }
}
