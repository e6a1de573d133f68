"""Devices to log: how many messages are acknowledged, and how soon, beside bare loops that append the same records.

Called by benches/peers/devices. Cassandra stands still meanwhile (SIGSTOP), so that nothing is measured but the way from
the sockets to the log: the consumers have nowhere to put what they read. So does Kafka while the log is the embedded one.
At the end the pair of embedded log and SQLite is measured with its rows. The simulated devices share the cores with
everything else.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import machine
from forms import Avro
from measure import say
from servers import Servers

HERE = Path(__file__).resolve().parent
NUM_DEVICES = 200
# Messages a second in the largest packages, beside half of what was reached: how the latency grows with the load.
STEADY_RATES = (100_000, 200_000, 300_000, 400_000)
CEILING_RECORDS = {"embedded": 5_000_000, "kafka": 3_000_000}
READY_S = 60
CAUGHT_UP_S = 300


class Engine:
    """A Surgetank with a log of one kind and a data directory of its own."""

    def __init__(self, args, servers, name, log, store):
        self.args, self.servers, self.name = args, servers, name
        self.directory = args.out / name
        self.directory.mkdir(parents=True)
        config = (HERE / "surgetank.toml").read_text()
        for place, value in {"MESSAGES": HERE / "messages", "TOPIC": name, "PARTITIONS": Avro.PARTITIONS, "BROKER": servers.broker,
                             "GROUP": name, "CASSANDRA": servers.node, "KEYSPACE": name}.items():
            config = config.replace(f"@{place}@", str(value))
        (self.directory / "surgetank.toml").write_text(config)
        self.env = {**os.environ, "SURGETANK__LOG__KIND": log, "SURGETANK__STORE__KIND": store,
                    "SURGETANK__DEVICES__LISTEN": f"127.0.0.1:{args.port}", "SURGETANK__HTTP__LISTEN": f"127.0.0.1:{args.port + 1}"}

    def __enter__(self):
        with open(self.directory / "log", "w") as log:
            self.process = subprocess.Popen([self.args.binary, "run", "--config", self.directory / "surgetank.toml"],
                                            cwd=self.directory, env=self.env, stdout=log, stderr=log)
        deadline = time.time() + READY_S
        while True:
            try:
                if self.get("/health/ready")["ready"]:
                    return self
            except OSError:
                pass
            if time.time() > deadline or self.process.poll() is not None:
                self.process.kill()
                raise SystemExit(f"the engine is not ready; see {self.directory}/log")
            time.sleep(0.1)

    def __exit__(self, *_):
        # It cannot drain into a database that stands still.
        self.process.kill()
        self.process.wait()
        subprocess.run(["rm", "-rf", self.directory / "data"], check=True)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.args.port + 1}{path}", timeout=5) as answer:
            return json.load(answer)

    def load(self, package, rate, prefix):
        """Devices send for a while; what they report, with the engine's CPU."""
        before, idle_before, began = machine.cpu_seconds(self.process.pid), machine.idle_seconds(), time.time()
        made = subprocess.run(
            [self.args.binary, "simulate", "--target", f"127.0.0.1:{self.args.port}", "--devices", str(NUM_DEVICES),
             "--rate", str(rate), "--seconds", str(self.args.seconds), "--package-size", str(package),
             "--device-prefix", prefix, "--messages", HERE / "messages", "--json"],
            check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found = json.loads(made.stdout)
        found["cpu_s"] = machine.cpu_seconds(self.process.pid) - before
        found["cores_idle"] = (machine.idle_seconds() - idle_before) / (time.time() - began) / os.cpu_count()
        return found

    def catch_up(self, rows):
        """Waits for this many rows."""
        deadline = time.time() + CAUGHT_UP_S
        while self.get("/histograms")["counters"]["rows"] < rows:
            if time.time() > deadline:
                raise SystemExit(f"{self.name} has not caught up")
            time.sleep(0.05)


def result(found, half=None, **more):
    acked = found["acked"]
    line = {"acked_per_s": round(found["acked_per_s"]), "cpu_s_per_100k": round(found["cpu_s"] * 100_000 / max(acked, 1), 2)}
    if half:
        line.update({"half_acked_per_s": round(half["acked_per_s"]), "half_p50_ms": half["ack_ms"]["p50"],
                     "half_p99_ms": half["ack_ms"]["p99"], "half_cores_idle": round(half["cores_idle"], 2)})
    return {**line, **more}


def steady(engine, package):
    """How soon messages are acknowledged at some rates."""
    for rate in STEADY_RATES:
        found = engine.load(package, rate, f"at-{rate}-")
        yield {"rate": rate, "acked_per_s": round(found["acked_per_s"]), "p50_ms": found["ack_ms"]["p50"],
               "p99_ms": found["ack_ms"]["p99"], "cores_idle": round(found["cores_idle"], 2)}


def to_log(args, servers, log, package):
    """As fast as it goes, and then at half of that."""
    idle = [servers.cassandra_pid] + ([servers.kafka_pid] if log == "embedded" else [])
    with Engine(args, servers, f"{args.name}_{log}_{package}", log, "cassandra") as engine:
        for pid in idle:
            os.kill(pid, signal.SIGSTOP)
        try:
            engine.load(package, 1000 * package, "warm-")
            full = engine.load(package, 0, "full-")
            half = engine.load(package, full["acked_per_s"] / 2, "half-")
            at_rates = list(steady(engine, package)) if package == max(args.packages) else []
            rss = round(machine.peak_rss_mb([engine.process.pid]))
        finally:
            for pid in idle:
                os.kill(pid, signal.SIGCONT)
    return result(full, half, peak_rss_mb=rss, **({"steady": at_rates} if at_rates else {}))


def to_rows(args, servers, package):
    """Embedded from end to end."""
    with Engine(args, servers, f"{args.name}_rows_{package}", "embedded", "embedded") as engine:
        warm = engine.load(package, 1000 * package, "warm-")
        engine.catch_up(warm["acked"])
        began, before = time.time(), machine.cpu_seconds(engine.process.pid)
        full = engine.load(package, 0, "full-")
        engine.catch_up(warm["acked"] + full["acked"])
        seconds = time.time() - began
        full["cpu_s"] = machine.cpu_seconds(engine.process.pid) - before
        rss = round(machine.peak_rss_mb([engine.process.pid]))
    return result(full, peak_rss_mb=rss, rows_per_s=round(full["acked"] / seconds))


def bare_loop(args, servers, log):
    """The second of two goes: the first finds a server that has only just started."""
    records = CEILING_RECORDS[log]
    for number in range(2):
        if log == "kafka":
            topic = f"{args.name}_ceiling_{number}"
            servers.create_topics([topic], Avro.PARTITIONS)
            to = ["--topic", f"{servers.broker}/{topic}", "--partitions", str(Avro.PARTITIONS)]
        else:
            to = ["--file", args.out / "journal"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        made = subprocess.run([args.ceiling, "append", "--messages", HERE / "messages", "--records", str(records), *to],
                              check=True, stdout=subprocess.PIPE, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        (args.out / "journal").unlink(missing_ok=True)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return result({"acked": records, "acked_per_s": records / json.loads(made.stdout)["seconds"], "cpu_s": cpu_s})


def main():
    parser = argparse.ArgumentParser(prog="benches/peers/devices", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=lambda text: text.split(","), default=["embedded", "kafka"], help="embedded, kafka")
    parser.add_argument("--packages", type=lambda text: [int(one) for one in text.split(",")], default=[1, 10, 50])
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    parser.add_argument("--json", type=Path, help="append a line for each run to this file, not to one in --out")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--ceiling", type=Path, required=True)
    args = parser.parse_args()
    args.json = args.json or args.out / "runs.jsonl"
    args.name, args.port = f"devices{random.randrange(10**6)}", random.randrange(12_000, 31_000)
    version = subprocess.run([args.binary, "--version"], check=True, capture_output=True, text=True).stdout
    commit = version[version.index("(") + 1 : version.index(")")]
    servers = Servers()
    # Whatever stands still or runs then is seen to on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def report(peer, log, package, found):
        line = {"peer": peer, "log": log, "package": package, **found, "commit": commit}
        with open(args.json, "a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{log:9} {peer:10} {package or '':3} " + "  ".join(f"{key} {value:,}" for key, value in found.items() if key != "steady"), flush=True)
        for at in found.get("steady", []):
            print(" " * 24 + "  ".join(f"{key} {value:,}" for key, value in at.items()), flush=True)

    say(f"surgetank {commit}; logs are in {args.out}")
    for log in args.logs:
        report("ceiling", log, None, bare_loop(args, servers, log))
        for package in args.packages:
            report("surgetank", log, package, to_log(args, servers, log, package))
    if "embedded" in args.logs:
        for package in args.packages:
            report("surgetank", "embedded, to rows", package, to_rows(args, servers, package))


if __name__ == "__main__":
    main()
