//! The tree of actors as it can be read from outside: groups, their actors, and crowds of short-lived ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::Serialize;

use super::exit::Exit;
use crate::flow::credit::{Credits, EdgeSnapshot};

/// What an actor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Its factory has been called.
    Starting,
    /// It takes messages.
    Running,
    /// It died; a new one is started after a delay.
    Restarting,
    /// It ended for good.
    Stopped,
}

/// One supervised actor's place in the tree. It outlives the actor and its restarts.
#[derive(Debug)]
pub struct Node {
    pub(super) id: u64,
    pub(super) group: &'static str,
    pub(super) name: String,
    state: AtomicU8,
    num_restarts: AtomicU64,
    ever: Arc<GroupCounts>,
    last_exit: Mutex<Option<Exit>>,
    edge: Option<Credits>,
}

/// A [`Node`] at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct NodeSnapshot {
    /// The actor's name within its group.
    pub name: String,
    /// What it is doing.
    pub state: NodeState,
    /// How often it was restarted.
    pub restarts: u64,
    /// How it last ended, if it ever did.
    pub last_exit: Option<Exit>,
    /// The edge into it: queued and in flight, the bound, and time that senders spent waiting.
    pub mailbox: Option<EdgeSnapshot>,
}

/// A group of actors at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct GroupSnapshot {
    /// The group's name.
    pub group: String,
    /// Actors listed one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actors: Vec<NodeSnapshot>,
    /// For a crowd: how many are alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alive: Option<u64>,
    /// For a crowd: how many were started since the process began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
    /// For a crowd: how many ended by a panic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panicked: Option<u64>,
}

/// A group of actors in numbers. A group that was there once stays, and so do its counts: an actor may leave, as a
/// partition's does, and takes nothing with it.
#[derive(Debug, Clone)]
pub struct GroupNow {
    /// The group's name.
    pub name: &'static str,
    /// Actors that take messages.
    pub num_alive: u64,
    /// For a crowd: how many there may be.
    pub bound: Option<u64>,
    /// For a crowd: how many were started since the process began.
    pub num_started: Option<u64>,
    /// How often actors were started again since the process began.
    pub num_restarts: u64,
    /// How many ended by a panic since the process began.
    pub num_panics: u64,
    /// The edges into its actors, with their names.
    pub mailboxes: Vec<(String, EdgeSnapshot)>,
}

/// Counts of a group over all actors that it ever had.
#[derive(Debug, Default)]
struct GroupCounts {
    restarts: AtomicU64,
    panics: AtomicU64,
}

/// Actors that come and go by the thousand and are never restarted (a device reconnects by itself): counted, not listed.
#[derive(Debug, Default)]
pub struct Crowd {
    bound: u64,
    alive: AtomicU64,
    started: AtomicU64,
    panicked: AtomicU64,
}

/// One living member of a [`Crowd`].
#[derive(Debug)]
pub struct CrowdMember(Arc<Crowd>);

/// All groups and crowds.
#[derive(Debug, Default)]
pub struct Tree {
    num_nodes_ever: AtomicU64,
    nodes: RwLock<Vec<Arc<Node>>>,
    /// Every group that ever had an actor, in the order in which they came.
    groups: RwLock<Vec<(&'static str, Arc<GroupCounts>)>>,
    crowds: RwLock<Vec<(&'static str, Arc<Crowd>)>>,
}

// === impl Node ===

impl Node {
    pub(super) fn set_state(&self, state: NodeState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn note_exit(&self, exit: Exit) {
        *self.last_exit.lock() = Some(exit);
        if exit == Exit::Panicked {
            self.ever.panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn note_restart(&self) {
        self.num_restarts.fetch_add(1, Ordering::Relaxed);
        self.ever.restarts.fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> NodeState {
        match self.state.load(Ordering::Relaxed) {
            0 => NodeState::Starting,
            1 => NodeState::Running,
            2 => NodeState::Restarting,
            _ => NodeState::Stopped,
        }
    }

    /// The actor as it is now.
    pub fn snapshot(&self) -> NodeSnapshot {
        NodeSnapshot {
            name: self.name.clone(),
            state: self.state(),
            restarts: self.num_restarts.load(Ordering::Relaxed),
            last_exit: *self.last_exit.lock(),
            mailbox: self.edge.as_ref().map(Credits::snapshot),
        }
    }
}

// === impl Crowd ===

impl Crowd {
    /// Counts one more member, until the returned guard is dropped.
    pub fn join(self: &Arc<Self>) -> CrowdMember {
        self.alive.fetch_add(1, Ordering::Relaxed);
        self.started.fetch_add(1, Ordering::Relaxed);
        CrowdMember(Arc::clone(self))
    }

    /// How many members are alive.
    pub fn num_alive(&self) -> u64 {
        self.alive.load(Ordering::Relaxed)
    }
}

impl Drop for CrowdMember {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
        if std::thread::panicking() {
            self.0.panicked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// === impl Tree ===

impl Tree {
    pub(super) fn add_node(&self, group: &'static str, name: String, edge: Option<Credits>) -> Arc<Node> {
        let node = Arc::new(Node {
            id: self.num_nodes_ever.fetch_add(1, Ordering::Relaxed),
            group,
            name,
            state: AtomicU8::new(NodeState::Starting as u8),
            num_restarts: AtomicU64::new(0),
            ever: self.counts_of(group),
            last_exit: Mutex::new(None),
            edge,
        });
        self.nodes.write().push(Arc::clone(&node));
        node
    }

    pub(super) fn remove_node(&self, node: &Arc<Node>) {
        self.nodes.write().retain(|other| !Arc::ptr_eq(other, node));
    }

    fn counts_of(&self, group: &'static str) -> Arc<GroupCounts> {
        let mut groups = self.groups.write();
        if let Some((_, counts)) = groups.iter().find(|(name, _)| *name == group) {
            return Arc::clone(counts);
        }
        let counts = Arc::default();
        groups.push((group, Arc::clone(&counts)));
        counts
    }

    /// Adds a crowd under a group name, with the number of members that it may have.
    pub fn add_crowd(&self, group: &'static str, bound: u64) -> Arc<Crowd> {
        let crowd = Arc::new(Crowd { bound, ..Crowd::default() });
        self.crowds.write().push((group, Arc::clone(&crowd)));
        crowd
    }

    /// Waits until every actor that is in the tree now has been started, so that messages to it arrive.
    pub async fn all_started(&self) {
        // A start takes microseconds, and this happens once.
        while self.nodes.read().iter().any(|node| node.state.load(Ordering::Relaxed) == NodeState::Starting as u8) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// All groups in numbers: crowds first, then groups in the order in which they came.
    pub fn groups(&self) -> Vec<GroupNow> {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let crowds = self.crowds.read();
        let of_crowds = crowds.iter().map(|(name, crowd)| GroupNow {
            name,
            num_alive: crowd.num_alive(),
            bound: Some(crowd.bound),
            num_started: Some(get(&crowd.started)),
            num_restarts: 0,
            num_panics: get(&crowd.panicked),
            mailboxes: Vec::new(),
        });
        let (groups, nodes) = (self.groups.read(), self.nodes.read());
        let of_nodes = groups.iter().map(|(name, counts)| {
            let of_group = nodes.iter().filter(|node| node.group == *name);
            let mailbox = |node: &Arc<Node>| Some((node.name.clone(), node.edge.as_ref()?.snapshot()));
            GroupNow {
                name,
                num_alive: of_group.clone().filter(|node| node.state() == NodeState::Running).count() as u64,
                bound: None,
                num_started: None,
                num_restarts: get(&counts.restarts),
                num_panics: get(&counts.panics),
                mailboxes: of_group.filter_map(mailbox).collect(),
            }
        });
        of_crowds.chain(of_nodes).collect()
    }

    /// The whole tree as it is now: crowds first, then groups in the order in which they were started.
    pub fn snapshot(&self) -> Vec<GroupSnapshot> {
        let mut groups: Vec<GroupSnapshot> = Vec::new();
        for (group, crowd) in self.crowds.read().iter() {
            groups.push(GroupSnapshot {
                group: (*group).to_owned(),
                actors: Vec::new(),
                alive: Some(crowd.num_alive()),
                started: Some(crowd.started.load(Ordering::Relaxed)),
                panicked: Some(crowd.panicked.load(Ordering::Relaxed)),
            });
        }
        for node in self.nodes.read().iter() {
            match groups.iter_mut().find(|group| group.group == node.group) {
                Some(group) => group.actors.push(node.snapshot()),
                None => groups.push(GroupSnapshot {
                    group: node.group.to_owned(),
                    actors: vec![node.snapshot()],
                    alive: None,
                    started: None,
                    panicked: None,
                }),
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_what_a_group_has_counted_stays_when_its_actors_leave() {
        let tree = Tree::default();
        let first = tree.add_node("reader", "0".to_owned(), None);
        let second = tree.add_node("reader", "1".to_owned(), Some(Credits::new(3)));
        first.set_state(NodeState::Running);
        first.note_exit(Exit::Panicked);
        first.note_restart();
        first.note_exit(Exit::Quit);
        first.note_restart();
        second.note_exit(Exit::Stopped);
        let seen = |tree: &Tree| {
            let group = tree.groups().remove(0);
            (group.name, group.num_alive, group.num_restarts, group.num_panics, group.mailboxes.len())
        };
        assert_eq!(seen(&tree), ("reader", 1, 2, 1, 1));
        tree.remove_node(&first);
        tree.remove_node(&second);
        assert_eq!(seen(&tree), ("reader", 0, 2, 1, 0));
        let third = tree.add_node("reader", "0".to_owned(), None);
        third.note_restart();
        assert_eq!(seen(&tree), ("reader", 0, 3, 1, 0));
    }
}
