"""What the producers of this example make: event number N of a run is always the same, so that whoever knows the run knows
each row."""

import json
import random
import uuid

TYPES = ("Click", "View", "Purchase", "Search", "SignIn")
WORDS = ("tank", "pump", "valve", "Rohr", "größe", "日本", "\"quoted\"", "tab\there", "🚰", "")


def event(run, number, users):
    """The event as an object; `run` is any text."""
    chance = random.Random(f"{run}/{number}")
    return {
        "id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "type": chance.choice(TYPES),
        "user": {"id": f"user-{chance.randrange(users)}", "name": chance.choice(WORDS)},
        "payload": {
            "page": f"/p/{chance.randrange(1000)}",
            "items": [{"sku": chance.randrange(10**6), "count": chance.randrange(1, 5)} for _ in range(chance.randrange(3))],
            "price": chance.randrange(10**5) / 100,
            "note": chance.choice(WORDS),
            "coupon": None,
            "first": chance.random() < 0.5,
        },
        "ts": 1_780_000_000_000 + number,
    }


def lines(run, first, count, users):
    """Key and value of records, as the producers send them."""
    for number in range(first, first + count):
        made = event(run, number, users)
        yield made["user"]["id"].encode(), json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()
