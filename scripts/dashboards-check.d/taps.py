"""Proxies on the way of devices and of Cassandra, that count what passes. What they count is what the metrics are compared
with; the proxy of Cassandra also gives answers of its own, so that writes fail for a reason and as often as we say."""

import socket
import struct
import threading
import time
from collections import Counter

PACKAGE, RECEIPT = 4, 5  # kinds of frames, docs/protocol.md
WHOLE_REJECTED, WHOLE_RETRY_LATER = 1, 2  # status of a receipt; 0: by message
OUTCOMES = {1: "duplicate", 2: "rejected", 3: "retry_later"}
ERROR, QUERY_RESULT, PREPARE, EXECUTE, BATCH = 0x00, 0x08, 0x09, 0x0A, 0x0D  # opcodes of CQL's native protocol
PREPARED_RESULT = 4
# Errors of CQL: code, and what follows the message.
ERRORS = {"overloaded": (0x1001, b""), "unavailable": (0x1000, struct.pack(">Hii", 6, 2, 1))}


class Tap:
    """Accepts connections and passes them on to `target`. What comes is cut into frames, each shown to the subclass."""

    HEADER = 0  # bytes from which the length of the rest is known

    def __init__(self, target):
        self.target = (target.rsplit(":", 1)[0], int(target.rsplit(":", 1)[1]))
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            try:
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            link = object()
            for source, sink, see in ((client, server, self.request), (server, client, self.answer)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.carry, args=(source, sink, see, link), daemon=True).start()

    def carry(self, source, sink, see, link):
        buffer = bytearray()
        try:
            while data := source.recv(1 << 16):
                buffer += data
                while len(buffer) >= self.HEADER and len(buffer) >= (length := self.length(buffer)):
                    frame = bytes(buffer[:length])
                    del buffer[:length]
                    with self.lock:
                        own = see(frame, link)
                    if own is None:
                        sink.sendall(frame)
                    else:
                        source.sendall(own)
        except OSError:
            pass
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class DeviceTap(Tap):
    """Counts packages, their bytes and the outcomes that devices are told."""

    HEADER = 4

    def __init__(self, target):
        self.bytes, self.packages, self.messages = 0, Counter(), Counter()
        super().__init__(target)

    @staticmethod
    def length(buffer):
        return 4 + int.from_bytes(buffer[:4], "big")

    def request(self, frame, _link):
        if frame[4] == PACKAGE:
            self.bytes += len(frame) - 9  # without length, kind and package id

    def answer(self, frame, _link):
        if frame[4] != RECEIPT:
            return
        status, num_messages, num_exceptions = frame[9], *struct.unpack(">HH", frame[15:19])
        outcomes = Counter()
        if status == 0:
            for at in range(num_exceptions):
                outcomes[OUTCOMES[frame[19 + 4 * at + 2]]] += 1
            outcomes["accepted"] = num_messages - num_exceptions
        else:
            outcomes["rejected" if status == WHOLE_REJECTED else "retry_later"] = 1
        self.messages += outcomes
        worst = next((each for each in ("retry_later", "rejected") if outcomes[each]), "accepted")
        self.packages[worst] += 1


class CassandraTap(Tap):
    """Counts the writes of one table: requests with a statement that was prepared as an INSERT into it."""

    HEADER = 9

    def __init__(self, target, table):
        self.table = table
        self.preparing, self.statements = {}, set()
        self.open, self.took, self.num_writes = {}, [], 0
        self.to_refuse, self.refused = [], Counter()
        super().__init__(target)

    @staticmethod
    def length(buffer):
        return 9 + int.from_bytes(buffer[5:9], "big")

    def refuse(self, reason, count):
        """The next writes get this error instead of an answer of the database."""
        with self.lock:
            self.to_refuse += [reason] * count

    def request(self, frame, link):
        key, opcode, body = (link, frame[2:4]), frame[4], frame[9:]
        if opcode == PREPARE:
            text = body[4 : 4 + int.from_bytes(body[:4], "big")].decode()
            if text.upper().startswith("INSERT INTO") and self.table in text:
                self.preparing[key] = text
        if not self.is_write(opcode, body):
            return None
        self.num_writes += 1
        if self.to_refuse:
            reason = self.to_refuse.pop(0)
            self.refused[reason] += 1
            code, rest = ERRORS[reason]
            message = b"refused by the test"
            error = struct.pack(">iH", code, len(message)) + message + rest
            return bytes([frame[0] | 0x80, 0]) + frame[2:4] + bytes([ERROR]) + struct.pack(">i", len(error)) + error
        self.open[key] = time.monotonic()
        return None

    def is_write(self, opcode, body):
        if opcode == EXECUTE:
            return body[2 : 2 + int.from_bytes(body[:2], "big")] in self.statements
        # Type, number, and of the first statement: its kind (1: prepared) and its id.
        return opcode == BATCH and body[3] == 1 and body[6 : 6 + int.from_bytes(body[4:6], "big")] in self.statements

    def answer(self, frame, link):
        key, opcode, body = (link, frame[2:4]), frame[4], frame[9:]
        if self.preparing.pop(key, None) and opcode == QUERY_RESULT and body[:4] == PREPARED_RESULT.to_bytes(4, "big"):
            self.statements.add(body[6 : 6 + int.from_bytes(body[4:6], "big")])
        started = self.open.pop(key, None)
        if started is not None and opcode == QUERY_RESULT:
            self.took.append(time.monotonic() - started)

    def unanswered(self, limit):
        """Writes that had no answer after so many seconds."""
        return self.num_writes - sum(self.refused.values()) - sum(took <= limit for took in self.took)
