"""Starts the ranks of this machine and ends with one sentence if one of them fails.

    python3 -m early_exit_distributed DIRECTORY [--ranks N] [--nodes N --endpoint HOST:PORT --id ID]
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import sys
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from .job import FOLDER, JobError, read_job, way_on
from .rank import report


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m early_exit_distributed", description=__doc__)
    parser.add_argument("directory", help="the run's folder, on a path that all machines share")
    parser.add_argument("--ranks", type=int, help="ranks on this machine; by default all of the mesh")
    parser.add_argument("--nodes", type=int, default=1, help="machines that take part")
    parser.add_argument("--endpoint", default="127.0.0.1:0", help="HOST:PORT of the first machine")
    parser.add_argument("--id", default=secrets.token_hex(8), help="the same for all machines of a run, and for no other run")
    given = parser.parse_args(words)
    try:
        job = read_job(given.directory)
        ranks = given.ranks or job.mesh.ranks // given.nodes
        return _launch(job.folder, ranks, given.nodes, given.endpoint, given.id)
    except JobError as error:
        return report_failure(Path(given.directory) / FOLDER, str(error))


def _launch(folder: Path, ranks: int, nodes: int, endpoint: str, meeting: str) -> int:
    threads = 1 if torch.cuda.is_available() else max(1, _cores() // ranks)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    # A rank that is asked to stop saves its work first. Versions of PyTorch that do not know this variable wait 30 seconds.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=ranks,
        run_id=meeting,
        rdzv_backend="c10d",
        rdzv_endpoint=endpoint,
        max_restarts=0,
        monitor_interval=0.2,
        logs_specs=DefaultLogsSpecs(),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "early_exit_distributed.rank", str(folder.parent))
        return 0
    except ChildFailedError as error:
        rank, failure = _first(error)
        if failure.exitcode == 2:
            return 2  # The rank has reported the reason.
        return report_failure(folder, _sentence(folder, rank, ranks * nodes, failure))
    except SignalException:
        return 0


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first(error: ChildFailedError) -> tuple[int, ProcessFailure]:
    """The rank that failed first. A rank that was killed has recorded no time, so ranks that lost it may seem to have failed before it."""
    killed = [(rank, failure) for rank, failure in error.failures.items() if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM]
    return killed[0] if killed else error.get_first_failure()


def _sentence(folder: Path, rank: int, ranks: int, failure: ProcessFailure) -> str:
    code = failure.exitcode
    end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed{_reason(failure)}"
    place = f"process {failure.pid} on {socket.gethostname()}"
    return f"Rank {rank} of {ranks} ({place}) {end}. {way_on(folder.parent)}; its output is in {FOLDER}/launch.log."


def _reason(failure: ProcessFailure) -> str:
    """What it raised, on one line."""
    message = failure.message.get("message", "") if isinstance(failure.message, dict) else failure.message
    line = " ".join(str(message).split())[:200].rstrip(".")
    return f": {line}" if line else f" with exit code {failure.exitcode}"


def report_failure(folder: Path, message: str) -> int:
    """Prints it as an event of the run, for the command that follows it; returns the exit code."""
    print(message, file=sys.stderr, flush=True)
    report(folder, {"type": "failed", "message": message})
    return 1
