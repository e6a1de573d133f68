"""The story of scripts/registry-test, told step by step; ends at the first thing that is not as it should be."""

import argparse
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

from cassandra.cluster import Cluster
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

TOPIC = "user-events"
DEAD_LETTERS = "dead-letters"
NUM_PARTITIONS = 6
NUM_RECORDS = 500  # of each version, in each phase
DEADLINE = 90  # seconds that anything may take

ADDRESS = {"type": "record", "name": "Address", "fields": [{"name": "city", "type": "string"}]}
FIELDS = {
    "id": {"type": "string", "logicalType": "uuid"},
    "user": {"type": "record", "name": "User", "fields": [
        {"name": "name", "type": "string"}, {"name": "address", "type": ["null", ADDRESS]}]},
    "at": {"type": "long", "logicalType": "timestamp-millis"},
    "amount": "int",
    "price": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
    "tags": {"type": "map", "values": "string"},
}


def schema(fields):
    fields = [{"name": name, "type": kind} for name, kind in fields.items()]
    return json.dumps({"type": "record", "name": "UserEvent", "namespace": "com.acme", "fields": fields})


# A field more; then a field less, and a wider number.
V2 = FIELDS | {"country": ["null", "string"]}
V3 = {name: kind for name, kind in V2.items() if name != "tags"} | {"amount": "long"}
VERSIONS = {1: schema(FIELDS), 2: schema(V2), 3: schema(V3)}

CONFIG = """
data_dir = "{work}/{name}"
[devices]
listen = "127.0.0.1:{device_port}"
[http]
listen = "127.0.0.1:{http_port}"
[ingest]
listen = "127.0.0.1:0"
[log]
kind = "kafka"
[log.kafka]
brokers = ["127.0.0.1:{kafka}"]
group = "registry-test"
instance_id = "{name}"
session_timeout = "6 s"
replication_factor = 1
min_insync_replicas = 1
[dead_letter]
topic = "{dead_letters}"
[store]
kind = "cassandra"
[store.cassandra]
nodes = ["127.0.0.1:{cassandra}"]
keyspace = "surgetank"
[registry]
url = "{registry}"
timeout = "2 s"
[topics.telemetry]
types = ["*"]
partitions = 1
[topics.{topic}]
owned = false
format = "avro-registry"
start = "earliest"
[routes.user_events]
from = "{topic}"
table = "shop.user_events"
timestamp = "record"
[routes.user_events.columns]
id = "$.id"
name = "$.user.name"
city = "$.user.address.city"
user = "json($.user)"
at = "$.at"
amount = "$.amount"
price = "$.price"
color = "$.tags.color"
country = "$.country"
"""

TABLE = """CREATE TABLE shop.user_events (id uuid PRIMARY KEY, name text, city text, user text, at timestamp, amount bigint,
    price decimal, color text, country text)"""


def say(text):
    print(f"{time.monotonic() - BEGIN:6.1f} s  {text}", flush=True)


def wait(what, holds, deadline=DEADLINE):
    end = time.monotonic() + deadline
    while not (value := holds()):
        if time.monotonic() > end:
            raise SystemExit(f"it never came: {what}")
        time.sleep(0.2)
    return value


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return None


class Server:
    """A process of its own, whose output is kept."""

    def __init__(self, work, name, command, directory, **variables):
        self.name = name
        with open(work / f"{name}.log", "ab") as log:
            environment = os.environ | variables
            self.process = subprocess.Popen(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def end(self, how):
        self.process.send_signal(how)
        return self.process.wait(60)


class Story:
    def __init__(self, args):
        self.args = args
        self.work = Path(args.work)
        self.registry_port, self.management_port, *self.pod_ports = args.ports
        self.url = f"http://127.0.0.1:{self.registry_port}/apis/ccompat/v7"
        self.servers = {}
        self.sent = {}
        self.serializers = {}
        self.producer = Producer({"bootstrap.servers": f"127.0.0.1:{args.kafka}"})

    def start_registry(self):
        jar = next(Path(self.args.registry).glob("*runner.jar"))
        database = f"jdbc:h2:file:{self.work}/registry"
        self.servers["registry"] = Server(
            self.work, "registry", [self.args.java, "-Xmx384m", "-XX:TieredStopAtLevel=1", "-jar", str(jar)], jar.parent,
            QUARKUS_HTTP_HOST="127.0.0.1", QUARKUS_HTTP_PORT=str(self.registry_port),
            QUARKUS_MANAGEMENT_HOST="127.0.0.1", QUARKUS_MANAGEMENT_PORT=str(self.management_port),
            APICURIO_STORAGE_KIND="sql", APICURIO_STORAGE_SQL_KIND="h2", APICURIO_DATASOURCE_URL=database)
        wait("the registry answers", lambda: get(f"{self.url}/subjects"))

    def start_pod(self, name):
        ports = self.pod_ports[:2]
        del self.pod_ports[:2]
        config = self.work / f"{name}.toml"
        config.write_text(CONFIG.format(
            work=self.work, name=name, device_port=ports[0], http_port=ports[1], kafka=self.args.kafka,
            cassandra=self.args.cassandra, registry=self.url, topic=TOPIC, dead_letters=DEAD_LETTERS))
        pod = Server(self.work, name, [self.args.binary, "run", "--config", str(config)], self.work)
        pod.base = f"http://127.0.0.1:{ports[1]}"
        self.servers[name] = pod
        wait(f"{name} consumes", lambda: self.partitions_of(name) > 0)
        return pod

    def metric(self, pod, name, labels=""):
        lines = (get(f"{self.servers[pod].base}/metrics") or "").splitlines()
        found = [line for line in lines if line.startswith(name) and labels in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def partitions_of(self, pod):
        lines = (get(f"{self.servers[pod].base}/metrics") or "").splitlines()
        return sum(1 for line in lines if line.startswith("surgetank_consumer_committed_offset{") and f'topic="{TOPIC}"' in line)

    def codes(self, pod):
        health = get(f"{self.servers[pod].base}/health") or ""
        return [code for code in ("registry_unavailable", "registry_refused", "registry_schemas_not_kept") if f'"{code}"' in health]

    def serializer(self, version):
        if version not in self.serializers:
            client = SchemaRegistryClient({"url": self.url})
            self.serializers[version] = AvroSerializer(client, VERSIONS[version])
        return self.serializers[version]

    def event(self, version):
        number = len(self.sent)
        event = {
            "id": str(uuid.uuid4()),
            "user": {"name": f"näme {number}", "address": {"city": f"city {number}"} if number % 3 else None},
            "at": datetime.fromtimestamp(1_700_000_000 + number, timezone.utc),
            "amount": number - 250 if version < 3 else number + 2**40,
            "price": Decimal(number) / 100 - 1,
        }
        if version < 3:
            event["tags"] = {"shape": "round", "color": f"color {number}"}
        if version > 1:
            event["country"] = "DE" if number % 2 else None
        return event

    def register(self, version):
        """As a producer does before its first record."""
        self.serializer(version)(self.event(version), SerializationContext(TOPIC, MessageField.VALUE))

    def send(self, version, count=NUM_RECORDS):
        context = SerializationContext(TOPIC, MessageField.VALUE)
        for _ in range(count):
            event = self.event(version)
            self.sent[event["id"]] = (version, event)
            self.producer.produce(TOPIC, self.serializer(version)(event, context), key=event["id"])
            self.producer.poll(0)
        if self.producer.flush(30):
            raise SystemExit("Kafka does not take the records")
        say(f"{count} records of version {version} sent")

    def num_rows(self):
        return self.session.execute("SELECT count(*) FROM shop.user_events").one()[0]

    def all_rows_are_there(self):
        wait(f"{len(self.sent)} rows", lambda: self.num_rows() == len(self.sent))
        say(f"{len(self.sent)} rows are there")

    def compare(self):
        for row in self.session.execute("SELECT * FROM shop.user_events"):
            version, event = self.sent[str(row.id)]
            address = event["user"]["address"]
            expected = {
                "name": event["user"]["name"],
                "city": address["city"] if address else None,
                "user": event["user"],
                "at": event["at"].replace(tzinfo=None),
                "amount": event["amount"],
                "price": event["price"],
                "color": event.get("tags", {}).get("color"),
                "country": event.get("country"),
            }
            found = {name: getattr(row, name) for name in expected} | {"user": json.loads(row.user)}
            if found != expected:
                raise SystemExit(f"a row of version {version} is {found}, not {expected}")
        say("every row is what was sent")

    def dead_letters(self):
        consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{self.args.kafka}", "group.id": "letters", "auto.offset.reset": "earliest"})
        consumer.subscribe([DEAD_LETTERS])
        found = []

        def poll():
            message = consumer.poll(1)
            if message is not None and message.error() is None:
                found.append(message.value())
            return len(found) == 3
        wait("three dead letters", poll)
        consumer.close()
        return found

    def run(self):
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{self.args.kafka}"})
        admin.create_topics([NewTopic(TOPIC, NUM_PARTITIONS, 1)])[TOPIC].result(30)
        self.session = Cluster(["127.0.0.1"], port=self.args.cassandra).connect()
        self.session.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        self.session.execute(TABLE)
        self.start_registry()
        say("the registry answers")
        self.send(1)
        subprocess.run([self.args.binary, "check", "--config", str(self.write_check_config())], check=False)
        self.start_pod("first")
        self.all_rows_are_there()
        self.send(2)
        self.send(1)
        self.all_rows_are_there()
        say(f"requests of the first pod that found a schema: {self.metric('first', 'surgetank_registry_requests_total', 'found'):.0f}")
        # Registered by a producer that sends nothing yet: nobody has learnt it when the registry goes.
        self.register(3)
        # In good order: its own database is half a second late on disk, and a schema that it forgets is another story.
        self.servers.pop("registry").end(signal.SIGTERM)
        gone = time.monotonic()
        say("the registry is gone")
        self.start_pod("second")
        wait("both pods consume", lambda: self.partitions_of("first") and self.partitions_of("first") + self.partitions_of("second") == NUM_PARTITIONS)
        self.send(1)
        self.send(2)
        self.all_rows_are_there()
        if self.metric("second", "surgetank_registry_requests_total") != 0 or self.metric("second", "surgetank_route_rows_total") == 0:
            raise SystemExit("the second pod should have written rows without asking the registry")
        if self.codes("first") or self.codes("second"):
            raise SystemExit("nobody should wait for the registry yet")
        say("the second pod knows both versions from the log")
        before = self.num_rows()
        self.send(3)
        wait("registry_unavailable at both pods", lambda: all("registry_unavailable" in self.codes(pod) for pod in ("first", "second")))
        say("both pods say that records wait for the registry")
        time.sleep(max(0, self.args.outage - (time.monotonic() - gone)))
        if self.num_rows() != before:
            raise SystemExit("rows of version 3 cannot be there yet")
        self.start_registry()
        say(f"the registry is back after {time.monotonic() - gone:.0f} s")
        self.all_rows_are_there()
        wait("nobody waits any more", lambda: not self.codes("first") and not self.codes("second"))
        # Never read: an id that the registry does not have, a damaged datum, no frame.
        for value in (b"\0" + (99_999).to_bytes(4, "big") + b"x", self.serialized(1)[:-1], b'{"id": 1}'):
            self.producer.produce(TOPIC, value, key="bad")
        self.producer.flush(30)
        self.send(2, 50)
        letters = self.dead_letters()
        for said in (b"no schema 99999", b"ends within a value", b"does not start with a zero byte"):
            if not any(said in letter for letter in letters):
                raise SystemExit(f"no dead letter says {said}: {letters}")
        say("three dead letters, each with its reason")
        self.all_rows_are_there()
        self.compare()
        for pod in ("first", "second"):
            if (code := self.servers.pop(pod).end(signal.SIGTERM)) != 0:
                raise SystemExit(f"{pod} ended with {code}")

    def serialized(self, version):
        event = self.event(version)
        return self.serializer(version)(event, SerializationContext(TOPIC, MessageField.VALUE))

    def write_check_config(self):
        config = self.work / "check.toml"
        config.write_text(CONFIG.format(
            work=self.work, name="check", device_port=0, http_port=0, kafka=self.args.kafka, cassandra=self.args.cassandra,
            registry=self.url, topic=TOPIC, dead_letters=DEAD_LETTERS))
        return config


if __name__ == "__main__":
    BEGIN = time.monotonic()
    parser = argparse.ArgumentParser()
    for name in ("work", "binary", "java", "registry"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("kafka", "cassandra", "outage"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--ports", type=int, nargs=6, required=True)
    story = Story(parser.parse_args())
    try:
        story.run()
    finally:
        for server in story.servers.values():
            server.process.kill()
