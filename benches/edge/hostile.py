"""Clients that mean harm, or are broken: what comes in at a port that is open to the world.

`python3 hostile.py HOST:PORT TOKEN SECONDS` runs all kinds at once against an engine and prints what each was told. Each
kind comes from addresses of its own (127.9.kind.n), so that limits by address work as they would outside. Loopback only,
and with the lowest priority: outside they would have machines of their own.
"""

import asyncio
import collections
import json
import os
import random
import struct
import sys
import time

REFUSED, WELCOME, RECEIPT = 3, 2, 5
REASONS = {1: "bad_magic", 4: "bad_credential", 5: "too_many_connections", 6: "shutting_down", 7: "frame_too_large",
           8: "protocol_violation", 9: "hello_timeout", 10: "idle_timeout", 12: "too_many_unacknowledged",
           13: "unavailable", 14: "too_many_from_address", 15: "too_many_attempts", 16: "too_slow", 17: "not_heard"}

told = collections.defaultdict(collections.Counter)


def frame(kind, payload):
    return struct.pack(">IB", len(payload) + 1, kind) + payload


def hello(device_id, token):
    device_id, token = device_id.encode(), token.encode()
    return frame(1, b"SRGT\x01" + bytes([len(device_id)]) + device_id + struct.pack(">H", len(token)) + token)


def varint(number):
    out = b""
    while number >= 0x80:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def bomb(num_bytes):
    """A Snappy block of zeros: 64 bytes of output for each 3 bytes of input."""
    block = varint(num_bytes) + b"\x00\x00"
    left = num_bytes - 1
    while left > 0:
        length = min(64, left)
        block += bytes([(length - 1) << 2 | 2]) + struct.pack("<H", 1)
        left -= length
    return block


def package(block, package_id=1):
    return frame(4, struct.pack(">I", package_id) + block)


async def connect(target, kind, source):
    return await asyncio.open_connection(*target, local_addr=(f"127.9.{kind}.{source}", 0))


async def next_frame(reader):
    length, = struct.unpack(">I", await reader.readexactly(4))
    return await reader.readexactly(length)


async def listen(name, reader, seconds):
    """Notes what the engine says until it closes; `True` if it did."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                said = await next_frame(reader)
                if said[0] == REFUSED:
                    told[name][REASONS.get(said[1], said[1])] += 1
                elif said[0] == RECEIPT:
                    told[name][("accepted", "rejected", "retry_later")[said[5]]] += 1
    except (asyncio.IncompleteReadError, ConnectionError):
        return True
    except TimeoutError:
        return False


async def silent(target, kind, source):
    """Connects and never speaks."""
    reader, writer = await connect(target, kind, source)
    await listen("silent", reader, 3600)
    writer.close()


async def slow_hello(target, kind, source):
    """A byte of its Hello each second."""
    reader, writer = await connect(target, kind, source)
    for byte in hello("slow", "x" * 100):
        writer.write(bytes([byte]))
        if await listen("slow hello", reader, 1):
            break
    writer.close()


async def wrong_token(target, kind, source):
    """Guesses."""
    reader, writer = await connect(target, kind, source)
    writer.write(hello(f"guess-{source}", f"guess-{random.random()}"))
    await listen("wrong token", reader, 30)
    writer.close()


async def noise(target, kind, source):
    """Speaks something else."""
    reader, writer = await connect(target, kind, source)
    writer.write(random.choice([b"GET / HTTP/1.1\r\n\r\n", random.randbytes(200), b"\x16\x03\x01" + bytes(200)]))
    await listen("noise", reader, 30)
    writer.close()


async def insider(name, target, kind, source, token, act):
    """Knows the token, and means harm or is broken."""
    reader, writer = await connect(target, kind, source)
    writer.write(hello(f"{name.replace(' ', '-')}-{source}-{random.randrange(1 << 30)}", token))
    try:
        if (await next_frame(reader))[0] != WELCOME:
            return
        await act(reader, writer)
    finally:
        writer.close()


async def slow_frame(reader, writer):
    """The start of a large frame, then a byte each second."""
    writer.write(package(bytes(900_000))[:300_000])
    while not await listen("slow frame", reader, 1):
        writer.write(b"\x00")


async def giant_frame(reader, writer):
    """Claims 4 GiB."""
    writer.write(b"\xff\xff\xff\xff\x04")
    await listen("giant frame", reader, 30)


BOMB = bomb(4 << 20)


async def snappy_bomb(reader, writer):
    """Blocks of 200 kB that unfold to 4 MiB, one after the other."""
    for number in range(1000):
        writer.write(package(BOMB, number))
        await writer.drain()
        if await listen("snappy bomb", reader, 0.5):
            return


async def deaf(reader, writer):
    """Pings and does not listen."""
    reader._transport.pause_reading()
    for _ in range(1000):
        writer.write(frame(6, bytes(8)) * 1000)
        # Once nothing is taken off the socket any more, this waits.
        await asyncio.wait_for(writer.drain(), 60)


async def again(until, pause, act, *arguments):
    while time.monotonic() < until:
        try:
            await act(*arguments)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass
        await asyncio.sleep(pause * (0.5 + random.random()))


async def main(target, token, seconds):
    until = time.monotonic() + seconds
    source = lambda: random.randrange(1, 250)
    kinds = [
        (3000, 1.0, silent, 1, ()),
        (200, 1.0, slow_hello, 2, ()),
        (20, 0.2, wrong_token, 3, ()),
        (5, 0.2, noise, 4, ()),
    ]
    tasks = [again(until, pause, act, target, kind, source()) for count, pause, act, kind, _ in kinds
             for _ in range(count)]
    insiders = [("slow frame", 200, 1.0, slow_frame, 5), ("giant frame", 5, 0.5, giant_frame, 6),
                ("snappy bomb", 5, 1.0, snappy_bomb, 7), ("deaf", 20, 1.0, deaf, 8)]
    tasks += [again(until, pause, insider, name, target, kind, source(), token, act)
              for name, count, pause, act, kind in insiders for _ in range(count)]
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*tasks)
    except TimeoutError:
        pass
    print(json.dumps({name: dict(counts) for name, counts in told.items()}))


if __name__ == "__main__":
    host, port = sys.argv[1].split(":")
    if not host.startswith("127."):
        sys.exit("loopback addresses only")
    os.nice(19)
    asyncio.run(main((host, int(port)), sys.argv[2], float(sys.argv[3])))
