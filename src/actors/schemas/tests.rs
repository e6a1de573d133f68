use std::path::Path;
use std::time::Duration;

use super::*;
use crate::log::embedded::{EmbeddedLog, EmbeddedLogSettings};

/// A log without topics.
pub(in crate::actors) fn log_in(directory: &Path) -> Arc<dyn Log> {
    let settings = EmbeddedLogSettings {
        directory: directory.to_owned(),
        retention: Duration::from_secs(3600),
        retention_bytes: 1 << 30,
        disk_budget: 1 << 30,
        write_buffer: 1 << 20,
        tail_cache: 1 << 20,
    };
    Arc::new(EmbeddedLog::open(settings, &[]).unwrap())
}

/// Opened with the shipped layouts.
pub(in crate::actors) async fn opened(log: &Arc<dyn Log>) -> Schemas {
    Schemas::open(Arc::clone(log), Arc::new(Codecs::builtin().unwrap()), Bucket::Day).await.unwrap()
}

#[tokio::test]
async fn test_a_start_puts_every_schema_into_the_log_once_and_plans_it_under_both_fingerprints() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    let codecs = Codecs::builtin().unwrap();
    for _ in 0..2 {
        let plans = opened(&log).await.plans();
        assert_eq!(log.schemas().await.unwrap().len(), codecs.types().len());
        for codec in codecs.types() {
            let earlier = earlier_fingerprint(&codec.schema);
            for fingerprint in [codec.fingerprint, earlier] {
                assert_eq!(plans.get(fingerprint).unwrap().table, codec.message_type.table);
            }
        }
        assert!(plans.get([9; 8]).is_none());
    }
}

#[tokio::test]
async fn test_a_schema_that_another_pod_has_put_is_known_after_the_log_was_asked() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    let schemas = opened(&log).await;
    let codec = Arc::clone(Codecs::builtin().unwrap().by_name("position").unwrap());
    log.put_schema([9; 8], codec.schema_json.clone()).await.unwrap();
    let plans = schemas.plans();
    schemas.refresh(&plans, codec.fingerprint).await.unwrap();
    assert!(plans.get([9; 8]).is_none(), "nobody asks for what is known");
    schemas.refresh(&plans, [9; 8]).await.unwrap();
    assert_eq!(plans.get([9; 8]).unwrap().table, codec.message_type.table);
    schemas.refresh(&plans, [8; 8]).await.unwrap();
    assert!(plans.get([8; 8]).is_none(), "what nobody has put stays unknown");
}

#[tokio::test]
async fn test_a_schema_of_a_registry_is_none_of_ours_even_if_it_has_the_name_of_a_type() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    let schema = r#"{"type": "record", "name": "position", "fields": [{"name": "x", "type": "int"}]}"#.to_owned();
    let kept = KeptSchema { registry: "http://registry".to_owned(), id: 1, schema, references: Vec::new() };
    let key = KeptSchema::key(&kept.registry, kept.id);
    log.put_schema(key, kept.to_json()).await.unwrap();
    let schemas = opened(&log).await;
    assert!(schemas.plans().get(key).is_none());
    // Removed from under the log, it is written again like all others.
    assert!(schemas.seen.lock().iter().any(|(known, _)| *known == key));
}

#[tokio::test]
async fn test_what_is_removed_from_under_the_log_is_written_again() {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = log_in(before.path());
    let opened = opened(&log).await;
    let known = log.schemas().await.unwrap();
    assert_eq!(opened.restore().await.unwrap().num_written, 0);
    // As if the topic had been deleted and made anew.
    let emptied = log_in(after.path());
    let schemas = Schemas { log: Arc::clone(&emptied), ..opened };
    let restored = schemas.restore().await.unwrap();
    assert_eq!((restored.num_written, restored.failure.is_none()), (known.len() as u64, true));
    assert_eq!(restored.conditions().len(), 1);
    let mut again = emptied.schemas().await.unwrap();
    let mut known = known;
    again.sort_unstable();
    known.sort_unstable();
    assert_eq!(again, known);
    assert!(schemas.restore().await.unwrap().conditions().is_empty(), "it is told once");
}

#[tokio::test]
async fn test_layouts_that_cannot_read_what_is_in_the_log_put_nothing_there() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    let foreign = r#"{"type":"record","name":"position","fields":[{"name":"speed","type":"string"}]}"#;
    log.put_schema([9; 8], foreign.to_owned()).await.unwrap();
    let codecs = Arc::new(Codecs::builtin().unwrap());
    let refused = Schemas::open(Arc::clone(&log), codecs, Bucket::Day).await;
    assert!(matches!(refused, Err(SchemaError::Incompatible { message_type, .. }) if message_type == "position"));
    assert_eq!(log.schemas().await.unwrap().len(), 1);
}
