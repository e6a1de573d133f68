//! What becomes of each value of `tests/vectors/numbers.jsonl`, sent over HTTP and looked at in the table.
//!
//! A line has the `field` as a layout declares it (or one of the members that every event has), what to `send` as JSON, and
//! what is to be: the value in the `row`, or the reason for which it is `rejected`, with a part of the `detail`.

use serde_json::Value;

use crate::common::events::{JSON, address};
use crate::common::http::Request;
use crate::common::layouts::Layouts;
use crate::common::now_ms;
use crate::common::site::Site;

const OWN_MEMBERS: [&str; 2] = ["device_id", "event_time"];

fn cases() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/numbers.jsonl");
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A type with one field `value`, declared like `kind=int bits=64`.
fn layout_of(index: usize, field: &str) -> String {
    let keys = field.split(' ').map(|key| {
        let (key, value) = key.split_once('=').unwrap();
        let is_text = matches!(key, "kind" | "resolution");
        if is_text { format!("{key} = \"{value}\"") } else { format!("{key} = {value}") }
    });
    let keys: Vec<String> = keys.collect();
    format!(
        "type = \"case_{index}\"\nid = {}\ndoc = \"A number\"\n[[version]]\nversion = 1\nfields = [{{ name = \"value\", {}, doc = \"The number\" }}]\n",
        1000 + index,
        keys.join(", "),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_number_becomes_the_value_that_is_written_or_is_refused() {
    let cases = cases();
    let layouts = Layouts::new();
    for (index, case) in cases.iter().enumerate() {
        let field = case["field"].as_str().unwrap();
        let field = if OWN_MEMBERS.contains(&field) { "kind=bool" } else { field };
        layouts.write(&format!("case_{index}.toml"), &layout_of(index, field));
    }
    let site = Site::new(&[("messages.directory", &layouts.quoted())]);
    let running = site.launch().await;

    let mut wrong = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let field = case["field"].as_str().unwrap();
        let send = case["send"].as_str().unwrap().replace("NOW_IN_SECONDS", &(now_ms() / 1000).to_string());
        let mut members = [("device_id", "\"a\""), ("event_time", "1764154800000"), ("value", "true")];
        let name = if OWN_MEMBERS.contains(&field) { field } else { "value" };
        members.iter_mut().find(|(member, _)| *member == name).unwrap().1 = &send;
        let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let body = format!("{{\"sequence\":1,{}}}", members.join(","));
        let request = Request::new("POST", &format!("/v1/events/case_{index}")).header("Content-Type", JSON).body(body);
        let answer = request.send(address(&running)).await;
        let said = answer.json();
        let is_right = match case["rejected"].as_str() {
            None => answer.status == 200,
            Some(reason) => {
                let detail = case["detail"].as_str().unwrap_or_default();
                said["reason"] == reason
                    && said["path"] == format!("$.{name}")
                    && said["detail"].as_str().unwrap().contains(detail)
            }
        };
        if !is_right {
            wrong.push(format!("{case}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    running.catch_up().await;
    for (index, case) in cases.iter().enumerate() {
        let column = if case["field"] == "event_time" { "event_time" } else { "value" };
        let rows = site.rows(&format!("select {column} from case_{index}"));
        let expected: Vec<Vec<Value>> = match case["rejected"].is_null() {
            true => vec![vec![case["row"].clone()]],
            false => Vec::new(),
        };
        if rows != expected {
            wrong.push(format!("{case}: {rows:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    running.assert_unharmed().await;
    running.stop().await;
}
