//! Draining: readiness falls first, devices are sent away with delays that are spread, and what they have sent by then
//! gets its receipts.

use crate::common;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use common::device::{Device, block, position};
use common::ledger::{Load, fleet};
use common::process::Process;
use common::site::Site;
use common::{http, in_time, until_true};
use surgetank::protocol::frame::Frame;
use surgetank::protocol::receipt::Verdict;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_falls_first_and_devices_are_served_until_goodbye() {
    let site = Site::new(&[("shutdown.notice", "\"3 s\"")]);
    let mut process = Process::start(&site).await;
    let mut early = Device::connect(process.devices, "early").await;
    let asked = Instant::now();
    process.signal("TERM");
    until_true("readiness to fall", async || {
        let (status, body) = http::get(process.http, "/health/ready").await;
        status == 503 && body["reasons"][0] == "draining"
    })
    .await;
    // A load balancer that has not noticed yet sends one more.
    let mut late = Device::connect(process.devices, "late").await;
    late.accepted(&[position(1, 1)]).await;
    early.accepted(&[position(1, 1)]).await;
    for device in [&mut early, &mut late] {
        let said = device.next().await;
        assert!(matches!(said, Some(Frame::Goodbye(_))), "instead of Goodbye: {said:?}");
    }
    assert!(asked.elapsed() >= Duration::from_secs(3), "said after {:?}", asked.elapsed());
    drop((early, late));
    assert_eq!(process.exited().await.code(), Some(0), "{}", process.told());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_before_goodbye_arrived_gets_its_receipt() {
    let site = Site::new(&[("shutdown.reconnect_spread", "\"10 s\"")]);
    let mut running = site.launch().await;
    let mut devices = Vec::new();
    for number in 0..40 {
        devices.push(Device::connect(running.engine.devices_addr, &format!("d-{number}")).await);
    }
    running.engine.stop();
    let mut talks = Vec::new();
    for mut device in devices {
        talks.push(tokio::spawn(async move {
            // Says what it says without having heard anything, as one with a long way to the server does.
            let mut under_way = HashSet::new();
            for sequence in 0..10 {
                under_way.insert(device.send_block(block(&[position(sequence, 1)])).await);
            }
            let mut delay_ms = None;
            while !under_way.is_empty() {
                match in_time("goodbye and receipts", device.next()).await {
                    Some(Frame::Goodbye(goodbye)) => delay_ms = Some(goodbye.reconnect_after_ms),
                    Some(Frame::Receipt(receipt)) => {
                        let accepts =
                            matches!(&receipt.verdict, Verdict::PerMessage { exceptions, .. } if exceptions.is_empty());
                        assert!(accepts, "{receipt:?}");
                        assert!(under_way.remove(&receipt.package_id));
                    }
                    other => panic!("{} packages have no receipt: {other:?}", under_way.len()),
                }
            }
            while delay_ms.is_none() {
                match in_time("goodbye", device.next()).await {
                    Some(Frame::Goodbye(goodbye)) => delay_ms = Some(goodbye.reconnect_after_ms),
                    other => panic!("instead of Goodbye: {other:?}"),
                }
            }
            delay_ms.unwrap()
        }));
    }
    let mut delays = Vec::new();
    for talk in talks {
        delays.push(talk.await.unwrap());
    }
    in_time("the engine to end", running.engine.ended()).await.unwrap();
    delays.sort_unstable();
    assert!(delays.iter().all(|delay| *delay <= 10_000), "{delays:?}");
    // Forty draws over ten seconds: that half of the range has none is one in 10¹².
    assert!(delays[0] < 5000 && delays[39] > 5000, "{delays:?}");
    drop(running);
    let running = site.launch().await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 400);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_go_on_with_the_next_pod() {
    let (one, other) = (Site::new(&[("shutdown.reconnect_spread", "\"500 ms\"")]), Site::new(&[]));
    let (first, second) = (one.launch().await, other.launch().await);
    let mut options = fleet(first.engine.devices_addr);
    options.target = format!("{},{}", first.engine.devices_addr, second.engine.devices_addr);
    let load = Load::start(options);
    load.acked(2000).await;
    first.stop().await;
    until_true("all devices to be with the other pod", async || load.progress.connected.get() == 20).await;
    load.acked(2000).await;
    let report = load.end().await;
    assert_eq!((report.unacked_at_end, report.gave_up), (0, 0));
    assert!(report.reconnects >= 10, "{}", report.reconnects);
    second.stop().await;
}
