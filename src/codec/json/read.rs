//! Events out of JSON, in one pass: every value is checked and written as Avro when it is met.
//!
//! Members come in any order and Avro has a fixed one, so the bytes of each are kept apart until the event is complete.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde_json::error::Category;

use super::exact::{Doubt, NumberTexts, has_long_number, is_beyond_doubles, number_before};
use super::fault::{EventFault, FaultReason, Step, path_of, shortened};
use super::own_members::{DEVICE_ID, EVENT_TIME, OwnMember, OwnMembers, SEQUENCE};
use super::plan::{Group, JsonPlan, Piece};
use super::value::NodeSeed;
use crate::codec::avro::sink::{NULL, VALUE, write_identity};
use crate::protocol::message::{Identity, MessageHeader};

/// Enough for the numbers of an identity as Avro has them.
const MAX_NUMBERS_LEN: usize = 64;
/// Enough for the fields of most events, so that no buffer has to grow for them.
const USUAL_FIELDS_LEN: usize = 256;

/// Longest part of an unknown name that a fault quotes, in bytes.
const MAX_QUOTED_NAME: usize = 64;

/// Reads events; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub struct EventReader {
    context: Context,
}

/// What an event says of itself. Its fields stay with the reader until the next one is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'de> {
    /// The device that it is of; a valid id.
    pub device_id: Cow<'de, str>,
    /// When it happened, in milliseconds since the Unix epoch.
    pub event_time_ms: u64,
    /// What tells events of one device and time apart, if the event says it.
    pub sequence: Option<u32>,
}

/// What all levels of an event share while it is read.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// Avro bytes, in the order in which members came.
    pub out: Vec<u8>,
    /// Where the bytes of each member of the open groups lie in `out`; those of the event itself first.
    spans: Vec<Span>,
    /// The way to what is wrong, innermost step first; filled in on the way out.
    path: Vec<Step>,
    fault: Option<(FaultReason, String)>,
    /// Whether numbers as doubles have told enough.
    doubt: Doubt,
    /// The numbers as they are written, for an event that is read for the second time.
    texts: Option<NumberTexts>,
}

type Span = (u32, u32);

/// The span of a member that has not come.
const ABSENT: Span = (u32::MAX, 0);

/// What the name of a member stands for.
enum Key {
    Member(usize),
    Own(OwnMember),
}

struct Root<'c> {
    plan: &'c JsonPlan,
    context: &'c mut Context,
}

struct KeySeed<'c> {
    group: &'c Group,
    hint: usize,
    is_root: bool,
    context: &'c mut Context,
}

// === impl EventReader ===

impl EventReader {
    /// Reads one event, which has to be all of `json`.
    pub fn read<'de>(&mut self, plan: &JsonPlan, json: &'de [u8]) -> Result<Event<'de>, EventFault> {
        self.context.clear();
        // Checked at once, which takes an eighth of what it takes name by name.
        let text = std::str::from_utf8(json).map_err(|bad| {
            let detail = format!("not UTF-8 from its byte {} on", bad.valid_up_to());
            EventFault::new(FaultReason::Malformed, "$", detail)
        })?;
        let read = self.read_text(plan, text);
        let is_in_doubt = match self.context.doubt {
            Doubt::None => false,
            Doubt::IfLong => has_long_number(text),
            Doubt::Certain => true,
        };
        if is_in_doubt { self.read_exactly(plan, text) } else { read }
    }

    fn read_text<'de>(&mut self, plan: &JsonPlan, text: &'de str) -> Result<Event<'de>, EventFault> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let root = Root { plan, context: &mut self.context };
        root.deserialize(&mut deserializer)
            .and_then(|event| deserializer.end().map(|()| event))
            .map_err(|error| self.context.fault_of(&error, text))
    }

    /// Reads an event in which a double does not say which value is meant.
    #[cold]
    #[inline(never)]
    fn read_exactly<'de>(&mut self, plan: &JsonPlan, text: &'de str) -> Result<Event<'de>, EventFault> {
        self.context.clear();
        self.context.texts = Some(NumberTexts::of(text));
        let read = self.read_text(plan, text);
        self.context.texts = None;
        read
    }

    /// Appends the event that was read last, by the same plan, as an Avro single-object record.
    pub fn write(&self, plan: &JsonPlan, identity: &Identity<'_>, out: &mut Vec<u8>) {
        out.reserve(plan.avro_header.len() + MAX_NUMBERS_LEN + identity.device_id.len() + self.context.out.len());
        out.extend_from_slice(&plan.avro_header);
        write_identity(identity, out);
        for part in parts(&plan.root, &self.context.spans) {
            match part {
                Part::Constant(bytes) => out.extend_from_slice(bytes),
                Part::Span((start, end)) => out.extend_from_slice(&self.context.out[start as usize..end as usize]),
            }
        }
    }
}

// === impl Event ===

impl Event<'_> {
    /// The identity of the record, with `sequence` for an event that has none of its own.
    pub fn identity(&self, plan: &JsonPlan, sequence: u32, received_at_us: u64) -> Identity<'_> {
        let header = MessageHeader {
            type_id: plan.type_id,
            version: plan.version,
            sequence: self.sequence.unwrap_or(sequence),
            event_time_ms: self.event_time_ms,
        };
        Identity { device_id: &self.device_id, header, received_at_us }
    }
}

// === impl Context ===

impl Context {
    /// Ends reading with this fault at the place that is being read.
    #[cold]
    pub(super) fn fail<E: Error>(&mut self, reason: FaultReason, detail: impl Into<String>) -> E {
        self.fault = Some((reason, detail.into()));
        E::custom("see the fault")
    }

    /// Ends reading with this fault at this member.
    #[cold]
    pub(super) fn fail_at<E: Error>(&mut self, name: &str, reason: FaultReason, detail: String) -> E {
        self.path.push(Step::Member(name.into()));
        self.fail(reason, detail)
    }

    /// Notes a step of the way to what is wrong.
    #[inline]
    pub(super) fn at<E>(&mut self, step: Step, error: E) -> E {
        self.path.push(step);
        error
    }

    #[inline]
    fn clear(&mut self) {
        self.out.clear();
        self.out.reserve(USUAL_FIELDS_LEN);
        self.spans.clear();
        self.path.clear();
        self.fault = None;
        self.doubt = Doubt::None;
    }

    /// Notes what is in doubt of a number.
    #[inline]
    pub(super) fn doubt(&mut self, doubt: Doubt) {
        self.doubt = self.doubt.max(doubt);
    }

    /// The number that is met now as it is written, if the event is read for the second time.
    #[inline]
    pub(super) fn text_of_number(&mut self) -> Option<Box<str>> {
        self.texts.as_mut().map(NumberTexts::next)
    }

    #[cold]
    fn fault_of(&mut self, error: &serde_json::Error, text: &str) -> EventFault {
        let (reason, detail) = self.fault.take().unwrap_or_else(|| {
            let said = error.to_string();
            let is_beyond = || number_before(text, (error.line(), error.column())).is_some_and(is_beyond_doubles);
            match error.classify() {
                // Where it is the path tells better than serde's line and column.
                Category::Data => {
                    let (what, _) = said.split_once(" at line ").unwrap_or((&said, ""));
                    (FaultReason::WrongKind, what.to_owned())
                }
                // It is a number all the same. Nothing takes one that a double does not hold.
                Category::Syntax if is_beyond() => {
                    (FaultReason::OutOfRange, format!("beyond all numbers; none exceeds {:e}", f64::MAX))
                }
                Category::Syntax | Category::Eof | Category::Io => (FaultReason::Malformed, said),
            }
        });
        EventFault::new(reason, path_of(&self.path), detail)
    }

    /// Reads the members of an object, and puts their bytes, in Avro's order, where the first of them began.
    pub(super) fn read_group<'de, A: MapAccess<'de>>(&mut self, group: &Group, map: A) -> Result<(), A::Error> {
        let (start, first_span) = (self.out.len(), self.spans.len());
        self.read_members(group, map, None)?;
        let Self { out, spans, .. } = self;
        let own_spans = &spans[first_span..];
        if !is_in_order(group, own_spans, start as u32) {
            let end = out.len();
            for part in parts(group, own_spans) {
                match part {
                    Part::Constant(bytes) => out.extend_from_slice(bytes),
                    Part::Span((from, to)) => out.extend_from_within(from as usize..to as usize),
                }
            }
            out.drain(start..end);
        }
        spans.truncate(first_span);
        Ok(())
    }

    fn read_members<'de, A: MapAccess<'de>>(
        &mut self,
        group: &Group,
        mut map: A,
        mut own: Option<&mut OwnMembers<'de>>,
    ) -> Result<(), A::Error> {
        let first_span = self.spans.len();
        self.spans.resize(first_span + group.members.len(), ABSENT);
        let mut hint = 0;
        let is_root = own.is_some();
        while let Some(key) = map.next_key_seed(KeySeed { group, hint, is_root, context: self })? {
            let index = match key {
                Key::Member(index) => index,
                Key::Own(member) => {
                    let Some(own) = own.as_deref_mut() else { unreachable!("only an event has these members") };
                    own.read(member, &mut map, self)?;
                    continue;
                }
            };
            hint = index + 1;
            let member = &group.members[index];
            let start = self.out.len() as u32;
            if self.spans[first_span + index] != ABSENT {
                return Err(self.twice(&member.name));
            }
            if member.nullable {
                self.out.push(VALUE);
            }
            let seed = NodeSeed { node: &member.node, nullable_at: member.optional.then_some(start), context: self };
            map.next_value_seed(seed).map_err(|error| self.at(Step::Member(Arc::clone(&member.name)), error))?;
            let end = self.out.len() as u32;
            self.spans[first_span + index] = (start, end);
        }
        let spans = &self.spans[first_span..];
        let missing = group.members.iter().zip(spans).find(|(member, span)| **span == ABSENT && !member.optional);
        match missing {
            Some((member, _)) => Err(self.missing(&member.name)),
            None => Ok(()),
        }
    }

    #[cold]
    fn missing<E: Error>(&mut self, name: &str) -> E {
        self.path.push(Step::Member(name.into()));
        self.fail(FaultReason::MissingField, "this member is missing")
    }

    #[cold]
    pub(super) fn twice<E: Error>(&mut self, name: &str) -> E {
        self.path.push(Step::Member(name.into()));
        self.fail(FaultReason::RepeatedField, "the member is there twice")
    }
}

/// A part of a group as Avro has it.
enum Part<'a> {
    Constant(&'a [u8]),
    Span(Span),
}

#[inline]
fn parts<'a>(group: &'a Group, spans: &'a [Span]) -> impl Iterator<Item = Part<'a>> {
    group.pieces.iter().map(|piece| match piece {
        Piece::Constant(bytes) => Part::Constant(bytes),
        Piece::Member(index) => match spans[*index] {
            // Only members that may be left out are absent here.
            ABSENT => Part::Constant(&[NULL]),
            span => Part::Span(span),
        },
    })
}

/// Whether the bytes from `start` on are the group as Avro has it already.
#[inline]
fn is_in_order(group: &Group, spans: &[Span], start: u32) -> bool {
    let mut at = start;
    parts(group, spans).all(|part| match part {
        Part::Constant(_) => false,
        Part::Span((from, to)) => std::mem::replace(&mut at, to) == from,
    })
}

// === impl Root ===

impl<'de> DeserializeSeed<'de> for Root<'_> {
    type Value = Event<'de>;

    #[inline]
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Event<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Root<'_> {
    type Value = Event<'de>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an event, which is an object")
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Event<'de>, A::Error> {
        let mut own = OwnMembers::default();
        self.context.read_members(&self.plan.root, map, Some(&mut own))?;
        let OwnMembers { device_id, event_time_ms, sequence } = own;
        let device_id = device_id.ok_or_else(|| self.context.missing(DEVICE_ID))?;
        let event_time_ms = event_time_ms.ok_or_else(|| self.context.missing(EVENT_TIME))?;
        Ok(Event { device_id, event_time_ms, sequence: sequence.flatten() })
    }
}

// === impl KeySeed ===

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    #[inline]
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Key;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the name of a member")
    }

    #[inline]
    fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
        // No field of a type has one of these names.
        match name {
            DEVICE_ID if self.is_root => return Ok(Key::Own(OwnMember::DeviceId)),
            EVENT_TIME if self.is_root => return Ok(Key::Own(OwnMember::EventTime)),
            SEQUENCE if self.is_root => return Ok(Key::Own(OwnMember::Sequence)),
            // A field of the type, or a member of a group of it.
            _ => {}
        }
        match self.group.find(name, self.hint) {
            Some(index) => Ok(Key::Member(index)),
            None => {
                self.context.path.push(Step::Member(shortened(name, MAX_QUOTED_NAME).into()));
                Err(self.context.fail(FaultReason::UnknownField, "the newest version of the type has no such field"))
            }
        }
    }
}
