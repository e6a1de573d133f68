//! What the brokers say of the topic of an assigned partition: it is there, it is another one, it is gone, or we may not look
//! at it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Assigned, End, Gone, Told};

// === impl Assigned ===

impl Assigned {
    /// The topic's id is asked for from now on.
    pub(in crate::log::kafka) fn before_asking(&self) {
        let mut state = self.state.lock();
        state.end_before = state.progress.end();
    }

    /// This is told of the topic; `None`: it is not there.
    pub(in crate::log::kafka) fn on_topic_id(&self, told: Option<Told>, now: Instant) {
        let mut state = self.state.lock();
        let id = match told {
            Some(Told::Id(id)) => id,
            Some(Told::Refused) => {
                state.gone_since = None;
                state.refused_since.get_or_insert(now);
                return;
            }
            None => {
                state.refused_since = None;
                // Brokers that know no ids leave out all of them.
                if state.topic_id.is_some() {
                    state.gone_since.get_or_insert(now);
                }
                return;
            }
        };
        (state.gone_since, state.refused_since) = (None, None);
        if state.topic_id.is_none() {
            self.acked.begin(&self.id);
        }
        if *state.topic_id.get_or_insert(id) == id {
            state.sure_end = state.sure_end.max(state.end_before);
            if let Some(end) = state.sure_end {
                self.acked.confirm(&self.id, end);
            }
            self.losses.lock().note_topic(&self.id, id);
        } else {
            self.is_recreated.store(true, Ordering::Release);
            self.is_anew.store(true, Ordering::Release);
        }
    }

    /// What was not done of a log that began anew is lost with it, as far as its end was known: to this process by what
    /// it appended (`acked`), or from the broker. The new one ends at `new_end`, if that is known.
    pub(in crate::log::kafka) fn give_up_the_rest(&self, acked: Option<End>, new_end: Option<u64>) {
        let rest = {
            let state = self.state.lock();
            let known = [state.sure_end, state.progress.position(), acked.and_then(|end| end.of_old(new_end))];
            // A log that was cut off still has what is below, and is read once more.
            let is_cut = state.topic_id.is_some() && !self.is_recreated.load(Ordering::Acquire);
            let kept = new_end.filter(|_| is_cut && state.gone_since.is_none()).unwrap_or(0);
            state.progress.settled().map(|settled| settled.max(kept)).zip(known.into_iter().flatten().max())
        };
        self.note_loss(rest.filter(|(from, to)| from < to).map(|(from, to)| Gone { from, to }));
        self.losses.lock().begin_anew(&self.id);
    }
}
