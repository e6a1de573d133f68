"""Engines under test: one on the real Kafka and Cassandra, one on the embedded log and store."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request

LAYOUT = """
type = "reading"
id = 900
doc = "A number"
[[version]]
version = 1
fields = [{ name = "value", kind = "f64", min = 0, max = 1000000 }]
"""

CONFIG = """
data_dir = "{directory}/data"
[devices]
listen = "127.0.0.1:{devices}"
[http]
listen = "127.0.0.1:{http}"
[ingest]
listen = "127.0.0.1:{ingest}"
[messages]
directory = "{directory}/messages"
[reload]
look_every = "0 s"
"""

REAL = """
[topics.{name}]
partitions = 4
types = ["*"]
[dead_letter]
topic = "{name}-dead"
[gate]
stop_reading_above = "500 ms"
pause_after = "1 s"
[log]
kind = "kafka"
[log.kafka]
brokers = ["{kafka}"]
group = "{name}"
schema_topic = "{name}-schemas"
control_topic = "{name}-control"
session_timeout = "6 s"
[store]
kind = "cassandra"
[store.cassandra]
nodes = ["{cassandra}"]
keyspace = "{keyspace}"
request_timeout = "2 s"
"""


class Engine:
    def __init__(self, binary, directory, ports, more="", failpoints=""):
        """ports: of devices, operators' HTTP and ingest. more: what follows the common part of the config."""
        self.directory, self.ports = directory, dict(zip(("devices", "http", "ingest"), ports))
        (directory / "messages").mkdir(parents=True)
        (directory / "messages" / "reading.toml").write_text(LAYOUT)
        self.config = directory / "surgetank.toml"
        self.config.write_text(CONFIG.format(directory=directory, **self.ports) + more)
        self.log = (directory / "log").open("w")
        environment = {**os.environ, "FAILPOINTS": failpoints}
        self.process = subprocess.Popen([binary, "run", "--config", self.config], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    @property
    def address(self):
        """Where Prometheus scrapes it."""
        return f"127.0.0.1:{self.ports['http']}"

    def is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the engine has ended with {self.process.returncode}; see {self.log.name}")
        return get(f"http://{self.address}/health/ready")[0] == 200

    def get(self, path):
        return json.loads(get(f"http://{self.address}{path}")[1])

    def post(self, path, body, content_type, device=None):
        """Status and answer of a request to ingest. device: whose package it is."""
        headers = {"Content-Type": content_type, **({"Surgetank-Device": device} if device else {})}
        return send(f"http://127.0.0.1:{self.ports['ingest']}{path}", body, headers)


def get(url):
    return send(url, None, {})


def send(url, body, headers):
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except urllib.error.URLError:
        return 0, b""


def events(first, count, device="meter"):
    """A body of that many events, and their identities are never used twice: `first` counts on."""
    now_ms = int(time.time() * 1000)
    lines = (
        f'{{"device_id":"{device}-{at % 40}","event_time":{now_ms},"sequence":{at},"value":{at % 1000}}}'
        for at in range(first, first + count)
    )
    return "\n".join(lines).encode()
