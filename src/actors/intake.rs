//! How messages are taken in: their layouts, their topics, and how far their times may lie ahead. A reload replaces it
//! whole; whoever takes a package in looks at it once for each package.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::protocol::layout::Catalog;
use crate::protocol::message::TypeId;

/// How messages are taken in.
#[derive(Debug, Clone)]
pub struct IntakeRules {
    /// The layouts.
    pub catalog: Arc<Catalog>,
    /// For each message type, which of the topics of [`super::routes::Routes`] takes it.
    pub topic_of: HashMap<TypeId, usize>,
    /// How far ahead of this machine's clock an event time may lie.
    pub max_event_time_ahead: Duration,
}

/// The rules in force, shared by all who take messages in.
pub type LiveIntakeRules = Arc<ArcSwap<IntakeRules>>;
