"""What is moved: readings of devices, which the engine keeps as Avro and peers read as JSON, or events of users, which others
write as JSON and everybody reads from one topic."""

import json
import subprocess
import uuid
from datetime import timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parents[1] / "examples" / "user-events"
DAY_MS = 86_400_000


def milliseconds(moment):
    return round(moment.replace(tzinfo=timezone.utc).timestamp() * 1000)


def made(command):
    """The JSON that a command prints."""
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Avro:
    """Readings of a vehicle: nine fields. Surgetank and the bare loop read Avro, the others the same as JSON."""

    TABLE = "reading"
    PREFIX = ""  # of the names of shapes
    PARTITIONS = 16
    PARTITION_KEY, CLUSTERING = ("device_id", "bucket"), ("event_time", "sequence")
    TOPICS = ("avro", "json")
    CONFIG = HERE / "surgetank.toml"
    READ_BY = {"surgetank": "avro", "ceiling": "avro"}  # by the others: JSON

    @staticmethod
    def generate(args, broker, topic, devices, burst, records):
        return made([args.ceiling, "generate", "--broker", broker, "--avro-topic", f"{topic}_avro", "--json-topic", f"{topic}_json",
                     "--partitions", str(Avro.PARTITIONS), "--messages", HERE / "messages", "--records", str(records),
                     "--devices", str(devices), "--burst", str(burst)])

    @staticmethod
    def create_table(peer, _servers):
        """The engine's own."""
        with open(peer.directory / "apply.log", "w") as log:
            subprocess.run([peer.args.binary, "apply", "--config", peer.config], check=True, stdout=log, stderr=log)

    @staticmethod
    def key(record):
        event_time = record["event_time"]
        return record["device_id"], event_time - event_time % DAY_MS, event_time, record["sequence"]

    @staticmethod
    def differs(record, row):
        for name, value in record.items():
            found = getattr(row, name)
            if name in ("event_time", "received_at"):
                found = milliseconds(found)
            if found != value:
                return f"{name} is {found}, not {value}"
        return None


class Json:
    """Events of users, of others, in the table of examples/user-events."""

    TABLE = "user_events"
    PREFIX = "json-"
    PARTITIONS = 64
    PARTITION_KEY, CLUSTERING = ("user_id",), ("event_id",)
    TOPICS = ("json",)
    CONFIG = HERE / "surgetank-json.toml"
    READ_BY = {}

    @staticmethod
    def generate(args, broker, topic, users, burst, records):
        return made([args.ceiling, "events", "--broker", broker, "--topic", f"{topic}_json", "--partitions", str(Json.PARTITIONS),
                     "--records", str(records), "--users", str(users), "--burst", str(burst)])

    @staticmethod
    def create_table(peer, servers):
        """That of others."""
        servers.cql.execute(f"CREATE KEYSPACE {peer.keyspace} WITH replication = "
                            "{'class': 'SimpleStrategy', 'replication_factor': 1}")
        table = (EXAMPLE / "user_events.cql").read_text().replace("EXISTS ", f"EXISTS {peer.keyspace}.")
        servers.cql.execute(table.strip().rstrip(";"))

    @staticmethod
    def key(record):
        return record["user"]["id"], uuid.UUID(record["id"])

    @staticmethod
    def differs(record, row):
        wanted = record["type"].lower(), record["payload"], record["ts"]
        found = row.event_type, json.loads(row.payload), milliseconds(row.timestamp)
        return None if found == wanted else f"the row has {found}, not {wanted}"


FORMS = {"avro": Avro, "json": Json}
