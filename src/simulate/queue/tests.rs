use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::protocol::reason::RejectReason;
use crate::protocol::receipt::ReceiptBuilder;

const MS: Duration = Duration::from_millis(1);

fn queue(num_messages: u32) -> DeviceQueue<u32> {
    let mut queue = DeviceQueue::new(100);
    for message in 0..num_messages {
        queue.push(message).unwrap();
    }
    queue.on_connect(2);
    queue
}

/// Sends a package of up to `size` messages and says what is in it.
fn send(queue: &mut DeviceQueue<u32>, now: Instant, size: usize) -> Option<(u32, Vec<u32>)> {
    let mut taken = Vec::new();
    let package_id = queue.send(now, |queued| {
        let fits = taken.len() < size;
        if fits {
            taken.push(queued.message);
        }
        fits
    })?;
    Some((package_id, taken))
}

fn receipt(package_id: u32, outcomes: &[Outcome], retry_after_ms: u32) -> Receipt {
    let mut builder = ReceiptBuilder::new(package_id, outcomes.len() as u16);
    for (index, outcome) in outcomes.iter().enumerate() {
        builder.set(index as u16, *outcome);
    }
    builder.build(retry_after_ms)
}

#[test]
fn test_queue_sends_in_order_up_to_the_window() {
    let now = Instant::now();
    let mut queue = queue(7);
    assert_eq!(send(&mut queue, now, 3), Some((0, vec![0, 1, 2])));
    assert_eq!(send(&mut queue, now, 3), Some((1, vec![3, 4, 5])));
    assert_eq!(send(&mut queue, now, 3), None, "two packages are under way");
    queue.on_receipt(now, &receipt(0, &[Outcome::Accepted; 3], 0), |_, _| {}).unwrap();
    assert_eq!(send(&mut queue, now, 3), Some((2, vec![6])));
    assert_eq!(queue.num_unsettled(), 4);
}

#[test]
fn test_queue_retries_after_the_delay_before_newer_messages() {
    let now = Instant::now();
    let mut queue = queue(4);
    send(&mut queue, now, 3).unwrap();
    let outcomes = [Outcome::Accepted, Outcome::RetryLater, Outcome::Rejected(RejectReason::OutOfRange)];
    queue.on_receipt(now, &receipt(0, &outcomes, 50), |_, _| {}).unwrap();
    assert_eq!(queue.wake_at(), Some(now + 50 * MS));
    assert_eq!(send(&mut queue, now + 49 * MS, 3), None);
    assert_eq!(send(&mut queue, now + 50 * MS, 3), Some((1, vec![1, 3])));
}

#[test]
fn test_queue_keeps_the_longest_delay() {
    let now = Instant::now();
    let mut queue = queue(2);
    send(&mut queue, now, 1).unwrap();
    send(&mut queue, now, 1).unwrap();
    queue.on_receipt(now, &Receipt::retry_later(0, 50), |_, _| {}).unwrap();
    queue.on_receipt(now, &Receipt::retry_later(1, 10), |_, _| {}).unwrap();
    assert_eq!(queue.wake_at(), Some(now + 50 * MS));
}

#[test]
fn test_queue_disconnect_brings_everything_back_in_order() {
    let now = Instant::now();
    let mut queue = queue(5);
    send(&mut queue, now, 2).unwrap();
    send(&mut queue, now, 2).unwrap();
    queue.on_disconnect();
    assert_eq!(send(&mut queue, now, 9), None, "not connected");
    queue.on_connect(1);
    assert_eq!(send(&mut queue, now + MS, 9), Some((2, vec![0, 1, 2, 3, 4])));
    let mut first_sent = Vec::new();
    let accepted = receipt(2, &[Outcome::Accepted; 5], 0);
    queue.on_receipt(now, &accepted, |queued, _| first_sent.push(queued.first_sent)).unwrap();
    assert_eq!(first_sent[..4], [Some(now); 4], "the first sending counts");
    assert_eq!(first_sent[4], Some(now + MS));
}

#[test]
fn test_queue_is_bounded() {
    let mut queue = queue(0);
    for message in 0..100 {
        queue.push(message).unwrap();
    }
    send(&mut queue, Instant::now(), 60).unwrap();
    assert_eq!(queue.push(100), Err(100), "what is under way counts");
    queue.hold_back(3);
    assert_eq!(queue.num_held_back(), 3);
}

#[test]
fn test_queue_does_not_take_in_receipts_that_do_not_fit() {
    let now = Instant::now();
    let mut queue = queue(3);
    send(&mut queue, now, 3).unwrap();
    let unknown = receipt(9, &[Outcome::Accepted; 3], 0);
    assert_eq!(queue.on_receipt(now, &unknown, |_, _| {}), Err(UnexpectedReceipt::Package(9)));
    let short = receipt(0, &[Outcome::Accepted; 2], 0);
    assert_eq!(queue.on_receipt(now, &short, |_, _| {}), Err(UnexpectedReceipt::Count(0)));
    assert_eq!(queue.num_unsettled(), 3);
}

#[derive(Debug, Clone)]
enum Event {
    Push(usize),
    Send(usize),
    Receipt(prop::sample::Index, Vec<Outcome>, u32),
    Disconnect,
    Connect(usize),
    Wait(u64),
}

fn events() -> impl Strategy<Value = Event> {
    let outcome = prop_oneof![
        Just(Outcome::Accepted),
        Just(Outcome::Duplicate),
        Just(Outcome::Rejected(RejectReason::Undecodable)),
        Just(Outcome::RetryLater),
    ];
    prop_oneof![
        (1usize..6).prop_map(Event::Push),
        (1usize..6).prop_map(Event::Send),
        (any::<prop::sample::Index>(), vec(outcome, 6), 0u32..50).prop_map(|(which, o, d)| Event::Receipt(which, o, d)),
        Just(Event::Disconnect),
        (1usize..5).prop_map(Event::Connect),
        (1u64..40).prop_map(Event::Wait),
    ]
}

proptest! {
    /// Whatever the order of receipts and disconnects: every message ends exactly once, or is still there.
    #[test]
    fn test_queue_settles_every_message_exactly_once(events in vec(events(), 0..200)) {
        let mut now = Instant::now();
        let mut queue = DeviceQueue::new(20);
        let mut num_made = 0u32;
        let mut under_way: Vec<(u32, Vec<u32>)> = Vec::new();
        let mut num_ends: BTreeMap<u32, u32> = BTreeMap::new();
        for event in events {
            match event {
                Event::Push(count) => {
                    for _ in 0..count {
                        if queue.push(num_made).is_ok() {
                            num_made += 1;
                        }
                    }
                }
                Event::Send(size) => {
                    if let Some((package_id, messages)) = send(&mut queue, now, size) {
                        prop_assert!(messages.is_sorted());
                        under_way.push((package_id, messages));
                    }
                }
                Event::Receipt(which, outcomes, delay) if !under_way.is_empty() => {
                    let (package_id, messages) = under_way.remove(which.index(under_way.len()));
                    let receipt = receipt(package_id, &outcomes[..messages.len()], delay);
                    queue.on_receipt(now, &receipt, |queued, outcome| {
                        if outcome != Outcome::RetryLater {
                            *num_ends.entry(queued.message).or_default() += 1;
                        }
                    }).unwrap();
                }
                Event::Receipt(..) => {}
                Event::Disconnect => {
                    under_way.clear();
                    queue.on_disconnect();
                }
                Event::Connect(window) => {
                    under_way.clear();
                    queue.on_disconnect();
                    queue.on_connect(window);
                }
                Event::Wait(ms) => now += Duration::from_millis(ms),
            }
            prop_assert!(queue.num_unsettled() <= 20);
            prop_assert_eq!(queue.num_under_way(), under_way.len());
        }
        let left: Vec<u32> = queue.into_unsettled().map(|queued| queued.message).collect();
        prop_assert!(left.is_sorted());
        for message in left {
            *num_ends.entry(message).or_default() += 1;
        }
        prop_assert_eq!(num_ends.len() as u32, num_made);
        prop_assert!(num_ends.values().all(|count| *count == 1));
    }
}
