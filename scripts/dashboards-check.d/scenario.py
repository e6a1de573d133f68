"""The run that Prometheus watches: a quiet start, answers of many kinds, devices, a surge, a frozen database, poison, a
reload. Counts itself what it sends and finds, so that the metrics can be compared with it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from engine import events, get

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "vectors"))
from generate import message, snappy  # noqa: E402

SERVICES = os.environ.get("SURGETANK_TEST_SERVICES", str(Path(__file__).resolve().parents[1] / "services"))
PANICS_IN_BATCH = 3  # of the batches that come one after the other at the start, see `one_by_one`
REFUSALS = {"overloaded": 3, "unavailable": 2}  # writes that Cassandra seems to refuse, see `CassandraTap`
REQUEST_TIMEOUT = 2  # s, store.cassandra.request_timeout of the engine
FAILPOINTS = f"writer={PANICS_IN_BATCH - 1}*off->1*panic->off"
NUM_DEVICES = 20
PACKAGE = "application/vnd.surgetank.package"
NDJSON = "application/x-ndjson"
VALUE_BODY = bytes(8)  # the field of type `reading` as devices send it


class Scenario:
    def __init__(self, prometheus, engine, embedded, taps, cql, kafka, name, size=1):
        """taps: a DeviceTap and a CassandraTap of `engine`. cql: a session. kafka: a function that makes a producer and one
        that tells ends of topics. size: how large the surges are, and how long the freeze; 1 for the check."""
        self.prometheus, self.engine, self.embedded = prometheus, engine, embedded
        self.devices_tap, self.cassandra_tap = taps
        self.cql, self.kafka, self.name, self.size = cql, kafka, name, size
        self.sent = Counter()  # what was made from outside: by metric and labels, as PromQL writes them
        self.next_event = 1
        self.marks = {}  # when what happened, for the comparison and for pictures
        self.accepted_by_devices = 0

    # === What is sent ===

    def events(self, count):
        """Sends events in one request; all of them are to be accepted."""
        body = events(self.next_event, count)
        self.next_event += count
        deadline = time.monotonic() + 60
        while True:
            status, answer = self.post("/v1/events/reading", body, NDJSON, "events")
            if status == 200 and json.loads(answer).get("accepted") == count:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count} events are not accepted: {status} {answer[:300]}")
            time.sleep(0.5)
        self.count("surgetank_messages_total", outcome="accepted", by=count)
        self.count("surgetank_packages_total", outcome="accepted")  # shorter than ingest.piece: one chunk

    def post(self, path, body, content_type, endpoint, device=None):
        status, answer = self.engine.post(path, body, content_type, device)
        self.count("surgetank_ingest_requests_total", endpoint=endpoint, status=status)
        if status in (200, 400, 422):  # the others are refused before their body is read
            self.count("surgetank_received_bytes_total", source="http", by=len(body))
        return status, answer

    def count(self, metric, by=1, **labels):
        written = ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
        self.sent[f"{metric}{{{written}}}" if written else metric] += by

    def rows(self):
        return self.engine.get("/histograms")["counters"]["rows"]

    def dropped(self):
        return sum(partition["num_dropped"] for partition in self.engine.get("/gate")["partitions"].values())

    def wait(self, what, condition, seconds=60):
        self.prometheus.wait_for(what, condition, seconds)

    def mark(self, name):
        self.marks[name] = time.time()
        print(f"  {name}", flush=True)

    def rest(self):
        """So that a picture shows one thing after the other. The check itself has no time for it."""
        time.sleep(8 * (self.size - 1))

    # === The parts of the run ===

    def one_by_one(self):
        """Batches that come one after the other; the writer panics when it gets one of them, before anything of it is
        written."""
        self.mark("an actor fails")
        for at in range(1, PANICS_IN_BATCH + 2):
            self.events(1)
            self.wait("a row", lambda: self.rows() == at)
        self.count("surgetank_actor_restarts_total", group="writer")
        self.count("surgetank_actor_panics_total", group="writer")

    def answers(self):
        """Requests that are answered in many ways."""
        self.mark("requests of many kinds")
        for path, body, content_type in (
            ("/v1/events/reading", b"{", "application/json"),
            ("/v1/events/nothing", b"{}", "application/json"),
            ("/v1/events/reading", b"x", "text/plain"),
        ):
            for _ in range(2):
                status, answer = self.post(path, body, content_type, "events")
                assert 400 <= status < 500, (path, status, answer)
        status, _ = get(f"http://127.0.0.1:{self.engine.ports['ingest']}/openapi.json")
        self.count("surgetank_ingest_requests_total", endpoint="other", status=status)

    def poison(self):
        """Packages with a message whose checksum is wrong, and records in the topic that nobody can read."""
        self.mark("poison")
        now_ms, num_packages = int(time.time() * 1000), 3
        for at in range(num_packages):
            good = message(900, 1, at, now_ms, VALUE_BODY)
            bad = message(900, 1, 1000 + at, now_ms, VALUE_BODY, crc_error=1)
            body = snappy(b"\0\2" + good + bad)
            status, answer = self.post("/v1/packages", body, PACKAGE, "packages", f"poison-{at}")
            assert json.loads(answer).get("accepted") == 1, (status, answer)
            self.count("surgetank_messages_total", outcome="accepted")
            self.count("surgetank_messages_total", outcome="rejected")
            self.count("surgetank_packages_total", outcome="rejected")
            self.count("surgetank_dead_letters_total", reason="bad_checksum")
        twice = message(900, 1, 2000, now_ms, VALUE_BODY)
        for body, outcomes, outcome in (
            (snappy(b"\0\2" + twice + twice), ("accepted", "duplicate"), "accepted"),
            (b"\xff no snappy", ("rejected",), "rejected"),
        ):
            status, _ = self.post("/v1/packages", body, PACKAGE, "packages", "poison-twice")
            assert (status == 200) == (outcome == "accepted"), status
            for each in outcomes:
                self.count("surgetank_messages_total", outcome=each)
            self.count("surgetank_packages_total", outcome=outcome)
        self.count("surgetank_dead_letters_total", reason="bad_snappy")
        num_junk = 5
        producer = self.kafka.producer()
        for at in range(num_junk):
            producer.produce(self.name, b"no record", key=b"junk")
        assert producer.flush(20) == 0
        self.count("surgetank_dead_letters_total", reason="not_a_record", by=num_junk)
        self.num_junk = num_junk

    def devices(self):
        """Devices that send for the rest of the run. Their simulator says what was acknowledged."""
        seconds = int(20 * self.size + 24 * (self.size - 1))
        return subprocess.Popen(
            [self.engine.process.args[0], "simulate", "--target", self.devices_tap.address,
             "--devices", str(NUM_DEVICES), "--rate", "200", "--seconds", str(seconds), "--package-size", "10",
             "--messages", str(self.engine.directory / "messages"), "--json"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )

    def surge(self):
        self.mark("surge")
        for reason, count in REFUSALS.items():
            self.cassandra_tap.refuse(reason, count)
            self.count("surgetank_store_write_retries_total", reason=reason, by=count)
        for _ in range(int(6 * self.size)):
            self.events(1000)

    def freeze(self):
        """The database does not answer, while events go on coming."""
        self.mark("Cassandra is frozen")
        subprocess.run([SERVICES, "pause", "cassandra"], check=True)
        try:
            frozen_at = time.time()
            for _ in range(int(3 * self.size)):
                self.events(1000)
            self.wait("a paused partition", lambda: (self.prometheus.number("surgetank_gate_paused_partitions") or 0) > 0, 30)
            self.wait("a write that times out", lambda: self.dropped() > 0, 30)
            while time.time() < frozen_at + 8 * self.size:
                self.events(50)
                time.sleep(0.5)
        finally:
            self.mark("Cassandra goes on")
            subprocess.run([SERVICES, "resume", "cassandra"], check=True)

    def reload(self):
        """One config that is taken over and one that is not."""
        self.mark("reloads")
        good = self.engine.config.read_text()
        for text, outcome in ((good.replace('"500 ms"', '"600 ms"'), "ok"), (good + "\n[gate]\nmax_writs = 1\n", "error")):
            self.engine.config.write_text(text)
            self.engine.process.send_signal(signal.SIGHUP)
            self.wait(f"a reload that ends as {outcome}",
                      lambda: (self.engine.get("/health/reload")["last"] or {}).get("outcome") == outcome, 30)
            self.count("surgetank_reloads_total", outcome=outcome)

    def finish(self, devices):
        """Waits until everything is settled, and counts what came out."""
        outcome, tap = json.loads(devices.communicate(timeout=120)[0]), self.devices_tap
        assert outcome["acked"] == tap.messages["accepted"], f"{outcome}, but the receipts said {tap.messages}"
        for each in ("accepted", "duplicate", "rejected", "retry_later"):
            self.count("surgetank_messages_total", outcome=each, by=tap.messages[each])
        for each in ("accepted", "rejected", "retry_later"):
            self.count("surgetank_packages_total", outcome=each, by=tap.packages[each])
        self.count("surgetank_received_bytes_total", source="devices", by=tap.bytes)
        self.count("surgetank_connections_opened_total", by=NUM_DEVICES + outcome["reconnects"])
        accepted = self.sent['surgetank_messages_total{outcome="accepted"}']
        self.wait("no lag", lambda: self.prometheus.number(f'surgetank_consumer_lag_records{{topic="{self.name}"}}') == 0, 120)
        self.wait("all rows", lambda: self.rows() >= accepted, 60)
        num_letters = sum(by for what, by in self.sent.items() if what.startswith("surgetank_dead_letters_total"))
        self.wait("all dead letters", lambda: self.kafka.records(f"{self.name}-dead") >= num_letters, 60)
        self.count("surgetank_store_rows_total", table="reading", by=self.cql.execute("SELECT count(*) FROM reading").one()[0])
        self.count("surgetank_log_appended_records_total", topic=self.name, by=self.kafka.records(self.name) - self.num_junk)
        paused = re.findall("partition paused", Path(self.engine.log.name).read_text())
        self.count("surgetank_gate_pauses_total", by=len(paused))
        # Until Prometheus has scraped what there is now.
        time.sleep(3)
        self.mark("counted")
        self.counted = Counter(self.sent)
        writes = self.cassandra_tap
        assert writes.refused == REFUSALS, f"refused writes: {writes.refused}"
        self.num_writes = writes.num_writes
        # Of those whose answer came just when the engine gave them up, nobody outside knows.
        self.timeouts = writes.unanswered(REQUEST_TIMEOUT + 0.3), writes.unanswered(REQUEST_TIMEOUT - 0.3)

    def run(self):
        self.mark("start")
        self.embedded.post("/v1/events/reading", events(1, 200), NDJSON)
        self.one_by_one()
        self.answers()
        devices = self.devices()
        try:
            self.rest()
            self.surge()
            self.rest()
            self.freeze()
            self.rest()
            self.poison()
            self.reload()
            self.finish(devices)
        finally:
            devices.kill()
        self.mark("end")

    def kill_a_pod(self, start):
        """A second pod joins, and the one that leads the fleet is killed under load: the other gets its partitions, with
        what it has not done, and the lead."""
        self.mark("a second pod joins")
        pod = start()
        pods = [self.engine, pod]
        try:
            self.wait("the second pod", pod.is_ready, 60)
            self.prometheus.scrape_also([pod.address])
            self.wait("partitions of both", lambda: [self.partitions(each) for each in pods] == [2, 2], 60)
            self.wait("one leader", lambda: sorted(self.of(each, "surgetank_fleet_leader") for each in pods) == [0, 1], 60)
            self.wait("a budget that both share", lambda: self.is_shared(pods), 60)
            self.events(1000)
            killed = max(pods, key=lambda each: self.of(each, "surgetank_fleet_leader"))
            self.engine = left = next(each for each in pods if each is not killed)
            self.mark("the leader is killed")
            killed.process.kill()
            killed.process.wait()
            for _ in range(int(4 * self.size)):
                self.events(500)
                time.sleep(0.5)
            self.wait("an end of the killed pod's series", lambda: self.series(killed) == 0, 20)
            self.wait("all partitions", lambda: self.partitions(left) == 4, 60)
            self.mark("all partitions are with the other")
            self.wait("the lead", lambda: self.of(left, "surgetank_fleet_leader") == 1, 60)
            self.wait("a budget of one pod", lambda: self.is_shared([left]), 60)
            self.wait("no lag", lambda: self.of(left, "surgetank_consumer_lag_records") == 0, 120)
        finally:
            pod.process.kill()
        num_rows = self.cql.execute("SELECT count(*) FROM reading").one()[0]
        accepted = self.sent['surgetank_messages_total{outcome="accepted"}']
        assert num_rows == accepted, f"{num_rows} rows, {accepted} accepted messages"
        self.mark("end")

    def of(self, pod, metric):
        """The sum of a metric's series of one pod."""
        return self.prometheus.number(f'{metric}{{instance="{pod.address}"}}')

    def partitions(self, pod):
        """How many partitions a pod consumes, as its series say."""
        of_topic = f'surgetank_consumer_lag_records{{instance="{pod.address}", topic="{self.name}"}}'
        return self.prometheus.number(f"count({of_topic})") or 0

    def series(self, pod):
        """How many series of the engine a pod has at present."""
        return self.prometheus.number(f'count({{instance="{pod.address}", __name__=~"surgetank_.+"}})') or 0

    def is_shared(self, pods):
        """Whether all pods know of one another, and what each may write is what all may write together."""
        shares = sum(self.of(each, "surgetank_fleet_share_writes") for each in pods)
        budgets = {self.of(each, "surgetank_fleet_budget_writes") for each in pods}
        return all(self.of(each, "surgetank_fleet_pods") == len(pods) for each in pods) and budgets == {shares}
