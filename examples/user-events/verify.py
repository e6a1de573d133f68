"""Compares all rows of user_events with what was produced: none missing, none that nobody sent, each column by value.
  verify.py NODE TABLE LEDGER... [--wait SECONDS]
NODE is HOST:PORT, TABLE is KEYSPACE.TABLE, LEDGER a file with the events, one a line, as the producers write it. --wait: for so
long the rows may come. Exit code 1: they differ, and the first ten differences are shown."""

import argparse
import json
import sys
import time
import uuid
from datetime import datetime, timedelta

from cassandra.cluster import Cluster

EPOCH = datetime(1970, 1, 1)


def canonical(value):
    """A text that is the same for the same JSON: order of members and 12.0 for 12 do not matter, 1 is not true."""
    def whole(part):
        if isinstance(part, dict):
            return {name: whole(each) for name, each in part.items()}
        if isinstance(part, list):
            return [whole(each) for each in part]
        return int(part) if isinstance(part, float) and part.is_integer() else part

    return json.dumps(whole(value), sort_keys=True)


def expected(files):
    """Key and columns of each row, and the number of events."""
    rows, count = {}, 0
    for file in files:
        with open(file, "rb") as events:
            for line in events:
                made = json.loads(line)
                count += 1
                rows[made["user"]["id"], uuid.UUID(made["id"])] = (made["type"].lower(), canonical(made["payload"]), made["ts"])
    return rows, count


def stored(session, table):
    """The same, of all rows."""
    rows = {}
    for row in session.execute(f"SELECT user_id, event_id, event_type, payload, timestamp FROM {table}"):
        payload = None if row.payload is None else canonical(json.loads(row.payload))
        ts = None if row.timestamp is None else (row.timestamp - EPOCH) // timedelta(milliseconds=1)
        rows[row.user_id, row.event_id] = (row.event_type, payload, ts)
    return rows


def differences(wanted, found):
    for key in wanted.keys() - found.keys():
        yield f"missing: {key} {wanted[key]}"
    for key in found.keys() - wanted.keys():
        yield f"nobody sent: {key} {found[key]}"
    for key in wanted.keys() & found.keys():
        if wanted[key] != found[key]:
            yield f"{key}: sent {wanted[key]}, stored {found[key]}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("node")
    parser.add_argument("table")
    parser.add_argument("ledgers", nargs="+")
    parser.add_argument("--wait", type=float, default=0)
    given = parser.parse_args()
    host, port = given.node.rsplit(":", 1)
    session = Cluster([host], port=int(port)).connect()
    session.default_timeout, session.default_fetch_size = 60, 2000
    wanted, count = expected(given.ledgers)
    deadline = time.monotonic() + given.wait
    while True:
        found = stored(session, given.table)
        wrong = list(differences(wanted, found))
        if not wrong or time.monotonic() > deadline:
            break
        time.sleep(1)
    print(f"{count} events, {len(wanted)} rows expected, {len(found)} found, {len(wrong)} differ")
    for each in wrong[:10]:
        print(f"  {each}", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
