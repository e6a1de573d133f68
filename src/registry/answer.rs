//! What a registry answers: the part of Confluent's HTTP API that readers need, as Apicurio, Karapace and Redpanda have it,
//! too.

use serde::Deserialize;

/// A schema, by id or by subject and version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SchemaAnswer {
    /// The schema as text.
    pub schema: String,
    /// `PROTOBUF` or `JSON`; Avro if it is left out.
    pub schema_type: Option<String>,
    /// The schemas that it refers to.
    #[serde(default)]
    pub references: Vec<Reference>,
}

/// A schema that another one refers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub(super) struct Reference {
    /// The subject under which it is registered.
    pub subject: String,
    /// Its version there.
    pub version: u64,
}

/// An answer that is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorAnswer {
    error_code: u32,
    message: String,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A schema of Avro.
    Avro(SchemaAnswer),
    /// A schema of this other kind.
    Other(String),
    /// There is none.
    Missing,
    /// It does not let us ask.
    Refused(String),
    /// It cannot tell at present.
    Unavailable(String),
}

// === impl Answer ===

impl Answer {
    /// Reads an answer.
    pub(super) fn read(status: u16, body: &[u8]) -> Self {
        match status {
            200 => match serde_json::from_slice::<SchemaAnswer>(body) {
                Ok(answer) => match answer.schema_type.as_deref() {
                    None | Some("AVRO" | "") => Self::Avro(answer),
                    Some(other) => Self::Other(other.chars().take(40).collect()),
                },
                // A proxy's page, say.
                Err(error) => Self::Unavailable(format!("its answer is no schema: {error}")),
            },
            404 => match serde_json::from_slice::<ErrorAnswer>(body) {
                // 40401: no such subject; 40402: no such version; 40403: no such schema; Apicurio has 404 alone.
                Ok(ErrorAnswer { error_code: 404 | 40401..=40403, .. }) => Self::Missing,
                // Some path that leads to no registry.
                _ => Self::Unavailable(
                    "it answers 404 without the words of a registry; is registry.url right?".to_owned(),
                ),
            },
            401 | 403 => Self::Refused(said(status, body)),
            _ => Self::Unavailable(said(status, body)),
        }
    }
}

fn said(status: u16, body: &[u8]) -> String {
    let message = serde_json::from_slice::<ErrorAnswer>(body).unwrap_or_default().message;
    let message: String = message.chars().filter(|letter| !letter.is_control()).take(200).collect();
    if message.is_empty() { format!("it answers {status}") } else { format!("it answers {status}: {message}") }
}

/// Where a schema is asked for by its id.
pub(super) fn schema_path(id: u32) -> String {
    format!("/schemas/ids/{id}")
}

/// Where a schema is asked for that another one refers to; also one that was deleted since.
pub(super) fn reference_path(reference: &Reference) -> String {
    let mut subject = String::new();
    for byte in reference.subject.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => subject.push(byte.into()),
            byte => subject.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("/subjects/{subject}/versions/{}?deleted=true", reference.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_answers_of_registries() {
        let avro = |schema: &str, references| {
            Answer::Avro(SchemaAnswer { schema: schema.to_owned(), schema_type: None, references })
        };
        let point = Reference { subject: "point".to_owned(), version: 2 };
        let with_reference =
            br#"{"schema": "x", "references": [{"name": "a.Point", "subject": "point", "version": 2}]}"#;
        for (status, body, expected) in [
            (200, &br#"{"schema":"\"string\""}"#[..], avro("\"string\"", Vec::new())),
            (200, with_reference, avro("x", vec![point])),
            (200, br#"{"schema":"syntax = 3;","schemaType":"PROTOBUF"}"#, Answer::Other("PROTOBUF".to_owned())),
            (404, br#"{"error_code":40403,"message":"Schema 7 not found"}"#, Answer::Missing),
            (401, b"", Answer::Refused("it answers 401".to_owned())),
            (403, br#"{"error_code":40301,"message":"no\n"}"#, Answer::Refused("it answers 403: no".to_owned())),
            (
                500,
                br#"{"error_code":50001,"message":"store"}"#,
                Answer::Unavailable("it answers 500: store".to_owned()),
            ),
        ] {
            assert_eq!(Answer::read(status, body), expected);
        }
        // These say nothing of the schema.
        for (status, body) in [(200, &b"<html>"[..]), (404, b"<html>"), (404, b"{}"), (302, b""), (429, b"")] {
            assert!(matches!(Answer::read(status, body), Answer::Unavailable(_)), "{status}");
        }
        let typed = br#"{"schema":"x","schemaType":"AVRO"}"#;
        assert!(matches!(Answer::read(200, typed), Answer::Avro(_)));
    }

    #[test]
    fn test_a_subject_may_have_any_letters() {
        let reference = Reference { subject: "a/b c?#%é".to_owned(), version: 3 };
        assert_eq!(reference_path(&reference), "/subjects/a%2Fb%20c%3F%23%25%C3%A9/versions/3?deleted=true");
    }
}
