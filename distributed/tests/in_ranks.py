"""Runs jobs one after the other, each in ranks that are forked from one process: PyTorch is imported once, not once a rank.

    python in_ranks.py DIRECTORY…
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch  # noqa: E402
import transformers.models.auto.modeling_auto  # noqa: E402, F401

from early_exit_distributed import rank, tune  # noqa: E402, F401
from early_exit_distributed.job import read_job  # noqa: E402


def run(directory: str) -> list[int]:
    """Exit codes of the ranks."""
    ranks = read_job(directory).mesh.ranks
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=_rank, args=(directory, i, ranks, port)) for i in range(ranks)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    return [process.exitcode for process in started]


def _rank(directory: str, index: int, ranks: int, port: int) -> None:
    here = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in here.items()})
    torch.set_num_threads(1)
    sys.exit(rank.main(directory))


if __name__ == "__main__":
    ended = {directory: run(directory) for directory in sys.argv[1:]}
    for directory, codes in ended.items():
        print(directory, codes)
    sys.exit(any(any(codes) for codes in ended.values()))
