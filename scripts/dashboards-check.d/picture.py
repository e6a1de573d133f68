"""Draws what Prometheus says of the run, by the queries of the dashboards."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from check import dashboards, filled_in, panels  # noqa: E402
from prometheus import SCRAPE_EVERY  # noqa: E402

# Dashboard and panel, and how the y axis is called.
PANELS = (
    ("overview.json", "Messages in", "messages/s"),
    ("overview.json", "Rows out", "rows/s"),
    ("overview.json", "Lag in records", "records"),
    ("overview.json", "Lag in seconds", "s"),
    ("gate.json", "Writes in flight", "writes"),
    ("gate.json", "Latency of writes", "s"),
    ("overview.json", "Dead letters by reason", "1/s"),
    ("gate.json", "Writes and retries", "1/s"),
    ("overview.json", "Bottleneck", ""),
    ("gate.json", "Throttled and paused", ""),
)


def label(target, labels):
    text = target["legendFormat"]
    for name, value in labels.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def query_of(target, seconds):
    """The query, with rates over as little as the scrapes allow, so that a picture of a minute is sharp."""
    return filled_in(target["expr"].replace("$__rate_interval", f"{4 * SCRAPE_EVERY}s"), seconds)


def with_gaps(points):
    """The points, with no number where one is missing, so that no line is drawn there."""
    drawn = []
    for at, value in points:
        if drawn and at - drawn[-1][0] > 1.5 * SCRAPE_EVERY:
            drawn.append((at, float("nan")))
        drawn.append((at, value))
    return drawn


def draw(prometheus, scenario, files):
    start, end = scenario.marks["start"], scenario.marks["end"]
    # Names of the run are no use to a reader.
    short = lambda text: text.replace(scenario.name, "telemetry")  # noqa: E731
    figure, axes = plt.subplots(len(PANELS) // 2, 2, figsize=(12, 13), sharex=True)
    for axis, (dashboard, title, unit) in zip(axes.flat, PANELS):
        panel = next(each for each in panels(dashboards()[dashboard]) if each["title"] == title)
        lines = [
            (short(label(target, labels)), points)
            for target in panel["targets"]
            for labels, points in prometheus.range(query_of(target, int(end - start)), start, end)
        ]
        is_state = panel["type"] == "state-timeline"
        # What was never anything but zero is left out: there are reasons and statuses for everything.
        lines = [line for line in sorted(lines) if any(value for _, value in line[1])]
        for at, (text, points) in enumerate(lines):
            if is_state:
                on = [at_time - start for at_time, value in points if value]
                axis.plot(on, [at] * len(on), "s", markersize=3)
            else:
                shown = with_gaps(points)
                axis.plot([at_time - start for at_time, _ in shown], [value for _, value in shown], label=text, linewidth=1.2)
        if is_state:
            axis.set_yticks(range(len(lines)), [text for text, _ in lines])
            axis.set_ylim(-0.5, max(len(lines), 1) - 0.5)
        else:
            axis.set_ylabel(unit)
            axis.set_ylim(bottom=0)
            if lines:
                axis.legend(fontsize=7, loc="upper right", frameon=False)
        axis.set_title(f"{title} ({dashboard.removesuffix('.json')})", fontsize=9, loc="left")
        for name, at in scenario.marks.items():
            if name not in ("start", "end", "counted"):
                axis.axvline(at - start, color="0.8", linewidth=0.8, zorder=0)
    names = [(name, at) for name, at in scenario.marks.items() if name not in ("start", "end", "counted")]
    for axis in axes[-1]:
        axis.set_xlabel("seconds since the start of the run")
    texts = [f"{at - start:.0f} s: {name}" for name, at in names]
    figure.suptitle("   ".join(texts[:5]) + "\n" + "   ".join(texts[5:]), fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    for file in files:
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
