"""A job of Ray: an actor a rank, on a GPU of its own if the cluster has any.

    python -m early_exit_distributed.on_ray DIRECTORY RANKS        a folder on a path that all nodes share
    python -m early_exit_distributed.on_ray --carried NAME RANKS   files that came with the job
    python -m early_exit_distributed.on_ray --forget NAME          what is left of such a run goes, from all nodes

A carried run has a folder of each node's own among the logs of Ray's session, because what lies there can be read over Ray's own interface.
Where the first rank is, one line of the job's log says.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from .carried import forget, unpack
from .job import FOLDER, JobError
from .rank import report


GRACE = 10
"""Seconds within which Ray reports that an actor has ended."""


@ray.remote(max_restarts=0)
class Rank:
    def __init__(self, run: str, is_carried: bool):
        self._run, self._is_carried = run, is_carried

    def place(self) -> tuple[str, str, str, int]:
        """This rank's node, the run's folder there, the node's address, and a port that is free."""
        directory = Path(self._run)
        if self._is_carried:
            directory = _logs() / self._run
            unpack(directory)
        self._directory = str(directory)
        with socket.socket() as free:
            free.bind(("", 0))
            return ray.get_runtime_context().get_node_id(), self._directory, ray.util.get_node_ip_address(), free.getsockname()[1]

    def run(self, rank: int, ranks: int, address: str, port: int) -> str | None:
        """None if it ended well; else one sentence with the reason."""
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        # Ray shows each actor its own card, as the first.
        here = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": ranks, "MASTER_ADDR": address, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in here.items()})
        from . import rank as one

        try:
            one.run(self._directory)
            return None
        except JobError as error:
            return str(error)


@ray.remote(num_cpus=0)
def _report(folder: str, event: dict) -> None:
    report(Path(folder), event)


@ray.remote(num_cpus=0)
def _touch(file: str) -> None:
    Path(file).touch()


@ray.remote(num_cpus=0)
def _forget(run: str) -> None:
    forget(_logs() / run)


def main(run: str, ranks: int, is_carried: bool) -> int:
    stopping = threading.Event()
    ray.init(log_to_driver=True)
    # Stopping the job keeps its work: the ranks end at their next update. Connecting sets a handler of Ray's, so ours comes behind.
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    gpus = 1 if ray.cluster_resources().get("GPU", 0) >= ranks else 0
    actors = [Rank.options(num_gpus=gpus, num_cpus=0 if gpus else 0.01).remote(run, is_carried) for _ in range(ranks)]
    (node, directory, address, port), *_ = ray.get([actor.place.remote() for actor in actors])
    print(json.dumps({"type": "placed", "node": node}), flush=True)
    folder = Path(directory) / FOLDER
    waiting = {actor.run.remote(rank, ranks, address, port): rank for rank, actor in enumerate(actors)}
    while waiting:
        finished, _ = ray.wait(list(waiting), num_returns=1, timeout=1)
        if stopping.is_set():
            stopping.clear()
            ray.get(_touch.options(scheduling_strategy=_on(node)).remote(str(folder / "stop")))
        failures = _failures(finished, waiting, ranks)
        if failures and not any(failure.is_cause for failure in failures):
            # If one has ended the others fail, too, and Ray may report those first.
            finished, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=GRACE) if waiting else ([], [])
            failures += _failures(finished, waiting, ranks)
        if failures:
            cause = next((failure for failure in failures if failure.is_cause), failures[0])
            # On the first rank's node, from which the run is followed.
            ray.get(_report.options(scheduling_strategy=_on(node)).remote(str(folder), {"type": "failed", "message": cause.sentence}))
            return 1
    return 0


@dataclass(frozen=True)
class Failure:
    sentence: str
    is_cause: bool
    """Whether it reports its own reason: others may have failed because of it."""


def _failures(finished: list[ray.ObjectRef], waiting: dict[ray.ObjectRef, int], ranks: int) -> list[Failure]:
    """Of ranks that ended; they are waited for no more."""
    found = (_failure(done, waiting.pop(done), ranks) for done in finished)
    return [failure for failure in found if failure]


def _failure(done: ray.ObjectRef, rank: int, ranks: int) -> Failure | None:
    try:
        sentence = ray.get(done)
        return None if sentence is None else Failure(sentence, True)
    except ray.exceptions.RayError as error:
        was_killed = isinstance(error, ray.exceptions.RayActorError)
        reason = "was killed" if was_killed else f"failed ({type(getattr(error, 'cause', error)).__name__})"
        return Failure(f"Rank {rank} of {ranks} {reason}. Go on from its last state with --resume.", was_killed)


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _logs() -> Path:
    """Of this node's session; Ray has no other name for it."""
    return Path(ray._private.worker._global_node.get_logs_dir_path())


if __name__ == "__main__":
    first, *rest = sys.argv[1:]
    if first == "--forget":
        ray.init()
        ray.get([_forget.options(scheduling_strategy=_on(node["NodeID"])).remote(rest[0]) for node in ray.nodes() if node["Alive"]])
    else:
        is_carried = first == "--carried"
        sys.exit(main(rest[0] if is_carried else first, int(rest[-1]), is_carried))
