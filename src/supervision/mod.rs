//! Supervision that survives panics.
//!
//! actix's own `Supervisor` restarts an actor that stopped, never one that panicked: the actor, its queue and every
//! address of it are gone then. Here each actor holds a [`Lifeline`] whose drop, by panic or not, tells the
//! [`Supervisor`]; that builds a new actor from the child's factory after a growing delay, and every [`ActorRef`]
//! reaches the new one. What was in the dead actor's mailbox is dropped, and the guards inside those messages tell
//! their senders. Too many restarts in a short time end the process.

mod actor_ref;
mod exit;
mod lifeline;
mod mailbox;
mod restart;
mod supervisor;
mod tree;

pub use actor_ref::ActorRef;
pub use exit::Exit;
pub use lifeline::Lifeline;
pub use mailbox::Mailbox;
pub(crate) use restart::jitter;
pub use restart::{Decision, RestartHistory, RestartPolicy};
pub use supervisor::{ChildSpec, GaveUp, Supervisor};
pub use tree::{Crowd, CrowdMember, GroupNow, GroupSnapshot, Node, NodeSnapshot, NodeState, Tree};
