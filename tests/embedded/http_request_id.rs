//! One id for a request: in the answer, in the problem document and in the log.

use crate::common;

use common::events::event;
use common::http::{Answer, Request};
use common::process::Process;
use common::site::Site;

const JSON: &str = "application/json";

fn id_of(answer: &Answer) -> String {
    answer.header("x-request-id").unwrap_or_else(|| panic!("no id: {}", answer.head)).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_one_id_in_the_answer_the_problem_and_the_log() {
    let site = Site::new(&[
        ("logging.level", "\"info,surgetank::http=debug\""),
        ("ingest.cors_origins", "[\"https://a.example\"]"),
    ]);
    let process = Process::start(&site).await;
    let refused = |to| {
        move |id: &str| {
            let request = Request::new("GET", "/nothing").header("X-Request-Id", id);
            async move {
                let answer = request.send(to).await;
                (id_of(&answer), answer.problem(404, "not-found")["request_id"].as_str().unwrap().to_owned())
            }
        }
    };
    for port in [process.ingest, process.http] {
        let refused = refused(port);
        // What a client or a proxy calls it.
        let (header, document) = refused("caller-7f3c.1").await;
        assert_eq!((&*header, &*document), ("caller-7f3c.1", "caller-7f3c.1"));
        // What could not stand anywhere is no id.
        for id in ["", "with blank", "quote\"", &"x".repeat(129)] {
            let (header, document) = refused(id).await;
            assert!(header == document && header.len() == 16 && header != id, "{id:?}: {header} {document}");
        }
        let bare = Request::new("GET", "/nothing").send(port).await;
        assert_eq!(bare.problem(404, "not-found")["request_id"], id_of(&bare));
        process.tells(&format!("\"request_id\":\"{}\"", id_of(&bare))).await;
    }
    // Faults of bodies and what CORS refuses have it as well, and so does what was accepted.
    let fault = Request::events(JSON, "7").header("X-Request-Id", "body-1").send(process.ingest).await;
    assert_eq!(fault.problem(400, "malformed-body")["request_id"], "body-1");
    process.tells("\"request_id\":\"body-1\"").await;
    let line = process.told().lines().find(|line| line.contains("body-1")).unwrap().to_owned();
    assert!(
        line.contains("malformed-body") && line.contains("/v1/events/position") && line.contains("DEBUG"),
        "{line}"
    );
    let evil = Request::new("OPTIONS", "/v1/events/position")
        .header("Origin", "https://evil.example")
        .header("Access-Control-Request-Method", "POST")
        .header("X-Request-Id", "cors-1");
    assert_eq!(evil.send(process.ingest).await.problem(400, "bad-header")["request_id"], "cors-1");
    let taken = Request::events(JSON, event("truck-1", 1).to_string()).header("X-Request-Id", "fine-1");
    let taken = taken.send(process.ingest).await;
    taken.accepted(1);
    assert_eq!(id_of(&taken), "fine-1");
    assert!(!process.told().contains("fine-1"), "no line for what went well");
    assert_eq!(id_of(&Request::new("GET", "/health/live").send(process.http).await).len(), 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_write_no_lines_at_the_default_level() {
    let site = Site::new(&[]);
    let process = Process::start(&site).await;
    let answer = Request::new("GET", "/nothing").header("X-Request-Id", "quiet-1").send(process.ingest).await;
    answer.problem(404, "not-found");
    assert!(!process.told().contains("quiet-1"), "{}", process.told());
}
