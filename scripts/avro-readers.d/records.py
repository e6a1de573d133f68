"""Prints the records of a topic as lines of field=value, decoded by fastavro:
records.py BROKERS SCHEMA_TOPIC TOPIC NUM_RECORDS [SCHEMA_FILE]

A schema is found by the fingerprint that fastavro computes from it, as an ordinary single-object decoder does; the keys of the
schema topic have to say the same. The file has the schema of dead letters, which is not in that topic. Records.java prints the
same lines.
"""

import datetime
import io
import json
import sys
import time

from confluent_kafka import Consumer, TopicPartition
from fastavro import parse_schema, schemaless_reader
from fastavro.schema import fingerprint, to_parsing_canonical_form

DEADLINE = 30  # seconds in which the records have to be there
MARKER = b"\xc3\x01"


def read(brokers, topic):
    """Every message that the topic has now, as key and value."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "avro-readers-python",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    messages, left = [], len(partitions)
    while left:
        message = consumer.poll(10)
        if message is None:
            sys.exit(f"no answer about {topic} within 10 s")
        if message.error():
            left -= 1  # the end of a partition
        elif message.value() is not None:
            messages.append((message.key(), message.value()))
    consumer.close()
    return messages


def load_schemas(brokers, topic):
    """The schemas by the fingerprint that fastavro computes."""
    schemas = {}
    for key, text in read(brokers, topic):
        schema = json.loads(text)
        computed = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
        if key.decode() != computed:
            sys.exit(f"the schema of {schema['name']} has the key {key.decode()}, fastavro's fingerprint is {computed}")
        schemas[bytes.fromhex(computed)] = parse_schema(schema)
    return schemas


def text_of(value):
    """A single value. A time is microseconds since 1970: whether it was stored in milliseconds is the schema's matter."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime.datetime):
        since = value - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return str(since // datetime.timedelta(microseconds=1))
    if isinstance(value, float) and value != 0 and not 1e-3 <= abs(value) < 1e7:
        # The languages write it in decimals each in its own way. Hexadecimals are exact, and the same but for zeros.
        mantissa, exponent = value.hex().split("p")
        whole, fraction = mantissa.split(".")
        return f"{whole}.{fraction.rstrip('0') or '0'}p{int(exponent)}"
    return str(value)


def leaves(path, value):
    """The single values inside a value, with their paths."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(f"{path}.{name}" if path else name, inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(f"{path}[{index}]", inner)
    else:
        yield f"{path}={text_of(value)}"


def decode(value, schemas):
    """The line of a record."""
    schema = schemas.get(value[2:10])
    if value[:2] != MARKER or schema is None:
        sys.exit(f"not a single object of a known schema: {value[:10].hex()}")
    body = io.BytesIO(value[10:])
    record = schemaless_reader(body, schema, None)
    if body.read():
        sys.exit(f"bytes are left after a record of {schema['name']}")
    return " ".join([schema["name"], *leaves("", record)])


def main():
    brokers, schema_topic, topic, num_records, *schema_files = sys.argv[1:]
    deadline = time.monotonic() + DEADLINE
    while len(messages := read(brokers, topic)) < int(num_records) and time.monotonic() < deadline:
        time.sleep(0.2)
    schemas = load_schemas(brokers, schema_topic)
    for path in schema_files:
        with open(path, encoding="utf-8") as file:
            schema = json.load(file)
        computed = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
        schemas[bytes.fromhex(computed)] = parse_schema(schema)
    for _, value in messages:
        print(decode(value, schemas))


main()
