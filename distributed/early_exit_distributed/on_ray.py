"""A job of Ray: an actor a rank, on a GPU of its own where the cluster has any. The folder must lie on a path that all nodes share.

    python -m early_exit_distributed.on_ray FOLDER RANKS
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import ray

from .job import read_job
from .rank import report


@ray.remote(max_restarts=0)
class Rank:
    def place(self) -> tuple[str, int]:
        """An address of this rank's node, and a port that is free there."""
        with socket.socket() as free:
            free.bind(("", 0))
            return ray.util.get_node_ip_address(), free.getsockname()[1]

    def run(self, directory: str, rank: int, ranks: int, address: str, port: int) -> int:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        # Ray shows each actor its own card, as the first.
        here = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": ranks, "MASTER_ADDR": address, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in here.items()})
        from . import rank as one

        return one.main(directory)


def main(folder: Path, ranks: int) -> int:
    job = read_job(folder.parent)
    # Whoever stops the job keeps its work: the ranks end at their next update.
    signal.signal(signal.SIGTERM, lambda *_: job.stop_file.touch())
    ray.init(log_to_driver=True)
    gpus = 1 if ray.cluster_resources().get("GPU", 0) >= ranks else 0
    actors = [Rank.options(num_gpus=gpus, num_cpus=0 if gpus else 0.01).remote() for _ in range(ranks)]
    address, port = ray.get(actors[0].place.remote())
    waiting = {actor.run.remote(str(folder.parent), rank, ranks, address, port): rank for rank, actor in enumerate(actors)}
    while waiting:
        [done], _ = ray.wait(list(waiting), num_returns=1)
        rank = waiting.pop(done)
        try:
            code = ray.get(done)
        except ray.exceptions.RayError as error:
            reason = "was killed" if isinstance(error, ray.exceptions.RayActorError) else f"failed ({type(error).__name__})"
            report(folder, {"type": "failed", "message": f"Rank {rank} of {ranks} {reason}. Go on from its last state with --resume."})
            return 1
        if code != 0:
            return code  # The rank has said why.
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
