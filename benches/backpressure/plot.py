"""Draws the runs of compare.py one below the other on one clock."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"adaptive": "#0072b2", "fixed": "#e69f00", "no limit": "#d55e00"}


def rates(samples):
    pairs = zip(samples, samples[1:])
    return [0] + [(b["rows"] - a["rows"]) / max(1e-3, b["at"] - a["at"]) / 1000 for a, b in pairs]


PANELS = [
    ("rows/s, thousands", rates, False),
    ("p99 of a write, ms", lambda samples: [of["write_p99_ms"] or None for of in samples], True),
    ("writes in flight", lambda samples: [of["in_flight"] or None for of in samples], True),
    ("lag, million records", lambda samples: [of["lag"] / 1e6 for of in samples], False),
    ("memory, MB", lambda samples: [of["rss_mb"] for of in samples], False),
]


def draw(results, path):
    figure, axes = plt.subplots(len(PANELS), 1, figsize=(10, 13), sharex=True)
    for (title, values, is_log), axis in zip(PANELS, axes):
        for result in results:
            at = [of["at"] for of in result["samples"]]
            axis.plot(at, values(result["samples"]), label=result["form"], color=COLOURS[result["form"]], linewidth=1.3)
        axis.set_ylabel(title)
        axis.set_yscale("log" if is_log else "linear")
        axis.grid(alpha=0.3)
        for number, phase in enumerate(results[0]["phases"]):
            if number % 2:
                axis.axvspan(phase["from"], phase["to"], color="#888888", alpha=0.12, linewidth=0)
    for phase in results[0]["phases"]:
        axes[0].annotate(phase["phase"], ((phase["from"] + phase["to"]) / 2, 1.02), xycoords=("data", "axes fraction"), ha="center")
    axes[0].legend(loc="upper right")
    axes[-1].set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path)
