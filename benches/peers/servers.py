"""The Kafka and the Cassandra that everybody is measured with."""

import json
import os
from pathlib import Path

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.concurrent import execute_concurrent_with_args
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

NUM_RANGES = 64


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

    def count_rows(self, keyspace, form):
        """Rows of the table, counted range by range of tokens."""
        low, step = -(2**63), 2**64 // NUM_RANGES
        ranges = [(low + i * step, min(low + (i + 1) * step, 2**63 - 1)) for i in range(NUM_RANGES)]
        token = f"token({', '.join(form.PARTITION_KEY)})"
        query = self.cql.prepare(f"SELECT count(*) FROM {keyspace}.{form.TABLE} WHERE {token} > ? AND {token} <= ?")
        counts = execute_concurrent_with_args(self.cql, query, ranges, concurrency=4)
        return sum(result.one()[0] for _, result in counts)


class Table:
    """The table of one run, seen from outside. form: see forms.py."""

    def __init__(self, servers, keyspace, form):
        self.servers, self.form = servers, form
        table, key = f"{keyspace}.{form.TABLE}", [*form.PARTITION_KEY, *form.CLUSTERING]
        where = " AND ".join(f"{column} = ?" for column in key)
        self.any = servers.cql.prepare(f"SELECT {key[0]} FROM {table} LIMIT 1")
        self.point = servers.cql.prepare(f"SELECT {key[0]} FROM {table} WHERE {where}")
        self.whole = servers.cql.prepare(f"SELECT * FROM {table} WHERE {where}")

    def is_empty(self):
        return self.servers.cql.execute(self.any).one() is None

    def missing(self, records):
        """Those of the records that are no rows yet."""
        keys = [self.form.key(record) for record in records]
        found = execute_concurrent_with_args(self.servers.cql, self.point, keys, concurrency=32)
        return [record for record, (_, result) in zip(records, found) if result.one() is None]

    def differs(self, record):
        """What of a record's row is not as its JSON says."""
        row = self.servers.cql.execute(self.whole, self.form.key(record)).one()
        return "no row" if row is None else self.form.differs(record, row)
