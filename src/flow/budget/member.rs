//! What a pod does with the leader's word, and without it.

use std::time::Duration;

use super::STALE_AFTER;
use super::message::Budget;

/// After this time without the word of another leader a pod looks after the servers itself. Longer than any change of
/// leaders takes: otherwise all would ask at once whenever one goes.
const UNLED_AFTER: Duration = Duration::from_secs(30);

/// One pod of the fleet.
#[derive(Debug, Clone)]
pub struct Member {
    pod: String,
    num_partitions: u32,
    joined: Duration,
    heard: Option<(Duration, Budget)>,
}

/// Where a pod stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has never heard a leader: its own limiter decides.
    Unheard,
    /// No other pod holds partitions: its own limiter decides, so that a lone pod is as quick as one without a fleet.
    Alone,
    /// It has its share of the budget.
    Sharing,
    /// It has heard nothing for too long: its own limiter decides, within its fair part of the last budget.
    CutOff,
}

// === impl Member ===

impl Member {
    /// A pod of a fleet in which there are `num_partitions` record partitions, as far as the config says.
    pub fn new(pod: String, num_partitions: u32, now: Duration) -> Self {
        Self { pod, num_partitions, joined: now, heard: None }
    }

    /// Takes in the leader's word.
    pub fn on_budget(&mut self, now: Duration, budget: Budget) {
        self.heard = Some((now, budget));
    }

    /// Where it stands now.
    pub fn standing(&self, now: Duration) -> Standing {
        match &self.heard {
            None => Standing::Unheard,
            Some((at, _)) if now.saturating_sub(*at) > STALE_AFTER => Standing::CutOff,
            Some((_, budget)) if self.is_alone(budget) => Standing::Alone,
            Some(_) => Standing::Sharing,
        }
    }

    /// What its own limiter may decide at most, if there is such a bound. It takes the partitions that it holds now:
    /// those of a pod that is gone bring their part with them.
    pub fn cap(&self, now: Duration, partitions_held: u32) -> Option<u32> {
        let (_, budget) = self.heard.as_ref()?;
        (self.standing(now) == Standing::CutOff).then(|| {
            // How many partitions topics of others have is known only by who holds them.
            let told = budget.shares.values().map(|pod| pod.partitions).fold(0, u32::saturating_add);
            let all = u64::from(self.num_partitions.max(told).max(partitions_held).max(1));
            ((u64::from(budget.budget) * u64::from(partitions_held) / all) as u32).max(1)
        })
    }

    /// How many writes it may have in flight, at least 1. `own` is what its own limiter says.
    pub fn limit(&self, now: Duration, partitions_held: u32, own: u32) -> u32 {
        match self.standing(now) {
            Standing::Unheard | Standing::Alone => own.max(1),
            Standing::Sharing => self.share().max(1),
            Standing::CutOff => own.min(self.cap(now, partitions_held).unwrap_or(u32::MAX)).max(1),
        }
    }

    /// Its share by the leader's last word. A leader that does not know of it yet leaves it none.
    pub fn share(&self) -> u32 {
        let share = self.heard.as_ref().and_then(|(_, budget)| budget.shares.get(&self.pod));
        share.map_or(0, |own| own.share)
    }

    /// Whether it is on this pod to ask the servers how they are: it leads, or knows of nobody who does. While the log is
    /// away, whoever led last goes on, and the others begin to ask, too: better twice than not at all.
    pub fn is_observer(&self, now: Duration) -> bool {
        let unled_since = match &self.heard {
            Some((_, budget)) if budget.leader == self.pod => return true,
            Some((at, _)) => *at,
            None => self.joined,
        };
        now.saturating_sub(unled_since) > UNLED_AFTER
    }

    /// Its name.
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// The leader's last word, and when it came.
    pub fn heard(&self) -> Option<(Duration, &Budget)> {
        self.heard.as_ref().map(|(at, budget)| (*at, budget))
    }

    fn is_alone(&self, budget: &Budget) -> bool {
        let mut holders = budget.shares.iter().filter(|(_, pod)| pod.partitions > 0).map(|(name, _)| name);
        holders.next() == Some(&self.pod) && holders.next().is_none()
    }
}
