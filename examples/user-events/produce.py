"""Sends events as JSON with the Python client of Kafka.
  produce.py BROKER TOPIC [--run TEXT] [--first N] [--count N] [--users N] [--rate R] [--compression CODEC] [--ledger FILE]
--ledger: a line for each event that Kafka has confirmed, for verify.py."""

import argparse
import sys
import time

from confluent_kafka import Producer
from events import lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("broker")
    parser.add_argument("topic")
    parser.add_argument("--run", default="python")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0, help="events a second; 0: as fast as it goes")
    parser.add_argument("--compression", default="none")
    parser.add_argument("--ledger")
    given = parser.parse_args()
    producer = Producer({"bootstrap.servers": given.broker, "acks": "all", "enable.idempotence": True, "linger.ms": 5,
                         "compression.type": given.compression})
    ledger = open(given.ledger, "ab") if given.ledger else None
    confirmed = 0

    def delivered(error, message):
        nonlocal confirmed
        if error is None:
            confirmed += 1
            if ledger:
                ledger.write(message.value() + b"\n")

    started = time.monotonic()
    for number, (key, value) in enumerate(lines(given.run, given.first, given.count, given.users)):
        if given.rate:
            time.sleep(max(0, started + number / given.rate - time.monotonic()))
        while True:
            try:
                producer.produce(given.topic, value, key=key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(60)
    if ledger:
        ledger.close()
    print(f"{confirmed} of {given.count} events are confirmed")
    sys.exit(confirmed != given.count)


if __name__ == "__main__":
    main()
