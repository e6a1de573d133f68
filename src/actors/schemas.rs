//! How records of each writer schema become rows. Shared by all writers.
//!
//! Writer schemas are kept with the log, so that this process reads what a newer one wrote: an unknown fingerprint
//! makes it read the log's schemas again.

use std::sync::Arc;

use apache_avro::Schema;
use dashmap::DashMap;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::log::{Log, LogError};
use crate::protocol::avro::{Bucket, Fingerprint, Incompatible, RowPlan, check_reads, split_single_object};
use crate::protocol::layout::Catalog;
use crate::protocol::message::TypeId;
use crate::protocol::row::Table;

/// How records of one writer schema become rows of a table.
pub struct TablePlan {
    /// Decodes a record.
    pub plan: RowPlan,
    /// Where its row goes.
    pub table: Arc<Table>,
}

/// All plans known so far.
pub struct Schemas {
    log: Arc<dyn Log>,
    catalog: Arc<Catalog>,
    bucket: Bucket,
    plans: DashMap<Fingerprint, Arc<TablePlan>>,
    refreshing: Mutex<()>,
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

// === impl Schemas ===

impl Schemas {
    /// Checks the catalog's schemas against those in the log, puts them there, and makes a plan for each.
    pub async fn open(log: Arc<dyn Log>, catalog: Arc<Catalog>, bucket: Bucket) -> Result<Self, SchemaError> {
        let schemas = Self { log, catalog, bucket, plans: DashMap::new(), refreshing: Mutex::new(()) };
        let known = schemas.log.schemas().await?;
        for message_type in schemas.catalog.types() {
            for (_, json) in known.iter().filter(|(_, json)| names(json) == Some(message_type.name.clone())) {
                check_reads(&message_type.schema, json)
                    .map_err(|reason| SchemaError::Incompatible { message_type: message_type.name.clone(), reason })?;
            }
            if known.iter().all(|(fingerprint, _)| *fingerprint != message_type.fingerprint) {
                schemas.log.put_schema(message_type.fingerprint, message_type.schema_json.clone()).await?;
            }
            schemas.learn(message_type.fingerprint, &message_type.schema_json);
        }
        for (fingerprint, json) in &known {
            schemas.learn(*fingerprint, json);
        }
        Ok(schemas)
    }

    /// The plan for a writer schema, if it is known.
    pub fn get(&self, fingerprint: Fingerprint) -> Option<Arc<TablePlan>> {
        self.plans.get(&fingerprint).map(|plan| Arc::clone(&plan))
    }

    /// The type of a record that some plan reads.
    pub fn type_id_of(&self, record: &[u8]) -> Option<TypeId> {
        let (fingerprint, _) = split_single_object(record).ok()?;
        let plan = self.get(fingerprint)?;
        self.catalog.by_name(&plan.table.name).map(|message_type| message_type.id)
    }

    /// Reads the log's schemas again, for one that was not known. A schema is put into the log before any record is
    /// written with it, so what is unknown after this was not written by a pod of ours.
    pub async fn refresh(&self, wanted: Fingerprint) -> Result<(), LogError> {
        let _one_at_a_time = self.refreshing.lock().await;
        if self.plans.contains_key(&wanted) {
            return Ok(());
        }
        for (fingerprint, json) in self.log.schemas().await? {
            self.learn(fingerprint, &json);
        }
        Ok(())
    }

    fn learn(&self, fingerprint: Fingerprint, json: &str) {
        if self.plans.contains_key(&fingerprint) {
            return;
        }
        let Some(message_type) = names(json).and_then(|name| self.catalog.by_name(&name).cloned()) else {
            info!(fingerprint = %hex(fingerprint), "a schema in the log is of a type that this process has no layout for");
            return;
        };
        let table = Arc::clone(&message_type.table);
        let compiled = Schema::parse_str(json)
            .map_err(|error| error.to_string())
            .and_then(|schema| RowPlan::compile(&schema, &table, self.bucket).map_err(|error| error.to_string()));
        match compiled {
            Ok(plan) => {
                self.plans.insert(fingerprint, Arc::new(TablePlan { plan, table }));
            }
            Err(reason) => warn!(fingerprint = %hex(fingerprint), reason, "a schema in the log cannot be used"),
        }
    }
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
