//! What can be seen of the engine from outside.

use std::collections::BTreeMap;

use actix_web::http::header::VARY;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::View;
use super::metrics::Format;
use super::scrapes::Scrapes;
use crate::flow::health::Verdict;
use crate::http::refusal::{no_such_path, refuse};
use crate::observe::Phase;
use crate::telemetry::StageSnapshot;

/// The paths that there are.
const PATHS: &str = "there are /health, /health/live, /health/ready, /health/started, /health/reload, /metrics, \
                     /histograms, /actors and /gate";

/// Anything else.
pub(super) async fn not_found(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    refuse(&request, payload, &no_such_path(&request, PATHS)).await
}

/// The process is there and answers: restart it if this fails.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"live": true}))
}

/// What is wrong, part by part, with the reason and since when. 503 if any part fails.
pub(super) async fn health(view: web::Data<View>) -> HttpResponse {
    let report = view.status.report();
    let mut answer = match report.verdict {
        Verdict::Failing => HttpResponse::ServiceUnavailable(),
        Verdict::Ok | Verdict::Degraded => HttpResponse::Ok(),
    };
    answer.json(report)
}

/// The engine has started: until then, let nobody restart it for not being ready.
pub(super) async fn started(view: web::Data<View>) -> HttpResponse {
    let phase = view.status.phase();
    match phase {
        Phase::Starting { .. } => HttpResponse::ServiceUnavailable().json(json!({"started": false, "state": phase})),
        Phase::Running | Phase::Draining => HttpResponse::Ok().json(json!({"started": true, "state": phase})),
    }
}

/// A message sent now would be acknowledged: send the engine nothing while this fails. A store that is away does not
/// matter here, since messages wait for it in the log; `/health` tells of it.
pub(super) async fn ready(view: web::Data<View>) -> HttpResponse {
    let reasons = view.status.not_ready();
    let body = json!({"ready": reasons.is_empty(), "reasons": reasons, "state": view.status.phase()});
    if reasons.is_empty() { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

/// Which config is in force: when and how the last reload went, and what needs a restart.
pub(super) async fn reload(view: web::Data<View>) -> HttpResponse {
    HttpResponse::Ok().json(view.reloads.read())
}

/// All metrics, in the format that is asked for: for Prometheus.
pub(super) async fn metrics(request: HttpRequest, scrapes: web::Data<Scrapes>) -> HttpResponse {
    let format = Format::asked_by(&request);
    match scrapes.answer(format).await {
        Ok(body) => HttpResponse::Ok().content_type(format.content_type()).insert_header((VARY, "accept")).body(body),
        // A text takes what is written into it.
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

/// Latencies by stage, counters of confirmed work, lag, what waits in memory, and who was refused.
pub(super) async fn histograms(view: web::Data<View>) -> HttpResponse {
    let stages: BTreeMap<&str, Value> = view
        .telemetry
        .stages()
        .into_iter()
        .map(|(name, unit, stage)| (name, stage_json(unit, stage.snapshot())))
        .collect();
    let lag: BTreeMap<String, Option<u64>> =
        view.lags.read().into_iter().map(|lag| (lag.partition.to_string(), lag.records)).collect();
    let gauges: BTreeMap<&str, u64> = view.status.gauges().into_iter().map(|gauge| (gauge.name, gauge.value)).collect();
    HttpResponse::Ok().json(json!({
        "stages": stages,
        "counters": view.telemetry.counters.snapshot(),
        "lag_records": lag,
        "gauges": gauges,
        "memory": view.memory.snapshot(),
        "admission": view.admission.snapshot(),
    }))
}

/// The tree of actors: state, restarts, queue depth and bound, time that senders spent waiting.
pub(super) async fn actors(view: web::Data<View>) -> HttpResponse {
    HttpResponse::Ok().json(view.supervisor.tree().snapshot())
}

/// The limit of writes in flight, the partitions that are read or paused, and what led to both.
pub(super) async fn gate(view: web::Data<View>) -> HttpResponse {
    HttpResponse::Ok().json(view.gate.explain())
}

/// A stage with everything since the start at the top, and the last complete interval beside it.
fn stage_json(unit: &str, snapshot: StageSnapshot) -> Value {
    let mut stage = serde_json::to_value(snapshot.since_start).unwrap_or_default();
    stage["unit"] = unit.into();
    stage["last_interval"] = serde_json::to_value(snapshot.last_interval).unwrap_or_default();
    stage
}
