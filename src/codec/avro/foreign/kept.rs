//! A schema of a registry as it is kept with the log, among our own writer schemas.
//!
//! It is kept under 8 bytes made of the registry's address and the id, so that another registry's ids are other schemas.
//! What is kept is itself a valid Avro schema, a string with attributes: who reads all schemas of the topic and parses each
//! goes on, and who looks for the record name of a message type finds none.

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::codec::avro::Fingerprint;

/// A schema of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSchema {
    /// The registry's address, as the config has it.
    pub registry: String,
    /// The schema's id there.
    pub id: u32,
    /// The schema, as the registry gave it.
    pub schema: String,
    /// The schemas that it refers to, each after those that it refers to itself.
    pub references: Vec<String>,
}

/// The attribute that tells these from other schemas, and holds the registry's address.
const REGISTRY: &str = "surgetank.registry";

// === impl KeptSchema ===

impl KeptSchema {
    /// Under which key it is kept.
    pub fn key(registry: &str, id: u32) -> Fingerprint {
        let digest = Sha256::new().chain_update(registry).chain_update([0]).chain_update(id.to_be_bytes()).finalize();
        let Some(key) = digest.first_chunk::<8>() else { unreachable!("a digest of 256 bits has 32 bytes") };
        *key
    }

    /// What is kept.
    pub fn to_json(&self) -> String {
        let Self { registry, id, schema, references } = self;
        json!({"type": "string", REGISTRY: registry, "id": id, "schema": schema, "references": references}).to_string()
    }

    /// Reads what was kept; `None` if it is another schema.
    pub fn parse(json: &str) -> Option<Self> {
        let kept: serde_json::Value = serde_json::from_str(json).ok()?;
        let references = kept.get("references")?.as_array()?.iter().map(|text| text.as_str().map(str::to_owned));
        Some(Self {
            registry: kept.get(REGISTRY)?.as_str()?.to_owned(),
            id: kept.get("id")?.as_u64()?.try_into().ok()?,
            schema: kept.get("schema")?.as_str()?.to_owned(),
            references: references.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::avro::fingerprint;

    #[test]
    fn test_what_is_kept_reads_back_and_is_an_avro_schema_without_a_name() {
        let kept = KeptSchema {
            registry: "http://registry:8081".to_owned(),
            id: u32::MAX,
            schema: r#"{"type":"record","name":"position","fields":[]}"#.to_owned(),
            references: vec![r#""string""#.to_owned()],
        };
        let json = kept.to_json();
        assert_eq!(KeptSchema::parse(&json), Some(kept));
        assert!(apache_avro::Schema::parse_str(&json).is_ok());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap().get("name"), None);
        assert_eq!(fingerprint(&json), fingerprint(r#""string""#));
    }

    #[test]
    fn test_our_own_schemas_are_no_kept_ones() {
        for codec in crate::codec::Codecs::builtin().unwrap().types() {
            assert_eq!(KeptSchema::parse(&codec.schema_json), None);
        }
        assert_eq!(KeptSchema::parse("not JSON"), None);
    }

    #[test]
    fn test_each_registry_and_id_has_its_own_key() {
        let keys = [("http://a", 1), ("http://a", 2), ("http://b", 1)].map(|(url, id)| KeptSchema::key(url, id));
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
        // A key once used must never become another one: a newer build would not find what an older one kept.
        assert_eq!(KeptSchema::key("http://a", 1), keys[0]);
    }
}
