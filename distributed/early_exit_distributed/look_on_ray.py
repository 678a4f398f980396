"""What a Ray cluster has and sees, before anything is prepared for it; one line of JSON.

    python -m early_exit_distributed.look_on_ray '{"file": PATH, "text": TEXT, "model": PATH, "files": {NAME: {"bytes": N, "sha256": HASH}}}'
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import sys
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from .job import Sample
from .model_files import holds

WANTED = ("torch>=2.8", "transformers>=5.0", "safetensors>=0.5", "numpy")
"""As in pyproject.toml; backend/cluster/python.ts wants the same."""


@ray.remote(num_cpus=0)
def look(question: dict) -> dict:
    """On one node."""
    try:
        shares = Path(question["file"]).read_text() == question["text"]
    except OSError:
        shares = False
    files = {name: Sample(**value) for name, value in question["files"].items()}
    missing = [wanted for wanted in WANTED if _lacks(wanted)]
    return {"shares": shares, "model": holds(Path(question["model"]), files), "missing": missing}


def _lacks(wanted: str) -> bool:
    """Whether a package is missing, or older than wanted."""
    name, _, least = wanted.partition(">=")
    if importlib.util.find_spec(name) is None:
        return True
    try:
        return _numbers(importlib.metadata.version(name)) < _numbers(least)
    except importlib.metadata.PackageNotFoundError:
        return False


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


def main(question: dict) -> None:
    ray.init()
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    on = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    seen = ray.get([look.options(scheduling_strategy=one).remote(question) for one in on])
    together = {name: all(each[name] for each in seen) for name in ("shares", "model")}
    # A head node may lack what ranks need, if they run elsewhere.
    missing = [wanted for wanted in WANTED if all(wanted in each["missing"] for each in seen)]
    gpus = int(ray.cluster_resources().get("GPU", 0))
    print(json.dumps({"type": "looked", "gpus": gpus, **together, "missing": missing}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
