"""Asks Prometheus everything that dashboards and alerts ask, after a run on real servers. Called by scripts/dashboards-check:
  check.py BINARY WORK NAME PORTS [--size N] [--picture FILE]
Exit code 0: every query returns something, every type fits its use, and every counter is what was counted outside."""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
from engine import REAL, Engine, get  # noqa: E402
from prometheus import DEPLOY, Prometheus  # noqa: E402
from promql import MAKES_A_VALUE, selectors, without_thresholds, wrong_use  # noqa: E402
from scenario import FAILPOINTS, Scenario  # noqa: E402
from taps import CassandraTap, DeviceTap  # noqa: E402
from servers import Kafka, cql_session  # noqa: E402

RATE_INTERVAL = "15s"  # what Grafana makes of $__rate_interval: four scrapes or more
# Alerts of the run: what happens in it is what they are for. The others must not fire.
FIRING = {"SurgetankActorRestarts", "SurgetankConfigReloadFailed", "SurgetankDeadLetters"}
# A frozen node drops the writes that are too old for it once it goes on, or has none.
MAY_FIRE = {"CassandraDroppedMutations"}


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def dashboards():
    return {file.name: json.loads(file.read_text()) for file in sorted((DEPLOY / "grafana").glob("*.json"))}


def queries():
    """Place, query and legend of every target of every panel."""
    for file, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield f"{file}, {panel['title']}, {target['refId']}", target["expr"], target["legendFormat"]


def filled_in(query, seconds):
    for name, value in (("$__rate_interval", RATE_INTERVAL), ("$__range", f"{seconds}s"), ("$job", ".+"),
                        ("$instance", ".+"), ("$topic", ".+")):
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


def check_files():
    """What can be said of the files alone."""
    faults = []
    for file, dashboard in dashboards().items():
        for panel in panels(dashboard):
            place = f"{file}, {panel['title']}"
            if not panel["description"] or not panel["fieldConfig"]["defaults"]["unit"] or not panel["targets"]:
                faults.append(f"{place}: a panel has a description, a unit and a query")
    faults += [f"{place}: makes a value where there is none: {query}" for place, query, _ in queries() if MAKES_A_VALUE.search(query)]
    return faults


def check_alerts(rules):
    """Each alert has a severity, texts, a section in the docs, and a test."""
    faults = []
    docs = (DEPLOY.parent / "docs" / "alerts.md").read_text()
    tests = (DEPLOY / "prometheus" / "surgetank.rules.test.yaml").read_text()
    for rule in rules:
        name, texts = rule["name"], rule["annotations"]
        if rule["labels"].get("severity") not in ("critical", "warning") or not {"summary", "description"} <= texts.keys():
            faults.append(f"{name}: wants a severity, a summary and a description")
        if texts.get("runbook_url") != f"docs/alerts.md#{name.lower()}" or f"\n### {name}\n" not in docs:
            faults.append(f"{name}: wants a section of this name in docs/alerts.md")
        if f'ALERTS{{alertname="{name}"' not in tests:
            faults.append(f"{name}: has no test")
        if rule["health"] != "ok":
            faults.append(f"{name}: cannot be evaluated: {rule.get('lastError')}")
    return faults


def check_variables(prometheus):
    """Each variable of each dashboard has something to choose."""
    faults = []
    for file, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
                if not prometheus.ask(f"label/{label}/values", **{"match[]": filled_in(series, 1)}):
                    faults.append(f"{file}: the variable {variable['name']} has nothing to choose")
    return faults


def check_query(prometheus, types, place, query, start, end, whole, legend=""):
    """The faults of one query. whole: the expression that has to return something. legend: names labels of it."""
    faults = []
    try:
        found = selectors(query)
        for each in found:
            kind = types.get(each.metric)
            if kind is None:
                faults.append(f"{place}: there is no metric {each.metric}")
            elif kind not in ("counter", "gauge"):
                faults.append(f"{place}: {each.metric} has the type {kind}")
            elif wrong := wrong_use(each, kind):
                faults.append(f"{place}: {wrong}")
            if kind and not prometheus.range(each.text, start, end):
                faults.append(f"{place}: no series at all for {each.text}")
        result = prometheus.range(whole, start, end)
        if not faults and not result:
            faults.append(f"{place}: returns nothing: {query}")
        for label in re.findall(r"{{(\w+)}}", legend):
            if not all(label in labels for labels, _ in result):
                faults.append(f"{place}: the legend names {label}, which a series lacks")
    except ValueError as error:
        faults.append(f"{place}: {error}")
    return faults


def check_exporter(name, address):
    """Each rule of a JMX exporter's file gives a metric of just its name and its type, and of no other."""
    text = get(f"http://{address}/metrics")[1].decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    faults, known = [], []
    source = (DEPLOY / "prometheus" / f"jmx-{name}.yaml").read_text().partition("\nrules:\n")[2]
    for rule in source.split("  - pattern: ")[1:]:
        metric, kind = (re.search(rf"^    {key}: (\S+)$", rule, re.MULTILINE).group(1) for key in ("name", "type"))
        kind = kind.lower()
        pattern = re.compile(re.sub(r"\\\$\d", r"\\w+", re.escape(metric)))
        known.append(pattern)
        of_rule = {each: types[each] for each in types if pattern.fullmatch(each)}
        if (kind == "counter") != metric.endswith("_total"):
            faults.append(f"jmx-{name}.yaml: {metric} is a {kind}, and the name says something else")
        if not of_rule or set(of_rule.values()) != {kind}:
            faults.append(f"jmx-{name}.yaml: {metric} is to be a {kind}, the exporter has {of_rule or 'nothing of that name'}")
    for each in types:
        if each.startswith(f"{name}_") and not any(pattern.fullmatch(each) for pattern in known):
            faults.append(f"the exporter of {name} has {each}, which jmx-{name}.yaml does not name")
    return faults


def check_counts(prometheus, scenario, address):
    """Each counter is what was counted outside."""
    faults = []
    for series, outside in sorted(scenario.counted.items()):
        metric, _, labels = series.partition("{")
        chosen = ", ".join(filter(None, (f'instance="{address}"', labels.rstrip("}"))))
        inside = prometheus.number(f"{metric}{{{chosen}}}", scenario.marks["counted"])
        print(f"  {series:75} {outside:8} {'' if inside is None else int(inside):>8}")
        if inside != outside:
            faults.append(f"{series}: {inside} in Prometheus, {outside} counted outside")
    return faults


def check_writes(prometheus, scenario, address):
    """Every write that Cassandra was sent is counted as confirmed or as tried again, and those that it did not answer in time
    as timeouts."""
    def at_the_end(series):
        return prometheus.number(series, scenario.marks["counted"]) or 0

    confirmed = at_the_end(f'surgetank_store_writes_total{{instance="{address}"}}')
    retries = at_the_end(f'surgetank_store_write_retries_total{{instance="{address}"}}')
    timeouts = at_the_end(f'surgetank_store_write_retries_total{{instance="{address}", reason="timeout"}}')
    least, most = scenario.timeouts
    print(f"  writes sent to Cassandra: {scenario.num_writes}; confirmed: {confirmed:.0f}, tried again: {retries:.0f}, of "
          f"these timeouts: {timeouts:.0f}, by their answers {least} to {most}")
    faults = []
    if scenario.num_writes != confirmed + retries:
        faults.append(f"{scenario.num_writes} writes were sent, {confirmed} are counted as confirmed and {retries} as tried again")
    if not 0 < least <= timeouts <= most:
        faults.append(f"{timeouts} timeouts are counted, {least} to {most} writes had no answer in time")
    return faults


def check_frozen(prometheus, scenario, address):
    """While the database is frozen no row is counted. What it had confirmed before may still be on its way."""
    start, end = scenario.marks["Cassandra is frozen"] + 2.5, scenario.marks["Cassandra goes on"] - 1
    points = [point for _, series in prometheus.range(f'sum(surgetank_store_rows_total{{instance="{address}"}})', start, end)
              for point in series]
    print(f"  rows counted while Cassandra was frozen, {end - start:.0f} s: {sorted({value for _, value in points})}")
    if len(points) >= 3 and len({value for _, value in points}) == 1:
        return []
    return [f"rows are counted while the database is frozen, or never: {points}"]


def check_firing(prometheus, start, end):
    fired = {labels["alertname"]: labels for labels, _ in prometheus.range('ALERTS{alertstate="firing"}', start, end)}
    faults = [f"{name} did not fire" for name in FIRING - fired.keys()]
    faults += [f"{name} fired: {fired[name]}" for name in fired.keys() - FIRING - MAY_FIRE]
    for alert in prometheus.ask("alerts")["alerts"]:
        faults += [f"{alert['labels']['alertname']}: {text}" for text in alert["annotations"].values()
                   if "<no value>" in text or "<error" in text or text.startswith(" ")]
    print(f"  alerts that fired: {', '.join(sorted(fired))}")
    return faults


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("work", type=Path)
    arguments.add_argument("name")
    arguments.add_argument("ports", type=int, nargs=10)
    arguments.add_argument("--size", type=float, default=1)
    arguments.add_argument("--picture", type=Path, nargs="+", help="files, .svg or .png")
    given = arguments.parse_args()
    kafka_address, cassandra_address = os.environ["SURGETANK_TEST_KAFKA"], os.environ["SURGETANK_TEST_CASSANDRA"]
    exporters = {name: f"127.0.0.1:{os.environ[f'{name.upper()}_METRICS_PORT']}" for name in ("kafka", "cassandra")}

    faults = check_files()
    names = {"name": given.name, "keyspace": given.name.replace("-", "_"), "kafka": kafka_address}
    devices_tap = DeviceTap(f"127.0.0.1:{given.ports[0]}")
    cassandra_tap = CassandraTap(cassandra_address, f'"{names["keyspace"]}"."reading"')
    real = REAL.format(**names, cassandra=cassandra_tap.address)
    processes = []
    try:
        engine = Engine(given.binary, given.work / "real", given.ports[:3], real, FAILPOINTS)
        processes.append(engine)
        embedded = Engine(given.binary, given.work / "embedded", given.ports[3:6])
        processes.append(embedded)
        targets = {"surgetank": [engine.address, embedded.address], **{job: [to] for job, to in exporters.items()}}
        prometheus = Prometheus(given.work, given.ports[6], targets)
        processes.append(prometheus)
        prometheus.wait_for("both engines", lambda: engine.is_ready() and embedded.is_ready(), 60)
        prometheus.wait_for("a scrape of all", lambda: prometheus.number("up") == 4, 60)
        session = cql_session(cassandra_address, given.name.replace("-", "_"))
        taps = devices_tap, cassandra_tap
        scenario = Scenario(prometheus, engine, embedded, taps, session, Kafka(kafka_address), given.name, given.size)
        scenario.run()
        # Directly at the database: its writes are not those that are counted.
        second = REAL.format(**names, cassandra=cassandra_address)
        scenario.kill_a_pod(lambda: Engine(given.binary, given.work / "second", given.ports[7:], second))

        start, end = scenario.marks["start"], scenario.marks["end"]
        seconds, types = int(end - start), prometheus.types()
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        num_queries = 0
        for place, query, legend in queries():
            num_queries += 1
            query = filled_in(query, seconds)
            faults += check_query(prometheus, types, place, query, start, end, query, legend)
        faults += check_variables(prometheus)
        for rule in rules:
            place = f"alert {rule['name']}"
            faults += check_query(prometheus, types, place, rule["query"], start, end, without_thresholds(rule["query"]))
        faults += check_alerts(rules)
        for name, address in exporters.items():
            faults += check_exporter(name, address)
        print("  series, counted outside, in Prometheus:")
        faults += check_counts(prometheus, scenario, engine.address)
        faults += check_writes(prometheus, scenario, engine.address)
        faults += check_frozen(prometheus, scenario, engine.address)
        faults += check_firing(prometheus, start, end)
        if given.picture:
            from picture import draw
            draw(prometheus, scenario, given.picture)
        print(f"  {num_queries} queries of panels, {len(rules)} alerts, {seconds} s of run")
    finally:
        for process in reversed(processes):
            process.stop()
    for fault in faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
