//! Gate: how many writes may be in flight, for the store as a whole and for each partition.
//!
//! For now the limits are fixed. The gate owns the credits; consumers join with their partition and get an
//! [`Admission`] that every write passes through.

use std::collections::HashMap;

use actix::{Actor, Context, Handler, Message, MessageResult};

use crate::flow::credit::{Credit, Credits, EdgeSnapshot};
use crate::log::TopicPartition;
use crate::supervision::Lifeline;

/// Decides how many writes are in flight.
pub struct Gate {
    store: Credits,
    max_writes_per_partition: u32,
    partitions: HashMap<TopicPartition, Credits>,
    _lifeline: Lifeline,
}

/// A partition's way through the gate.
#[derive(Debug, Clone)]
pub struct Admission {
    partition: Credits,
    store: Credits,
}

/// Leave for one write; it ends when this is dropped.
#[derive(Debug)]
pub struct WritePermit {
    _partition: Credit,
    _store: Credit,
}

/// Asks for a partition's way through the gate. Joining again gets the same one.
#[derive(Debug, Message)]
#[rtype(result = "Admission")]
pub struct Join {
    /// Which partition.
    pub partition: TopicPartition,
}

/// Says that a partition is no longer consumed here.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Which partition.
    pub partition: TopicPartition,
}

/// Asks for the writes in flight, per partition.
#[derive(Debug, Message)]
#[rtype(result = "Vec<(String, EdgeSnapshot)>")]
pub struct Inspect;

// === impl Gate ===

impl Gate {
    /// A gate with fixed limits. The store's credits come from outside so that writes in flight stay counted when the
    /// gate is restarted.
    pub fn new(store: Credits, max_writes_per_partition: u32, lifeline: Lifeline) -> Self {
        Self { store, max_writes_per_partition, partitions: HashMap::new(), _lifeline: lifeline }
    }
}

impl Actor for Gate {
    type Context = Context<Self>;
}

impl Handler<Join> for Gate {
    type Result = MessageResult<Join>;

    fn handle(&mut self, Join { partition }: Join, _: &mut Self::Context) -> Self::Result {
        fail::fail_point!("gate");
        let bound = self.max_writes_per_partition;
        let partition = self.partitions.entry(partition).or_insert_with(|| Credits::new(bound)).clone();
        MessageResult(Admission { partition, store: self.store.clone() })
    }
}

impl Handler<Leave> for Gate {
    type Result = ();

    fn handle(&mut self, leave: Leave, _: &mut Self::Context) {
        self.partitions.remove(&leave.partition);
    }
}

impl Handler<Inspect> for Gate {
    type Result = MessageResult<Inspect>;

    fn handle(&mut self, _: Inspect, _: &mut Self::Context) -> Self::Result {
        let mut partitions: Vec<(String, EdgeSnapshot)> =
            self.partitions.iter().map(|(partition, credits)| (partition.to_string(), credits.snapshot())).collect();
        partitions.sort_by(|a, b| a.0.cmp(&b.0));
        MessageResult(partitions)
    }
}

// === impl Admission ===

impl Admission {
    /// Waits for leave to write. The partition's own limit comes first, so that a partition with more work than it is
    /// allowed does not hold the store's credits while it waits.
    pub async fn enter(&self) -> WritePermit {
        let partition = self.partition.take().await;
        WritePermit { _partition: partition, _store: self.store.take().await }
    }
}
