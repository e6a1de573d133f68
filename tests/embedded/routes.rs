//! Routes of message types into tables beside their own, in the embedded store.

use crate::common;

use common::events::{JSON, NDJSON, address, event, lines};
use common::http::Request;
use common::ledger::dead_letters;
use common::site::Site;
use serde_json::{Value, json};

/// The latest state of each device, and the same events by day; the second takes only fast ones.
const ROUTES: [(&str, &str); 15] = [
    ("routes.latest.types", "[\"position\"]"),
    ("routes.latest.table", "\"latest_position\""),
    ("routes.latest.key", "{ partition = [\"device\"] }"),
    ("routes.latest.columns.device", "{ from = \"$.device_id\", type = \"text\" }"),
    ("routes.latest.columns.seen", "{ from = \"$.event_time\", type = \"timestamp\" }"),
    ("routes.latest.columns.speed", "{ from = \"$.speed\", type = \"double\" }"),
    ("routes.by_day.types", "[\"position\"]"),
    ("routes.by_day.table", "\"position_by_day\""),
    ("routes.by_day.filter", "\"value.sequence % 2 == 0\""),
    ("routes.by_day.key", "{ partition = [\"day\"], clustering = [\"device\", \"sequence\"] }"),
    ("routes.by_day.columns.day", "{ from = \"bucket('day', $.event_time)\", type = \"date\" }"),
    ("routes.by_day.columns.device", "{ from = \"$.device_id\", type = \"text\" }"),
    ("routes.by_day.columns.sequence", "{ from = \"$.sequence\", type = \"bigint\" }"),
    ("routes.by_day.columns.kind", "{ from = \"'position'\", type = \"text\" }"),
    ("routes.by_day.columns.driver", "{ from = \"$.driver\", type = \"text\" }"),
];

fn count(site: &Site, table: &str) -> u64 {
    site.rows(&format!("select count(*) from {table}"))[0][0].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_becomes_its_own_row_and_those_of_its_routes() {
    let site = Site::new(&ROUTES);
    let running = site.launch().await;
    let events: Vec<Value> = (1..=200).map(|number| event(&format!("d-{}", number % 5), number)).collect();
    Request::events(NDJSON, lines(events)).send(address(&running)).await.accepted(200);
    running.catch_up().await;
    assert_eq!(count(&site, "position"), 200);
    assert_eq!(count(&site, "position_by_day"), 100, "those that the filter takes");
    let latest = site.rows("select device, seen, speed from latest_position order by device");
    let expected: Vec<Vec<Value>> = (0..5)
        .map(|device: i64| {
            // The last event of each device, 196 to 200.
            let last = if device == 0 { 200 } else { 195 + device };
            let last = event("d", last as u32);
            vec![json!(format!("d-{device}")), last["event_time"].clone(), last["speed"].clone()]
        })
        .collect();
    assert_eq!(latest, expected);
    let counters = &running.started.view.telemetry.counters;
    let rows_of = |route: &str| counters.routes.of(&route.into()).rows.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((rows_of("latest"), rows_of("by_day")), (200, 100));
    assert_eq!(
        counters.routes.of(&"by_day".into()).skipped.read(),
        [("expired", 0), ("filter", 100), ("tombstone", 0)]
    );
    assert!(dead_letters(&site.config(), &*running.started.backends.log).is_empty());

    // An older event comes late: its row is there, and the latest state is not its.
    Request::events(JSON, event("d-1", 1).to_string()).send(address(&running)).await.accepted(1);
    running.catch_up().await;
    assert_eq!(site.rows("select device, seen, speed from latest_position order by device"), expected);
    running.assert_unharmed().await;
    running.stop().await;
}
