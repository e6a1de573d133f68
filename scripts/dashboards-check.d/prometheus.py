"""A Prometheus of our own, that scrapes every second, and the questions asked of it."""

import json
import math
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SCRAPE_EVERY = 1  # s


class Prometheus:
    def __init__(self, work, port, targets):
        """targets: addresses by job. The jobs are those of deploy/, with these targets and a short interval."""
        self.later = work / "later.json"
        self.base = f"http://127.0.0.1:{port}"
        config = {
            "global": {"scrape_interval": f"{SCRAPE_EVERY}s", "scrape_timeout": f"{SCRAPE_EVERY}s", "evaluation_interval": "2s"},
            "rule_files": [str(DEPLOY / "prometheus" / "surgetank.rules.yaml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": addresses}],
                 # JMX is slow on a machine that is busy, and a scrape that takes too long is none.
                 **({"scrape_interval": "3s", "scrape_timeout": "3s"} if job != "surgetank" else {}),
                 "file_sd_configs": [{"files": [str(self.later)]}] if job == "surgetank" else []}
                for job, addresses in targets.items()
            ],
        }
        (work / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self.log = (work / "prometheus.log").open("w")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={work / 'prometheus.yml'}", f"--storage.tsdb.path={work / 'tsdb'}",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
        )

    def scrape_also(self, addresses):
        """Further targets of the job surgetank."""
        self.later.write_text(json.dumps([{"targets": addresses}]))

    def stop(self):
        self.process.terminate()
        self.process.wait(20)

    def ask(self, path, **arguments):
        """The `data` of an answer. An error of the query is a ValueError with Prometheus' own words."""
        url = f"{self.base}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.loads(error.read() or b"{}").get("error", str(error))) from error

    def number(self, query, at=None):
        """The sum of what the query returns now, or at that time; None if it returns nothing."""
        result = self.ask("query", query=query, **({"time": at} if at else {}))["result"]
        return sum(float(each["value"][1]) for each in result) if result else None

    def range(self, query, start, end, step=SCRAPE_EVERY):
        """Series over time: pairs of labels and (time, value), values that are no number left out."""
        result = self.ask("query_range", query=query, start=start, end=end, step=step)["result"]
        series = []
        for each in result:
            points = [(at, float(value)) for at, value in each["values"] if not math.isnan(float(value))]
            if points:
                series.append((each["metric"], points))
        return series

    def types(self):
        """Type of each metric, under the name of its family and under the names of its series."""
        types = {"up": "gauge"}
        for family, entries in self.ask("metadata").items():
            kind = entries[0]["type"]
            if kind == "counter":
                types[family] = "counter"
                types[family.removesuffix("_total") + "_total"] = "counter"
            elif kind in ("histogram", "summary"):
                types.update({family + end: "counter" for end in ("_bucket", "_sum", "_count")})
                types[family] = "gauge"
            else:
                types[family] = kind
        return types

    def wait_for(self, what, condition, seconds):
        """Waits until the condition holds."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except (OSError, ValueError):
                pass
            if self.process.poll() is not None:
                raise RuntimeError(f"Prometheus has ended: {Path(self.log.name).read_text()[-500:]}")
            if time.monotonic() > deadline:
                errors = [f"{each['scrapeUrl']}: {each['lastError']}" for each in self.ask("targets")["activeTargets"]]
                raise TimeoutError(f"{what}: not within {seconds} s; targets: {errors}")
            time.sleep(0.2)
