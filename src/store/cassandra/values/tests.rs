//! Bytes beside those of the driver's own serialization, and beside known ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use num_bigint::BigInt;
use proptest::prelude::*;
use scylla::cluster::metadata::{CollectionType, ColumnType, NativeType};
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::CellWriter;
use scylla::value::{CqlDate, CqlDecimal, CqlDuration, CqlTime, CqlTimestamp, CqlTimeuuid, CqlVarint};
use uuid::Uuid;

use super::*;
use crate::schema::row::{DecimalValue, Span};

fn collection(items: Items) -> ColumnKind {
    ColumnKind::Collection(Collection { items, is_frozen: false })
}

/// As in a request: length, then bytes.
fn ours(kind: ColumnKind, cell: &Cell, data: &[u8]) -> Result<Vec<u8>, ValueError> {
    let mut bytes = Vec::new();
    write_value(kind, cell, data, CellWriter::new(&mut bytes))?;
    Ok(bytes)
}

fn scalar(kind: ScalarKind, cell: Cell) -> Result<Vec<u8>, ValueError> {
    ours(ColumnKind::Scalar(kind), &cell, b"")
}

fn drivers(typ: ColumnType<'static>, value: &impl SerializeValue) -> Result<Vec<u8>, ValueError> {
    let mut bytes = Vec::new();
    value.serialize(&typ, CellWriter::new(&mut bytes)).unwrap();
    Ok(bytes)
}

fn native(typ: NativeType, value: &impl SerializeValue) -> Result<Vec<u8>, ValueError> {
    drivers(ColumnType::Native(typ), value)
}

fn of(typ: CollectionType<'static>) -> ColumnType<'static> {
    ColumnType::Collection { frozen: false, typ }
}

#[test]
fn test_varint_is_shortest_and_positive() {
    let cases: [(u64, &[u8]); 7] = [
        (0, &[0]),
        (127, &[127]),
        (128, &[0, 128]),
        (255, &[0, 255]),
        (256, &[1, 0]),
        (i64::MAX as u64, &[127, 255, 255, 255, 255, 255, 255, 255]),
        (u64::MAX, &[0, 255, 255, 255, 255, 255, 255, 255, 255]),
    ];
    for (value, expected) in cases {
        assert_eq!(varint(&mut [0; 9], value), expected, "{value}");
        // Nor is that of a big integer any longer.
        assert_eq!(BigInt::from(value).to_signed_bytes_be(), expected, "{value}");
    }
}

#[test]
fn test_known_bytes() {
    // As the CQL protocol's description has them: a day's number is unsigned, with 1970-01-01 in the middle.
    assert_eq!(scalar(ScalarKind::Date, Cell::Date(0)).unwrap(), [0, 0, 0, 4, 0x80, 0, 0, 0]);
    assert_eq!(scalar(ScalarKind::Date, Cell::Date(i32::MIN)).unwrap(), [0, 0, 0, 4, 0, 0, 0, 0]);
    assert_eq!(scalar(ScalarKind::Date, Cell::Date(i32::MAX)).unwrap(), [0, 0, 0, 4, 255, 255, 255, 255]);
    let decimal = DecimalValue { unscaled: BigInt::from(-129), scale: -2 };
    assert_eq!(
        scalar(ScalarKind::Decimal, Cell::Decimal(Box::new(decimal))).unwrap(),
        [0, 0, 0, 6, 255, 255, 255, 254, 255, 127]
    );
    // 1 month, -1 would not do beside it: 2 days, 300 ns.
    let duration = Cell::Duration { months: 1, days: 2, nanoseconds: 300 };
    assert_eq!(scalar(ScalarKind::Duration, duration).unwrap(), [0, 0, 0, 4, 2, 4, 0x82, 0x58]);
    assert_eq!(
        ours(collection(Items::Map(ScalarKind::Ascii, ScalarKind::TinyInt)), &Cell::Map(Vec::new()), b"").unwrap(),
        [0, 0, 0, 4, 0, 0, 0, 0]
    );
}

#[test]
fn test_values_of_another_kind_or_range_are_refused() {
    let text = Cell::OwnText("naïve".into());
    for (kind, cell, expected) in [
        (ScalarKind::TinyInt, Cell::Int(128), ValueError::OutOfRange),
        (ScalarKind::TinyInt, Cell::Int(-129), ValueError::OutOfRange),
        (ScalarKind::SmallInt, Cell::Int(32_768), ValueError::OutOfRange),
        (ScalarKind::SmallInt, Cell::Int(-32_769), ValueError::OutOfRange),
        (ScalarKind::Time, Cell::Time(-1), ValueError::OutOfRange),
        (ScalarKind::Time, Cell::Time(DAY_NANOS), ValueError::OutOfRange),
        (ScalarKind::Ascii, text.clone(), ValueError::OutOfRange),
        (ScalarKind::Uuid, text.clone(), ValueError::WrongKind),
        (ScalarKind::Bytes, text, ValueError::WrongKind),
        (ScalarKind::Date, Cell::Int(1), ValueError::WrongKind),
        (ScalarKind::Int, Cell::Long(1), ValueError::WrongKind),
        (ScalarKind::Text, Cell::Clear, ValueError::WrongKind),
    ] {
        assert_eq!(scalar(kind, cell.clone()), Err(expected), "{kind:?} {cell:?}");
        let list = Cell::List(vec![cell]);
        assert_eq!(ours(collection(Items::Set(kind)), &list, b""), Err(expected), "in a set: {kind:?} {list:?}");
    }
    for null in [Cell::Null, Cell::Clear] {
        let list = Cell::List(vec![Cell::Int(1), null]);
        assert_eq!(ours(collection(Items::List(ScalarKind::Int)), &list, b""), Err(ValueError::WrongKind));
    }
}

proptest! {
    #[test]
    fn test_scalars_have_the_bytes_that_the_driver_gives_them(
        int in any::<i32>(),
        long in any::<i64>(),
        shift in 0u32..64,
        digits in proptest::collection::vec(any::<u8>(), 1..40),
        bytes in any::<[u8; 16]>(),
        address in any::<IpAddr>(),
        text in "\\PC{0,20}",
    ) {
        let big = BigInt::from_signed_bytes_be(&digits);
        let (tiny, small) = ((int >> 24) as i8, (int >> 16) as i16);
        let nanos = long.rem_euclid(DAY_NANOS);
        // Of all lengths.
        let duration = CqlDuration { months: int >> (shift % 32), days: -(int >> 1), nanoseconds: long >> shift };
        let varint = CqlVarint::from_signed_bytes_be(digits.clone());
        prop_assert_eq!(scalar(ScalarKind::TinyInt, Cell::Int(tiny.into())), native(NativeType::TinyInt, &tiny));
        prop_assert_eq!(scalar(ScalarKind::SmallInt, Cell::Int(small.into())), native(NativeType::SmallInt, &small));
        prop_assert_eq!(scalar(ScalarKind::Int, Cell::Int(int)), native(NativeType::Int, &int));
        prop_assert_eq!(scalar(ScalarKind::Long, Cell::Long(long)), native(NativeType::BigInt, &long));
        prop_assert_eq!(
            scalar(ScalarKind::Timestamp, Cell::Timestamp(long)),
            native(NativeType::Timestamp, &CqlTimestamp(long))
        );
        let ours_of_big = scalar(ScalarKind::Varint, Cell::Varint(Box::new(big.clone()))).unwrap();
        prop_assert_eq!(CqlVarint::from_signed_bytes_be(ours_of_big[4..].to_vec()), varint);
        prop_assert!(ours_of_big.len() <= digits.len() + 4);
        let minimal = big.to_signed_bytes_be();
        let decimal = CqlDecimal::from_signed_be_bytes_and_exponent(minimal, int);
        prop_assert_eq!(
            scalar(ScalarKind::Decimal, Cell::Decimal(Box::new(DecimalValue { unscaled: big, scale: int }))),
            native(NativeType::Decimal, &decimal)
        );
        let uuid = Uuid::from_bytes(bytes);
        prop_assert_eq!(scalar(ScalarKind::Uuid, Cell::Uuid(bytes)), native(NativeType::Uuid, &uuid));
        prop_assert_eq!(
            scalar(ScalarKind::TimeUuid, Cell::Uuid(bytes)),
            native(NativeType::Timeuuid, &CqlTimeuuid::from(uuid))
        );
        prop_assert_eq!(scalar(ScalarKind::Inet, Cell::Inet(address)), native(NativeType::Inet, &address));
        let date = CqlDate((i64::from(int) + (1 << 31)) as u32);
        prop_assert_eq!(scalar(ScalarKind::Date, Cell::Date(int)), native(NativeType::Date, &date));
        prop_assert_eq!(scalar(ScalarKind::Time, Cell::Time(nanos)), native(NativeType::Time, &CqlTime(nanos)));
        let CqlDuration { months, days, nanoseconds } = duration;
        prop_assert_eq!(
            scalar(ScalarKind::Duration, Cell::Duration { months, days, nanoseconds }),
            native(NativeType::Duration, &duration)
        );
        prop_assert_eq!(scalar(ScalarKind::Bool, Cell::Bool(int > 0)), native(NativeType::Boolean, &(int > 0)));
        let (single, double) = (f32::from_bits(int as u32), f64::from_bits(long as u64));
        prop_assert_eq!(scalar(ScalarKind::Float, Cell::Float(single)), native(NativeType::Float, &single));
        prop_assert_eq!(scalar(ScalarKind::Double, Cell::Double(double)), native(NativeType::Double, &double));
        let span = Span { start: 0, end: text.len() as u32 };
        for cell in [Cell::Text(span), Cell::OwnText(text.as_str().into()), Cell::Symbol(text.as_str().into())] {
            prop_assert_eq!(
                ours(ColumnKind::Scalar(ScalarKind::Text), &cell, text.as_bytes()),
                native(NativeType::Text, &text)
            );
            let as_ascii = ours(ColumnKind::Scalar(ScalarKind::Ascii), &cell, text.as_bytes());
            prop_assert_eq!(as_ascii.is_ok(), text.is_ascii());
        }
        let blob = Cell::OwnBytes(digits.as_slice().into());
        prop_assert_eq!(scalar(ScalarKind::Bytes, blob), native(NativeType::Blob, &digits));
    }

    #[test]
    fn test_collections_have_the_bytes_that_the_driver_gives_them(
        numbers in proptest::collection::btree_map("[a-z]{0,5}", any::<i64>(), 0..6),
    ) {
        let texts: BTreeSet<String> = numbers.keys().cloned().collect();
        let longs: Vec<i64> = numbers.values().copied().collect();
        let text_of = |text: &String| Cell::OwnText(text.as_str().into());
        let text = || Box::new(ColumnType::Native(NativeType::Text));
        let long = || Box::new(ColumnType::Native(NativeType::BigInt));
        prop_assert_eq!(
            ours(
                collection(Items::List(ScalarKind::Long)),
                &Cell::List(longs.iter().map(|long| Cell::Long(*long)).collect()),
                b"",
            ),
            drivers(of(CollectionType::List(long())), &longs)
        );
        prop_assert_eq!(
            ours(collection(Items::Set(ScalarKind::Text)), &Cell::List(texts.iter().map(text_of).collect()), b""),
            drivers(of(CollectionType::Set(text())), &texts)
        );
        let entries = numbers.iter().map(|(text, long)| (text_of(text), Cell::Long(*long))).collect();
        prop_assert_eq!(
            ours(collection(Items::Map(ScalarKind::Text, ScalarKind::Long)), &Cell::Map(entries), b""),
            drivers(of(CollectionType::Map(text(), long())), &BTreeMap::clone(&numbers))
        );
    }
}
