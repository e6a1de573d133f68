//! The supervisor: one task that owns every child's factory and restarts what dies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use actix_rt::ArbiterHandle;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};

use super::exit::Exit;
use super::lifeline::Lifeline;
use super::restart::{Decision, RestartHistory, RestartPolicy, jitter};
use super::tree::{Node, NodeState, Tree};
use crate::flow::credit::Credits;

/// How a child is built, again and again.
pub struct ChildSpec {
    /// The group whose restarts are counted together; also the heading in the tree.
    pub group: &'static str,
    /// The child's name within the group.
    pub name: String,
    /// The thread on which every incarnation runs.
    pub home: ArbiterHandle,
    /// The edge into the child, for the tree.
    pub edge: Option<Credits>,
    /// Builds and starts an incarnation, which must own the lifeline. Runs on `home`.
    pub start: Arc<dyn Fn(Lifeline) + Send + Sync>,
}

/// A group restarted too often; the process should end so that its orchestrator sees it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{group} restarted more than {max_restarts} times within {period:?}: giving up")]
pub struct GaveUp {
    group: &'static str,
    max_restarts: usize,
    period: std::time::Duration,
}

/// A handle to the supervisor task. Clones reach the same task.
#[derive(Debug, Clone)]
pub struct Supervisor {
    events: mpsc::UnboundedSender<Event>,
    tree: Arc<Tree>,
}

pub(super) enum Event {
    Start(Arc<Node>, ChildSpec),
    Exited { node: Arc<Node>, exit: Exit },
    Restart(Arc<Node>),
    StopRestarting,
}

// === impl Supervisor ===

impl Supervisor {
    /// Starts the supervisor task on the current runtime. The receiver fires at most once, when a group gave up.
    pub fn start(policy: RestartPolicy) -> (Self, oneshot::Receiver<GaveUp>) {
        let (events, inbox) = mpsc::unbounded_channel();
        let (gave_up, on_gave_up) = oneshot::channel();
        let tree = Arc::new(Tree::default());
        let task = Task {
            policy,
            tree: Arc::clone(&tree),
            events: events.downgrade(),
            children: HashMap::new(),
            groups: HashMap::new(),
            gave_up: Some(gave_up),
            restarting: true,
        };
        tokio::spawn(task.run(inbox));
        (Self { events, tree }, on_gave_up)
    }

    /// Starts a child, and restarts it until it stops in order.
    pub fn supervise(&self, spec: ChildSpec) {
        let node = self.tree.add_node(spec.group, spec.name.clone(), spec.edge.clone());
        // The task lives as long as a handle does, so this cannot fail while `self` exists.
        let _ = self.events.send(Event::Start(node, spec));
    }

    /// From now on nothing is restarted: the first step of an ordered stop of the whole process.
    pub fn stop_restarting(&self) {
        let _ = self.events.send(Event::StopRestarting);
    }

    /// The tree of actors, for reading.
    pub fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }
}

struct Task {
    policy: RestartPolicy,
    tree: Arc<Tree>,
    events: mpsc::WeakUnboundedSender<Event>,
    children: HashMap<u64, ChildSpec>,
    groups: HashMap<&'static str, RestartHistory>,
    gave_up: Option<oneshot::Sender<GaveUp>>,
    restarting: bool,
}

// === impl Task ===

impl Task {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Event>) {
        while let Some(event) = inbox.recv().await {
            match event {
                Event::Start(node, spec) => {
                    self.launch(&node, &spec);
                    self.children.insert(node.id, spec);
                }
                Event::Exited { node, exit } => self.on_exit(node, exit),
                Event::Restart(node) => {
                    if let Some(spec) = self.children.get(&node.id).filter(|_| self.restarting) {
                        node.note_restart();
                        self.launch(&node, spec);
                        info!(actor = %format_args!("{}/{}", node.group, node.name), "actor restarted");
                    }
                }
                Event::StopRestarting => self.restarting = false,
            }
        }
    }

    fn launch(&self, node: &Arc<Node>, spec: &ChildSpec) {
        let Some(events) = self.events.upgrade() else { return };
        let lifeline = Lifeline::new(Arc::clone(node), events);
        let (start, running) = (Arc::clone(&spec.start), Arc::clone(node));
        // If the thread is gone, the lifeline is dropped with the closure and reports the exit.
        spec.home.spawn_fn(move || {
            start(lifeline);
            running.set_state(NodeState::Running);
        });
    }

    fn on_exit(&mut self, node: Arc<Node>, exit: Exit) {
        node.note_exit(exit);
        let actor = format!("{}/{}", node.group, node.name);
        match exit {
            Exit::Stopped => {
                node.set_state(NodeState::Stopped);
                self.children.remove(&node.id);
                self.tree.remove_node(&node);
                return;
            }
            // Its thread has ended, and with it what it had to do.
            Exit::Quit if !self.restarting => debug!(actor, "actor ended with the engine"),
            Exit::Quit => warn!(actor, "actor ended by itself"),
            Exit::Panicked => error!(actor, "actor panicked"),
        }
        if !self.restarting {
            node.set_state(NodeState::Stopped);
            return;
        }
        let policy = self.policy.clone();
        let history = self.groups.entry(node.group).or_insert_with(|| RestartHistory::new(policy));
        match history.on_death(Instant::now(), jitter()) {
            Decision::RestartAfter(delay) => {
                node.set_state(NodeState::Restarting);
                let events = self.events.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    if let Some(events) = events.upgrade() {
                        let _ = events.send(Event::Restart(node));
                    }
                });
            }
            Decision::GiveUp => {
                node.set_state(NodeState::Stopped);
                self.restarting = false;
                let gave_up =
                    GaveUp { group: node.group, max_restarts: self.policy.max_restarts, period: self.policy.period };
                error!("{gave_up}");
                if let Some(tell) = self.gave_up.take() {
                    let _ = tell.send(gave_up);
                }
            }
        }
    }
}
