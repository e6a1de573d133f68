//! From checked fields, and the record shape of all versions, to a plan.

use std::sync::Arc;

use super::plan::{ArrayOp, FieldIndex, Op, Piece, ReorderedOp, SymbolEntry, SymbolTable};
use crate::codec::avro::sink::{NumberType, VALUE, missing, symbol_index};
use crate::schema::number::{double_range, single_range};
use crate::schema::{Field, FieldShape, Kind, RecordShape, Shape, Symbol};

/// A plan with the paths of the fields that its steps refer to.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    pub ops: Vec<Op>,
    pub paths: Vec<Arc<str>>,
}

/// The plan for a version's fields, within the shape that all versions share.
///
/// `record` comes from versions that include this one, so that it has every field.
pub(super) fn compile(fields: &[Field], record: &RecordShape) -> Compiled {
    let mut paths = Vec::new();
    let ops = compile_group("", fields, record, &mut paths);
    Compiled { ops, paths }
}

fn compile_group(prefix: &str, fields: &[Field], record: &RecordShape, paths: &mut Vec<Arc<str>>) -> Vec<Op> {
    let values = fields.iter().filter(|field| !field.kind.is_reserved());
    if !values.map(|field| position_of(field, record)).is_sorted() {
        return vec![compile_reordered(prefix, fields, record, paths)];
    }
    let mut ops = Vec::new();
    let mut next = 0;
    for field in fields {
        if let Kind::Reserved { bits } = field.kind {
            ops.push(Op::Reserved { field: last_index(paths), bits });
            continue;
        }
        let position = position_of(field, record);
        emit_missing(&record.fields[next..position], &mut ops);
        next = position + 1;
        compile_field(prefix, field, &record.fields[position], paths, &mut ops);
    }
    emit_missing(&record.fields[next..], &mut ops);
    ops
}

fn position_of(field: &Field, record: &RecordShape) -> usize {
    let Some(position) = record.position(&field.name) else {
        unreachable!("{} is a field of a version, and the record has those of all", field.name)
    };
    position
}

fn compile_reordered(prefix: &str, fields: &[Field], record: &RecordShape, paths: &mut Vec<Arc<str>>) -> Op {
    let mut ops = Vec::new();
    let mut ends = Vec::new();
    let mut names = Vec::new();
    for field in fields {
        if let Kind::Reserved { bits } = field.kind {
            ops.push(Op::Reserved { field: last_index(paths), bits });
            continue;
        }
        compile_field(prefix, field, &record.fields[position_of(field, record)], paths, &mut ops);
        ends.push(ops.len());
        names.push(field.name.as_str());
    }
    // Reserved bits at the end belong to no field, and still have to be passed over.
    if let Some(end) = ends.last_mut() {
        *end = ops.len();
    }
    let piece = |shape: &FieldShape| match names.iter().position(|name| *name == shape.name) {
        Some(index) => Piece::Field(index),
        None => Piece::Constant(missing(shape)),
    };
    Op::Reordered(Box::new(ReorderedOp { ops, ends, pieces: record.fields.iter().map(piece).collect() }))
}

fn compile_field(prefix: &str, field: &Field, shape: &FieldShape, paths: &mut Vec<Arc<str>>, ops: &mut Vec<Op>) {
    let path = format!("{prefix}{}", field.name);
    let mut inner = Vec::new();
    let index = add_path(&path, paths);
    compile_kind(&path, index, &field.kind, &shape.shape, paths, &mut inner);
    if field.optional {
        ops.push(Op::Optional { field: index, num_ops: inner.len() as u32 });
    } else if shape.nullable {
        ops.push(Op::Emit([VALUE].into()));
    }
    ops.append(&mut inner);
}

fn compile_kind(
    path: &str,
    field: FieldIndex,
    kind: &Kind,
    shape: &Shape,
    paths: &mut Vec<Arc<str>>,
    ops: &mut Vec<Op>,
) {
    let into = NumberType::of(shape);
    ops.push(match kind {
        Kind::Uint { bits, range } => Op::Uint { field, bits: *bits, min: *range.start(), max: *range.end(), into },
        Kind::Int { bits, range } => Op::Int { field, bits: *bits, min: *range.start(), max: *range.end(), into },
        Kind::Bool => Op::Bool { field },
        Kind::Enum { bits, .. } => Op::Enum { field, bits: *bits, symbols: Box::new(symbol_table(kind, shape)) },
        Kind::Fixed { bits, signed, scale, range } => {
            Op::Fixed { field, bits: *bits, signed: *signed, min: *range.start(), max: *range.end(), scale: *scale }
        }
        Kind::F32 { range } => {
            let (min, max) = single_range(range.as_ref());
            Op::F32 { field, min, max, into }
        }
        Kind::F64 { range } => {
            let (min, max) = double_range(range.as_ref());
            Op::F64 { field, min, max }
        }
        Kind::Timestamp { bits, resolution, epoch } => {
            Op::Timestamp { field, bits: *bits, epoch: *epoch, resolution: *resolution }
        }
        Kind::Bytes { length_bits, max } => Op::Bytes { field, length_bits: *length_bits, max: *max },
        Kind::Text { length_bits, max } => Op::Text { field, length_bits: *length_bits, max: *max },
        Kind::Reserved { bits } => Op::Reserved { field, bits: *bits },
        Kind::Group { fields } => {
            let Shape::Record(record) = shape else { shape.does_not_fit(kind) };
            let mut inner = compile_group(&format!("{path}."), fields, record, paths);
            let num_values = fields.iter().filter(|field| !field.kind.is_reserved()).count() as u32;
            ops.push(Op::Group { field, num_ops: inner.len() as u32, num_values });
            ops.append(&mut inner);
            return;
        }
        Kind::Array { count, item } => {
            let Shape::Array(item_shape) = shape else { shape.does_not_fit(kind) };
            let path = format!("{path}.item");
            let mut item_ops = Vec::new();
            let index = add_path(&path, paths);
            compile_kind(&path, index, &item.kind, item_shape, paths, &mut item_ops);
            let min_item_bits = item.kind.min_bits();
            Op::Array(Box::new(ArrayOp { field, count: *count, item_ops, min_item_bits }))
        }
    });
}

fn add_path(path: &str, paths: &mut Vec<Arc<str>>) -> FieldIndex {
    paths.push(path.into());
    // The number of fields of a version is bounded far below, see `check::MAX_FIELDS`.
    (paths.len() - 1) as FieldIndex
}

fn last_index(paths: &[Arc<str>]) -> FieldIndex {
    paths.len().saturating_sub(1) as FieldIndex
}

fn symbol_table(kind: &Kind, shape: &Shape) -> SymbolTable {
    let (Kind::Enum { symbols, unknown, .. }, Shape::Enum(merged)) = (kind, shape) else { shape.does_not_fit(kind) };
    let entry = |symbol: &Symbol| SymbolEntry {
        number: symbol.number,
        name: symbol.name.clone(),
        avro_index: symbol_index(merged, &symbol.name),
    };
    let entries: Vec<SymbolEntry> = symbols.iter().map(entry).collect();
    let unknown = unknown.as_ref().and_then(|name| entries.iter().position(|entry| entry.name == *name));
    SymbolTable { entries, unknown }
}

fn emit_missing(fields: &[FieldShape], ops: &mut Vec<Op>) {
    if fields.is_empty() {
        return;
    }
    let bytes: Vec<u8> = fields.iter().flat_map(|field| missing(field).into_vec()).collect();
    ops.push(Op::Emit(bytes.into()));
}
