//! The drop guard by which an actor's death is noticed.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::exit::Exit;
use super::supervisor::Event;
use super::tree::Node;

/// Held by a supervised actor for as long as it lives; its drop reports the exit. Silence is never the signal.
#[derive(Debug)]
pub struct Lifeline {
    node: Arc<Node>,
    events: mpsc::UnboundedSender<Event>,
    stopping: bool,
}

impl Lifeline {
    pub(super) fn new(node: Arc<Node>, events: mpsc::UnboundedSender<Event>) -> Self {
        Self { node, events, stopping: false }
    }

    /// Says that the coming end is an ordered stop, so that the actor is not restarted.
    pub fn stopping(&mut self) {
        self.stopping = true;
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        let exit = match (std::thread::panicking(), self.stopping) {
            (true, _) => Exit::Panicked,
            (false, true) => Exit::Stopped,
            (false, false) => Exit::Quit,
        };
        // No supervisor any more: the process is ending.
        let _ = self.events.send(Event::Exited { node: Arc::clone(&self.node), exit });
    }
}
