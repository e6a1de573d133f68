"""Runs the same backlog through the same disturbed database with each form of the gate, and draws what happened.

Every form reads the same Kafka topic from its start with a consumer group of its own and writes into a keyspace of its
own. Phases, each of the same length: quiet, 20 ms more latency, 1 MB/s of bandwidth, frozen (15 s, or three quarters of it), quiet,
another load on the same database, quiet. An independent client writes and reads one row every 20 ms, past the proxy.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from cassandra.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
LOGS = Path(tempfile.mkdtemp(prefix="surgetank-backpressure-logs."))
PHASES = ["quiet", "latency", "bandwidth", "frozen", "recovery", "competing", "calm"]
TOPICS = """
[topics.{name}]
partitions = 8
types = ["*"]

[dead_letter]
topic = "{name}-dead"
"""
NO_LIMIT = {"SURGETANK__GATE__LIMITER": "fixed", "SURGETANK__GATE__MAX_WRITES": "65536", "SURGETANK__GATE__MAX_LATENCY": "1 min",
            "SURGETANK__GATE__STOP_READING_ABOVE": "1 min", "SURGETANK__GATE__PAUSE_AFTER": "10 min"}
FORMS = {
    "adaptive": {},
    "fixed": {"SURGETANK__GATE__LIMITER": "fixed", "SURGETANK__GATE__MAX_WRITES": "500"},
    "no limit": NO_LIMIT,
}


def say(*words):
    print(time.strftime("%H:%M:%S"), *words, flush=True)


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return json.load(answer)


def services(*words):
    subprocess.run([ROOT / "scripts/services", *words], check=True, capture_output=True)


def wait_for(what, look, seconds=60):
    deadline = time.time() + seconds
    while time.time() < deadline:
        try:
            if look():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"waited in vain: {what}; the logs are in {LOGS}")


class Proxy:
    """Toxiproxy in front of Cassandra."""

    def __init__(self, binary, port, upstream):
        self.api = f"http://127.0.0.1:{port + 1}"
        self.process = subprocess.Popen([binary, "-port", str(port + 1)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("toxiproxy", lambda: self.call("GET", "/version") is not None)
        self.call("POST", "/proxies", {"name": "cassandra", "listen": f"127.0.0.1:{port}", "upstream": upstream})

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.api + path, method=method, data=json.dumps(body).encode() if body else None)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.read()

    def add(self, kind, **attributes):
        self.call("POST", "/proxies/cassandra/toxics", {"name": kind, "type": kind, "stream": "upstream", "attributes": attributes})

    def remove(self, kind):
        self.call("DELETE", f"/proxies/cassandra/toxics/{kind}")


class Probe(threading.Thread):
    """An independent writer and reader of the same database, and the competing load."""

    def __init__(self, session):
        super().__init__(daemon=True)
        self.session, self.samples, self.ended, self.competing = session, [], False, threading.Event()
        session.execute("CREATE KEYSPACE IF NOT EXISTS probe WITH replication={'class':'SimpleStrategy','replication_factor':1}")
        session.execute("CREATE TABLE IF NOT EXISTS probe.rows (id int PRIMARY KEY, body text)")
        self.write = session.prepare("INSERT INTO probe.rows (id, body) VALUES (?, ?)")
        self.read = session.prepare("SELECT body FROM probe.rows WHERE id = ?")
        threading.Thread(target=self.compete, daemon=True).start()

    def run(self):
        while not self.ended:
            began = time.time()
            number = random.randrange(10_000)
            try:
                self.session.execute(self.write, (number, "x" * 100), timeout=30)
                self.session.execute(self.read, (number,), timeout=30)
            except Exception:
                pass
            self.samples.append((began, (time.time() - began) * 1000))
            time.sleep(max(0.0, 0.02 - (time.time() - began)))

    def compete(self):
        while True:
            self.competing.wait()
            asked = [self.session.execute_async(self.write, (random.randrange(1_000_000), "y" * 200)) for _ in range(64)]
            for one in asked:
                try:
                    one.result()
                except Exception:
                    pass

    def p99(self, since, until):
        took = sorted(ms for at, ms in self.samples if since <= at < until)
        return took[int(len(took) * 0.99)] if took else None


def dropped_by_server():
    """Mutations that Cassandra dropped, as its own tool tells."""
    found = subprocess.run([ROOT / "scripts/services", "nodetool", "tpstats"], capture_output=True, text=True).stdout
    return sum(int(line.split()[1]) for line in found.splitlines() if line.startswith("MUTATION_REQ"))


def engine(args, env, directory, log):
    return subprocess.Popen([args.binary, "run", "--config", args.config], stderr=open(log, "w"),
                            env={**os.environ, **env, "SURGETANK__DATA_DIR": str(directory)})


def fill(args, common, directory):
    """Puts the backlog into Kafka; the rows go into a throw-away SQLite meanwhile."""
    port = args.port + 10
    env = {**common, "SURGETANK__STORE__KIND": "embedded", "SURGETANK__LOG__KAFKA__GROUP": f"{args.name}-fill",
           "SURGETANK__DEVICES__LISTEN": f"127.0.0.1:{port}", "SURGETANK__HTTP__LISTEN": f"127.0.0.1:{port + 1}", "SURGETANK__INGEST__LISTEN": ""}
    process = engine(args, env, directory / "fill", LOGS / "fill.log")
    wait_for("the engine that fills the log", lambda: get(port + 1, "/health/ready")["ready"])
    rate = 100_000
    subprocess.run([args.binary, "simulate", "--target", f"127.0.0.1:{port}", "--devices", "2000", "--rate", str(rate),
                    "--seconds", str(max(1, args.records // rate)), "--package-size", "10"], check=True, capture_output=True)
    accepted = get(port + 1, "/histograms")["counters"]["accepted"]
    process.kill()
    process.wait()
    return accepted


def run_form(args, form, common, directory, proxy, probe):
    keyspace = f"{args.name}_{form.replace(' ', '_')}"
    port = args.port + 20
    env = {**common, **FORMS[form], "SURGETANK__LOG__KAFKA__GROUP": keyspace, "SURGETANK__STORE__CASSANDRA__KEYSPACE": keyspace,
           "SURGETANK__STORE__CASSANDRA__NODES": f"127.0.0.1:{args.port}", "SURGETANK__STORE__CASSANDRA__REQUEST_TIMEOUT": "5 s",
           "SURGETANK__DEVICES__LISTEN": f"127.0.0.1:{port}", "SURGETANK__HTTP__LISTEN": f"127.0.0.1:{port + 1}", "SURGETANK__INGEST__LISTEN": ""}
    dropped_before = dropped_by_server()
    process = engine(args, env, directory / keyspace, LOGS / f"{keyspace}.log")
    wait_for(f"the engine ({form})", lambda: get(port + 1, "/health/ready")["ready"])
    began, phases, samples = time.time(), [], []

    def sample():
        at = time.time()
        counters, gate = get(port + 1, "/histograms"), get(port + 1, "/gate")
        rss = next(int(line.split()[1]) for line in open(f"/proc/{process.pid}/status") if line.startswith("VmRSS"))
        newest = gate["recent"][0] if gate["recent"] else {"write_us": {"p99": 0}}
        samples.append({"at": at - began, "rows": counters["counters"]["rows"], "retries": counters["counters"]["write_retries"],
                        "lag": sum(lag or 0 for lag in counters["lag_records"].values()), "limit": gate["limit"],
                        "in_flight": gate["num_in_flight"], "write_p99_ms": newest["write_us"]["p99"] / 1000, "rss_mb": rss / 1024,
                        "paused": sum(of["state"] == "paused" for of in gate["partitions"].values())})

    def during(phase):
        entered, rows = time.time(), samples[-1]["rows"] if samples else 0
        if phase == "latency":
            proxy.add("latency", latency=20, jitter=2)
        elif phase == "bandwidth":
            proxy.add("bandwidth", rate=1000)
        elif phase == "frozen":
            services("pause", "cassandra")
        elif phase == "competing":
            probe.competing.set()
        thawed = phase != "frozen"
        while time.time() - entered < args.phase:
            sample()
            if not thawed and time.time() - entered >= min(15, args.phase * 0.75):
                services("resume", "cassandra")
                thawed = True
            time.sleep(max(0.0, 0.5 - (time.time() - began) % 0.5))
        if phase in ("latency", "bandwidth"):
            proxy.remove(phase)
        probe.competing.clear()
        left = time.time()
        phases.append({"phase": phase, "from": entered - began, "to": left - began,
                       "rows_per_s": round((samples[-1]["rows"] - rows) / (left - entered)),
                       "probe_p99_ms": probe.p99(entered, left)})
        say(f"{form:9} {phase:10} {phases[-1]['rows_per_s']:7} rows/s, probe p99 {phases[-1]['probe_p99_ms'] or 0:7.1f} ms, "
            f"limit {samples[-1]['limit']}, lag {samples[-1]['lag']}")

    for phase in PHASES:
        during(phase)
    wait_for("every partition to be read", lambda: all(of["state"] == "open" for of in get(port + 1, "/gate")["partitions"].values()), 60)
    found = {"form": form, "phases": phases, "samples": samples, "rows": samples[-1]["rows"],
             "client_retries": samples[-1]["retries"], "server_dropped": dropped_by_server() - dropped_before,
             "peak_rss_mb": round(max(of["rss_mb"] for of in samples)),
             "probe_p99_ms": probe.p99(began, time.time())}
    process.send_signal(signal.SIGTERM)
    found["exit"] = process.wait(timeout=120)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--phase", type=float, default=20, help="seconds of each phase")
    parser.add_argument("--binary", default=ROOT / "target/release/surgetank")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/img")
    parser.add_argument("--toxiproxy", required=True)
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS))
    args = parser.parse_args()
    args.port, args.name = random.randrange(20_000, 28_000), f"bp{int(time.time())}"
    common = {"SURGETANK__LOG__KAFKA__SCHEMA_TOPIC": f"{args.name}-schemas", "SURGETANK__LOG__KAFKA__INSTANCE_ID": ""}
    cluster = Cluster(["127.0.0.1"])
    session = cluster.connect()
    probe = Probe(session)
    probe.start()
    with tempfile.TemporaryDirectory(prefix="surgetank-backpressure.") as directory:
        directory = Path(directory)
        args.config = directory / "surgetank.toml"
        args.config.write_text((ROOT / "config/kafka-cassandra.toml").read_text() + TOPICS.format(name=args.name))
        say(f"{fill(args, common, directory)} records are in the log")
        proxy = Proxy(args.toxiproxy, args.port, "127.0.0.1:9042")
        try:
            results = [run_form(args, form, common, directory, proxy, probe) for form in args.forms]
        finally:
            proxy.process.kill()
            services("resume", "cassandra")
    probe.ended = True
    for result in results:
        print(json.dumps({key: value for key, value in result.items() if key != "samples"}))
    args.out.mkdir(parents=True, exist_ok=True)
    (LOGS / "runs.json").write_text(json.dumps(results))
    say(f"logs and samples are in {LOGS}")
    from plot import draw
    draw(results, args.out / "backpressure.svg")


if __name__ == "__main__":
    main()
