//! `GET /openapi.json`: the service and what events of each type look like, from the layouts.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, Info, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr, Required,
    ResponseBuilder, Schema, SecurityRequirement,
};

use super::packages::{PACKAGE, RECEIPT};
use super::{DEVICE_HEADER, IDEMPOTENCY_HEADER, Ingest, refuse};
use crate::codec::Codecs;
use crate::codec::json::event_schema;
use crate::http::problem::{Kind, PROBLEM_JSON};
use crate::schema::MessageType;

const BEARER: &str = "bearer";

/// Describes the service.
pub(super) async fn get(ingest: web::Data<Ingest>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    match ingest.path().await {
        Ok(path) => HttpResponse::Ok().json(document(&path.rules.load().codecs)),
        Err(problem) => refuse(&request, payload, &problem).await,
    }
}

/// The document for these types.
fn document(codecs: &Codecs) -> OpenApi {
    let mut components = ComponentsBuilder::new()
        .schema("Problem", schema(problem_schema()))
        .schema("Tally", schema(tally_schema()))
        .security_scheme(BEARER, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    let mut paths = PathsBuilder::new();
    for codec in codecs.types() {
        let message_type = &*codec.message_type;
        components = components.schema(event_name(message_type), schema(event_schema(message_type, &codec.json)));
        paths = paths.path(format!("/v1/events/{}", message_type.name), events(message_type));
    }
    paths = paths.path("/v1/packages", packages());
    let mut info = Info::new("Surgetank ingest", env!("CARGO_PKG_VERSION"));
    info.description =
        Some("Events and packages in, durable before they are answered. docs/http.md tells more.".into());
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).build()
}

fn event_name(message_type: &MessageType) -> String {
    format!("Event.{}", message_type.name)
}

fn events(message_type: &MessageType) -> PathItem {
    let event = || RefOr::Ref(Ref::from_schema_name(event_name(message_type)));
    let name = event_name(message_type);
    let reference = json!({"$ref": format!("#/components/schemas/{name}")});
    let one_or_many = schema(json!({"anyOf": [reference, {"type": "array", "items": reference}]}));
    let body = RequestBodyBuilder::new()
        .description(Some("One event, or events in an array or one on each line; gzip, zstd and snappy are taken"))
        .required(Some(Required::True))
        .content("application/json", Content::new(Some(one_or_many)))
        .content("application/x-ndjson", Content::new(Some(event())));
    let key = ParameterBuilder::new()
        .name(IDEMPOTENCY_HEADER)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Stands for the sequences of events that have none: sent again, they are the same rows"))
        .schema(Some(schema(json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}))));
    let operation = OperationBuilder::new()
        .operation_id(Some(format!("post_{}", message_type.name)))
        .summary(Some(message_type.doc.as_str()))
        .parameter(key)
        .request_body(Some(body.build()))
        .security(SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, []));
    PathItem::new(HttpMethod::Post, with_responses(operation, &[]))
}

fn packages() -> PathItem {
    let bytes = || schema(json!({"type": "string", "format": "binary"}));
    let device = ParameterBuilder::new()
        .name(DEVICE_HEADER)
        .parameter_in(ParameterIn::Header)
        .required(Required::True)
        .description(Some("The device that the package is of"))
        .schema(Some(schema(json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"}))));
    let body = RequestBodyBuilder::new()
        .description(Some("A package as in the device protocol's Package frame"))
        .required(Some(Required::True))
        .content(PACKAGE, Content::new(Some(bytes())));
    let operation = OperationBuilder::new()
        .operation_id(Some("post_package"))
        .summary(Some("Messages of one device as it packs them"))
        .parameter(device)
        .request_body(Some(body.build()))
        .security(SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, []));
    PathItem::new(HttpMethod::Post, with_responses(operation, &[(RECEIPT, bytes())]))
}

/// Adds the answers that every path has; `others` are further forms of those that tell of outcomes.
fn with_responses(operation: OperationBuilder, others: &[(&str, RefOr<Schema>)]) -> OperationBuilder {
    let reference = |name: &str| Content::new(Some(RefOr::<Schema>::Ref(Ref::from_schema_name(name))));
    let with_others = |mut response: ResponseBuilder| {
        for (media_type, schema) in others {
            response = response.content(*media_type, Content::new(Some(schema.clone())));
        }
        response
    };
    let taken = ResponseBuilder::new()
        .description("Everything is durable, or twice, or refused for good; what is not plainly accepted is listed")
        .content("application/json", reference("Tally"));
    let mut statuses: Vec<(u16, Vec<&str>)> = Vec::new();
    for kind in Kind::ALL.iter().filter(|kind| !matches!(kind, Kind::MethodNotAllowed)) {
        let status = kind.status().as_u16();
        match statuses.iter_mut().find(|(known, _)| *known == status) {
            Some((_, titles)) => titles.push(kind.title()),
            None => statuses.push((status, vec![kind.title()])),
        }
    }
    statuses.into_iter().fold(operation.response("200", with_others(taken).build()), |operation, (status, titles)| {
        let response =
            ResponseBuilder::new().description(titles.join("; ")).content(PROBLEM_JSON, reference("Problem"));
        let response = if [422, 503].contains(&status) { with_others(response) } else { response };
        operation.response(status.to_string(), response.build())
    })
}

fn listed_schema() -> Value {
    json!({
        "type": "object", "required": ["index", "outcome"],
        "properties": {
            "index": {"type": "integer", "minimum": 0, "description": "place in the request, from 0"},
            "line": {"type": "integer", "minimum": 1, "description": "line of the body that it begins on"},
            "outcome": {"type": "string", "enum": ["duplicate", "rejected", "retry_later"]},
            "of": {"type": "integer", "minimum": 0, "description": "of a duplicate: place of the first"},
            "reason": {"type": "string", "description": "of a rejected one: why, in a word"},
            "path": {"type": "string", "description": "of a rejected one: where in it"},
            "detail": {"type": "string", "description": "of a rejected one: why, for people"},
        },
    })
}

fn tally_properties() -> Value {
    json!({
        "accepted": {"type": "integer", "minimum": 0, "description": "durable now"},
        "duplicates": {"type": "integer", "minimum": 1, "description": "the same as an earlier one of the request"},
        "rejected": {"type": "integer", "minimum": 1, "description": "refused for good"},
        "retry_later": {"type": "integer", "minimum": 1, "description": "to be sent again"},
        "unread_from": {"type": "integer", "minimum": 0, "description": "first that was not looked at"},
        "items": {"type": "array", "items": listed_schema(), "description": "each that is not accepted"},
    })
}

fn tally_schema() -> Value {
    json!({"type": "object", "required": ["accepted"], "properties": tally_properties()})
}

fn problem_schema() -> Value {
    let mut properties = tally_properties();
    let own = json!({
        "type": {"type": "string", "description": "urn:surgetank:problem: and one word"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string", "maxLength": 128, "description": "as in the header x-request-id"},
        "retry_after_ms": {"type": "integer", "minimum": 0, "description": "Retry-After to the millisecond"},
        "reason": {"type": "string", "description": "why the only event was refused, in a word"},
        "path": {"type": "string", "description": "where in the event"},
        "line": {"type": "integer", "minimum": 1, "description": "where in the body"},
    });
    if let (Value::Object(properties), Value::Object(own)) = (&mut properties, own) {
        properties.extend(own);
    }
    json!({"type": "object", "required": ["type", "title", "status", "detail"], "properties": properties})
}

/// A schema as the document's own type, which a test proves to take all of ours.
fn schema(schema: Value) -> RefOr<Schema> {
    serde_json::from_value(schema).unwrap_or_else(|_| RefOr::T(Schema::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_document_has_the_schemas_whole() {
        let codecs = Codecs::builtin().unwrap();
        let document = serde_json::to_value(document(&codecs)).unwrap();
        let schemas = &document["components"]["schemas"];
        for codec in codecs.types() {
            let message_type = &*codec.message_type;
            let (expected, found) = (event_schema(message_type, &codec.json), &schemas[event_name(message_type)]);
            for (name, property) in expected["properties"].as_object().unwrap() {
                for keyword in ["minimum", "maximum", "maxLength", "pattern", "enum", "description", "maxItems", "type"]
                {
                    // JSON has one kind of number: -1000 and -1000.0 are the same bound.
                    let same_number = |value: &Value| value.as_f64().map_or_else(|| value.clone(), Value::from);
                    let (found, expected) = (&found["properties"][name][keyword], &property[keyword]);
                    assert_eq!(same_number(found), same_number(expected), "{name}: {keyword}");
                }
                assert_eq!(found["properties"][name]["anyOf"].is_array(), property["anyOf"].is_array(), "{name}");
            }
            assert_eq!(found["required"], expected["required"]);
            assert_eq!(found["additionalProperties"], false);
            assert!(document["paths"][format!("/v1/events/{}", message_type.name)]["post"].is_object());
        }
        assert_eq!(schemas["Tally"]["properties"]["items"]["type"], "array");
        assert!(document["paths"]["/v1/packages"]["post"]["responses"]["422"].is_object());
    }
}
