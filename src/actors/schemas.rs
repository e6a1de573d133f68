//! How records of each writer schema become rows. Shared by all writers.
//!
//! Writer schemas are kept with the log, so that this process reads what a newer one wrote: an unknown fingerprint
//! makes it read the log's schemas again. A reload of the layouts makes all plans anew and replaces them whole.
//!
//! Somebody may remove schemas from under the log: a topic that deletes, or was made anew. So all that were ever seen are
//! remembered, and what is missing is written again.

use std::sync::Arc;

use apache_avro::Schema;
use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::codec::Codecs;
use crate::codec::avro::foreign::KeptSchema;
use crate::codec::avro::{
    Fingerprint, Incompatible, RowPlan, check_reads, earlier_fingerprint, fingerprint, split_single_object,
};
use crate::flow::health::{Condition, Part};
use crate::log::{Log, LogError, WriterSchema};
use crate::schema::row::Table;
use crate::schema::{Bucket, TypeId};

/// How records of one writer schema become rows of a table.
pub struct TablePlan {
    /// Decodes a record.
    pub plan: RowPlan,
    /// Where its row goes.
    pub table: Arc<Table>,
}

/// The plans in force.
pub struct Schemas {
    log: Arc<dyn Log>,
    bucket: Bucket,
    plans: ArcSwap<Plans>,
    /// All that were ever seen in the log, in that order.
    seen: parking_lot::Mutex<Vec<WriterSchema>>,
}

/// All plans known so far for one set of layouts.
pub struct Plans {
    codecs: Arc<Codecs>,
    bucket: Bucket,
    known: DashMap<Fingerprint, Arc<TablePlan>>,
    refreshing: Mutex<()>,
}

/// What became of schemas that were missing in the log.
#[derive(Debug, Default)]
pub struct Restored {
    /// So many are there again.
    pub num_written: u64,
    /// So many are still missing, and why.
    pub failure: Option<(usize, LogError)>,
}

/// Why the schemas of the layouts cannot be used with this log.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The log could not be asked.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Records already in the log could not be read with the layouts given.
    #[error("message type {message_type}: the layouts cannot read records that are already in the log: {reason}")]
    Incompatible {
        /// Which type.
        message_type: String,
        /// What does not fit.
        reason: Incompatible,
    },
}

// === impl Restored ===

impl Restored {
    /// What is wrong. That schemas were missing is told once: they are there again.
    pub fn conditions(&self) -> Vec<Condition> {
        let written = (self.num_written > 0).then(|| {
            let detail = format!(
                "{} schemas were missing in the log and were written again: something removes them. Records that were written with \
                 a schema that no pod remembers become dead letters, so look at the schema topic: it must be compacted and never \
                 deleted from",
                self.num_written
            );
            Condition::degraded(Part::Log, "schemas_restored", "", detail)
        });
        let missing = self.failure.as_ref().map(|(num_missing, error)| {
            let detail = format!(
                "{num_missing} schemas are missing in the log and cannot be written: {error}. A pod that starts now cannot read \
                 records that were written with them"
            );
            Condition::failing(Part::Log, "schemas_missing", "", detail)
        });
        written.into_iter().chain(missing).collect()
    }
}

// === impl Schemas ===

impl Schemas {
    /// Checks the catalog's schemas against those in the log, puts them there, and makes a plan for each.
    pub async fn open(log: Arc<dyn Log>, codecs: Arc<Codecs>, bucket: Bucket) -> Result<Self, SchemaError> {
        let mut seen = log.schemas().await?;
        let plans = Plans::make(&*log, &mut seen, codecs, bucket).await?;
        Ok(Self { log, bucket, plans: ArcSwap::from_pointee(plans), seen: parking_lot::Mutex::new(seen) })
    }

    /// Checks that other layouts can read every record in the log; changes nothing.
    pub async fn check(&self, codecs: &Codecs) -> Result<(), SchemaError> {
        check(&self.all().await?, codecs)
    }

    /// Checks other layouts, puts their schemas into the log, and makes their plans; for [`Schemas::replace`].
    pub async fn prepare(&self, codecs: Arc<Codecs>) -> Result<Plans, SchemaError> {
        let mut seen = self.all().await?;
        let plans = Plans::make(&*self.log, &mut seen, codecs, self.bucket).await?;
        self.note(&seen);
        Ok(plans)
    }

    /// Writes those schemas again that were in the log once and are no longer.
    pub async fn restore(&self) -> Result<Restored, LogError> {
        let present = self.log.schemas().await?;
        let is_missing = |(fingerprint, _): &&WriterSchema| present.iter().all(|(known, _)| known != fingerprint);
        let missing: Vec<_> = self.note(&present).iter().filter(is_missing).cloned().collect();
        let mut restored = Restored::default();
        for (position, (fingerprint, json)) in missing.iter().enumerate() {
            match self.log.put_schema(*fingerprint, json.clone()).await {
                Ok(()) => restored.num_written += 1,
                Err(error) => {
                    restored.failure = Some((missing.len() - position, error));
                    break;
                }
            }
        }
        Ok(restored)
    }

    /// The schemas in the log, and those that once were: records that were written with them may still be there.
    async fn all(&self) -> Result<Vec<WriterSchema>, LogError> {
        let present = self.log.schemas().await?;
        Ok(self.note(&present))
    }

    /// Remembers these; all that are remembered.
    fn note(&self, schemas: &[WriterSchema]) -> Vec<WriterSchema> {
        let mut seen = self.seen.lock();
        for schema in schemas {
            if seen.iter().all(|(known, _)| *known != schema.0) {
                seen.push(schema.clone());
            }
        }
        seen.clone()
    }

    /// Uses these plans from now on. Who is in the middle of a batch ends it with the earlier ones.
    pub fn replace(&self, plans: Plans) {
        self.plans.store(Arc::new(plans));
    }

    /// The plans in force, to be used for one batch.
    pub fn plans(&self) -> Arc<Plans> {
        self.plans.load_full()
    }

    /// The tables of the layouts in force.
    pub fn tables(&self) -> Vec<Arc<Table>> {
        self.plans().codecs.catalog().types().iter().map(|message_type| Arc::clone(&message_type.table)).collect()
    }

    /// Reads the log's schemas again, for one that was not known to these plans. A schema is put into the log before
    /// any record is written with it, so what is unknown after this was not written by a pod of ours.
    pub async fn refresh(&self, plans: &Plans, wanted: Fingerprint) -> Result<(), LogError> {
        let _one_at_a_time = plans.refreshing.lock().await;
        if plans.known.contains_key(&wanted) {
            return Ok(());
        }
        for (fingerprint, json) in self.all().await? {
            plans.learn(fingerprint, &json);
        }
        Ok(())
    }
}

// === impl Plans ===

impl Plans {
    /// `known`: the schemas in the log; those of the catalog are put there and added.
    async fn make(
        log: &dyn Log,
        known: &mut Vec<WriterSchema>,
        codecs: Arc<Codecs>,
        bucket: Bucket,
    ) -> Result<Self, SchemaError> {
        // Before the first is put: what is in the log binds every later start.
        check(known, &codecs)?;
        let plans = Self { codecs, bucket, known: DashMap::new(), refreshing: Mutex::new(()) };
        for codec in plans.codecs.types() {
            // An earlier build may have registered it under another fingerprint. That stays, for pods of that build.
            if known.iter().all(|(fingerprint, _)| *fingerprint != codec.fingerprint) {
                log.put_schema(codec.fingerprint, codec.schema_json.clone()).await?;
                known.push((codec.fingerprint, codec.schema_json.clone()));
            }
            plans.learn(codec.fingerprint, &codec.schema_json);
        }
        for (fingerprint, json) in known.iter() {
            plans.learn(*fingerprint, json);
        }
        Ok(plans)
    }

    /// The plan for a writer schema, if it is known.
    pub fn get(&self, fingerprint: Fingerprint) -> Option<Arc<TablePlan>> {
        self.known.get(&fingerprint).map(|plan| Arc::clone(&plan))
    }

    /// The type of a record that some plan reads.
    pub fn type_id_of(&self, record: &[u8]) -> Option<TypeId> {
        let (fingerprint, _) = split_single_object(record).ok()?;
        let plan = self.get(fingerprint)?;
        self.codecs.catalog().by_name(&plan.table.name).map(|message_type| message_type.id)
    }

    /// Plans how records of a schema become rows, whichever build wrote them: the schema is known by the fingerprint that
    /// it is registered with, by that of Avro's specification, and by the one that earlier builds gave it.
    fn learn(&self, registered: Fingerprint, json: &str) {
        if self.known.contains_key(&registered) {
            return;
        }
        // Of records of others, which have no table of their own.
        if KeptSchema::parse(json).is_some() {
            return;
        }
        let Some(message_type) = names(json).and_then(|name| self.codecs.catalog().by_name(&name)) else {
            info!(fingerprint = %hex(registered), "a schema in the log is of a type that this process has no layout for");
            return;
        };
        let table = Arc::clone(&message_type.table);
        let compiled = Schema::parse_str(json).map_err(|error| error.to_string()).and_then(|schema| {
            let plan = RowPlan::compile(&schema, &table, self.bucket).map_err(|error| error.to_string())?;
            Ok((plan, earlier_fingerprint(&schema)))
        });
        match compiled {
            Ok((plan, earlier)) => {
                let plan = Arc::new(TablePlan { plan, table });
                for fingerprint in [Some(registered), fingerprint(json), Some(earlier)].into_iter().flatten() {
                    self.known.entry(fingerprint).or_insert_with(|| Arc::clone(&plan));
                }
            }
            Err(reason) => warn!(fingerprint = %hex(registered), reason, "a schema in the log cannot be used"),
        }
    }
}

/// Whether layouts bring a schema to the log for a type of which it has another one.
pub async fn brings_versions(log: &dyn Log, codecs: &Codecs) -> Result<bool, LogError> {
    let known = log.schemas().await?;
    Ok(codecs.types().iter().any(|codec| {
        let is_new = known.iter().all(|(fingerprint, _)| *fingerprint != codec.fingerprint);
        is_new && known.iter().any(|(_, json)| names(json).as_ref() == Some(&codec.message_type.name))
    }))
}

/// Checks that layouts can read every record in a log; changes nothing.
pub async fn check_layouts(log: &dyn Log, codecs: &Codecs) -> Result<(), SchemaError> {
    check(&log.schemas().await?, codecs)
}

fn check(known: &[WriterSchema], codecs: &Codecs) -> Result<(), SchemaError> {
    for codec in codecs.types() {
        let message_type = &codec.message_type;
        for (_, json) in known.iter().filter(|(_, json)| names(json).as_ref() == Some(&message_type.name)) {
            check_reads(&codec.schema, json)
                .map_err(|reason| SchemaError::Incompatible { message_type: message_type.name.clone(), reason })?;
        }
    }
    Ok(())
}

/// The record name of a schema, which is the message type's.
fn names(json: &str) -> Option<String> {
    let schema: serde_json::Value = serde_json::from_str(json).ok()?;
    let name = schema.get("name")?.as_str()?;
    Some(name.rsplit('.').next().unwrap_or(name).to_owned())
}

fn hex(fingerprint: Fingerprint) -> String {
    fingerprint.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(in crate::actors) mod tests;
