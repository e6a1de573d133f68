//! Makes rows of a record: what is done with every record of a topic with routes.

use super::compile::{Because, Made, RecordView, RouteReject, TopicRoutes};
use super::convert;
use super::expression::TimeForm;
use super::functions::{Input, micros};
use super::plan::{ColumnPlan, MAX_TTL, MadeOf, Plan, TimePlan, TtlPlan};
use super::reject::{Fault, KEY_MISSING, MALFORMED, NO_TIMESTAMP, OUT_OF_RANGE, UNKNOWN_SCHEMA};
use super::spec::{NullRule, TombstoneRule};
use crate::codec::value::{Unreadable, Value};
use crate::schema::identity::IdentityColumn;
use crate::schema::row::{Cell, RowOp};

/// What a route made of a record, with a fault that is not yet told of.
type Outcome = Result<Made, Fault>;

// === impl TopicRoutes ===

impl TopicRoutes {
    /// Says of each route what it makes of a record. The cells of a row are in the vector, which is empty otherwise, and is
    /// emptied after each call.
    ///
    /// If the record cannot be read, all routes reject it for the same reason, with the code `malformed` or
    /// `unknown_schema`.
    pub fn apply(&mut self, record: &RecordView<'_>, mut each: impl FnMut(usize, Made, &mut Vec<Cell>)) {
        let mut values = reused(std::mem::take(&mut self.values));
        let value = record.value.map(|value| value.of(record.data));
        let read = match (value, &mut self.extractor) {
            (Some(value), Some(extractor)) => extractor.extract(value, &mut values),
            _ => Ok(()),
        };
        if let Err(unreadable) = read {
            let code = match unreadable {
                Unreadable::Malformed(_) => MALFORMED,
                Unreadable::UnknownSchema(_) => UNKNOWN_SCHEMA,
            };
            let reject = RouteReject { code, detail: unreadable.to_string() };
            for index in 0..self.plans.len() {
                each(index, Made::Rejected(reject.clone()), &mut self.cells);
            }
        } else {
            let input = Input { record, values: &values, cells: &[] };
            make(&self.plans, &input, value.is_none(), &mut self.cells, &mut each);
        }
        self.values = reused(values);
    }

    /// The same for a row of a message type: the cells of its own table, whose spans point into the record's data. The
    /// record's value is not looked at.
    pub fn apply_row(
        &mut self,
        record: &RecordView<'_>,
        cells: &[Cell],
        mut each: impl FnMut(usize, Made, &mut Vec<Cell>),
    ) {
        let input = Input { record, values: &[], cells };
        make(&self.plans, &input, false, &mut self.cells, &mut each);
    }
}

/// An empty vector of values with another lifetime, and with the same memory: collecting what comes of a vector reuses it.
fn reused<'b>(mut values: Vec<Value<'_>>) -> Vec<Value<'b>> {
    values.clear();
    values.into_iter().map(|_| unreachable!("the vector is empty")).collect()
}

fn make(
    plans: &[Plan],
    input: &Input<'_>,
    is_tombstone: bool,
    cells: &mut Vec<Cell>,
    each: &mut impl FnMut(usize, Made, &mut Vec<Cell>),
) {
    for (index, plan) in plans.iter().enumerate() {
        let made = match is_tombstone {
            true => plan.delete(input, cells),
            false => plan.upsert(input, cells),
        };
        let made = made.unwrap_or_else(|fault| Made::Rejected(RouteReject { code: fault.code, detail: fault.what }));
        if !matches!(made, Made::Row(_)) {
            cells.clear();
        }
        each(index, made, cells);
        cells.clear();
    }
}

// === impl Plan ===

impl Plan {
    fn upsert(&self, input: &Input<'_>, cells: &mut Vec<Cell>) -> Outcome {
        if let Some(filter) = &self.filter
            && !filter.takes(input)?
        {
            return Ok(Made::Nothing(Because::Filter));
        }
        for column in &self.columns {
            cells.push(self.cell(column, input)?);
        }
        self.push_timestamp(input, cells)?;
        match self.ttl(input)? {
            Life::Given => {}
            Life::Seconds(seconds) => cells.push(Cell::Int(seconds)),
            Life::OfTable => cells.push(Cell::Null),
            Life::Over => return Ok(Made::Nothing(Because::Expired)),
        }
        Ok(Made::Row(RowOp::Upsert))
    }

    /// A record without a value. A filter that looks at the value has nothing to say of it.
    fn delete(&self, input: &Input<'_>, cells: &mut Vec<Cell>) -> Outcome {
        if self.route.tombstones == TombstoneRule::Skip {
            return Ok(Made::Nothing(Because::Tombstone));
        }
        if let Some(filter) = self.filter.as_ref().filter(|filter| !filter.needs_value())
            && !filter.takes(input)?
        {
            return Ok(Made::Nothing(Because::Filter));
        }
        for column in &self.columns {
            cells.push(if column.is_key { self.cell(column, input)? } else { Cell::Null });
        }
        self.push_timestamp(input, cells)?;
        if !matches!(self.ttl, TtlPlan::None) {
            cells.push(Cell::Null);
        }
        Ok(Made::Row(RowOp::Delete))
    }

    #[inline]
    fn cell(&self, column: &ColumnPlan, input: &Input<'_>) -> Result<Cell, Fault> {
        let node = match &column.made_of {
            MadeOf::Constant(cell) => return Ok(cell.clone()),
            MadeOf::Copy(index) => match &input.cells[*index] {
                Cell::Null if column.is_key => return Err(column.missing("null")),
                Cell::Null => return Ok(self.null()),
                cell => return Ok(cell.clone()),
            },
            MadeOf::Node(node) => node,
        };
        let value = node.value(input).map_err(|fault| column.fault(fault))?;
        match &*value {
            Value::Absent if column.is_key => Err(column.missing("nothing")),
            Value::Null if column.is_key => Err(column.missing("null")),
            Value::Absent => Ok(Cell::Null),
            Value::Null => Ok(self.null()),
            value => convert::cell(value, column.kind, input.record.data).map_err(|fault| column.fault(fault)),
        }
    }

    fn null(&self) -> Cell {
        match self.route.spec.null {
            NullRule::Write => Cell::Clear,
            NullRule::Unset => Cell::Null,
        }
    }

    fn push_timestamp(&self, input: &Input<'_>, cells: &mut Vec<Cell>) -> Result<(), Fault> {
        let time = match &self.timestamp {
            TimePlan::Server => return Ok(()),
            TimePlan::Record => match input.record.timestamp_ms {
                Some(time) => micros(time),
                None => Err(Fault::new(NO_TIMESTAMP, "the record has no timestamp in Kafka")),
            },
            TimePlan::EventTime => match input.cells[IdentityColumn::EventTime.index()] {
                Cell::Timestamp(time) => micros(time),
                ref other => unreachable!("an event time is a timestamp, not {other:?}"),
            },
            TimePlan::Node(node) => node.value(input).and_then(|value| match &*value {
                Value::Absent | Value::Null => Err(Fault::of(NO_TIMESTAMP, &value, "a time")),
                value => convert::time::instant(value, TimeForm::Any),
            }),
        };
        cells.push(Cell::Long(time.map_err(|fault| fault.at("timestamp"))?));
        Ok(())
    }

    fn ttl(&self, input: &Input<'_>) -> Result<Life, Fault> {
        let at = |fault: Fault| fault.at("ttl");
        let (node, is_until) = match &self.ttl {
            TtlPlan::None => return Ok(Life::Given),
            TtlPlan::For(seconds) => return Ok(Life::Seconds(*seconds)),
            TtlPlan::Seconds(node) => (node, false),
            TtlPlan::Until(node) => (node, true),
        };
        let value = node.value(input).map_err(at)?;
        if matches!(*value, Value::Absent | Value::Null) {
            return Ok(Life::OfTable);
        }
        let too_long =
            || Fault::new(OUT_OF_RANGE, format!("a row lives from 1 to {MAX_TTL} seconds, 20 years")).at("ttl");
        if !is_until {
            let seconds = convert::number::whole(&value, "a whole number of seconds").map_err(at)?;
            let seconds = i32::try_from(seconds).ok().filter(|seconds| (1..=MAX_TTL).contains(seconds));
            return seconds.map(Life::Seconds).ok_or_else(too_long);
        }
        let until_us = convert::time::instant(&value, TimeForm::Any).map_err(at)?;
        let left_ms = until_us.div_euclid(1000).saturating_sub(input.record.now_ms);
        if left_ms <= 0 {
            return Ok(Life::Over);
        }
        // A row does not end before its time.
        let seconds = i32::try_from(left_ms.saturating_add(999) / 1000).ok().filter(|seconds| *seconds <= MAX_TTL);
        seconds.map(Life::Seconds).ok_or_else(too_long)
    }
}

/// How long a row lives.
enum Life {
    /// Rows of this route do not say.
    Given,
    /// The table says.
    OfTable,
    /// So many seconds.
    Seconds(i32),
    /// It has ended already.
    Over,
}

// === impl ColumnPlan ===

impl ColumnPlan {
    #[cold]
    fn fault(&self, fault: Fault) -> Fault {
        fault.at(&self.whose())
    }

    #[cold]
    fn missing(&self, what: &str) -> Fault {
        Fault::new(
            KEY_MISSING,
            format!("{}: the column is part of the key, and the record has {what} for it", self.whose()),
        )
    }

    fn whose(&self) -> String {
        format!("column {} ({})", self.name, crate::schema::cql::type_text(self.kind))
    }
}
