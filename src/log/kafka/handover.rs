//! Which producer the batches of a topic go to, and in which order, while that changes.
//!
//! A topic whose limit changes gets another producer. Two producers know nothing of each other's order, so a batch goes to
//! the new one only when none is in flight with the old one; until then it waits.

use std::collections::VecDeque;

/// The way of one topic's batches (`B`) to its producer (`P`).
#[derive(Debug)]
pub(super) struct Handover<P, B> {
    current: P,
    /// Takes over when nothing is in flight.
    next: Option<P>,
    num_in_flight: usize,
    waiting: VecDeque<B>,
    /// Somebody is sending those that waited, one after the other.
    is_releasing: bool,
}

// === impl Handover ===

impl<P: Clone, B> Handover<P, B> {
    /// Batches go to `producer`.
    pub(super) fn new(producer: P) -> Self {
        Self { current: producer, next: None, num_in_flight: 0, waiting: VecDeque::new(), is_releasing: false }
    }

    /// Takes a batch in: where to send it now, or nothing if it waits. What is sent is in flight until
    /// [`Handover::ended`] is called for it.
    pub(super) fn admit(&mut self, batch: B) -> Option<(P, B)> {
        if self.next.is_some() || self.is_releasing {
            self.waiting.push_back(batch);
            return None;
        }
        self.num_in_flight += 1;
        Some((self.current.clone(), batch))
    }

    /// Later batches go to another producer.
    pub(super) fn switch_to(&mut self, producer: P) {
        if self.num_in_flight == 0 && !self.is_releasing {
            self.current = producer;
        } else {
            self.next = Some(producer);
        }
    }

    /// A batch that was sent has come to an end. If it returns true, the caller has to send all that
    /// [`Handover::release`] returns.
    #[must_use]
    pub(super) fn ended(&mut self) -> bool {
        self.num_in_flight = self.num_in_flight.saturating_sub(1);
        if self.num_in_flight > 0 || self.is_releasing {
            return false;
        }
        match self.next.take() {
            Some(next) => {
                self.current = next;
                self.is_releasing = true;
                true
            }
            None => false,
        }
    }

    /// The next batch that waited, and where to send it; nothing when all are sent.
    pub(super) fn release(&mut self) -> Option<(P, B)> {
        if let Some(batch) = self.waiting.pop_front() {
            self.num_in_flight += 1;
            return Some((self.current.clone(), batch));
        }
        self.is_releasing = false;
        if self.num_in_flight == 0
            && let Some(next) = self.next.take()
        {
            self.current = next;
        }
        None
    }

    /// The producer that batches go to from now on, or soon.
    pub(super) fn newest(&self) -> &P {
        self.next.as_ref().unwrap_or(&self.current)
    }

    /// Whether nothing is in flight and nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.num_in_flight == 0 && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn test_a_batch_waits_until_the_old_producer_has_nothing_in_flight() {
        let mut handover = Handover::new("old");
        assert_eq!(handover.admit(1), Some(("old", 1)));
        assert_eq!(handover.admit(2), Some(("old", 2)));
        handover.switch_to("new");
        assert_eq!((handover.admit(3), handover.admit(4)), (None, None));
        assert!(!handover.ended());
        assert!(handover.ended());
        assert_eq!(handover.release(), Some(("new", 3)));
        assert_eq!(handover.admit(5), None, "behind those that waited");
        assert_eq!(handover.release(), Some(("new", 4)));
        assert_eq!(handover.release(), Some(("new", 5)));
        assert_eq!(handover.release(), None);
        assert_eq!(handover.admit(6), Some(("new", 6)));
    }

    #[test]
    fn test_with_nothing_in_flight_the_new_producer_takes_over_at_once() {
        let mut handover = Handover::new("old");
        handover.switch_to("new");
        assert_eq!(handover.admit(1), Some(("new", 1)));
    }

    proptest! {
        /// Whatever happens when: batches are sent in order, each once, and never to one producer while another has some.
        #[test]
        fn test_order_is_kept(steps in proptest::collection::vec(0..4u8, 1..200)) {
            let mut handover = Handover::new(0);
            let (mut admitted, mut sent, mut num_switches) = (0, Vec::new(), 0);
            let mut in_flight: VecDeque<u32> = VecDeque::new();
            let mut releasing = false;
            let mut steps = steps.into_iter();
            let mut end = 0;
            while end < 3 {
                // At the end everything is let go.
                let step = steps.next().unwrap_or_else(|| {
                    if in_flight.is_empty() && !releasing { end += 1 }
                    if releasing { 3 } else { 2 }
                });
                let mut on_its_way = |(producer, batch): (u32, u32), in_flight: &mut VecDeque<u32>| {
                    assert!(in_flight.iter().all(|other| *other == producer), "two producers at once");
                    in_flight.push_back(producer);
                    sent.push(batch);
                };
                match step {
                    0 => {
                        if let Some(out) = handover.admit(admitted) { on_its_way(out, &mut in_flight) }
                        admitted += 1;
                    }
                    1 => {
                        num_switches += 1;
                        handover.switch_to(num_switches);
                    }
                    2 if in_flight.pop_front().is_some() => releasing |= handover.ended(),
                    3 if releasing => match handover.release() {
                        Some(out) => on_its_way(out, &mut in_flight),
                        None => releasing = false,
                    },
                    _ => {}
                }
            }
            prop_assert!(handover.is_idle());
            prop_assert_eq!(sent, (0..admitted).collect::<Vec<_>>());
            prop_assert_eq!(*handover.newest(), num_switches);
        }
    }
}
