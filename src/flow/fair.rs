//! Who writes next: one budget of writes in flight, shared by the partitions that want some of it.
//!
//! The place that becomes free goes to the waiting partition with the fewest writes in flight, which is max-min
//! fairness (Bertsekas and Gallager, "Data Networks", 1992, 6.5.2) for units that all weigh the same; every fourth goes
//! to the one that has waited longest, whatever it has in flight. A single partition never takes the last places while
//! others are there: one whose writes hang would otherwise hold everything until they time out.

use std::collections::VecDeque;

/// Every so many grants, waiting time alone decides.
const OLDEST_EVERY: u32 = 4;
/// The part of the limit that one partition leaves free for the others.
const RESERVED_PART: u32 = 8;

/// What a place that is used all the same would mean.
const GONE: &str = "a place is used until its partition has left and its last write has ended";

/// A partition's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneId(usize);

/// The budget and who waits for it. `W` is what is handed back when a waiter may go on.
///
/// Times are in microseconds on any clock that only goes forward.
#[derive(Debug)]
pub struct Fair<W> {
    limit: u32,
    num_in_flight: u32,
    num_waiting: usize,
    num_grants: u32,
    /// Lanes by number; `None` can be taken again.
    lanes: Vec<Option<Lane<W>>>,
    /// The most writes in flight since it was last taken.
    max_in_flight: u32,
    /// Somebody had to wait since it was last taken.
    was_reached: bool,
}

#[derive(Debug)]
struct Lane<W> {
    num_in_flight: u32,
    /// Nobody uses it any more; it ends with its last write in flight.
    is_left: bool,
    waiting: VecDeque<(u64, W)>,
}

/// How much the limit was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Most writes in flight at once; the limit itself if anybody had to wait.
    pub max_in_flight: u32,
    /// Writes that wait now.
    pub num_waiting: u32,
}

// === impl Fair ===

impl<W> Fair<W> {
    /// A budget of `limit` writes, at least one.
    pub fn new(limit: u32) -> Self {
        Self {
            limit: limit.max(1),
            num_in_flight: 0,
            num_waiting: 0,
            num_grants: 0,
            lanes: Vec::new(),
            max_in_flight: 0,
            was_reached: false,
        }
    }

    /// A place for one more partition.
    pub fn join(&mut self) -> LaneId {
        let lane = Lane { num_in_flight: 0, is_left: false, waiting: VecDeque::new() };
        match self.lanes.iter().position(Option::is_none) {
            Some(free) => {
                self.lanes[free] = Some(lane);
                LaneId(free)
            }
            None => {
                self.lanes.push(Some(lane));
                LaneId(self.lanes.len() - 1)
            }
        }
    }

    /// The partition is gone: who waits in its place is handed back, and what is in flight stays counted until it ends.
    pub fn leave(&mut self, id: LaneId) -> Vec<W> {
        let lane = self.lane(id);
        lane.is_left = true;
        let waiters: Vec<W> = lane.waiting.drain(..).map(|(_, waiter)| waiter).collect();
        self.num_waiting -= waiters.len();
        self.remove_if_over(id);
        waiters
    }

    /// Changes the budget. What is in flight above it ends in its own time.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit.max(1);
    }

    /// The budget.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Writes in flight, over all partitions.
    pub fn num_in_flight(&self) -> u32 {
        self.num_in_flight
    }

    /// Writes in flight and waiting for one partition, and since when the first of them waits.
    pub fn lane_usage(&self, id: LaneId) -> (u32, usize, Option<u64>) {
        let Some(lane) = &self.lanes[id.0] else { unreachable!("{GONE}") };
        (lane.num_in_flight, lane.waiting.len(), lane.waiting.front().map(|(since, _)| *since))
    }

    /// Takes a place at once, if there is one and nobody waits for it.
    pub fn try_enter(&mut self, id: LaneId) -> bool {
        let can = self.num_waiting == 0 && self.has_room(id);
        if can {
            self.grant(id);
        }
        can
    }

    /// Waits in line, since `now`.
    pub fn wait(&mut self, id: LaneId, now: u64, waiter: W) {
        self.lane(id).waiting.push_back((now, waiter));
        self.num_waiting += 1;
        self.was_reached = true;
    }

    /// A write has ended.
    pub fn done(&mut self, id: LaneId) {
        let lane = self.lane(id);
        assert!(lane.num_in_flight > 0, "a write ends once");
        lane.num_in_flight -= 1;
        self.num_in_flight -= 1;
        self.remove_if_over(id);
    }

    /// Who goes on next, if there is room. To be called until it returns `None`.
    pub fn next_in(&mut self) -> Option<(LaneId, W)> {
        if self.num_waiting == 0 || self.num_in_flight >= self.limit {
            return None;
        }
        let by_age_alone = self.num_grants % OLDEST_EVERY == OLDEST_EVERY - 1;
        let most = self.most_per_lane();
        let candidates = self.lanes.iter().enumerate().filter_map(|(index, lane)| {
            let lane = lane.as_ref().filter(|lane| lane.num_in_flight < most)?;
            let (since, _) = lane.waiting.front()?;
            Some((if by_age_alone { 0 } else { lane.num_in_flight }, *since, index))
        });
        let (_, _, index) = candidates.min()?;
        let id = LaneId(index);
        let Some((_, waiter)) = self.lane(id).waiting.pop_front() else { unreachable!("a candidate waits") };
        self.num_waiting -= 1;
        self.grant(id);
        Some((id, waiter))
    }

    /// How much the limit was used since this was last asked.
    pub fn take_usage(&mut self) -> Usage {
        let reached = std::mem::take(&mut self.was_reached) || self.num_waiting > 0;
        let most = std::mem::replace(&mut self.max_in_flight, self.num_in_flight);
        Usage { max_in_flight: if reached { most.max(self.limit) } else { most }, num_waiting: self.num_waiting as u32 }
    }

    fn grant(&mut self, id: LaneId) {
        self.num_grants = self.num_grants.wrapping_add(1);
        self.num_in_flight += 1;
        self.max_in_flight = self.max_in_flight.max(self.num_in_flight);
        self.lane(id).num_in_flight += 1;
    }

    fn has_room(&self, id: LaneId) -> bool {
        let Some(lane) = &self.lanes[id.0] else { unreachable!("{GONE}") };
        self.num_in_flight < self.limit && lane.num_in_flight < self.most_per_lane()
    }

    /// Alone, a partition may have everything.
    fn most_per_lane(&self) -> u32 {
        let has_others = self.lanes.iter().flatten().filter(|lane| !lane.is_left).nth(1).is_some();
        let reserved = if has_others { self.limit.div_ceil(RESERVED_PART) } else { 0 };
        (self.limit - reserved.min(self.limit)).max(1)
    }

    fn lane(&mut self, id: LaneId) -> &mut Lane<W> {
        let Some(lane) = &mut self.lanes[id.0] else { unreachable!("{GONE}") };
        lane
    }

    fn remove_if_over(&mut self, id: LaneId) {
        let lane = self.lane(id);
        if lane.is_left && lane.num_in_flight == 0 {
            self.lanes[id.0] = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn test_a_free_place_goes_to_the_partition_with_the_fewest_in_flight() {
        let mut fair = Fair::new(8);
        let (hot, calm) = (fair.join(), fair.join());
        // The last place is not for the one that has all others.
        for _ in 0..7 {
            assert!(fair.try_enter(hot));
        }
        assert!(!fair.try_enter(hot));
        fair.wait(hot, 1, "hot");
        assert_eq!(fair.next_in(), None);
        fair.wait(calm, 2, "calm");
        assert_eq!(fair.next_in(), Some((calm, "calm")));
        fair.wait(calm, 3, "calm");
        fair.done(hot);
        // The eighth grant was by waiting time; this one is by what is in flight.
        fair.num_grants = 0;
        assert_eq!(fair.next_in(), Some((calm, "calm")));
    }

    #[test]
    fn test_alone_a_partition_has_everything() {
        let mut fair = Fair::<()>::new(4);
        let lane = fair.join();
        assert_eq!((0..10).filter(|_| fair.try_enter(lane)).count(), 4);
    }

    #[test]
    fn test_waiting_time_decides_every_fourth_time() {
        let mut fair = Fair::new(100);
        let (old, young) = (fair.join(), fair.join());
        for _ in 0..50 {
            assert!(fair.try_enter(old));
        }
        fair.wait(old, 1, 'o');
        for number in 0..10 {
            fair.wait(young, 10 + number, 'y');
        }
        let order: String = std::iter::from_fn(|| fair.next_in()).map(|(_, waiter)| waiter).take(4).collect();
        assert!(order.contains('o'), "{order}");
    }

    #[test]
    fn test_usage_says_whether_the_limit_was_reached() {
        let mut fair = Fair::new(2);
        let lane = fair.join();
        assert!(fair.try_enter(lane));
        fair.done(lane);
        assert_eq!(fair.take_usage(), Usage { max_in_flight: 1, num_waiting: 0 });
        assert!(fair.try_enter(lane) && fair.try_enter(lane) && !fair.try_enter(lane));
        fair.wait(lane, 1, ());
        assert_eq!(fair.take_usage(), Usage { max_in_flight: 2, num_waiting: 1 });
    }

    #[test]
    fn test_a_place_is_free_again_after_its_last_write() {
        let mut fair = Fair::new(2);
        let gone = fair.join();
        assert!(fair.try_enter(gone));
        fair.wait(gone, 1, "never let in");
        assert_eq!(fair.leave(gone), ["never let in"]);
        assert_ne!(fair.join(), gone);
        fair.done(gone);
        assert_eq!(fair.num_in_flight(), 0);
        assert_eq!(fair.join(), gone);
    }

    proptest! {
        /// Whatever happens: never above the limit, nobody is let in twice, and nobody waits while there is room.
        #[test]
        fn test_the_limit_holds_and_nobody_is_forgotten(
            steps in proptest::collection::vec((0u8..4, 0usize..5, 1u32..20), 1..400),
        ) {
            let mut fair = Fair::new(4);
            let lanes: Vec<LaneId> = (0..5).map(|_| fair.join()).collect();
            let (mut in_flight, mut asked, mut granted) = ([0u32; 5], 0usize, 0usize);
            for (now, (step, lane, limit)) in (0u64..).zip(steps) {
                match step {
                    0 | 1 => {
                        asked += 1;
                        if fair.try_enter(lanes[lane]) {
                            granted += 1;
                            in_flight[lane] += 1;
                            prop_assert!(fair.num_in_flight() <= fair.limit());
                        } else {
                            fair.wait(lanes[lane], now, ());
                        }
                    }
                    2 if in_flight[lane] > 0 => {
                        in_flight[lane] -= 1;
                        fair.done(lanes[lane]);
                    }
                    2 => {}
                    _ => fair.set_limit(limit),
                }
                while let Some((id, ())) = fair.next_in() {
                    granted += 1;
                    in_flight[lanes.iter().position(|lane| *lane == id).unwrap()] += 1;
                    prop_assert!(fair.num_in_flight() <= fair.limit());
                }
                prop_assert_eq!(fair.num_in_flight(), in_flight.iter().sum::<u32>());
            }
            // Everything that asked gets in once the writes end.
            while in_flight.iter().any(|num| *num > 0) {
                for lane in 0..5 {
                    for _ in 0..std::mem::take(&mut in_flight[lane]) {
                        fair.done(lanes[lane]);
                    }
                }
                while let Some((id, ())) = fair.next_in() {
                    granted += 1;
                    in_flight[lanes.iter().position(|lane| *lane == id).unwrap()] += 1;
                }
            }
            prop_assert_eq!(asked, granted);
        }
    }
}
