//! Coordinator: a task, not an actor: tells the other pods what this one has seen, leads them while it has the office, and
//! hands the leader's word to the gate. What is decided is decided in [`crate::flow::budget`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::gate::GateControl;
use crate::flow::budget::{Budget, INTERVAL, Leader, Message, Report, StorePressure, Term};
use crate::log::Control;
use crate::store::Store;

/// How often the leader asks the database about itself.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// This pod's place in the fleet.
pub struct Coordinator {
    pod: String,
    control: Box<dyn Control>,
    gate: Arc<GateControl>,
    store: Arc<dyn Store>,
    leader: Leader,
    term: Term,
    num_reports: u64,
    num_budgets: u64,
    database: Option<StorePressure>,
    asking: Option<JoinHandle<Option<StorePressure>>>,
    ask_at: Instant,
}

// === impl Coordinator ===

impl Coordinator {
    /// A pod of this name on the channel.
    pub fn new(pod: String, control: Box<dyn Control>, gate: Arc<GateControl>, store: Arc<dyn Store>) -> Self {
        Self {
            leader: Leader::new(gate.limiter_settings(), gate.now()),
            pod,
            control,
            gate,
            store,
            term: Term::default(),
            num_reports: 0,
            num_budgets: 0,
            database: None,
            asking: None,
            ask_at: Instant::now(),
        }
    }

    /// Takes part until `stop`, and then leaves in order: the others share what it had, and another leads at once.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut ticks = interval(INTERVAL);
        // What was missed while the process stood still is not made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.on_tick().await,
                message = self.control.receive() => self.on_message(&message),
                _ = &mut stop => break,
            }
        }
        self.report();
        self.control.close().await;
    }

    async fn on_tick(&mut self) {
        self.report();
        self.term.hold_office(self.control.is_leader());
        self.leader.set_settings(self.gate.limiter_settings());
        if let Some(epoch) = self.term.own() {
            self.ask().await;
            self.lead(epoch);
        }
    }

    fn report(&mut self) {
        let Some(taken) = self.gate.take_report() else { unreachable!("the gate has joined the fleet before") };
        self.num_reports += 1;
        self.publish(&Message::Report(Report {
            pod: self.pod.clone(),
            seq: self.num_reports,
            epoch: self.term.epoch(),
            partitions: taken.partitions,
            sample: taken.sample,
            histogram: taken.latencies,
            limiter: taken.limiter,
        }));
    }

    fn lead(&mut self, epoch: u64) {
        let Some(round) = self.leader.on_tick(self.gate.now(), self.database.as_ref()) else { return };
        self.num_budgets += 1;
        let at = |quantile: f64| round.latencies.as_ref().map_or(0, |merged| merged.value_at_quantile(quantile));
        self.publish(&Message::Budget(Budget {
            leader: self.pod.clone(),
            epoch,
            seq: self.num_budgets,
            budget: round.budget,
            p50_us: at(0.5),
            p99_us: at(0.99),
            shares: round.shares,
            database: self.database,
            is_backlogged: round.is_backlogged,
            limiter: Some(round.limiter),
        }));
    }

    /// Takes the database's last answer in and asks again; one question at a time, so that a database that does not
    /// answer is not asked more and more.
    async fn ask(&mut self) {
        if let Some(asking) = self.asking.take_if(|asking| asking.is_finished()) {
            self.database = asking.await.ok().flatten();
        }
        if self.asking.is_none() && Instant::now() >= self.ask_at {
            self.ask_at = Instant::now() + ASK_INTERVAL;
            let store = Arc::clone(&self.store);
            self.asking = Some(tokio::spawn(async move {
                let answer = store.pressure().await;
                answer
                    .inspect_err(|error| tracing::debug!(%error, "the store does not tell of its load"))
                    .ok()
                    .flatten()
            }));
        }
    }

    fn on_message(&mut self, message: &[u8]) {
        let now = self.gate.now();
        match Message::decode(message) {
            Some(Message::Report(report)) => {
                self.term.on_report(report.epoch);
                self.leader.on_report(now, report);
            }
            Some(Message::Budget(budget)) => {
                if !self.term.on_budget(now, &self.pod, &budget.leader, budget.epoch) {
                    return;
                }
                if budget.leader != self.pod {
                    self.leader.follow(now, &budget);
                }
                self.gate.set_share(budget);
            }
            None => tracing::debug!("a word on the control channel that is not for this version"),
        }
    }

    fn publish(&self, message: &Message) {
        match message.encode() {
            Ok(bytes) => self.control.publish(Bytes::from(bytes)),
            Err(error) => tracing::debug!(%error, "cannot put a message into words"),
        }
    }
}
