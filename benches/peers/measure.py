"""Kafka to Cassandra: each peer drains the same backlog into a table of its own, and keeps up with a steady load.

Called by benches/peers/run, which sets everything up. Everybody gets the same readings (benches/ceiling/generate.rs),
from the same Kafka, into the same table shape (made by `surgetank apply`) in the same Cassandra, one after the other.
What is measured is seen from outside: from the first row to the last, by polling the table.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import machine
from forms import FORMS
from servers import Servers, Table

HERE = Path(__file__).resolve().parent
POLL_S = 0.05
# This many of each partition's newest records must be rows for a backlog to be drained. In the end they are compared with
# their rows, column by column. Peers write what they have read in one go in any order, so a single one would not do.
NEWEST = 10
WARM_UP_RECORDS = 800_000
STEADY_WARM_UP_S, STEADY_S = 20, 20
PEERS = ["surgetank", "ceiling", "connect", "node", "spark"]
WARMS_UP = ("ceiling", "surgetank")
# Devices or users, and consecutive readings or events of one of them.
BACKLOGS = {"2000": (2_000, 1), "40000": (40_000, 1), "40000x10": (40_000, 10)}
# Readings per second of a steady load; none: half of what the peer reached with the backlog of as many devices.
STEADY = {"steady": None, "steady-10k": 10_000}


def say(*words):
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


class Peer:
    """One peer in one run: its keyspace, its consumer group, its process."""

    def __init__(self, args, servers, name, topic, number):
        self.name, self.args, self.servers, self.form = name, args, servers, args.format
        self.topic = f"{topic}_{self.form.READ_BY.get(name, 'json')}"
        self.keyspace = f"{topic}_{name}_{number}"
        self.directory = args.out / self.keyspace
        self.directory.mkdir(parents=True)
        self.config = self.directory / "surgetank.toml"
        text = self.form.CONFIG.read_text()
        for place, value in {
            "MESSAGES": HERE / "messages", "TOPIC": self.topic, "PARTITIONS": self.form.PARTITIONS, "BROKER": servers.broker,
            "GROUP": self.keyspace, "CASSANDRA": servers.node, "KEYSPACE": self.keyspace,
        }.items():
            text = text.replace(f"@{place}@", str(value))
        self.config.write_text(text)
        self.form.create_table(self, servers)
        self.table = Table(servers, self.keyspace, self.form)

    def command(self):
        if self.name == "surgetank":
            return [self.args.binary, "run", "--config", self.config]
        if self.name == "ceiling":
            return [self.args.ceiling, "drain", "--table", self.form.TABLE, "--broker", self.servers.broker, "--topic", self.topic,
                    "--group", self.keyspace, "--node", self.servers.node, "--keyspace", self.keyspace]
        return [HERE / self.name / "run"]

    def __enter__(self):
        env = {**os.environ, "BROKER": self.servers.broker, "CASSANDRA": self.servers.node, "JSON_TOPIC": self.topic,
               "TABLE": self.form.TABLE, "GROUP": self.keyspace, "KEYSPACE": self.keyspace, "RUN_DIR": str(self.directory)}
        self.started = time.time()
        with open(self.directory / "log", "w") as log:
            self.process = subprocess.Popen(self.command(), env=env, cwd=self.directory, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        return self

    def __exit__(self, *_):
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in reversed(machine.tree(self.process.pid)):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            try:
                self.process.wait(20)
                return
            except subprocess.TimeoutExpired:
                pass

    def check(self):
        if self.process.poll() is not None:
            raise Void(f"ended with {self.process.returncode}; see {self.directory}/log")
        if time.time() - self.started > self.args.timeout:
            raise Void(f"not finished within {self.args.timeout:.0f} s")

    def wait(self):
        """Until the table is to be asked again."""
        self.check()
        time.sleep(POLL_S)

    def cpu(self):
        """CPU seconds so far of the peer, of Cassandra and of Kafka."""
        return (machine.cpu_seconds(*machine.tree(self.process.pid)), machine.cpu_seconds(self.servers.cassandra_pid),
                machine.cpu_seconds(self.servers.kafka_pid))

    def settle(self):
        """What was read and not yet written is not to be cut off."""
        machine.wait_until_idle(self.servers.cassandra_pid, self.servers.kafka_pid)

    def peak_rss_mb(self):
        return round(machine.peak_rss_mb(machine.tree(self.process.pid)))


class Void(Exception):
    """A run that does not count, and why."""


def generate(args, servers, topic, devices, burst, records):
    create_topics(args, servers, topic)
    return args.format.generate(args, servers.broker, topic, devices, burst, records)


def create_topics(args, servers, topic):
    servers.create_topics([f"{topic}_{each}" for each in args.format.TOPICS], args.format.PARTITIONS)


def per_100k(before, after, rows):
    return [round((b - a) * 100_000 / rows, 2) for a, b in zip(before, after)]


def drain(peer, newest, records):
    """One peer and one backlog: from its first row to its last."""
    with peer:
        while peer.table.is_empty():
            peer.wait()
        first, before = time.time(), peer.cpu()
        for of_one in newest:
            while peer.table.missing(of_one[-1:]):
                peer.wait()
        left = [record for of_one in newest for record in of_one]
        while left:
            last, after = time.time(), peer.cpu()
            left = peer.table.missing(left)
            peer.check()
        rss = peer.peak_rss_mb()
        peer.settle()
    verify(peer, records, newest)
    own, database, kafka = per_100k(before, after, records)
    return {"rows_per_s": round(records / (last - first)), "cpu_s_per_100k": own, "db_cpu_s_per_100k": database,
            "kafka_cpu_s_per_100k": kafka, "peak_rss_mb": rss, "rows_ok": True, "records": records,
            "seconds": round(last - first, 2), "first_row_after_s": round(first - peer.started, 2)}


def verify(peer, records, newest):
    """Counts the rows, and compares the newest records with theirs."""
    rows = peer.servers.count_rows(peer.keyspace, peer.form)
    if rows != records:
        raise Void(f"{rows} rows of {records}")
    for record in (record for of_one in newest for record in of_one):
        if difference := peer.table.differs(record):
            raise Void(f"{peer.form.key(record)}: {difference}")


def keep_up(args, peer, rate):
    """One peer and a steady load: how long a record takes to be a row."""
    command = [args.ceiling, "follow", "--broker", peer.servers.broker, "--topic", peer.topic,
               "--format", peer.form.READ_BY.get(peer.name, "json"), "--partitions", str(peer.form.PARTITIONS), "--messages", HERE / "messages",
               "--node", peer.servers.node, "--keyspace", peer.keyspace, "--devices", str(BACKLOGS["2000"][0]),
               "--rate", str(rate), "--warm-up", str(STEADY_WARM_UP_S), "--seconds", str(STEADY_S)]
    with peer, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        try:
            if "measuring" not in follower.stdout.readline():
                raise Void("the load ended early")
            began, before = time.time(), peer.cpu()
            peer.check()
            if "made" not in follower.stdout.readline():
                raise Void("the load ended early")
            seconds, after = time.time() - began, peer.cpu()
            found = json.loads(follower.stdout.readline())
            rss = peer.peak_rss_mb()
            peer.settle()
        finally:
            follower.kill()
    if found["unseen"]:
        raise Void(f"{found['unseen']} of {found['samples']} sampled rows were not seen")
    verify(peer, found["sent"], [])
    own, database, kafka = per_100k(before, after, rate * seconds)
    return {"rows_per_s": rate, "cpu_s_per_100k": own, "db_cpu_s_per_100k": database, "kafka_cpu_s_per_100k": kafka,
            "peak_rss_mb": rss, "rows_ok": True, "records": found["sent"], **{k: found[k] for k in ("p50_ms", "p99_ms", "p999_ms")}}


class Run:
    """All that is measured by one command."""

    def __init__(self, args, servers):
        self.args, self.servers = args, servers
        self.topic_prefix = f"peers{random.randrange(10**6)}"
        self.number = 0
        self.facts = {"commit": args.commit, "commitlog_sync": servers.commitlog_sync()}

    def report(self, peer, shape, found):
        shape = self.args.format.PREFIX + shape
        line = {"peer": peer, "shape": shape, "table": self.args.format.TABLE, **found, **self.facts}
        with open(self.args.json, "a") as file:
            file.write(json.dumps(line) + "\n")
        if "missing" in found or "void" in found:
            shown = f"missing: {found['missing']}" if "missing" in found else f"void: {found['void']}"
        else:
            shown = (f"{found['rows_per_s']:9,} rows/s  CPU s/100k {found['cpu_s_per_100k']:6.2f}  database "
                     f"{found['db_cpu_s_per_100k']:6.2f}  {found['peak_rss_mb']:6,} MB")
            if "p99_ms" in found:
                shown += f"  to row p50 {found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms"
        print(f"{shape:13} {peer:10} {shown}", flush=True)

    def measure(self, name, shape, topic, work):
        if name in self.args.missing:
            return self.report(name, shape, {"missing": self.args.missing[name]})
        self.number += 1
        peer = Peer(self.args, self.servers, name, topic, self.number)
        try:
            if not machine.wait_until_idle(self.servers.cassandra_pid, self.servers.kafka_pid):
                say("the servers have not come to rest")
            self.report(name, shape, work(peer))
        except Void as void:
            self.report(name, shape, {"void": str(void), "rows_ok": False})
        finally:
            self.servers.drop_keyspace(peer.keyspace)

    def warm_up(self):
        """Neither server is measured cold: rows in groups and rows alone, thrown away afterwards, with either form of the
        statement, because Surgetank's has a timestamp and what Cassandra has compiled for one does not serve the other."""
        say("warming up")
        for shape, records in (("2000", self.args.warm_up), ("40000", self.args.warm_up // 8)):
            topic = f"{self.topic_prefix}_warm_{shape}"
            generate(self.args, self.servers, topic, *BACKLOGS[shape], records)
            newest = self.servers.last_records(f"{topic}_json", self.args.format.PARTITIONS, NEWEST)
            for name in WARMS_UP:
                peer = Peer(self.args, self.servers, name, topic, 0)
                try:
                    drain(peer, newest, records)
                finally:
                    self.servers.drop_keyspace(peer.keyspace)
            self.servers.delete_topics(f"{topic}_")

    def backlog(self, shape):
        topic, records = f"{self.topic_prefix}_{shape}", self.args.records
        made = generate(self.args, self.servers, topic, *BACKLOGS[shape], records)
        sizes = ", ".join(f"{made[f'{each}_bytes']} bytes as {each}" for each in self.args.format.TOPICS)
        say(f"{shape}: {records} records, {sizes}")
        newest = self.servers.last_records(f"{topic}_json", self.args.format.PARTITIONS, NEWEST)
        for number in range(self.args.repeat):
            # There and back: who comes later finds warmer servers.
            for name in self.args.peers[:: -1 if number % 2 else 1]:
                self.measure(name, shape, topic, lambda peer: drain(peer, newest, records))
        self.servers.delete_topics(f"{topic}_")

    def steady(self, shape):
        for name in self.args.peers:
            rate = STEADY[shape] or half_of_capacity(self.args.json, name)
            if not rate:
                self.report(name, shape, {"missing": "what it can do is not known: measure the shape 2000 first"})
                continue
            topic = f"{self.topic_prefix}_{shape.replace('-', '_')}_{name}"
            create_topics(self.args, self.servers, topic)
            self.measure(name, shape, topic, lambda peer: keep_up(self.args, peer, rate))
            self.servers.delete_topics(f"{topic}_")


def half_of_capacity(file, name):
    """Half of what the peer reached with the backlog of 2,000 devices, by the lines of this run and of earlier ones."""
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    reached = sorted(line["rows_per_s"] for line in lines if line["peer"] == name and line["shape"] == "2000" and line.get("rows_ok"))
    return reached[len(reached) // 2] // 2 if reached else 0


def parse():
    parser = argparse.ArgumentParser(prog="benches/peers/run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    shapes = [*BACKLOGS, *STEADY]
    parser.add_argument("--format", choices=FORMS, default="avro", help="what is moved: the engine's own records, or JSON of others")
    parser.add_argument("--shapes", type=lambda text: text.split(","), help=f"of {','.join(shapes)}; --format json has the backlogs only")
    parser.add_argument("--peers", type=lambda text: text.split(","), default=PEERS, help=f"of {','.join(PEERS)}")
    parser.add_argument("--records", type=int, default=1_000_000, help="in each backlog")
    parser.add_argument("--warm-up", type=int, default=WARM_UP_RECORDS, help="records with which the servers are warmed up; 0: none")
    parser.add_argument("--repeat", type=int, default=1, help="how often each backlog is drained by everybody")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one backlog")
    parser.add_argument("--json", type=Path, help="append a line for each run to this file, not to one in --out")
    parser.add_argument("--out", type=Path, required=True, help="directory of logs")
    parser.add_argument("--binary", type=Path, required=True, help="the surgetank to measure")
    parser.add_argument("--ceiling", type=Path, required=True, help="the bench target ceiling, built")
    parser.add_argument("--missing", action="append", default=[], metavar="PEER=REASON")
    args = parser.parse_args()
    args.format = FORMS[args.format]
    shapes = shapes if args.format is FORMS["avro"] else list(BACKLOGS)
    args.shapes = args.shapes or shapes
    args.missing = dict(one.split("=", 1) for one in args.missing)
    args.json = args.json or args.out / "runs.jsonl"
    for asked, known in ((args.shapes, shapes), (args.peers, PEERS)):
        if unknown := set(asked) - set(known):
            parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    version = subprocess.run([args.binary, "--version"], check=True, capture_output=True, text=True).stdout
    args.commit = version[version.index("(") + 1 : version.index(")")]
    return args


def main():
    args = parse()
    # What is running then is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    servers = Servers()
    run = Run(args, servers)
    say(f"surgetank {args.commit}; Cassandra with commitlog_sync {run.facts['commitlog_sync']}; logs are in {args.out}")
    if args.warm_up:
        run.warm_up()
    for shape in args.shapes:
        if shape in STEADY:
            run.steady(shape)
        else:
            run.backlog(shape)


if __name__ == "__main__":
    main()
