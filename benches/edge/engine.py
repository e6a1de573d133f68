"""An engine on the embedded pair and simulated devices, as processes to be measured. Python's standard library only."""

import atexit
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Engine:
    """`surgetank run` in a directory of its own, as the argument of another program if need be; the ports stay the same
    over restarts."""

    def __init__(self, binary, settings="", under=()):
        self.binary, self.under, self.directory = binary, under, tempfile.TemporaryDirectory(prefix="surgetank-edge-")
        self.devices, self.http = free_port(), free_port()
        self.config = Path(self.directory.name) / "surgetank.toml"
        self.config.write_text(
            f'data_dir = "{self.directory.name}/data"\n{settings}\n'
            f'[http]\nlisten = "127.0.0.1:{self.http}"\n[ingest]\nlisten = "127.0.0.1:{free_port()}"\n'
            # Open files are for devices.
            "max_connections = 64\n"
        )
        self.process = None

    def start(self):
        environment = dict(os.environ, SURGETANK__DEVICES__LISTEN=f"127.0.0.1:{self.devices}")
        log = open(Path(self.directory.name) / "log", "a")
        self.process = subprocess.Popen([*self.under, self.binary, "run", "--config", str(self.config)], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        atexit.register(self.process.kill)
        began = time.monotonic()
        while self.get("/health/ready") is None:
            if time.monotonic() > began + 60 or self.process.poll() is not None:
                raise SystemExit(f"the engine does not get ready: {self.log()[-2000:]}")
            time.sleep(0.02)
        return time.monotonic() - began

    def stop(self, how=signal.SIGTERM):
        began = time.monotonic()
        self.process.send_signal(how)
        code = self.process.wait(120)
        return code, time.monotonic() - began

    def log(self):
        return (Path(self.directory.name) / "log").read_text()

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def connections(self):
        groups = self.get("/actors") or []
        return next((group["alive"] for group in groups if group["group"] == "connection"), 0)

    def door(self):
        return self.get("/histograms")["admission"]

    def rss_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024

    def cpu_s(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def caught_up(self):
        lags = (self.get("/histograms") or {}).get("lag_records")
        return bool(lags) and all(lag == 0 for lag in lags.values())


def simulate(engine, *arguments, ledger=None, token=""):
    """Starts simulated devices; [`outcome`] waits for their end."""
    command = [engine.binary, "simulate", "--target", f"127.0.0.1:{engine.devices}", "--json", *map(str, arguments)]
    if ledger:
        command += ["--ledger", ledger]
    environment = dict(os.environ, SURGETANK_DEVICE_TOKEN=token)
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL)


def outcome(simulator):
    out, _ = simulator.communicate()
    if simulator.returncode != 0:
        raise SystemExit(f"the simulated devices ended with {simulator.returncode}: {out.decode()[:500]}")
    return json.loads(out)


def verify(engine, ledger):
    """Compares a ledger with the store of an engine that has stopped."""
    command = [engine.binary, "verify", "--config", str(engine.config), "--ledger", ledger, "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)


def wait_for(what, holds, seconds):
    began = time.monotonic()
    while not holds():
        if time.monotonic() > began + seconds:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.1)
    return time.monotonic() - began
