"""One rank: what a launcher starts on every device. Writes events of the run, a line of JSON each, if it is the first.

    torchrun --nproc-per-node 8 -m early_exit_distributed.rank DIRECTORY
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

from .checkpoint import plain
from .job import FOLDER, JobError, read_job

EVENTS_FILE = "events.jsonl"


def report(folder: Path, event: dict) -> None:
    """A line for the command that follows the run."""
    if folder.is_dir():
        with open(folder / EVENTS_FILE, "a") as opened:
            opened.write(f"{json.dumps(plain(event), separators=(',', ':'))}\n")


def run(directory: str) -> None:
    """Raises JobError for what a person can mend."""
    is_first = int(os.environ.get("RANK", 0)) == 0

    def emit(event: dict) -> None:
        if is_first:
            report(Path(directory) / FOLDER, event)

    job = read_job(directory)
    from .pretrain import pretrain
    from .ranks import close_ranks, open_ranks
    from .tune import tune

    ranks = open_ranks(job.mesh)
    emit((pretrain if job.continues else tune)(job, ranks, emit))
    close_ranks(ranks)


def main(directory: str) -> int:
    try:
        run(directory)
        return 0
    except JobError as error:
        # The rank that sees it reports it: the first rank may have no error.
        report(Path(directory) / FOLDER, {"type": "failed", "message": str(error)})
        print(error, file=sys.stderr)
        return 2


def end_with(parent: int) -> None:
    """Ends this process once its launcher is gone: otherwise it would stay, and keep its card."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    from torch.distributed.elastic.multiprocessing.errors import record

    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    # An error is written to the file that the launcher reads.
    sys.exit(record(main)(sys.argv[1]))
