"""The Kafka and the Cassandra that everybody is measured with."""

import json
import os
from datetime import timezone
from pathlib import Path

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.concurrent import execute_concurrent_with_args
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

DAY_MS = 86_400_000
NUM_RANGES = 64
PARTITION_KEY = "token(device_id, bucket)"


class Servers:
    """Both servers of scripts/services, by its environment."""

    def __init__(self):
        self.broker = os.environ["SURGETANK_TEST_KAFKA"]
        self.node = os.environ["SURGETANK_TEST_CASSANDRA"]
        run_dir = Path(os.environ["SURGETANK_SERVICES_DIR"])
        self.kafka_pid = int((run_dir / "kafka/pid").read_text())
        self.cassandra_pid = int((run_dir / "cassandra/pid").read_text())
        host, port = self.node.split(":")
        profile = ExecutionProfile(request_timeout=120)
        self.cluster = Cluster([host], port=int(port), execution_profiles={EXEC_PROFILE_DEFAULT: profile})
        self.cql = self.cluster.connect()
        self.admin = AdminClient({"bootstrap.servers": self.broker})

    def commitlog_sync(self):
        return self.cql.execute("SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'").one()[0]

    # --- Kafka ---

    def create_topics(self, names, partitions):
        for created in self.admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
            created.result(30)

    def delete_topics(self, prefix):
        names = [name for name in self.admin.list_topics(timeout=10).topics if name.startswith(prefix)]
        for deleted in (self.admin.delete_topics(names) if names else {}).values():
            deleted.result(30)

    def last_records(self, topic, partitions, count):
        """The newest records of each partition, in order, of a topic with JSON."""
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": topic + "-look", "enable.auto.commit": False})
        found = []
        for number in range(partitions):
            start, end = consumer.get_watermark_offsets(TopicPartition(topic, number), 10)
            start = max(start, end - count)
            if start == end:
                continue
            consumer.assign([TopicPartition(topic, number, start)])
            records = []
            while len(records) < end - start:
                message = consumer.poll(10)
                if message is None or message.error():
                    raise SystemExit(f"cannot read {topic}: {message and message.error()}")
                records.append(json.loads(message.value()))
            found.append(records)
        consumer.close()
        return found

    # --- Cassandra ---

    def drop_keyspace(self, keyspace):
        self.cql.execute(f"DROP KEYSPACE IF EXISTS {keyspace}")

    def count_rows(self, keyspace):
        """Rows of the table, counted range by range of tokens."""
        low, step = -(2**63), 2**64 // NUM_RANGES
        ranges = [(low + i * step, min(low + (i + 1) * step, 2**63 - 1)) for i in range(NUM_RANGES)]
        query = self.cql.prepare(
            f"SELECT count(*) FROM {keyspace}.reading WHERE {PARTITION_KEY} > ? AND {PARTITION_KEY} <= ?"
        )
        counts = execute_concurrent_with_args(self.cql, query, ranges, concurrency=4)
        return sum(result.one()[0] for _, result in counts)


class Table:
    """The table of one run, seen from outside."""

    def __init__(self, servers, keyspace):
        self.servers, self.keyspace = servers, keyspace
        key = "device_id = ? AND bucket = ? AND event_time = ? AND sequence = ?"
        self.any = servers.cql.prepare(f"SELECT sequence FROM {keyspace}.reading LIMIT 1")
        self.point = servers.cql.prepare(f"SELECT sequence FROM {keyspace}.reading WHERE {key}")
        self.whole = servers.cql.prepare(f"SELECT * FROM {keyspace}.reading WHERE {key}")

    def is_empty(self):
        return self.servers.cql.execute(self.any).one() is None

    def missing(self, records):
        """Those of the records that are no rows yet."""
        found = execute_concurrent_with_args(self.servers.cql, self.point, [_key(record) for record in records], concurrency=32)
        return [record for record, (_, result) in zip(records, found) if result.one() is None]

    def differs(self, record):
        """What of a record's row is not as its JSON says."""
        row = self.servers.cql.execute(self.whole, _key(record)).one()
        if row is None:
            return "no row"
        for name, value in record.items():
            found = getattr(row, name)
            if name in ("event_time", "received_at"):
                found = round(found.replace(tzinfo=timezone.utc).timestamp() * 1000)
            if found != value:
                return f"{name} is {found}, not {value}"
        return None


def _key(record):
    event_time = record["event_time"]
    return record["device_id"], event_time - event_time % DAY_MS, event_time, record["sequence"]
