//! A real Kafka and a real Cassandra, where they are there.

use super::site::Site;

/// Partitions of the topic that a site has.
pub const NUM_PARTITIONS: u64 = 6;

/// Where the servers are.
pub struct Servers {
    kafka: String,
    pub cassandra: String,
}

impl Servers {
    /// From `SURGETANK_TEST_KAFKA` and `SURGETANK_TEST_CASSANDRA`. `None` if one of them is not set, which is said.
    pub fn find() -> Option<Self> {
        let variable = |name: &str| {
            let value = std::env::var(name).ok();
            if value.is_none() {
                println!("skipped: {name} is not set");
            }
            value
        };
        Some(Self { kafka: variable("SURGETANK_TEST_KAFKA")?, cassandra: variable("SURGETANK_TEST_CASSANDRA")? })
    }

    /// A site for a pod of the installation `name`: its topic, group and keyspace are called so. With these keys set, too.
    pub fn site(&self, name: &str, pod: &str, more: &[(&str, &str)]) -> Site {
        let (partitions, types) = (format!("topics.{name}.partitions"), format!("topics.{name}.types"));
        let num_partitions = NUM_PARTITIONS.to_string();
        let topic = [(partitions.as_str(), num_partitions.as_str()), (types.as_str(), "[\"*\"]")];
        self.consumer_site(name, pod, &[&topic[..], more].concat())
    }

    /// The same without a topic of ours.
    pub fn consumer_site(&self, name: &str, pod: &str, more: &[(&str, &str)]) -> Site {
        let quoted = |text: String| format!("{text:?}");
        let settings = [
            ("dead_letter.topic".to_owned(), quoted(format!("{name}_dead"))),
            ("log.kind".to_owned(), "\"kafka\"".to_owned()),
            ("log.kafka.brokers".to_owned(), format!("[{:?}]", self.kafka)),
            ("log.kafka.group".to_owned(), quoted(name.to_owned())),
            ("log.kafka.instance_id".to_owned(), quoted(pod.to_owned())),
            ("log.kafka.schema_topic".to_owned(), quoted(format!("{name}_schemas"))),
            ("log.kafka.control_topic".to_owned(), quoted(format!("{name}_control"))),
            ("log.kafka.session_timeout".to_owned(), "\"6 s\"".to_owned()),
            ("store.kind".to_owned(), "\"cassandra\"".to_owned()),
            ("store.cassandra.nodes".to_owned(), format!("[{:?}]", self.cassandra)),
            ("store.cassandra.keyspace".to_owned(), quoted(name.to_owned())),
        ];
        let settings = settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        Site::new_without_topics(&settings.chain(more.iter().copied()).collect::<Vec<_>>())
    }
}
