"""Starts the ranks of this machine and ends with one sentence if one of them fails.

    python3 -m early_exit_distributed DIRECTORY [--ranks N] [--nodes N --endpoint HOST:PORT]
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

from .job import FOLDER, JobError, read_job
from .rank import report


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m early_exit_distributed", description=__doc__)
    parser.add_argument("directory", help="the run's folder, on a path that all machines share")
    parser.add_argument("--ranks", type=int, help="ranks on this machine; all of the mesh where it is one machine")
    parser.add_argument("--nodes", type=int, default=1, help="machines that take part")
    parser.add_argument("--endpoint", default="127.0.0.1:0", help="HOST:PORT of the first machine")
    given = parser.parse_args(words)
    try:
        job = read_job(given.directory)
        ranks = given.ranks or job.mesh.ranks // given.nodes
        return _launch(job.folder, ranks, given.nodes, given.endpoint)
    except JobError as error:
        return report_failure(Path(given.directory) / FOLDER, str(error))


def _launch(folder: Path, ranks: int, nodes: int, endpoint: str) -> int:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=ranks,
        run_id=folder.parent.name or "early-exit",
        rdzv_backend="c10d",
        rdzv_endpoint=endpoint,
        max_restarts=0,
        monitor_interval=0.2,
        logs_specs=DefaultLogsSpecs(),
        # A rank that is asked to stop saves its work first.
        shutdown_timeout=600,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "early_exit_distributed.rank", str(folder.parent))
        return 0
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode == 2:
            return 2  # The rank has said why.
        return report_failure(folder, _sentence(rank, ranks * nodes, failure.exitcode, failure.pid))
    except SignalException:
        return 0


def _sentence(rank: int, ranks: int, exit_code: int, pid: int) -> str:
    end = f"was ended by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"failed with exit code {exit_code}"
    return f"Rank {rank} of {ranks} (process {pid} on {socket.gethostname()}) {end}. Go on from its last state with --resume; its output is in {FOLDER}/launch.log."


def report_failure(folder: Path, message: str) -> int:
    """As an event of the run, to whoever follows it; answers the exit code."""
    print(message, file=sys.stderr, flush=True)
    report(folder, {"type": "failed", "message": message})
    return 1
