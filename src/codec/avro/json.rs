//! Values of a record as JSON text: for columns whose items are groups or arrays.

use super::node::{Cursor, Node, RowError, branch, symbol};

/// Appends one value as JSON. Bytes become hexadecimal text; numbers that JSON does not have become null.
pub(super) fn write(node: &Node, cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), RowError> {
    match node {
        Node::Null => out.push_str("null"),
        Node::Bool => out.push_str(if cursor.bool()? { "true" } else { "false" }),
        Node::Long | Node::TimestampMillis | Node::TimestampMicros => push(&cursor.long()?, out),
        Node::Float => push(&f32::from_le_bytes(cursor.chunk()?), out),
        Node::Double => push(&f64::from_le_bytes(cursor.chunk()?), out),
        Node::Unsigned => push(&cursor.unsigned()?, out),
        Node::Text => push(&cursor.text()?, out),
        Node::Enum(symbols) => push(&**symbol(symbols, cursor)?, out),
        Node::Bytes => push_hex(cursor.bytes()?, out),
        Node::Fixed(size) => push_hex(cursor.take(*size)?, out),
        Node::Union(variants) => write(branch(variants, cursor)?, cursor, out)?,
        Node::Array(item) => {
            out.push('[');
            let mut is_first = true;
            cursor.items(|cursor| {
                separate(&mut is_first, out);
                write(item, cursor, out)
            })?;
            out.push(']');
        }
        Node::Map(value) => {
            out.push('{');
            let mut is_first = true;
            cursor.items(|cursor| {
                separate(&mut is_first, out);
                push(&cursor.text()?, out);
                out.push(':');
                write(value, cursor, out)
            })?;
            out.push('}');
        }
        Node::Record(fields) => {
            out.push('{');
            let mut is_first = true;
            for (name, field) in fields {
                separate(&mut is_first, out);
                push(name, out);
                out.push(':');
                write(field, cursor, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

pub(super) fn separate(is_first: &mut bool, out: &mut String) {
    if !std::mem::take(is_first) {
        out.push(',');
    }
}

pub(super) fn push<T: serde::Serialize + ?Sized>(value: &T, out: &mut String) {
    let Ok(json) = serde_json::to_string(value) else { unreachable!("numbers and text always serialise") };
    out.push_str(&json);
}

pub(super) fn push_hex(bytes: &[u8], out: &mut String) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS[usize::from(nibble)];
    out.push('"');
    for byte in bytes {
        out.push(digit(byte >> 4));
        out.push(digit(byte & 0x0f));
    }
    out.push('"');
}
