//! Gate: how many writes may be in flight, and which partitions are read.
//!
//! The fast loop turns what a window of writes has shown into a limit ([`crate::flow::limiter`]); the slow loop stops the
//! reads of partitions whose writes wait too long, pauses them when that lasts, and lets them go on
//! ([`crate::flow::pause`]). Both are looked at with every tick. This actor only ticks: what it decides on lives in
//! [`GateControl`], which a restart of the actor leaves as it is.

mod budget_member;
mod control;
mod explain;
mod write_permits;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, MessageResult, Recipient};

use crate::flow::pause::FlowState;
use crate::log::TopicPartition;
use crate::supervision::Lifeline;

pub use budget_member::Taken;
pub use control::{GateControl, GateSettings};
pub use explain::{Explained, FleetExplained, FleetNow, GateNow, PartitionExplained};
pub use write_permits::{Admission, WritePermit, WritePermits};

/// How often the gate decides. A window of at least a few writes at the latencies of databases.
pub const TICK: Duration = Duration::from_millis(200);

/// Decides how many writes are in flight.
pub struct Gate {
    control: Arc<GateControl>,
    _lifeline: Lifeline,
}

/// Asks for a partition's way through the gate. A partition that joins is read.
#[derive(Message)]
#[rtype(result = "Admission")]
pub struct Join {
    /// Which partition.
    pub partition: TopicPartition,
    /// Whom to tell when it is to be read or not.
    pub consumer: Recipient<SetFlow>,
}

/// Says that a partition is no longer consumed here.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Which partition.
    pub partition: TopicPartition,
}

/// What a partition may do from now on.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SetFlow(pub FlowState);

// === impl Gate ===

impl Gate {
    /// An actor that goes on with these decisions.
    pub fn new(control: Arc<GateControl>, lifeline: Lifeline) -> Self {
        Self { control, _lifeline: lifeline }
    }
}

impl Actor for Gate {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |gate, _| gate.control.tick());
    }
}

impl Handler<Join> for Gate {
    type Result = MessageResult<Join>;

    fn handle(&mut self, Join { partition, consumer }: Join, _: &mut Self::Context) -> Self::Result {
        fail::fail_point!("gate");
        MessageResult(self.control.join(partition, consumer))
    }
}

impl Handler<Leave> for Gate {
    type Result = ();

    fn handle(&mut self, leave: Leave, _: &mut Self::Context) {
        self.control.leave(&leave.partition);
    }
}
