"""One rank: what a launcher starts on every device. Writes events of the run, a line of JSON each, if it is the first.

    torchrun --nproc-per-node 8 -m early_exit_distributed.rank DIRECTORY
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from .checkpoint import _plain
from .job import FOLDER, JobError, read_job

EVENTS_FILE = "events.jsonl"


def main(directory: str) -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    is_first = int(os.environ.get("RANK", 0)) == 0
    file = Path(directory) / FOLDER / EVENTS_FILE

    def emit(event: dict) -> None:
        if is_first:
            line = json.dumps(_plain(event), separators=(",", ":"))
            with open(file, "a") as opened:
                opened.write(f"{line}\n")
            # A cluster's logs carry them too, where the folder is not shared.
            print(f"early-exit {line}", flush=True)

    try:
        job = read_job(directory)
        from .ranks import close_ranks, open_ranks
        from .tune import Run

        ranks = open_ranks(job.mesh)
        ended = Run(job, ranks, emit).run()
        emit(ended)
        close_ranks(ranks)
        return 0
    except JobError as error:
        emit({"type": "failed", "message": str(error)})
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
