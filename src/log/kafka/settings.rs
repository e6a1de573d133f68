//! How Kafka as the log is set up, and what that means in librdkafka's own settings.

use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;

use super::limits::Sizes;
use crate::tls::ServerTrust;

/// How our clients call themselves: also how a group tells its own members from others.
pub(super) const CLIENT_ID: &str = "surgetank";
/// librdkafka's own limit for `queued.min.messages`.
const MAX_MIN_QUEUED: u64 = 10_000_000;
/// The least and the most that one answer of a broker may hold for a partition, in bytes; a larger batch comes alone.
const MIN_FETCH: u64 = 64 << 10;
const MAX_FETCH: u64 = 1 << 20;
/// The longest that a revoke waits for the consumers of the partitions to finish.
pub(super) const REVOKE_DEADLINE: Duration = Duration::from_secs(20);
/// How often librdkafka reports broker states and high watermarks.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(1);
/// The group coordinator waits this long for members that do not answer a rebalance. Longer than a revoke may take.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(60);
/// How often topics of others are looked for, and their partitions.
pub(super) const TOPICS_INTERVAL: Duration = Duration::from_secs(10);
/// The shortest session that brokers allow unless they are told otherwise.
const CONTROL_SESSION: Duration = Duration::from_secs(6);
/// How long a word on the control channel may take.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(2);
/// What the producer may hold. The caller bounds what is in flight far below, so that its queue is never full.
const MAX_QUEUED_MESSAGES: usize = 2_000_000;
const MAX_QUEUED_KIB: usize = 512 << 10;
/// The most bytes that records of a partition have in one batch, even if their topic takes more.
const MAX_BATCH_BYTES: usize = 1_000_000;
/// librdkafka's own limits for `message.max.bytes`.
const LEAST_MESSAGE_BYTES: usize = 1000;
const MOST_MESSAGE_BYTES: usize = 1_000_000_000;

/// How the Kafka log is set up. Every value is checked by the configuration.
#[derive(Debug, Clone)]
pub struct KafkaLogSettings {
    /// Addresses of some brokers, `host:port`.
    pub brokers: Vec<String>,
    /// The consumer group: all pods of one installation share it.
    pub group: String,
    /// Where this installation's rows go, in words: marks its commits, so that those of others are seen.
    pub owner: String,
    /// A name that this pod keeps over restarts. With it a restart gets its partitions back at once instead of after
    /// the session timeout; two pods must never share one. Empty: a member like any other.
    pub instance_id: String,
    /// Copies of each topic that is created.
    pub replication_factor: u16,
    /// How many copies must have a record before it is confirmed, for topics that are created.
    pub min_insync_replicas: u16,
    /// After this time without a sign of life the group gives a pod's partitions to others.
    pub session_timeout: Duration,
    /// After this time an append that is not confirmed counts as failed.
    pub delivery_timeout: Duration,
    /// How long a record waits for others to share a request with.
    pub linger: Duration,
    /// `none`, `lz4`, `gzip`, `snappy` or `zstd`, as far as the build has them.
    pub compression: String,
    /// Memory for records that were fetched and not yet read, for each assigned partition.
    pub fetch_buffer_bytes: u64,
    /// The compacted topic that keeps the writer schemas.
    pub schema_topic: String,
    /// The topic of the control channel. Empty: there is none.
    pub control_topic: String,
    /// TLS to the brokers. `None`: plain TCP.
    pub tls: Option<ServerTrust>,
    /// How to log in. `None`: without a login.
    pub login: Option<KafkaLogin>,
}

/// A login by SASL.
#[derive(Clone)]
pub struct KafkaLogin {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: &'static str,
    /// The user.
    pub username: String,
    /// The user's password.
    pub password: String,
}

// === impl KafkaLogSettings ===

impl KafkaLogSettings {
    fn client(&self, own: &[(&str, String)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("client.id", CLIENT_ID);
        // The first attempts come quickly, so that a restarted broker is found again within a second or so.
        config.set("reconnect.backoff.max.ms", "1000");
        config.set("socket.keepalive.enable", "true");
        // A topic that was deleted must not come back with the broker's defaults, such as one partition and one replica. For a
        // producer librdkafka allows it unless it is told.
        config.set("allow.auto.create.topics", "false");
        for (name, value) in own {
            config.set(*name, value.as_str());
        }
        self.secure(&mut config);
        config
    }

    fn secure(&self, config: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.login) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(ServerTrust { ca, identity }) = &self.tls {
            config.set("ssl.ca.location", ca.to_string_lossy());
            if let Some((certificate, key)) = identity {
                config.set("ssl.certificate.location", certificate.to_string_lossy());
                config.set("ssl.key.location", key.to_string_lossy());
            }
        }
        if let Some(login) = &self.login {
            config.set("sasl.mechanism", login.mechanism);
            config.set("sasl.username", login.username.as_str());
            config.set("sasl.password", login.password.as_str());
        }
    }

    /// The most bytes that a batch of several records gets.
    pub(super) fn batch_size(sizes: Sizes) -> usize {
        sizes.batch.clamp(1, MAX_BATCH_BYTES)
    }

    /// A producer for topics that take this much: idempotent, so that a retry of librdkafka's neither doubles
    /// nor reorders records.
    pub(super) fn producer(&self, sizes: Sizes) -> ClientConfig {
        self.client(&[
            // What one record may have, and the room that is set aside for a request: not more than needed.
            ("message.max.bytes", sizes.single.clamp(LEAST_MESSAGE_BYTES, MOST_MESSAGE_BYTES).to_string()),
            // A batch ends before this, but for one record that is larger by itself.
            ("batch.size", Self::batch_size(sizes).to_string()),
            ("acks", "all".to_owned()),
            ("enable.idempotence", "true".to_owned()),
            ("delivery.timeout.ms", millis(self.delivery_timeout)),
            // A request must end before its records do, or a broker that hangs is noticed by nobody.
            ("request.timeout.ms", millis(self.delivery_timeout / 2)),
            ("linger.ms", millis(self.linger)),
            ("compression.type", self.compression.clone()),
            ("queue.buffering.max.messages", MAX_QUEUED_MESSAGES.to_string()),
            ("queue.buffering.max.kbytes", MAX_QUEUED_KIB.to_string()),
            ("statistics.interval.ms", millis(STATISTICS_INTERVAL)),
        ])
    }

    /// The member of the group. The classic protocol with static membership gives partitions back within 100 ms of a
    /// restart, where the newer protocol takes until the session ends.
    /// `follows`: topics and partitions come and go, and are looked for.
    pub(super) fn group_consumer(&self, follows: bool) -> ClientConfig {
        let mut own = vec![
            ("group.id", self.group.clone()),
            ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
            ("session.timeout.ms", millis(self.session_timeout)),
            ("heartbeat.interval.ms", millis(self.session_timeout / 5)),
            ("max.poll.interval.ms", millis(MAX_POLL_INTERVAL.max(self.session_timeout))),
            ("statistics.interval.ms", millis(STATISTICS_INTERVAL)),
            // The last offsets of a partition may hold no record: only the end of the partition says so.
            ("enable.partition.eof", "true".to_owned()),
            // The default pause of a second after a full buffer would let a fast reader starve: how full a buffer is gets
            // looked at only so often.
            ("fetch.queue.backoff.ms", "2".to_owned()),
            // There is one request at a time for each broker. One that asks only for partitions without new records
            // stays there so long, and nobody else is served meanwhile.
            ("fetch.wait.max.ms", "50".to_owned()),
        ];
        if !self.instance_id.is_empty() {
            own.push(("group.instance.id", self.instance_id.clone()));
        }
        if follows {
            own.push(("topic.metadata.refresh.interval.ms", millis(TOPICS_INTERVAL)));
        }
        own.extend(self.reading());
        self.client(&own)
    }

    /// A reader outside of any group. librdkafka wants a group's name to assign partitions by hand; nothing joins it.
    pub(super) fn range_reader(&self) -> ClientConfig {
        let mut own = vec![("group.id", format!("{}.scan", self.group)), ("enable.partition.eof", "true".to_owned())];
        own.extend(self.reading());
        // An offset that was removed is told: going on elsewhere would be a loss that nobody hears of.
        own.push(("auto.offset.reset", "error".to_owned()));
        self.client(&own)
    }

    /// Asks about topics and commits of the group, and never joins it.
    pub(super) fn inspector(&self) -> ClientConfig {
        self.client(&[
            ("group.id", self.group.clone()),
            ("enable.auto.commit", "false".to_owned()),
            // The ends of partitions are where their records end, be they committed or not.
            ("isolation.level", "read_uncommitted".to_owned()),
        ])
    }

    /// The producer of the control channel. What cannot be told within a second or two is told better by the next word.
    pub(super) fn control_producer(&self) -> ClientConfig {
        self.client(&[
            ("acks", "1".to_owned()),
            ("linger.ms", "5".to_owned()),
            ("message.timeout.ms", millis(CONTROL_TIMEOUT)),
            ("request.timeout.ms", millis(CONTROL_TIMEOUT / 2)),
            ("compression.type", self.compression.clone()),
            ("queue.buffering.max.messages", "1000".to_owned()),
            ("statistics.interval.ms", millis(STATISTICS_INTERVAL)),
        ])
    }

    /// The reader of the control channel: outside of any group, from the end.
    pub(super) fn control_reader(&self) -> ClientConfig {
        self.control_consumer("control", &[])
    }

    /// The member of the group of which one leads. Who has the office keeps it while others come and go; of one that is
    /// dead the brokers learn as soon as they allow (`group.min.session.timeout.ms`).
    pub(super) fn control_member(&self) -> ClientConfig {
        self.control_consumer(
            "gate",
            &[
                ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
                ("session.timeout.ms", millis(CONTROL_SESSION)),
                ("heartbeat.interval.ms", millis(CONTROL_SESSION / 5)),
            ],
        )
    }

    fn control_consumer(&self, purpose: &str, more: &[(&'static str, String)]) -> ClientConfig {
        let mut own = vec![
            ("group.id", format!("{}.{purpose}", self.group)),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("auto.offset.reset", "latest".to_owned()),
            ("queued.max.messages.kbytes", "4096".to_owned()),
            ("statistics.interval.ms", millis(STATISTICS_INTERVAL)),
        ];
        own.extend(more.iter().cloned());
        self.client(&own)
    }

    fn reading(&self) -> [(&'static str, String); 6] {
        [
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("auto.offset.reset", "earliest".to_owned()),
            // With one queue per partition this bound holds for each of them.
            ("queued.max.messages.kbytes", (self.fetch_buffer_bytes / 1024).max(1).to_string()),
            // That one counts keys and values only, and a queued message costs about half a kilobyte beside them:
            // small messages would take many times the bound. Fetching pauses at whichever is reached first. Both are
            // more than one answer usually brings, so that a partition that was just served is asked for again at once,
            // and not after a request for those without new records.
            ("queued.min.messages", (self.fetch_buffer_bytes / 256).clamp(1, MAX_MIN_QUEUED).to_string()),
            // What one answer of a broker holds for a partition comes on top, compressed.
            ("max.partition.fetch.bytes", (self.fetch_buffer_bytes / 8).clamp(MIN_FETCH, MAX_FETCH).to_string()),
        ]
    }

    /// The client that creates and looks at topics.
    pub(super) fn admin(&self) -> ClientConfig {
        self.client(&[])
    }
}

impl fmt::Debug for KafkaLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mechanism, username, .. } = self;
        // The password is for the brokers alone.
        f.debug_struct("KafkaLogin").field("mechanism", mechanism).field("username", username).finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
