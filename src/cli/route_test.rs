//! `surgetank route test`: the rows that a route would write of records that are there, or of lines of a file. It joins no
//! group and writes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

use super::args::{Format as Print, RouteTestArgs};
use super::cells::{to_json, to_text};
use super::listing::Listing;
use super::output::{Results, tell};
use super::route_records::{newest, of_file};
use super::{Failure, Outcome, load, runtime};
use crate::actors::routing::{Compiled, RoutedTopic};
use crate::codec::Codecs;
use crate::codec::avro::{RowPlan, split_single_object};
use crate::config::{Config, StoreKind};
use crate::engine::{ReadableLog, TopicSource, check_routes, lines, load_codecs, open_registry, open_store};
use crate::log::{RecordBatch, TopicPartition};
use crate::routes::{Because, Format, Made, RecordView, RouteReject, RouteSpec, Source, TopicRoutes};
use crate::schema::cql::type_text;
use crate::schema::row::{Cell, RowOp, Table, TableDescription};
use crate::store::StoreError;
use crate::telemetry::{Counters, now_us};

/// Where a record is.
struct Place {
    partition: TopicPartition,
    offset: u64,
}

/// What was made of records, as it is printed.
struct Printer {
    table: Arc<Table>,
    print: Print,
    results: Results,
    rows: Listing,
    rejects: Listing,
    num_rejects: u64,
    counts: Counts,
    written: Outcome,
}

#[derive(Default)]
struct Counts {
    records: u64,
    rows: u64,
    deletes: u64,
    filtered: u64,
    tombstones: u64,
    expired: u64,
}

pub(super) fn route_test(args: &RouteTestArgs) -> Outcome {
    let config = load(Some(&args.config))?;
    let codecs = load_codecs(&config).map_err(Failure::usage)?;
    check_routes(&config, codecs.catalog()).map_err(Failure::Usage)?;
    let spec =
        config.routes.iter().find(|spec| spec.name == args.route).ok_or_else(|| unknown(&config, &args.route))?;
    let runtime = runtime(2)?;
    runtime.block_on(async {
        let description = describe(&config, spec, runtime.handle().clone()).await?;
        match &spec.from {
            Source::Topics(topics) => of_topics(args, &config, spec, topics, description).await,
            Source::Types(types) => of_types(args, &config, &codecs, spec, types, description).await,
        }
    })
}

fn unknown(config: &Config, name: &str) -> Failure {
    let names = config.routes.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
    let known = if names.is_empty() { "the config has none".to_owned() } else { format!("there are: {names}") };
    Failure::Usage(format!("there is no route {name:?} ({known})"))
}

/// What the database says of the route's table; `None` if there is no such table, or nobody to ask.
async fn describe(config: &Config, spec: &RouteSpec, driver: Handle) -> Result<Option<TableDescription>, Failure> {
    let by_the_config = |reason: String| tell!("surgetank: {reason}; columns are those that the route declares");
    if matches!(config.store.kind, StoreKind::Embedded(_)) && !config.data_dir.exists() {
        by_the_config(format!("{} does not exist yet", config.data_dir.display()));
        return Ok(None);
    }
    match open_store(config, driver).await {
        Ok(store) => {
            let description = store.describe(&spec.table).await.map_err(Failure::job);
            store.close().await;
            description
        }
        Err(StoreError::Locked { path }) => {
            by_the_config(format!("{path} is in use by an engine"));
            Ok(None)
        }
        Err(error) => Err(Failure::job(error)),
    }
}

async fn of_topics(
    args: &RouteTestArgs,
    config: &Config,
    spec: &RouteSpec,
    topics: &[String],
    description: Option<TableDescription>,
) -> Outcome {
    let mut printer = None;
    let share = args.count.div_ceil(topics.len() as u64);
    for section in topics {
        let Some(others) = config.topics.others.iter().find(|others| others.name == *section) else {
            unreachable!("the config was checked: {section} is a topic of others")
        };
        let topic = match (&args.topic, &others.pattern) {
            (Some(topic), _) => topic.clone(),
            (None, None) => section.clone(),
            (None, Some(_)) => {
                return Err(Failure::Usage(format!("topics.{section} is a pattern: say which topic with --topic")));
            }
        };
        if args.file.is_some() && others.format == Format::AvroRegistry {
            return Err(Failure::usage("--file has lines of text; records of this topic are Avro"));
        }
        let log = match &args.file {
            Some(_) => None,
            None => Some(ReadableLog::open(config).await.map_err(Failure::job)?),
        };
        let registry = match &log {
            Some(ReadableLog::Own(log)) => open_registry(config, log).await.map_err(Failure::job)?,
            Some(ReadableLog::Running(_)) | None => None,
        };
        let descriptions = description.iter().map(|one| (spec.table.clone(), one.clone())).collect::<HashMap<_, _>>();
        let source =
            TopicSource::new(config, others, vec![spec.clone()], registry.as_ref()).with(&Arc::new(descriptions));
        let mut compiled = compile(&source)?;
        let batches = match (&args.file, &log) {
            (Some(path), _) => vec![of_file(path, &topic, args.count)?],
            (None, Some(log)) => newest(log.ranges(), &topic, share).await?,
            (None, None) => unreachable!("without a file the log is open"),
        };
        let table = &compiled.routes.routes()[0].table;
        let printer = printer.get_or_insert_with(|| Printer::new(table, args.format));
        for (from, batch) in &batches {
            source.learn(batch).await;
            for index in 0..batch.records.len() {
                let view = RecordView::of(from, batch, index, now_ms());
                let place = Place { partition: from.clone(), offset: view.offset };
                compiled.routes.apply(&view, |_, made, cells| printer.add(&place, made, cells, batch));
            }
        }
        if let Some(log) = log {
            log.close().await;
        }
    }
    printer.map_or(Ok(()), Printer::finish)
}

fn compile(source: &RoutedTopic) -> Result<Compiled, Failure> {
    source.compile(&Counters::default()).map_err(|problems| Failure::Usage(lines(&problems)))
}

/// Records of message types, of the topics that they are in; only those that the newest layout has written.
async fn of_types(
    args: &RouteTestArgs,
    config: &Config,
    codecs: &Codecs,
    spec: &RouteSpec,
    types: &[String],
    description: Option<TableDescription>,
) -> Outcome {
    if args.file.is_some() {
        return Err(Failure::usage("--file is for routes from topics of others"));
    }
    let log = ReadableLog::open(config).await.map_err(Failure::job)?;
    let mut printer = None;
    for name in types {
        let (Some(codec), Some(topic)) = (codecs.by_name(name), config.topic_of(name)) else {
            return Err(Failure::Usage(format!(
                "route {}: there is no layout, or no topic, for type {name:?}",
                spec.name
            )));
        };
        let own = &codec.message_type.table;
        let mut routes = TopicRoutes::compile_type(own, std::slice::from_ref(spec), |_| description.clone())
            .map_err(|problems| Failure::Usage(lines(&problems)))?;
        let plan = RowPlan::compile(&codec.schema, own, config.store.bucket).map_err(Failure::job)?;
        let table = Arc::clone(&routes.routes()[0].table);
        let printer = printer.get_or_insert_with(|| Printer::new(&table, args.format));
        let mut cells = Vec::new();
        for (from, batch) in &newest(log.ranges(), &topic.name, args.count).await? {
            for (index, record) in batch.records.iter().enumerate() {
                let Ok((fingerprint, datum)) = split_single_object(record.value(&batch.data)) else { continue };
                cells.clear();
                if fingerprint != codec.fingerprint
                    || plan.decode(datum, record.value_end - datum.len() as u32, &mut cells).is_err()
                {
                    continue;
                }
                let view = RecordView::of(from, batch, index, now_ms());
                let place = Place { partition: from.clone(), offset: view.offset };
                routes.apply_row(&view, &cells, |_, made, cells| printer.add(&place, made, cells, batch));
            }
        }
    }
    log.close().await;
    printer.map_or(Ok(()), Printer::finish)
}

fn now_ms() -> i64 {
    (now_us() / 1000) as i64
}

// === impl Printer ===

impl Printer {
    fn new(table: &Arc<Table>, print: Print) -> Self {
        let columns = table.columns.iter().map(|column| format!("{}\n{}", column.name, type_text(column.kind)));
        let behind = [table.timestamp_cell().map(|_| "written at\nus"), table.ttl_cell().map(|_| "ttl\ns")];
        let header = ["from".to_owned(), "row".to_owned()];
        let header = header.into_iter().chain(columns).chain(behind.into_iter().flatten().map(str::to_owned));
        Self {
            table: Arc::clone(table),
            print,
            results: Results::new(),
            rows: Listing::new(header),
            rejects: Listing::new(["from", "reason", "detail"]),
            num_rejects: 0,
            counts: Counts::default(),
            written: Ok(()),
        }
    }

    fn add(&mut self, place: &Place, made: Made, cells: &[Cell], batch: &RecordBatch) {
        self.counts.records += 1;
        match &made {
            Made::Row(RowOp::Upsert) => self.counts.rows += 1,
            Made::Row(RowOp::Delete) => self.counts.deletes += 1,
            Made::Nothing(Because::Filter) => self.counts.filtered += 1,
            Made::Nothing(Because::Tombstone) => self.counts.tombstones += 1,
            Made::Nothing(Because::Expired) => self.counts.expired += 1,
            Made::Rejected(_) => self.num_rejects += 1,
        }
        match self.print {
            Print::Json => {
                let line = self.to_json(place, &made, cells, batch);
                if self.written.is_ok() {
                    self.written = self.results.line(line);
                }
            }
            Print::Table => self.add_rows(place, &made, cells, batch),
        }
    }

    fn add_rows(&mut self, place: &Place, made: &Made, cells: &[Cell], batch: &RecordBatch) {
        let from = format!("{}@{}", place.partition, place.offset);
        // Whether there was room is told with the table.
        let _ = match made {
            Made::Row(op) => {
                let op = if *op == RowOp::Delete { "delete" } else { "write" };
                let cells = cells.iter().map(|cell| to_text(cell, &batch.data));
                self.rows.add([from, op.to_owned()].into_iter().chain(cells))
            }
            Made::Rejected(RouteReject { code, detail }) => {
                self.rejects.add([from, (*code).to_owned(), detail.clone()])
            }
            Made::Nothing(_) => return,
        };
    }

    fn to_json(&self, place: &Place, made: &Made, cells: &[Cell], batch: &RecordBatch) -> Value {
        let mut shown = json!({
            "topic": &*place.partition.topic, "partition": place.partition.partition, "offset": place.offset,
        });
        match made {
            Made::Row(op) => {
                shown["made"] = if *op == RowOp::Delete { "delete" } else { "row" }.into();
                shown["table"] = self.table.full_name().into();
                let columns = self.table.columns.iter().zip(cells);
                let set = columns.filter_map(|(column, cell)| {
                    let value = to_json(cell, &batch.data)?;
                    Some((column.name.clone(), json!({ "type": type_text(column.kind), "value": value })))
                });
                shown["columns"] = Value::Object(set.collect::<Map<_, _>>());
                let behind = [("written_at_us", self.table.timestamp_cell()), ("ttl_s", self.table.ttl_cell())];
                for (name, cell) in behind {
                    if let Some(value) = cell.and_then(|cell| to_json(&cells[cell], &batch.data)) {
                        shown[name] = value;
                    }
                }
            }
            Made::Nothing(because) => {
                shown["made"] = "nothing".into();
                shown["because"] = because_text(*because).into();
            }
            Made::Rejected(RouteReject { code, detail }) => {
                shown["made"] = "rejected".into();
                shown["reason"] = (*code).into();
                shown["detail"] = detail.as_str().into();
            }
        }
        shown
    }

    fn finish(self) -> Outcome {
        self.written?;
        self.results.finish()?;
        if let Print::Table = self.print {
            self.rows.print()?;
            if self.num_rejects > 0 {
                self.rejects.print()?;
            }
        }
        let Counts { records, rows, deletes, filtered, tombstones, expired } = self.counts;
        tell!(
            "surgetank: {records} records: {rows} rows for table {}, {deletes} to be deleted, {} rejected, {filtered} not \
             taken by the filter, {tombstones} without a value, {expired} past their time; nothing was written",
            self.table.full_name(),
            self.num_rejects,
        );
        Ok(())
    }
}

fn because_text(because: Because) -> &'static str {
    match because {
        Because::Filter => "filter",
        Because::Tombstone => "tombstone",
        Because::Expired => "expired",
    }
}
