//! One route, compiled against its table: what is wrong with it, or what makes its rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::{self, resolve};
use super::compile::{RecordView, RouteTable};
use super::convert;
use super::expression::{Expression, KafkaField};
use super::filter::Filter;
use super::functions::{Input, Node};
use super::gives::{Gives, gives, own_column};
use super::spec::{RouteSpec, TimestampSpec, TombstoneRule, TtlSpec};
use crate::codec::value::{Path, Value};
use crate::schema::cql;
use crate::schema::row::{
    Cell, Column, ColumnKind, ColumnPlace, DescribedColumn, Key, Routed, ScalarKind, Table, TableDescription, WriteTime,
};

/// The longest time to live that Cassandra takes, in seconds: 20 years.
pub(super) const MAX_TTL: i32 = 630_720_000;

/// A route, ready for records.
pub(super) struct Plan {
    /// The route and its table.
    pub route: Arc<RouteTable>,
    /// Which records it takes; all without one.
    pub filter: Option<Filter>,
    /// What makes each cell, in the order of the table's columns.
    pub columns: Vec<ColumnPlan>,
    /// What makes the write timestamp, if rows have one.
    pub timestamp: TimePlan,
    /// What makes the time to live.
    pub ttl: TtlPlan,
}

/// What makes the cells of a column.
pub(super) struct ColumnPlan {
    pub name: Box<str>,
    pub kind: ColumnKind,
    pub is_key: bool,
    pub made_of: MadeOf,
}

/// What a cell is made of.
pub(super) enum MadeOf {
    /// The same for all records.
    Constant(Cell),
    /// The cell of the message type's row, which holds the same.
    Copy(usize),
    /// The value of an expression.
    Node(Node),
}

/// What makes the write timestamp.
pub(super) enum TimePlan {
    /// The database has the time.
    Server,
    /// The record's timestamp in Kafka.
    Record,
    /// The event time of a message type's row, a cell.
    EventTime,
    /// An expression.
    Node(Node),
}

/// What makes the time to live.
pub(super) enum TtlPlan {
    /// The table has it.
    None,
    /// The same for all rows, in seconds.
    For(i32),
    /// An expression for seconds.
    Seconds(Node),
    /// An expression for the time until which a row lives.
    Until(Node),
}

/// Where the values of paths come from.
pub(super) enum Origin<'a> {
    /// From an extractor, which is made for these paths.
    Paths(&'a mut Vec<Path>),
    /// From the cells of a message type's row.
    Own(&'a Table),
}

struct Planner<'s, 'o, 'p> {
    spec: &'s RouteSpec,
    origin: &'o mut Origin<'p>,
    problems: Vec<String>,
}

/// Compiles one route. Paths that it needs are added to those of `origin`.
pub(super) fn plan(
    spec: &RouteSpec,
    described: Option<&TableDescription>,
    origin: &mut Origin<'_>,
) -> Result<Plan, Vec<String>> {
    let mut planner = Planner { spec, origin, problems: Vec::new() };
    let made = planner.plan(described);
    match made {
        Some(plan) if planner.problems.is_empty() => Ok(plan),
        _ => {
            assert!(!planner.problems.is_empty(), "route {} has no plan and no problem", spec.name);
            Err(planner.problems)
        }
    }
}

// === impl Planner ===

impl<'s> Planner<'s, '_, '_> {
    fn fault(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }

    fn table_name(&self) -> String {
        self.spec.table.to_string()
    }

    fn plan(&mut self, described: Option<&TableDescription>) -> Option<Plan> {
        let declared = self.declared();
        let described = match (described, declared) {
            (Some(described), declared) => {
                match declared {
                    Some(declared) => self.compare(described, &declared),
                    None => self.compare_types(described),
                }
                described.clone()
            }
            (None, Some(declared)) => declared,
            (None, None) if self.spec.key.is_some() => return None,
            (None, None) => {
                let table = self.table_name();
                self.fault(format!("table {table} does not exist; create it, or let the route create it: give it a key, and each column a type"));
                return None;
            }
        };
        let expressions = self.expressions();
        let table_columns = self.table_columns(&described);
        let mut columns = Vec::with_capacity(table_columns.len());
        for column in &table_columns {
            let Some(expression) = expressions.get(&*column.name) else { continue };
            columns.extend(self.column(column, expression));
        }
        let has_record_key = table_columns
            .iter()
            .filter(|column| is_key(column))
            .all(|column| expressions.get(&*column.name).is_some_and(|made| !made.needs_value()));
        let tombstones = self.tombstones(has_record_key);
        let timestamp = self.timestamp(&expressions)?;
        let ttl = self.ttl(&expressions)?;
        let filter = self.filter()?;
        if !self.problems.is_empty() {
            return None;
        }
        let count = |is: fn(&ColumnPlace) -> bool| described.columns.iter().filter(|column| is(&column.place)).count();
        let key = Key {
            num_partition: count(|place| matches!(place, ColumnPlace::Partition(_))),
            num_clustering: count(|place| matches!(place, ColumnPlace::Clustering(_))),
        };
        let table = Table {
            keyspace: self.spec.table.keyspace.clone(),
            name: self.spec.table.name.clone(),
            columns: columns.iter().map(|column| Column { name: column.name.to_string(), kind: column.kind }).collect(),
            key,
            routed: Some(Routed {
                route: self.spec.name.clone(),
                timestamp: match timestamp {
                    TimePlan::Server => WriteTime::Server,
                    _ => WriteTime::Cell,
                },
                has_ttl: !matches!(ttl, TtlPlan::None),
                consistency: self.spec.consistency,
                is_created: self.spec.key.is_some(),
            }),
        };
        let route = RouteTable { spec: self.spec.clone(), table: Arc::new(table), tombstones, has_record_key };
        Some(Plan { route: Arc::new(route), filter, columns, timestamp, ttl })
    }

    /// The table as the route declares it, if it does.
    fn declared(&mut self) -> Option<TableDescription> {
        let (partition, clustering) = self.spec.key.as_ref()?;
        let mut columns = Vec::new();
        let mut is_whole = true;
        let in_key = |name: &String| partition.contains(name) || clustering.contains(name);
        let others = self.spec.columns.keys().filter(|name| !in_key(name));
        let places = partition.iter().enumerate().map(|(index, name)| (name, ColumnPlace::Partition(index)));
        let places = places
            .chain(clustering.iter().enumerate().map(|(index, name)| (name, ColumnPlace::Clustering(index))))
            .chain(others.map(|name| (name, ColumnPlace::Regular)));
        for (name, place) in places {
            let type_text = self.spec.columns.get(name).and_then(|column| column.type_text.as_deref());
            let kind = type_text.and_then(cql::parse_type);
            match (type_text, kind) {
                (Some(text), Some(kind)) => {
                    columns.push(DescribedColumn {
                        name: name.clone(),
                        type_text: text.to_owned(),
                        kind: Some(kind),
                        place,
                    });
                }
                (Some(text), None) => {
                    is_whole = false;
                    self.problems.push(format!("column {name}: {text:?} is not a type that a route creates; take a scalar type of CQL, or a list, set or map of these"));
                }
                (None, _) => {
                    is_whole = false;
                    self.problems.push(format!("column {name}: its route may create the table, which needs its type; write {{ from = …, type = … }}"));
                }
            }
        }
        is_whole.then_some(TableDescription { columns })
    }

    /// Says where the table is not what the route declares.
    fn compare(&mut self, described: &TableDescription, declared: &TableDescription) {
        for own in &declared.columns {
            let Some(column) = described.columns.iter().find(|column| column.name == own.name) else { continue };
            if column.place != own.place && column.place != ColumnPlace::Static {
                let (is, said) = (place_text(column.place), place_text(own.place));
                self.fault(format!("column {} is {is} in the database and {said} in the route; make key say what the table has, or leave key out", own.name));
            }
            if column.kind != own.kind {
                self.fault(format!(
                    "column {} is {} in the database and {} in the route; change the type in the route",
                    own.name, column.type_text, own.type_text
                ));
            }
        }
    }

    /// The same where the route declares types alone.
    fn compare_types(&mut self, described: &TableDescription) {
        for (name, spec) in &self.spec.columns {
            let Some(said) = &spec.type_text else { continue };
            let Some(column) = described.columns.iter().find(|column| column.name == *name) else { continue };
            let kind = cql::parse_type(said);
            if kind.is_none() || kind != column.kind {
                self.fault(format!(
                    "column {name} is {} in the database and {said} in the route; change the type in the route, or leave it out",
                    column.type_text
                ));
            }
        }
    }

    /// What each column is made of, with names of columns replaced.
    fn expressions(&mut self) -> BTreeMap<&'s str, Expression> {
        let (expressions, problems) = check::expressions(self.spec);
        let told =
            problems.into_iter().map(|(key, what)| format!("{}: {what}", key.replacen("columns.", "column ", 1)));
        self.problems.extend(told);
        expressions
    }

    /// The columns of the table that the route fills, in the order of a row.
    fn table_columns(&mut self, described: &TableDescription) -> Vec<DescribedColumn> {
        let mut columns = Vec::new();
        let (keys, others): (Vec<_>, Vec<_>) = described.columns.iter().partition(|column| is_key(column));
        for column in keys {
            if !self.spec.columns.contains_key(&column.name) {
                let (table, name, type_text) = (self.table_name(), &column.name, &column.type_text);
                self.fault(format!("column {name} ({type_text}) of the key of {table} is not filled; add {name} = … to the route's columns"));
            }
            columns.push(column.clone());
        }
        columns.extend(others.into_iter().filter(|column| self.spec.columns.contains_key(&column.name)).cloned());
        for name in self.spec.columns.keys() {
            if !described.columns.iter().any(|column| column.name == *name) {
                let known = described.columns.iter().map(|column| &*column.name).collect::<Vec<_>>().join(", ");
                let table = self.table_name();
                self.fault(format!("column {name} is not in {table} (it has {known}); add it to the table, or leave it out of the route"));
            }
        }
        columns
    }

    fn column(&mut self, column: &DescribedColumn, expression: &Expression) -> Option<ColumnPlan> {
        let DescribedColumn { name, type_text, .. } = column;
        let Some(kind) = column.kind else {
            self.fault(format!("column {name} is {type_text}, which routes do not write (they write scalar types, and lists, sets and maps of these); leave it out"));
            return None;
        };
        let own = self.own();
        let given = gives(expression, own);
        if !given.fits(kind) {
            let (gives, remedy) = (given.describe(), given.remedy(kind));
            self.fault(format!("column {name} is {type_text} and gets {gives} ({expression}); {remedy}"));
            return None;
        }
        let copied = match (expression, given) {
            (Expression::Path(path), Gives::Own(own_kind)) if own_kind == kind => {
                own.and_then(|own| own_column(own, path))
            }
            _ => None,
        };
        let made_of = match copied {
            Some(index) => MadeOf::Copy(index),
            None => {
                let node = self.node(expression, &format!("column {name}"))?;
                match expression.is_constant() {
                    true => MadeOf::Constant(self.constant(&node, kind, name, type_text)?),
                    false => MadeOf::Node(node),
                }
            }
        };
        Some(ColumnPlan { name: name.as_str().into(), kind, is_key: is_key(column), made_of })
    }

    fn own(&self) -> Option<&'_ Table> {
        match &*self.origin {
            Origin::Own(table) => Some(table),
            Origin::Paths(_) => None,
        }
    }

    /// The cell of an expression that needs no record.
    fn constant(&mut self, node: &Node, kind: ColumnKind, name: &str, type_text: &str) -> Option<Cell> {
        let data = bytes::Bytes::new();
        let record = RecordView::empty(&data);
        let input = Input { record: &record, values: &[], cells: &[] };
        let cell = node.value(&input).and_then(|value| convert::cell(&value, kind, &[]));
        match cell {
            // Shared by all rows.
            Ok(Cell::OwnText(text)) => Some(Cell::Symbol(text.into())),
            Ok(Cell::Text(_)) => Some(Cell::Symbol("".into())),
            Ok(cell) => Some(cell),
            Err(fault) => {
                self.fault(format!("column {name} is {type_text}: {}", fault.what));
                None
            }
        }
    }

    /// An expression with what it reads found out.
    fn node(&mut self, expression: &Expression, whose: &str) -> Option<Node> {
        Some(match expression {
            Expression::Path(path) => match &mut *self.origin {
                Origin::Paths(paths) => Node::Slot(slot(paths, path)),
                Origin::Own(table) => match own_column(table, path) {
                    Some(index) => Node::Cell(index),
                    None => {
                        let known = table.columns.iter().map(|column| &*column.name).collect::<Vec<_>>().join(", ");
                        let type_name = &table.name;
                        let what = format!("{whose}: message type {type_name} has no {path} (there are {known})");
                        self.problems.push(what);
                        return None;
                    }
                },
            },
            Expression::Header(_) | Expression::Kafka(KafkaField::Timestamp) if self.own().is_some() => {
                self.fault(format!("{whose}: {} ({expression})", not_of_types()));
                return None;
            }
            Expression::Key => Node::Key,
            Expression::Header(name) => Node::Header(name.clone()),
            Expression::Kafka(field) => Node::Kafka(*field),
            Expression::Text(text) => Node::Constant(Value::Text(text.to_string().into())),
            // A constant has to own its digits.
            Expression::Number(text) => match convert::number::decimal(&Value::Number(text)) {
                Ok(decimal) if decimal.scale == 0 && i64::try_from(&decimal.unscaled).is_ok() => {
                    Node::Constant(Value::Long(i64::try_from(&decimal.unscaled).unwrap_or_default()))
                }
                Ok(decimal) => Node::Constant(Value::Decimal(decimal.unscaled, decimal.scale)),
                Err(fault) => {
                    self.fault(format!("{whose}: {}", fault.what));
                    return None;
                }
            },
            Expression::Bool(value) => Node::Constant(Value::Bool(*value)),
            Expression::Column(name) => unreachable!("the name of column {name} was replaced"),
            Expression::Call(function, arguments) => {
                let mut nodes = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    nodes.push(self.node(argument, whose)?);
                }
                Node::Call(*function, nodes)
            }
        })
    }

    fn tombstones(&mut self, has_record_key: bool) -> TombstoneRule {
        match self.spec.on_tombstone {
            Some(TombstoneRule::Delete) if !has_record_key => {
                self.fault("on_tombstone = \"delete\" needs every column of the key from key, header.NAME or kafka.NAME, because a record without a value has no paths; change the columns, or write \"skip\"");
                TombstoneRule::Skip
            }
            Some(rule) => rule,
            None if has_record_key => TombstoneRule::Delete,
            None => TombstoneRule::Skip,
        }
    }

    /// An expression beside the columns, which may name them.
    fn other(
        &mut self,
        key: &str,
        text: &str,
        columns: &BTreeMap<&str, Expression>,
        fits: fn(Gives) -> bool,
    ) -> Option<Node> {
        let made = Expression::parse(text).map_err(|error| error.to_string());
        match made.and_then(|made| resolve(&made, columns)) {
            Ok(expression) => {
                let given = gives(&expression, self.own());
                if !fits(given) {
                    self.fault(format!("{key} gets {} ({expression}); take another expression", given.describe()));
                    return None;
                }
                self.node(&expression, key)
            }
            Err(what) => {
                self.fault(format!("{key}: {what}"));
                None
            }
        }
    }

    fn timestamp(&mut self, columns: &BTreeMap<&str, Expression>) -> Option<TimePlan> {
        Some(match &self.spec.timestamp {
            TimestampSpec::Server => TimePlan::Server,
            TimestampSpec::Record if self.own().is_some() => TimePlan::EventTime,
            TimestampSpec::Record => TimePlan::Record,
            TimestampSpec::From(text) => TimePlan::Node(self.other("timestamp", text, columns, is_time)?),
        })
    }

    fn ttl(&mut self, columns: &BTreeMap<&str, Expression>) -> Option<TtlPlan> {
        Some(match &self.spec.ttl {
            None => TtlPlan::None,
            Some(TtlSpec::For(time)) => match i32::try_from(time.as_secs()) {
                Ok(seconds) if (1..=MAX_TTL).contains(&seconds) => TtlPlan::For(seconds),
                _ => {
                    self.fault(format!("ttl is not from 1 s to {MAX_TTL} s, 20 years"));
                    return None;
                }
            },
            Some(TtlSpec::Seconds(text)) => TtlPlan::Seconds(self.other("ttl.seconds", text, columns, is_number)?),
            Some(TtlSpec::Until(text)) => TtlPlan::Until(self.other("ttl.until", text, columns, is_time)?),
        })
    }

    fn filter(&mut self) -> Option<Option<Filter>> {
        let Some(text) = &self.spec.filter else { return Some(None) };
        match Filter::compile(text, self.origin) {
            Ok(filter) => Some(Some(filter)),
            Err(what) => {
                self.fault(format!("filter: {what}"));
                None
            }
        }
    }
}

/// What is said of parts of a record that records of message types do not have.
pub(super) fn not_of_types() -> &'static str {
    "records of message types have no headers and no time of Kafka; their times are $.event_time and $.received_at"
}

/// The place of a path among those that are extracted.
pub(super) fn slot(paths: &mut Vec<Path>, path: &Path) -> usize {
    paths.iter().position(|known| known == path).unwrap_or_else(|| {
        paths.push(path.clone());
        paths.len() - 1
    })
}

fn is_time(given: Gives) -> bool {
    given.fits(ColumnKind::Scalar(ScalarKind::Timestamp))
}

fn is_number(given: Gives) -> bool {
    given.fits(ColumnKind::Scalar(ScalarKind::Long))
}

fn is_key(column: &DescribedColumn) -> bool {
    matches!(column.place, ColumnPlace::Partition(_) | ColumnPlace::Clustering(_))
}

fn place_text(place: ColumnPlace) -> String {
    match place {
        ColumnPlace::Partition(index) => format!("column {} of the partition key", index + 1),
        ColumnPlace::Clustering(index) => format!("column {} of the clustering key", index + 1),
        ColumnPlace::Static => "static".to_owned(),
        ColumnPlace::Regular => "no part of the key".to_owned(),
    }
}
