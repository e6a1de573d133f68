//! Members of a group where they lie as they came, and the group as Avro has it.

use super::plan::{Group, Piece};
use crate::protocol::layout::transcode::NULL;

/// Where bytes lie: from and to.
pub(super) type Span = (u32, u32);

/// The span of a member that has not come.
pub(super) const ABSENT: Span = (u32::MAX, 0);

/// A part of a group as Avro has it.
pub(super) enum Part<'a> {
    Constant(&'a [u8]),
    Span(Span),
}

/// The parts of a group, in Avro's order.
#[inline]
pub(super) fn parts<'a>(group: &'a Group, spans: &'a [Span]) -> impl Iterator<Item = Part<'a>> {
    group.pieces.iter().map(|piece| match piece {
        Piece::Constant(bytes) => Part::Constant(bytes),
        Piece::Member(index) => match spans.get(*index) {
            Some(span) if *span != ABSENT => Part::Span(*span),
            // Only members that may be left out are absent here.
            _ => Part::Constant(&[NULL]),
        },
    })
}

/// Whether the bytes from `start` on are the group as Avro has it already.
#[inline]
pub(super) fn is_in_order(group: &Group, spans: &[Span], start: u32) -> bool {
    let mut at = start;
    parts(group, spans).all(|part| match part {
        Part::Constant(_) => false,
        Part::Span((from, to)) => std::mem::replace(&mut at, to) == from,
    })
}
