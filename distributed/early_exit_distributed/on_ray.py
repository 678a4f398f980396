"""A job of Ray: an actor a rank, on a GPU of its own if the cluster has any. All nodes see the run's folder under the same path.

    python -m early_exit_distributed.on_ray DIRECTORY RANKS
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import ray

from .job import FOLDER, JobError, way_on
from .rank import report


GRACE = 10
"""Seconds within which Ray reports that an actor has ended."""


@ray.remote(max_restarts=0)
class Rank:
    def __init__(self, directory: str):
        self._directory = directory

    def address(self) -> tuple[str, int]:
        """The address of this rank's node, and a port that is free there."""
        with socket.socket() as free:
            free.bind(("", 0))
            return ray.util.get_node_ip_address(), free.getsockname()[1]

    def run(self, rank: int, ranks: int, address: str, port: int) -> str | None:
        """None if it ended well; else one sentence with the reason."""
        # Ray shows each actor its own card, as the first.
        here = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": ranks, "MASTER_ADDR": address, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in here.items()})
        from . import rank as one

        try:
            one.run(self._directory)
            return None
        except JobError as error:
            return str(error)


def main(directory: str, ranks: int) -> int:
    stopping = threading.Event()
    ray.init(log_to_driver=True)
    # Stopping the job keeps its work: the ranks end at their next update. ray.init sets a handler of its own, so ours is set after it.
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    gpus = 1 if ray.cluster_resources().get("GPU", 0) >= ranks else 0
    actors = [Rank.options(num_gpus=gpus, num_cpus=0 if gpus else 0.01).remote(directory) for _ in range(ranks)]
    folder = Path(directory) / FOLDER
    addresses = [actor.address.remote() for actor in actors]
    # Waits for all actors first: ranks that already meet would give up on those for which the cluster has no room yet.
    while ray.wait(addresses, num_returns=len(addresses), timeout=1)[1]:
        if stopping.is_set() or (folder / "stop").exists():
            return 1
    (address, port), *_ = ray.get(addresses)
    waiting = {actor.run.remote(rank, ranks, address, port): rank for rank, actor in enumerate(actors)}
    while waiting:
        finished, _ = ray.wait(list(waiting), num_returns=1, timeout=1)
        if stopping.is_set():
            stopping.clear()
            (folder / "stop").touch()
        failures = _failures(finished, waiting, directory, ranks)
        if failures and not any(failure.is_cause for failure in failures):
            # If one rank has ended, the others fail, too, and Ray may report those first.
            finished, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=GRACE) if waiting else ([], [])
            failures += _failures(finished, waiting, directory, ranks)
        if failures:
            cause = next((failure for failure in failures if failure.is_cause), failures[0])
            report(folder, {"type": "failed", "message": cause.sentence})
            return 1
    return 0


@dataclass(frozen=True)
class Failure:
    sentence: str
    is_cause: bool
    """Whether it reports its own reason: others may have failed because of it."""


def _failures(finished: list[ray.ObjectRef], waiting: dict[ray.ObjectRef, int], directory: str, ranks: int) -> list[Failure]:
    """Failures among ranks that have ended, which are removed from those that are waited for."""
    found = (_failure(done, waiting.pop(done), directory, ranks) for done in finished)
    return [failure for failure in found if failure]


def _failure(done: ray.ObjectRef, rank: int, directory: str, ranks: int) -> Failure | None:
    try:
        sentence = ray.get(done)
        return None if sentence is None else Failure(sentence, True)
    except ray.exceptions.RayError as error:
        was_killed = isinstance(error, ray.exceptions.RayActorError)
        reason = "was killed" if was_killed else f"failed ({type(getattr(error, 'cause', error)).__name__})"
        return Failure(f"Rank {rank} of {ranks} {reason}. {way_on(directory)}.", was_killed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
