//! A real Kafka, where there is one.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use surgetank::log::Log;
use surgetank::log::kafka::{KafkaLog, KafkaLogSettings};

/// The brokers, with names for one test.
pub struct Cluster {
    pub brokers: String,
    pub name: String,
}

impl Cluster {
    pub fn open(&self) -> Arc<dyn Log> {
        Arc::new(KafkaLog::open(self.settings("pod-0")).unwrap())
    }

    pub fn settings(&self, instance_id: &str) -> KafkaLogSettings {
        KafkaLogSettings {
            brokers: vec![self.brokers.clone()],
            group: self.name.clone(),
            owner: "surgetank test".to_owned(),
            instance_id: instance_id.to_owned(),
            replication_factor: 1,
            min_insync_replicas: 1,
            session_timeout: Duration::from_secs(10),
            delivery_timeout: Duration::from_secs(10),
            linger: Duration::from_millis(5),
            compression: "lz4".to_owned(),
            fetch_buffer_bytes: 4 << 20,
            schema_topic: format!("{}.schemas", self.name),
            control_topic: format!("{}.control", self.name),
            tls: None,
            login: None,
        }
    }

    /// Somebody else's client of these brokers.
    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers);
        client
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }
}

/// The cluster with names for one test, or `None`, which is said.
pub fn cluster() -> Option<Cluster> {
    static NUM_TESTS: AtomicU64 = AtomicU64::new(0);
    let Ok(brokers) = std::env::var("SURGETANK_TEST_KAFKA") else {
        println!("skipped: SURGETANK_TEST_KAFKA is not set");
        return None;
    };
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let name = format!("test-{}-{started}-{}", std::process::id(), NUM_TESTS.fetch_add(1, Ordering::Relaxed));
    Some(Cluster { brokers, name })
}
