"""Reads both formats of /metrics as others do, and compares what they say.

Usage: parse_metrics.py CLASSIC OPENMETRICS
"""

import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser


def families(text, parse):
    """Name of each family: its type, and the names and labels of its samples, without those that bound buckets."""
    return {
        family.name: (
            family.type,
            {(sample.name, *sorted(set(sample.labels.items()) - {("le", sample.labels.get("le"))})) for sample in family.samples},
        )
        for family in parse(text)
    }


def main():
    classic_path, openmetrics_path = sys.argv[1:]
    with open(classic_path, encoding="utf-8") as file:
        classic = families(file.read(), parser.text_string_to_metric_families)
    with open(openmetrics_path, encoding="utf-8") as file:
        open_metrics = families(file.read(), openmetrics_parser.text_string_to_metric_families)
    if classic != open_metrics:
        different = {name for name in classic.keys() | open_metrics.keys() if classic.get(name) != open_metrics.get(name)}
        sys.exit(f"the two formats do not say the same of {', '.join(sorted(different))}")
    if not classic:
        sys.exit("there are no metrics")
    print(f"{len(classic)} metrics, the same in both formats")


main()
