//! The model of a store: nodes with servers and a queue each, under a virtual clock.

use std::collections::VecDeque;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Virtual time in microseconds.
pub(super) type Micros = u64;

/// Factors on the service time that are drawn from: made once, because drawing is what a run does most.
const NUM_SPREAD: usize = 2048;

/// What the store is like before anything changes.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreModel {
    /// Nodes; a write goes to one of them by its key.
    pub nodes: usize,
    /// Writes that a node works on at once.
    pub parallelism: usize,
    /// The mean time that a node takes for a write of mean size, in microseconds.
    pub service_us: f64,
    /// The spread of service times: the standard deviation of their logarithm.
    pub spread: f64,
    /// The share of the service time that grows with the rows of a write, from 0 to 1.
    pub row_share: f64,
    /// Rows in a write: evenly drawn on a logarithmic scale between the two.
    pub rows: (u32, u32),
    /// By how much service slows down for each `parallelism` of writes in the queue: what overload costs.
    pub thrash: f64,
    /// After this long the client gives a write up, and the node throws it away if it has not begun with it.
    pub timeout_us: Micros,
}

/// What is different at present.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    pub service_factor: f64,
    pub parallelism_factor: f64,
    /// On the service time of the first node only.
    pub slow_node_factor: f64,
    /// The share of the servers that work for somebody else.
    pub neighbour_share: f64,
    pub stalled: bool,
}

/// A write on its way through the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    /// Tells writes apart that use the same slot one after the other.
    pub id: u64,
    pub pod: usize,
    pub rows: u32,
    pub issued: Micros,
    pub node: usize,
    /// False once the client has given it up.
    pub wanted: bool,
}

#[derive(Debug, Default)]
struct Node {
    num_busy: usize,
    queue: VecDeque<usize>,
}

/// The nodes and what they work on.
#[derive(Debug)]
pub(super) struct Store {
    model: StoreModel,
    pub(super) condition: Condition,
    nodes: Vec<Node>,
    spread: Vec<f64>,
    mean_rows: f64,
    rng: SmallRng,
}

// === impl StoreModel ===

impl StoreModel {
    /// Rows in a write on average.
    pub fn mean_rows(&self) -> f64 {
        let (low, high) = (f64::from(self.rows.0), f64::from(self.rows.1));
        if high > low { (high - low) / (high / low).ln() } else { low }
    }
}

// === impl Condition ===

impl Default for Condition {
    fn default() -> Self {
        Self {
            service_factor: 1.0,
            parallelism_factor: 1.0,
            slow_node_factor: 1.0,
            neighbour_share: 0.0,
            stalled: false,
        }
    }
}

// === impl Store ===

impl Store {
    pub(super) fn new(model: &StoreModel, seed: u64) -> Self {
        Self {
            nodes: (0..model.nodes).map(|_| Node::default()).collect(),
            model: model.clone(),
            condition: Condition::default(),
            spread: lognormal(model.spread),
            mean_rows: model.mean_rows(),
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Draws the node and the rows of the next write.
    pub(super) fn draw(&mut self) -> (usize, u32) {
        let (low, high) = self.model.rows;
        let node = self.rng.random_range(0..self.model.nodes);
        if low == high {
            return (node, low);
        }
        let scale: f64 = self.rng.random();
        (node, (f64::from(low) * (f64::from(high) / f64::from(low)).powf(scale)).round() as u32)
    }

    /// Takes a write in; tells after what time it is done if a server is free.
    pub(super) fn arrive(&mut self, slot: usize, write: &Write) -> Option<Micros> {
        let servers = self.num_servers();
        let node = &mut self.nodes[write.node];
        if node.num_busy < servers && !self.condition.stalled {
            node.num_busy += 1;
            return Some(self.service(write.node, write.rows));
        }
        node.queue.push_back(slot);
        None
    }

    /// A server of the node has finished.
    pub(super) fn finish(&mut self, node: usize) {
        self.nodes[node].num_busy -= 1;
    }

    /// The next write that a free server of the node begins with, and after what time it is done. Writes that nobody
    /// waits for any more come out too, with no time.
    pub(super) fn begin_next(&mut self, node: usize, writes: &[Write]) -> Option<(usize, Option<Micros>)> {
        if self.condition.stalled || self.nodes[node].num_busy >= self.num_servers() {
            return None;
        }
        let slot = self.nodes[node].queue.pop_front()?;
        if !writes[slot].wanted {
            return Some((slot, None));
        }
        self.nodes[node].num_busy += 1;
        Some((slot, Some(self.service(node, writes[slot].rows))))
    }

    pub(super) fn num_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The 99th percentile of latency that the store has now when nothing queues, in microseconds.
    pub(super) fn unloaded_p99_us(&self, seed: u64) -> f64 {
        let mut idle = Self::new(&self.model, seed);
        idle.condition = self.condition.clone();
        let mut latencies: Vec<Micros> = (0..20_000)
            .map(|_| {
                let (node, rows) = idle.draw();
                idle.service(node, rows)
            })
            .collect();
        latencies.sort_unstable();
        latencies[latencies.len() * 99 / 100] as f64
    }

    fn num_servers(&self) -> usize {
        let ours = self.condition.parallelism_factor * (1.0 - self.condition.neighbour_share);
        ((self.model.parallelism as f64 * ours).round() as usize).max(1)
    }

    fn service(&mut self, node: usize, rows: u32) -> Micros {
        let slow = if node == 0 { self.condition.slow_node_factor } else { 1.0 };
        let size = 1.0 - self.model.row_share + self.model.row_share * f64::from(rows) / self.mean_rows;
        let queued = self.nodes[node].queue.len() as f64 / self.num_servers() as f64;
        let thrash = 1.0 + self.model.thrash * queued;
        let spread = self.spread[self.rng.random_range(0..NUM_SPREAD)];
        (self.model.service_us * self.condition.service_factor * slow * size * thrash * spread) as Micros
    }
}

/// Draws of a log-normal distribution with mean 1.
fn lognormal(sigma: f64) -> Vec<f64> {
    // Normal draws by Box and Muller.
    let mut rng = SmallRng::seed_from_u64(1);
    let mut values: Vec<f64> = (0..NUM_SPREAD)
        .map(|_| {
            let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
            ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos() * sigma).exp()
        })
        .collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter_mut().for_each(|value| *value /= mean);
    values
}
