"""One round of one subject, in an interpreter of its own: a JSON line for each case named.

python bench_round.py SUBJECT SCALE WORKERS CASE...
"""

from __future__ import annotations

import importlib.metadata
import json
import sys

from bench_cases import CASES, startup, warm_up
from bench_clusters import running_cluster

DISTRIBUTIONS = {"dlaunch": "dlaunch", "distributed": "distributed"}


def _version(subject: str) -> str:
    try:
        return importlib.metadata.version(DISTRIBUTIONS[subject])
    except importlib.metadata.PackageNotFoundError:  # run from the checkout without being installed
        return str(__import__("distributed").__version__)


def main(subject: str, scale: float, workers: int, names: list[str]) -> None:
    """Print the version, then the figures of each case as it ends."""
    print(json.dumps({"version": _version(subject)}), flush=True)
    on_small = [name for name in names if CASES[name] is not startup]
    if on_small:
        with running_cluster(subject, workers) as cluster:
            warm_up(cluster)
            for name in on_small:
                print(json.dumps({name: CASES[name](cluster, scale)}), flush=True)
    if "startup" in names:
        with running_cluster(subject) as cluster:
            print(json.dumps({"startup": startup(cluster, scale)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
