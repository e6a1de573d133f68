//! Cuts a body into events while it arrives: pure, resumable, and with no more in hand than one event.
//!
//! It finds where an event ends and nothing else; what is in between is for the reader to refuse.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2};

use super::mark::mark_len;

/// How events follow one another in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One JSON value: an object is one event, an array is an event for each item.
    Json,
    /// One event on each line; empty lines are passed over.
    Lines,
}

/// What comes next in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// An event, as a range of the bytes given.
    Event {
        /// Where it is.
        range: Range<usize>,
        /// The line of the body that it begins on, from 1.
        line: u64,
    },
    /// An event with more bytes than allowed; they were passed over.
    TooLarge {
        /// The line of the body that it begins on, from 1.
        line: u64,
    },
    /// Nothing before more bytes come.
    More,
    /// The body has ended as it should.
    End,
    /// The body is not what its framing says, and nothing can be found in the rest of it.
    Broken {
        /// The line of the body, from 1.
        line: u64,
        /// For people.
        detail: &'static str,
    },
}

/// Finds the events of one body.
#[derive(Debug)]
pub struct Splitter {
    framing: Framing,
    max_event: usize,
    place: Place,
    /// Whether nothing has been looked at yet.
    is_at_start: bool,
    /// How far the event under way has been looked at, from where it begins.
    scan: Scan,
    is_passing_over: bool,
    is_single: bool,
    /// The line of the first byte that is not consumed.
    line: u64,
    /// The line that the event under way begins on.
    event_line: u64,
}

/// Where in a JSON body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    /// Within the object that is the body.
    Single,
    /// Before an item, or the end of an array that has none.
    FirstItem,
    /// Before an item, after a comma.
    NextItem,
    Item,
    AfterItem,
    Done,
}

/// How far an item has been looked at.
#[derive(Debug, Default)]
struct Scan {
    num_bytes: usize,
    depth: u32,
    is_in_string: bool,
    is_escaped: bool,
}

/// The bytes that change the depth or begin a string.
const IS_STRUCTURAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut bytes: &[u8] = b"{}[]\"";
    while let [byte, rest @ ..] = bytes {
        table[*byte as usize] = true;
        bytes = rest;
    }
    table
};

// === impl Splitter ===

impl Splitter {
    /// Finds events of at most `max_event` bytes.
    pub fn new(framing: Framing, max_event: usize) -> Self {
        Self {
            framing,
            max_event,
            place: Place::Start,
            is_at_start: true,
            scan: Scan::default(),
            is_passing_over: false,
            is_single: false,
            line: 1,
            event_line: 1,
        }
    }

    /// Whether the body is one event and no list of events, as far as is known.
    pub fn is_single(&self) -> bool {
        self.is_single
    }

    /// What comes next in `bytes`, which begin with the first byte that was not consumed yet, and how many of them are
    /// consumed by that. `is_last` says that nothing follows `bytes`.
    pub fn next(&mut self, bytes: &[u8], is_last: bool) -> (usize, Split) {
        let mut mark = 0;
        if self.is_at_start {
            let Some(len) = mark_len(bytes, is_last) else { return (0, Split::More) };
            (mark, self.is_at_start) = (len, false);
        }
        let bytes = &bytes[mark..];
        let (num_consumed, mut split) = match self.framing {
            Framing::Lines => self.next_line(bytes, is_last),
            Framing::Json => self.next_item(bytes, is_last),
        };
        if let Split::Event { range, .. } = &mut split {
            *range = mark + range.start..mark + range.end;
        }
        (mark + num_consumed, split)
    }

    fn next_line(&mut self, bytes: &[u8], is_last: bool) -> (usize, Split) {
        let mut start = 0;
        loop {
            let rest = &bytes[start..];
            let unseen = &rest[self.scan.num_bytes..];
            let end = memchr(b'\n', unseen).map(|position| self.scan.num_bytes + position);
            if end.is_none() && !is_last {
                self.scan.num_bytes = rest.len();
                self.pass_over_if_too_large(rest.len());
                let num_consumed = if self.is_passing_over { self.drop_seen() } else { 0 };
                return (start + num_consumed, Split::More);
            }
            let len = end.unwrap_or(rest.len());
            let next = start + len + usize::from(end.is_some());
            let line = self.line;
            self.line += u64::from(end.is_some());
            self.scan = Scan::default();
            let is_too_large = std::mem::take(&mut self.is_passing_over) || len > self.max_event;
            let event = &rest[..len];
            if is_too_large {
                return (next, Split::TooLarge { line });
            }
            if !event.trim_ascii().is_empty() {
                return (next, Split::Event { range: start..start + len, line });
            }
            if end.is_none() {
                return (next, Split::End);
            }
            start = next;
        }
    }

    fn next_item(&mut self, bytes: &[u8], is_last: bool) -> (usize, Split) {
        let mut at = 0;
        loop {
            if matches!(self.place, Place::Single | Place::Item) {
                let (num_consumed, split) = self.within_item(&bytes[at..], is_last);
                let split = match split {
                    Split::Event { range, line } => Split::Event { range: at + range.start..at + range.end, line },
                    other => other,
                };
                return (at + num_consumed, split);
            }
            let Some(byte) = bytes.get(at) else {
                let split = match (is_last, self.place) {
                    (false, _) => Split::More,
                    (true, Place::Done) => Split::End,
                    (true, _) => self.broken("the body ends before its JSON value does"),
                };
                return (at, split);
            };
            match (self.place, byte) {
                (_, b'\n') => self.line += 1,
                (_, b' ' | b'\t' | b'\r') => {}
                (Place::Start, b'[') => self.place = Place::FirstItem,
                (Place::Start, b'{') => {
                    self.is_single = true;
                    self.begin(Place::Single);
                    continue;
                }
                (Place::Start, _) => return (at, self.broken("the body is neither an object nor an array")),
                (Place::FirstItem | Place::AfterItem, b']') => self.place = Place::Done,
                (Place::AfterItem, b',') => self.place = Place::NextItem,
                (Place::FirstItem | Place::NextItem, b',' | b']' | b'}' | b':') => {
                    return (at, self.broken("an item of the array is missing"));
                }
                (Place::FirstItem | Place::NextItem, _) => {
                    self.begin(Place::Item);
                    continue;
                }
                (Place::AfterItem, _) => return (at, self.broken("there is no comma between two items of the array")),
                (_, _) => return (at, self.broken("there is more after the body's JSON value")),
            }
            at += 1;
        }
    }

    fn begin(&mut self, place: Place) {
        self.place = place;
        self.scan = Scan::default();
        self.event_line = self.line;
    }

    /// `bytes` begin where the item does, or, of one that is passed over, where the last look ended.
    fn within_item(&mut self, bytes: &[u8], is_last: bool) -> (usize, Split) {
        let seen = self.scan.num_bytes;
        let end = self.scan.run(bytes);
        self.line += memchr_iter(b'\n', &bytes[seen..self.scan.num_bytes]).count() as u64;
        self.pass_over_if_too_large(self.scan.num_bytes);
        if !end && !is_last {
            let num_consumed = if self.is_passing_over { self.drop_seen() } else { 0 };
            return (num_consumed, Split::More);
        }
        if !end {
            return (0, self.broken("the body ends before its JSON value does"));
        }
        let len = self.scan.num_bytes;
        self.place = if self.place == Place::Single { Place::Done } else { Place::AfterItem };
        let line = self.event_line;
        if std::mem::take(&mut self.is_passing_over) {
            return (len, Split::TooLarge { line });
        }
        (len, Split::Event { range: 0..len, line })
    }

    fn pass_over_if_too_large(&mut self, len: usize) {
        self.is_passing_over |= len > self.max_event;
    }

    /// Consumes what was looked at of an event that is passed over.
    fn drop_seen(&mut self) -> usize {
        std::mem::take(&mut self.scan.num_bytes)
    }

    fn broken(&self, detail: &'static str) -> Split {
        Split::Broken { line: self.line, detail }
    }
}

// === impl Scan ===

impl Scan {
    /// Looks on; whether the item ends at `num_bytes`.
    fn run(&mut self, bytes: &[u8]) -> bool {
        while let Some(rest) = bytes.get(self.num_bytes..).filter(|rest| !rest.is_empty()) {
            if self.is_in_string {
                self.run_string(rest);
                if !self.is_in_string && self.depth == 0 {
                    return true;
                }
                continue;
            }
            // Within an item most bytes outside of strings are numbers, colons and commas.
            let num_plain = match self.depth {
                0 => 0,
                _ => rest.iter().position(|byte| IS_STRUCTURAL[usize::from(*byte)]).unwrap_or(rest.len()),
            };
            self.num_bytes += num_plain;
            match rest.get(num_plain) {
                Some(b'{' | b'[') => self.depth = self.depth.saturating_add(1),
                Some(b'}' | b']') if self.depth > 1 => self.depth -= 1,
                Some(b'}' | b']') if self.depth == 1 => {
                    self.depth = 0;
                    self.num_bytes += 1;
                    return true;
                }
                // A bare value ends before what cannot be part of it.
                Some(b'}' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n') if self.depth == 0 => return true,
                Some(b'"') => self.is_in_string = true,
                // A colon of a bare value, or what else is for the reader to refuse.
                Some(_) => {}
                None => return false,
            }
            self.num_bytes += 1;
        }
        false
    }

    fn run_string(&mut self, rest: &[u8]) {
        if std::mem::take(&mut self.is_escaped) {
            self.num_bytes += 1;
            return;
        }
        match memchr2(b'"', b'\\', rest) {
            Some(position) => {
                self.num_bytes += position + 1;
                let is_quote = rest.get(position) == Some(&b'"');
                self.is_in_string = !is_quote;
                self.is_escaped = !is_quote;
            }
            None => self.num_bytes += rest.len(),
        }
    }
}

#[cfg(test)]
mod tests;
