//! What was heard last of the servers beside the engine, for whoever looks.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::flow::cluster::Clusters;

/// What this pod knows of the servers.
#[derive(Debug, Clone, Default)]
pub enum Observed {
    /// There are no servers: log and store are in this process.
    #[default]
    Nothing,
    /// Another pod of the fleet asks them.
    Elsewhere,
    /// What they said last.
    Here(Arc<Clusters>),
}

/// Where the engine puts down what the servers say, and others read it.
#[derive(Debug, Default)]
pub struct ClusterBoard(RwLock<Observed>);

// === impl ClusterBoard ===

impl ClusterBoard {
    /// What is known now.
    pub fn read(&self) -> Observed {
        self.0.read().clone()
    }

    /// From now on this is known.
    pub(crate) fn set(&self, observed: Observed) {
        *self.0.write() = observed;
    }
}
