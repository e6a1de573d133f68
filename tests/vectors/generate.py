#!/usr/bin/env python3
"""Writes the test vectors of docs/protocol.md: `python3 tests/vectors/generate.py`.

Shares nothing with the Rust code on purpose: the bytes come from `struct`, a bitwise CRC-32C, a Snappy encoder that
knows literals only, and a bit packer that reads the layouts of config/messages. What both sides agree on is the
protocol, not a mistake of one of them.
"""

import json
import struct
import tomllib
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

HERE = Path(__file__).resolve().parent
LAYOUTS = HERE.parent.parent / "config" / "messages"


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def snappy(data):
    length, out = len(data), bytearray()
    while length >= 0x80:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    for start in range(0, len(data), 65536):
        part = data[start : start + 65536]
        if len(part) <= 60:
            out.append((len(part) - 1) << 2)
        else:
            out += struct.pack("<BH", 61 << 2, len(part) - 1)
        out += part
    return bytes(out)


# --- frames


def frame(kind, payload):
    return struct.pack(">IB", len(payload) + 1, kind) + payload


def hello(device_id, credential):
    device_id = device_id.encode()
    return frame(1, b"SRGT\x01" + bytes([len(device_id)]) + device_id + struct.pack(">H", len(credential)) + credential)


def refused(reason, retry_after_ms, text):
    text = text.encode()
    return frame(3, struct.pack(">BIH", reason, retry_after_ms, len(text)) + text)


def receipt(package_id, status, reason=0, retry_after_ms=0, num_messages=0, exceptions=()):
    payload = struct.pack(">IBBIHH", package_id, status, reason, retry_after_ms, num_messages, len(exceptions))
    return frame(5, payload + b"".join(struct.pack(">HBB", *exception) for exception in exceptions))


REJECT = {"bad_checksum": 1, "unknown_type": 2, "unknown_version": 3, "out_of_range": 4, "undecodable": 5,
          "event_time_out_of_range": 6, "too_large": 7, "bad_snappy": 16, "package_too_large": 17, "too_many_messages": 18,
          "malformed_package": 19, "internal": 32, "other": 255}
REFUSE = {"bad_magic": 1, "unsupported_version": 2, "bad_device_id": 3, "bad_credential": 4, "too_many_connections": 5,
          "shutting_down": 6, "frame_too_large": 7, "protocol_violation": 8, "hello_timeout": 9, "idle_timeout": 10,
          "replaced": 11, "too_many_unacknowledged": 12, "unavailable": 13, "too_many_from_address": 14,
          "too_many_attempts": 15, "too_slow": 16, "not_heard": 17, "other": 255}
GOODBYE = {"shutting_down": 1, "rebalance": 2, "leaving": 3, "other": 255}
OUTCOME = {"duplicate": 1, "rejected": 2, "retry_later": 3}


def frames():
    vectors = []

    def add(name, kind, data, **fields):
        vectors.append({"name": name, "kind": kind, "hex": data.hex(), "fields": fields})

    add("hello", "hello", hello("truck-000123", b"secret"), device_id="truck-000123", credential_hex=b"secret".hex())
    add("hello without credential", "hello", hello("ä", b""), device_id="ä", credential_hex="")
    welcome = {"max_frame": 1 << 20, "max_package": 4 << 20, "max_messages": 10000, "max_unacknowledged": 16,
               "idle_timeout_ms": 300000, "server_time_ms": 1780000000123}
    add("welcome", "welcome", frame(2, struct.pack(">BIIHHIQ", 1, *welcome.values())), **welcome)
    for name, code in REFUSE.items():
        delay = 30000 if code in (5, 6, 9, 10, 12, 13, 14, 15, 16, 17) else 0
        add(f"refused {name}", "refused", refused(code, delay, "siehe öfter"), reason=name, retry_after_ms=delay,
            text="siehe öfter")
    add("package", "package", frame(4, struct.pack(">I", 7) + b"\x02\x04\x00\x00"), package_id=7, block_hex="02040000")

    def per_message(name, package_id, num_messages, exceptions, retry_after_ms=0):
        raw = [(e["index"], OUTCOME[e["outcome"]], REJECT[e["reason"]] if "reason" in e else 0) for e in exceptions]
        add(name, "receipt", receipt(package_id, 0, 0, retry_after_ms, num_messages, raw), package_id=package_id,
            verdict="per_message", num_messages=num_messages, exceptions=exceptions, retry_after_ms=retry_after_ms)

    per_message("receipt, all accepted", 7, 50, [])
    per_message("receipt, mixed", 8, 5, [
        {"index": 1, "outcome": "duplicate"},
        {"index": 2, "outcome": "rejected", "reason": "out_of_range"},
        {"index": 4, "outcome": "retry_later"}], 1000)
    for name, code in REJECT.items():
        add(f"receipt, package rejected, {name}", "receipt", receipt(9, 1, code), package_id=9, verdict="rejected",
            reason=name)
    add("receipt, package later", "receipt", receipt(10, 2, 0, 2500), package_id=10, verdict="retry_later",
        retry_after_ms=2500)
    add("ping", "ping", frame(6, struct.pack(">Q", 0x0102030405060708)), nonce=0x0102030405060708)
    add("pong", "pong", frame(7, struct.pack(">QQ", 5, 1780000000123)), nonce=5, server_time_ms=1780000000123)
    for name, code in GOODBYE.items():
        add(f"goodbye {name}", "goodbye", frame(8, struct.pack(">BI", code, 5000)), reason=name,
            reconnect_after_ms=5000)

    refusals = []

    def refuse(name, data, reason, limit=1024):
        refusals.append({"name": name, "hex": data.hex(), "limit": limit, "refusal": reason})

    refuse("length of 4 GiB", b"\xff\xff\xff\xff", "frame_too_large")
    refuse("HTTP", b"GET / HTTP/1.1\r\n", "frame_too_large")
    refuse("TLS to a port without TLS", bytes.fromhex("160301020001"), "frame_too_large")
    refuse("one byte above the limit", struct.pack(">I", 1025), "frame_too_large")
    refuse("length 0", b"\0\0\0\0", "protocol_violation")
    refuse("kind 0", b"\0\0\0\x09\0", "protocol_violation")
    refuse("kind 9", b"\0\0\0\x09\x09", "protocol_violation")
    refuse("wrong magic", frame(1, b"SRGX\x01\x01d\0\0"), "bad_magic")
    refuse("version 2", frame(1, b"SRGT\x02"), "unsupported_version")
    refuse("empty device id", hello("", b""), "bad_device_id")
    refuse("device id of 129 bytes", hello("d" * 129, b""), "bad_device_id")
    refuse("device id with a space", hello("a b", b""), "bad_device_id")
    refuse("device id that is not UTF-8", frame(1, b"SRGT\x01\x01\xff\0\0"), "bad_device_id")
    refuse("credential cut off", frame(1, b"SRGT\x01\x01d\0\x05abc"), "protocol_violation")
    refuse("byte after the credential", frame(1, b"SRGT\x01\x01d\0\0!"), "protocol_violation")
    refuse("ping of 7 bytes", frame(6, bytes(7)), "protocol_violation")
    refuse("goodbye with reason 0", frame(8, bytes(5)), "protocol_violation")
    refuse("receipt with status 3", receipt(1, 3), "protocol_violation")
    refuse("receipt, rejected without reason", receipt(1, 1), "protocol_violation")
    refuse("receipt, delay for nothing", receipt(1, 0, 0, 5, 1), "protocol_violation")
    refuse("receipt, exceptions out of order", receipt(1, 0, 0, 0, 2, [(1, 1, 0), (0, 1, 0)]), "protocol_violation")
    refuse("receipt, index beyond the last message", receipt(1, 0, 0, 0, 2, [(2, 1, 0)]), "protocol_violation")
    return {"frames": vectors, "refusals": refusals}


# --- packages


def message(type_id, version, sequence, event_time_ms, body, crc_error=0):
    covered = struct.pack(">HBI", type_id, version, sequence) + event_time_ms.to_bytes(6, "big")
    covered += struct.pack(">H", len(body)) + body
    return struct.pack(">I", crc32c(covered) ^ crc_error) + covered


def packages():
    vectors = []
    time = 1780000000123

    def entry(index, sequence, body, crc_ok=True, duplicate_of=None):
        return {"index": index, "type_id": 1, "version": 2, "sequence": sequence, "event_time_ms": time,
                "body_hex": body.hex(), "crc_ok": crc_ok, "duplicate_of": duplicate_of}

    def add(name, plain, entries, tail=None):
        vectors.append({"name": name, "plain_hex": plain.hex(), "block_hex": snappy(plain).hex(), "entries": entries,
                        "tail": tail})

    one, two = message(1, 2, 1, time, b"\x01\x02\x03"), message(1, 2, 2, time, b"")
    add("no message", b"\0\0", [])
    add("one message", b"\0\x01" + one, [entry(0, 1, b"\x01\x02\x03")])
    add("three messages, the last a duplicate of the first", b"\0\x03" + one + two + one,
        [entry(0, 1, b"\x01\x02\x03"), entry(1, 2, b""), entry(2, 1, b"\x01\x02\x03", duplicate_of=0)])
    add("bad checksum in the first of two", b"\0\x02" + message(1, 2, 1, time, b"\x01", 1) + two,
        [entry(0, 1, b"\x01", crc_ok=False), entry(1, 2, b"")])
    largest = message(65535, 255, 0xFFFFFFFF, (1 << 48) - 1, bytes(range(256)))
    add("largest numbers", b"\0\x01" + largest,
        [{"index": 0, "type_id": 65535, "version": 255, "sequence": 0xFFFFFFFF, "event_time_ms": (1 << 48) - 1,
          "body_hex": bytes(range(256)).hex(), "crc_ok": True, "duplicate_of": None}])
    # Adding a multiple of the CRC's polynomial leaves the checksum as it is. Here it lies over the sequence and the first
    # byte of the event time, so that these are two messages of two identities.
    collider = int.from_bytes((1 | 0x82F63B78 << 1).to_bytes(5, "little"), "big")
    other_sequence, other_time = 1 ^ collider >> 8, time ^ (collider & 0xFF) << 40
    first, second = message(1, 2, 1, time, bytes(5)), message(1, 2, other_sequence, other_time, bytes(5))
    assert first[:4] == second[:4]
    add("two messages with one checksum", b"\0\x02" + first + second,
        [entry(0, 1, bytes(5)), {**entry(1, other_sequence, bytes(5)), "event_time_ms": other_time}])
    add("one identity with two bodies", b"\0\x03" + one + message(1, 2, 1, time, b"\x04") + two,
        [entry(0, 1, b"\x01\x02\x03"), entry(1, 1, b"\x04", duplicate_of=0), entry(2, 2, b"")])
    add("one identity in two versions", b"\0\x02" + one + message(1, 3, 1, time, b"\x01\x02\x03"),
        [entry(0, 1, b"\x01\x02\x03"), {**entry(1, 1, b"\x01\x02\x03", duplicate_of=0), "version": 3}])
    add("one identity, the first with a bad checksum", b"\0\x02" + message(1, 2, 1, time, b"\x04", 1) + one,
        [entry(0, 1, b"\x04", crc_ok=False), entry(1, 1, b"\x01\x02\x03")])
    broken = bytearray(two + two)
    broken[17:19] = b"\xff\xff"
    add("structure broken at the second of three", b"\0\x03" + one + bytes(broken), [entry(0, 1, b"\x01\x02\x03")],
        {"first_index": 1, "hex": broken.hex()})
    add("bytes after the last message", b"\0\x01" + two + b"\xaa", [entry(0, 2, b"")],
        {"first_index": 1, "hex": "aa"})

    limits = {"max_bytes": 65536, "max_messages": 500}
    rejected = [{"name": name, "block_hex": block.hex(), "reason": reason} for name, block, reason in [
        ("empty block", b"", "bad_snappy"),
        ("not Snappy", b"\x05hello", "bad_snappy"),
        ("shorter than it claims", b"\x05\x04\0\0", "bad_snappy"),
        ("claims 4 GiB", b"\xff\xff\xff\xff\x0f", "package_too_large"),
        ("claims one byte more than allowed", b"\x81\x80\x04\0", "package_too_large"),
        ("501 messages", snappy(struct.pack(">H", 501)), "too_many_messages"),
        ("two messages claimed, one there", snappy(b"\0\x02" + one), "malformed_package"),
        ("no count", snappy(b"\0"), "malformed_package"),
        ("bytes and no message", snappy(bytes(42)), "malformed_package")]]
    return {"limits": limits, "packages": vectors, "rejected": rejected}


# --- bodies


class Bits:
    def __init__(self):
        self.text = ""

    def put(self, value, width):
        assert 0 <= value < 1 << width, (value, width)
        self.text += format(value, f"0{width}b") if width else ""

    def bytes(self):
        padded = self.text + "0" * (-len(self.text) % 8)
        return bytes(int(padded[i : i + 8], 2) for i in range(0, len(padded), 8))


def put(bits, field, value):
    if field.get("optional"):
        bits.put(int(value is not None), 1)
        if value is None:
            return
    kind, width = field["kind"], field.get("bits")
    if kind == "uint":
        bits.put(value, width)
    elif kind == "int":
        bits.put(value % (1 << width), width)
    elif kind == "bool":
        bits.put(int(value), 1)
    elif kind == "enum":
        symbols = field["symbols"]
        bits.put(symbols[value] if isinstance(symbols, dict) else symbols.index(value), width)
    elif kind == "fixed":
        scale, offset = Decimal(repr(field["scale"])), Decimal(repr(field.get("offset", 0)))
        raw = ((Decimal(repr(value)) - offset) / scale + Decimal("0.5")).to_integral_value(ROUND_FLOOR)
        bits.put(int(raw) % (1 << width), width)
    elif kind == "timestamp":
        epoch = int(datetime.fromisoformat(field.get("epoch", "1970-01-01T00:00:00Z")).timestamp())
        ticks = {"s": (value + 500) // 1000 - epoch, "ms": value - epoch * 1000, "us": value - epoch * 1000000}
        bits.put(ticks[field["resolution"]], width)
    elif kind in ("text", "bytes"):
        data = value.encode() if kind == "text" else bytes.fromhex(value)
        bits.put(len(data), field["length_bits"])
        for byte in data:
            bits.put(byte, 8)
    elif kind == "group":
        put_all(bits, field["fields"], value)
    elif kind == "array":
        if "count_bits" in field:
            bits.put(len(value), field["count_bits"])
        for item in value:
            put(bits, field["item"], item)
    else:
        raise ValueError(kind)


def put_all(bits, fields, values):
    for field in fields:
        if field["kind"] == "reserved":
            bits.put(0, field["bits"])
        else:
            put(bits, field, values[field["name"]])


def bodies():
    layouts = {}
    for path in sorted(LAYOUTS.glob("*.toml")):
        layout = tomllib.loads(path.read_text())
        for version in layout["version"]:
            layouts[layout["type"], version["version"]] = (layout["id"], version["fields"])

    def pack(type_name, version, values):
        bits = Bits()
        put_all(bits, layouts[type_name, version][1], values)
        return bits.bytes()

    vectors = []

    def add(name, type_name, version, **values):
        vectors.append({"name": name, "type": type_name, "type_id": layouts[type_name, version][0], "version": version,
                        "hex": pack(type_name, version, values).hex(), "values": values})

    place = {"latitude": 48.1371079, "longitude": 11.5753822, "altitude": 519.5, "speed": 83.4, "heading": 271.3}
    rest = {"ignition": True, "fix_time": 1780000000123, "odometer": 123456789, "driver": "card-00042"}
    add("everything there", "position", 1, **place, fix="three_d", **rest)
    add("optional fields absent, south-west", "position", 1, **place | {"latitude": -33.4489, "longitude": -70.6693},
        fix="none", **rest | {"odometer": None, "driver": None, "ignition": False})
    add("lowest values", "position", 1, latitude=-90.0, longitude=-180.0, altitude=-1000.0, speed=0.0, heading=0.0,
        fix="none", ignition=False, fix_time=1577836800000, odometer=0, driver="")
    add("everything there", "position", 2, **place, hdop=0.9, satellites=12, fix="rtk", **rest)
    samples = [{"x": -7.85, "y": 0.05, "z": 9.8}, {"x": -8.0, "y": -0.1, "z": 9.75}]
    event = {"event": "braking", "severity": 3, "duration": 850, "speed_before": 92.0, "speed_after": 31.5,
             "peak": {"x": -8.14, "y": 0.32, "z": 10.05}, "sample_rate": 100}
    add("with a trace", "harsh_event", 1, **event, trace=samples)
    add("without a trace", "harsh_event", 1, **event | {"event": "rollover"}, trace=[])
    engine = {"rpm": 1875.25, "coolant_temperature": 88, "oil_pressure": 342.5, "engine_load": 47, "fuel_level": 63.4,
              "fuel_used": 123456789012, "running_time": 1234567, "check_engine": True,
              "battery": {"voltage": 13.87, "temperature": -4, "charging": True}, "trouble_codes": ["P0301", "U0100"]}
    add("with trouble codes", "engine_health", 1, **engine)
    add("an electric vehicle", "engine_health", 1, **engine | {
        "fuel_level": None, "fuel_used": None, "trouble_codes": [], "coolant_temperature": -40,
        "battery": {"voltage": 12.0, "temperature": None, "charging": False}})
    status = {"uptime": 86400, "firmware": "4.12.0", "restart_reason": "update", "battery_voltage": 4012,
              "external_voltage": 13800, "temperature": -12.5, "network": "lte_m", "signal": -97,
              "queued_messages": 3, "free_storage": 8388608, "configuration": "00ff10ab", "last_synced_at": 1780000000000}
    add("plugged in", "device_status", 1, **status)
    add("unplugged and offline", "device_status", 1, **status | {
        "external_voltage": None, "signal": None, "network": "none", "last_synced_at": None, "configuration": ""})

    exact, vectors = vectors, []
    add("ties go up", "position", 1, **place | {"altitude": 519.25, "speed": 83.45, "heading": 0.05, "latitude": -0.00000005},
        fix="none", **rest)
    add("below a tie", "position", 1, **place | {"altitude": 519.2, "speed": 83.449, "heading": 359.94}, fix="none", **rest)
    add("within the range once rounded", "position", 1, **place | {"latitude": 90.00000004, "longitude": -180.00000005,
        "speed": -0.05}, fix="none", **rest)
    add("ties below zero", "device_status", 1, **status | {"temperature": -12.55, "last_synced_at": 1780000000500})
    add("below a tie below zero", "device_status", 1, **status | {"temperature": -12.551, "last_synced_at": 1780000000499})
    rounded, vectors = vectors, exact

    whole = bytes.fromhex(vectors[0]["hex"])

    def changed(first_bit, width, value):
        """The first vector with some bits replaced."""
        bits = "".join(format(byte, "08b") for byte in whole)
        bits = bits[:first_bit] + format(value, f"0{width}b") + bits[first_bit + width :]
        return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))

    # latitude 32, longitude 32, altitude 16, speed 12, heading 12, fix 2, ignition 1, fix_time 40, presence 1,
    # odometer 32, presence 1, length 5, text.
    refused_bodies = [{"name": name, "type": "position", "version": 1, "hex": body.hex(), "error": error}
                      for name, body, error in [
        ("empty", b"", "too_short"),
        ("last byte missing", whole[:-1], "too_short"),
        ("one byte too many", whole + b"\0", "trailing_bytes"),
        ("latitude of 90.0000001 degrees", changed(0, 32, 900000001), "out_of_range"),
        ("speed of 400.1 km/h", changed(80, 12, 4001), "out_of_range"),
        ("driver that is longer than 24 bytes", changed(181, 5, 25), "too_long"),
        ("driver that is not UTF-8", changed(186, 8, 0xFF), "bad_text")]]
    return {"bodies": vectors, "rounded": rounded, "refused": refused_bodies}


def checksums():
    inputs = [("check value", b"123456789"), ("nothing", b""), ("32 zeros", bytes(32)), ("32 ones", b"\xff" * 32),
              ("0 to 31", bytes(range(32))), ("31 to 0", bytes(range(31, -1, -1)))]
    return {"checksums": [{"name": name, "hex": data.hex(), "crc32c": f"{crc32c(data):08x}"} for name, data in inputs]}


def main():
    assert crc32c(b"123456789") == 0xE3069283
    for name, vectors in [("checksums", checksums()), ("frames", frames()), ("packages", packages()),
                          ("bodies", bodies())]:
        text = json.dumps(vectors, indent=1, ensure_ascii=False)
        (HERE / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
