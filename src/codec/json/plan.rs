//! The plan of a type's newest version: what each member of an event may hold, and where its bytes go in Avro.

use std::sync::Arc;

use crate::codec::avro::single_object::{Fingerprint, HEADER_LEN, header};
use crate::codec::avro::sink::{NumberType, missing, symbol_index};
use crate::schema::number::{double_range, single_range};
use crate::schema::{Count, Field, Kind, Resolution, Scale};
use crate::schema::{RecordShape, Shape};
use crate::schema::{TypeId, TypeVersion, Version};

/// How events of one type become records.
#[derive(Debug)]
pub struct JsonPlan {
    pub(super) type_id: TypeId,
    pub(super) version: Version,
    pub(super) avro_header: [u8; HEADER_LEN],
    pub(super) root: Group,
}

/// The members of an object.
#[derive(Debug)]
pub(super) struct Group {
    pub members: Vec<Member>,
    /// The object as Avro has it.
    pub pieces: Vec<Piece>,
}

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member {
    pub name: Arc<str>,
    /// Whether it may be left out, or null.
    pub optional: bool,
    /// Whether Avro has a union with null at its place.
    pub nullable: bool,
    pub node: Node,
}

/// A part of an object as Avro has it.
#[derive(Debug)]
pub(super) enum Piece {
    /// What was written for this member.
    Member(usize),
    /// Bytes for a field that only older versions have.
    Constant(Box<[u8]>),
}

/// What a value may be. Ranges are inclusive.
#[derive(Debug)]
pub(super) enum Node {
    Uint {
        min: u64,
        max: u64,
        into: NumberType,
    },
    Int {
        min: i64,
        max: i64,
        into: NumberType,
    },
    /// `min` and `max` are raw.
    Fixed {
        min: i64,
        max: i64,
        scale: Scale,
    },
    F32 {
        min: f64,
        max: f64,
        into: NumberType,
    },
    F64 {
        min: f64,
        max: f64,
    },
    Bool,
    /// Symbols with their positions among those of all versions.
    Enum(Vec<(Arc<str>, i64)>),
    /// The range is in Avro's unit.
    Timestamp {
        min: i64,
        max: i64,
        resolution: Resolution,
    },
    Bytes {
        max: u32,
    },
    Text {
        max: u32,
    },
    Group(Group),
    Array {
        min: u32,
        max: u32,
        item: Box<Node>,
    },
}

// === impl JsonPlan ===

impl JsonPlan {
    /// The plan for a version's fields, within the shape that all versions share.
    pub(crate) fn compile(
        type_id: TypeId,
        version: &TypeVersion,
        record: &RecordShape,
        fingerprint: Fingerprint,
    ) -> Self {
        let root = Group::compile(&version.fields, record);
        Self { type_id, version: version.number, avro_header: header(fingerprint), root }
    }

    /// The version that events are taken for.
    pub fn version(&self) -> Version {
        self.version
    }
}

// === impl Group ===

impl Group {
    fn compile(fields: &[Field], record: &RecordShape) -> Self {
        let mut members = Vec::new();
        let mut pieces = Vec::new();
        for shape in &record.fields {
            let Some(field) = fields.iter().find(|field| field.name == shape.name) else {
                pieces.push(Piece::Constant(missing(shape)));
                continue;
            };
            let node = Node::compile(&field.kind, &shape.shape);
            pieces.push(Piece::Member(members.len()));
            let (name, optional) = (field.name.as_str().into(), field.optional);
            members.push(Member { name, optional, nullable: shape.nullable, node });
        }
        Self { members, pieces }
    }

    /// The member of this name, looked for first at `hint`: events of one client have their members in one order.
    #[inline]
    pub fn find(&self, name: &str, hint: usize) -> Option<usize> {
        match self.members.get(hint) {
            Some(member) if *member.name == *name => Some(hint),
            _ => self.members.iter().position(|member| *member.name == *name),
        }
    }
}

// === impl Node ===

impl Node {
    /// The shape comes from fields that include this one, so that it fits the kind.
    fn compile(kind: &Kind, shape: &Shape) -> Self {
        let into = NumberType::of(shape);
        match kind {
            Kind::Uint { range, .. } => Self::Uint { min: *range.start(), max: *range.end(), into },
            Kind::Int { range, .. } => Self::Int { min: *range.start(), max: *range.end(), into },
            Kind::Fixed { range, scale, .. } => Self::Fixed { min: *range.start(), max: *range.end(), scale: *scale },
            Kind::F32 { range } => {
                let (min, max) = single_range(range.as_ref());
                Self::F32 { min, max, into }
            }
            Kind::F64 { range } => {
                let (min, max) = double_range(range.as_ref());
                Self::F64 { min, max }
            }
            Kind::Bool => Self::Bool,
            Kind::Enum { symbols, .. } => {
                let Shape::Enum(merged) = shape else { shape.does_not_fit(kind) };
                let index = |name: &Arc<str>| (Arc::clone(name), symbol_index(merged, name));
                Self::Enum(symbols.iter().map(|symbol| index(&symbol.name)).collect())
            }
            Kind::Timestamp { bits, resolution, epoch } => {
                let units = |ticks: i64| ticks.wrapping_add(*epoch).wrapping_mul(resolution.units_per_tick());
                // The layout's width was checked for this to fit.
                let last_tick = (u64::MAX >> (64 - bits)) as i64;
                Self::Timestamp { min: units(0), max: units(last_tick), resolution: *resolution }
            }
            Kind::Bytes { max, .. } => Self::Bytes { max: *max },
            Kind::Text { max, .. } => Self::Text { max: *max },
            Kind::Group { fields } => {
                let Shape::Record(record) = shape else { shape.does_not_fit(kind) };
                Self::Group(Group::compile(fields, record))
            }
            Kind::Array { count, item } => {
                let Shape::Array(item_shape) = shape else { shape.does_not_fit(kind) };
                let (min, max) = match count {
                    Count::Fixed(count) => (*count, *count),
                    Count::Counted { max, .. } => (0, *max),
                };
                Self::Array { min, max, item: Box::new(Self::compile(&item.kind, item_shape)) }
            }
            // Reserved bits have no name, and the record no field for them.
            Kind::Reserved { .. } => shape.does_not_fit(kind),
        }
    }

    /// Whether nothing but a whole number will do.
    pub(super) fn is_integer(&self) -> bool {
        matches!(self, Self::Uint { .. } | Self::Int { .. } | Self::Timestamp { .. })
    }
}
