"""The real servers, asked by clients that are not Surgetank."""

from cassandra.cluster import Cluster
from confluent_kafka import Consumer, Producer, TopicPartition


def cql_session(address, keyspace):
    host, port = address.rsplit(":", 1)
    session = Cluster([host], port=int(port), protocol_version=5).connect(keyspace)
    session.default_timeout = 60
    return session


class Kafka:
    def __init__(self, address):
        self.address = address

    def producer(self):
        return Producer({"bootstrap.servers": self.address})

    def records(self, topic):
        """How many records were ever appended to a topic."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "dashboards-check"})
        try:
            partitions = consumer.list_topics(topic, 20).topics[topic].partitions
            return sum(consumer.get_watermark_offsets(TopicPartition(topic, each), 20)[1] for each in partitions)
        finally:
            consumer.close()
