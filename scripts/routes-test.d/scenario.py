"""The run of scripts/routes-test:  scenario.py BINARY WORK NUMBER PORT PORT
NUMBER makes names of this run; the ports are those of the operators' HTTP of two pods."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True

from cassandra.cluster import Cluster  # noqa: E402
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402

REPO = Path(__file__).resolve().parents[2]
EXAMPLE = REPO / "examples" / "user-events"
SERVICES = os.environ.get("SURGETANK_TEST_SERVICES", str(REPO / "scripts" / "services"))
PARTITIONS, USERS = 64, 300
BACKLOG, LIVE, RATE = 4000, 12000, 800  # events of each producer before; of the one that goes on, and its events a second
FREEZE = 5  # s
KAFKA, CASSANDRA = os.environ["SURGETANK_TEST_KAFKA"], os.environ["SURGETANK_TEST_CASSANDRA"]


def say(text):
    print(f"{time.monotonic() - START:5.1f} s  {text}", flush=True)


def wait_for(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.2)
    return found


class Topic:
    """The topic of others and the group that is taken over, asked by another client."""

    def __init__(self, name, group):
        self.name, self.group = name, group
        self.admin = AdminClient({"bootstrap.servers": KAFKA})
        self.admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(30)
        wait_for("leaders of all partitions", self.is_led)
        self.consumer = Consumer({"bootstrap.servers": KAFKA, "group.id": f"{group}-look"})

    def is_led(self):
        partitions = self.admin.list_topics(self.name, timeout=20).topics[self.name].partitions
        return len(partitions) == PARTITIONS and all(one.leader >= 0 for one in partitions.values())

    def ends(self, name=None, partitions=PARTITIONS):
        """The end of each partition."""
        return [self.consumer.get_watermark_offsets(TopicPartition(name or self.name, at), 20)[1] for at in range(partitions)]

    def commits(self):
        """What the group has committed, of each partition; 0 if nothing."""
        asked = ConsumerGroupTopicPartitions(self.group, [TopicPartition(self.name, at) for at in range(PARTITIONS)])
        found = self.admin.list_consumer_group_offsets([asked])[self.group].result(20).topic_partitions
        return [max(each.offset, 0) for each in sorted(found, key=lambda each: each.partition)]


class Pod:
    """Surgetank with the config of the example; only names and addresses are those of this run."""

    def __init__(self, binary, work, number, port, names):
        self.port, self.log = port, work / f"pod-{number}.log"
        directory = work / f"pod-{number}"
        directory.mkdir()
        text = (EXAMPLE / "surgetank.toml").read_text()
        for what, instead in names.items():
            assert what in text, f"the example's config has no {what}"
            text = text.replace(what, instead)
        (directory / "surgetank.toml").write_text(text)
        env = {**os.environ, "SURGETANK__DATA_DIR": str(directory / "data"), "SURGETANK__HTTP__LISTEN": f"127.0.0.1:{port}",
               "SURGETANK__DEVICES__LISTEN": "127.0.0.1:0", "SURGETANK__INGEST__LISTEN": "",
               "SURGETANK__LOG__KAFKA__SESSION_TIMEOUT": "6 s", "SURGETANK__STORE__CASSANDRA__REQUEST_TIMEOUT": "2 s"}
        self.process = subprocess.Popen([binary, "run", "--config", directory / "surgetank.toml"], env=env,
                                        stdin=subprocess.DEVNULL, stdout=self.log.open("w"), stderr=subprocess.STDOUT)

    def get(self, path):
        if self.process.poll() is not None:
            raise RuntimeError(f"the pod has ended with {self.process.returncode}; see {self.log}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    def values(self, metric, labels=""):
        """The values of a metric's series, those that have these labels."""
        lines = re.findall(rf"^{metric}(?:{{(.*)}})? (\S+)$", self.get("/metrics"), re.MULTILINE)
        return [float(value) for of_line, value in lines if labels in of_line]

    def partitions(self, topic):
        return len(self.values("surgetank_consumer_lag_records", f'topic="{topic}"'))

    def stop(self):
        self.process.terminate()
        assert self.process.wait(40) == 0, f"the pod ended with {self.process.returncode}; see {self.log}"


def main():
    binary, work, number, ports = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4:6]
    keyspace, group = f"routes_{number}", f"user-events-{number}"
    topic = Topic(f"app-events-{number}", group)
    host, port = CASSANDRA.rsplit(":", 1)
    cql = Cluster([host], port=int(port)).connect()
    cql.default_timeout = 60
    cql.execute(f"CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")
    cql.set_keyspace(keyspace)
    cql.execute((EXAMPLE / "user_events.cql").read_text().strip().rstrip(";"))
    ledgers = [work / f"events-{who}" for who in ("python", "node", "live")]
    names = {"app-events": topic.name, "127.0.0.1:9092": KAFKA, "127.0.0.1:9042": CASSANDRA, '"user-events"': f'"{group}"',
             '"app"': f'"{keyspace}"', '"app.user_events"': f'"{keyspace}.user_events"'}
    isolated = {"SURGETANK__DEAD_LETTER__TOPIC": f"{group}-dead", "SURGETANK__LOG__KAFKA__SCHEMA_TOPIC": f"{group}-schemas",
                "SURGETANK__LOG__KAFKA__CONTROL_TOPIC": f"{group}-control"}
    os.environ.update(isolated)
    node_home = os.environ["NODE_HOME"]
    node_env = {**os.environ, "NODE_PATH": f"{node_home}/node_modules", "BROKER": KAFKA, "CASSANDRA": CASSANDRA,
                "JSON_TOPIC": topic.name, "GROUP": group, "KEYSPACE": keyspace, "TABLE": "user_events"}
    python = [sys.executable, EXAMPLE / "produce.py", KAFKA, topic.name, "--users", str(USERS)]
    processes = []

    def start(command, name, env=None):
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=(work / f"{name}.log").open("w"),
                                   stderr=subprocess.STDOUT)
        processes.append(process)
        return process

    def rows():
        return cql.execute("SELECT count(*) FROM user_events").one()[0]

    try:
        by_python = start([*python, "--run", number, "--count", str(BACKLOG), "--ledger", ledgers[0]], "produce-python")
        by_node = start(["node", EXAMPLE / "produce.js", KAFKA, topic.name, number, str(BACKLOG), str(USERS), ledgers[1]],
                        "produce-node", node_env)
        assert by_python.wait(60) == 0 and by_node.wait(60) == 0, "a producer failed"
        # Who was told that a broker does not lead a partition (yet) sends events again that are there: the same rows.
        assert sum(topic.ends()) >= 2 * BACKLOG
        live = start([*python, "--run", f"{number}-live", "--count", str(LIVE), "--rate", str(RATE), "--ledger", ledgers[2]], "live")
        consumer = start(["node", f"{node_home}/consumer.js"], "consumer", node_env)
        say(f"{2 * BACKLOG} events are there, more come, and the Node consumer writes")
        wait_for("rows and commits of the Node consumer", lambda: sum(topic.commits()) > BACKLOG)
        consumer.send_signal(signal.SIGTERM)
        assert consumer.wait(30) == 0, "the Node consumer did not end well"
        commits = topic.commits()
        say(f"the Node consumer is stopped; it has committed {sum(commits)}")

        pods = [Pod(binary, work, at, port, names) for at, port in enumerate(ports)]
        processes += [pod.process for pod in pods]
        wait_for("partitions of both pods", lambda: sorted(pod.partitions(topic.name) for pod in pods) == [32, 32])
        say("two pods have 32 partitions each")
        wait_for("rows of both", lambda: all(sum(pod.values("surgetank_store_rows_total")) > 300 for pod in pods))
        pods[0].process.kill()
        pods[0].process.wait()
        say("one pod is killed")
        time.sleep(1)
        subprocess.run([SERVICES, "pause", "cassandra"], check=True)
        say("Cassandra is frozen")
        try:
            time.sleep(FREEZE)
        finally:
            subprocess.run([SERVICES, "resume", "cassandra"], check=True)
        say("Cassandra goes on")
        wait_for("all partitions with one pod", lambda: pods[1].partitions(topic.name) == PARTITIONS)
        assert live.wait(60) == 0, "the producer failed"
        ends = topic.ends()
        assert sum(ends) >= 2 * BACKLOG + LIVE
        wait_for("commits up to the end", lambda: topic.commits() == ends)
        read = sum(pods[1].values("surgetank_log_read_records_total", f'topic="{topic.name}"'))
        pods[1].stop()
        say(f"all {sum(ends)} events are settled; {rows()} rows")
        # What the killed pod had done is at most done again; what the Node consumer had committed is not.
        assert read <= sum(ends) - sum(commits), f"{read} records were read, {sum(commits)} of {sum(ends)} were done before"
        assert sum(topic.ends(isolated["SURGETANK__DEAD_LETTER__TOPIC"], 1)) == 0, "there are dead letters"
        subprocess.run([sys.executable, EXAMPLE / "verify.py", CASSANDRA, f"{keyspace}.user_events", *ledgers], check=True)
    finally:
        for process in processes:
            process.kill()
    for pod in pods:
        for line in pod.log.read_text().splitlines():
            assert " ERROR " not in line or "cassandra" in line.lower() or "store" in line.lower(), f"{pod.log}: {line}"
    cql.execute(f"DROP KEYSPACE {keyspace}")
    say("nothing is missing, and nothing is there that nobody sent")


START = time.monotonic()
main()
