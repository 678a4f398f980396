"""What a rank keeps throughout a sitting, whatever is trained: the job, the text, the model's files, the time and the wish to stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from .job import Job, JobError
from .model_files import find_model
from .ranks import Ranks
from .weights import Weights
from .windows import Windows

Emit = Callable[[dict], None]


class Sitting:
    def __init__(self, job: Job, ranks: Ranks, emit: Emit):
        self.job, self.ranks, self.emit = job, ranks, emit
        self.began = time.monotonic()
        self.has_work = False
        """Whether there is a checkpoint: before that, a run that is asked to stop has nothing to keep."""
        self._wants_stop = False
        self.train = Windows(job.train)
        self.held_out = Windows(job.held_out, job.held_out_tokens)
        self.weights = Weights(find_model(job.model, job.files), job.sources)
        if self.per_step % job.mesh.dp:
            raise JobError(
                f"An update has {self.per_step} windows, which {job.mesh.dp} data parallel ranks cannot share evenly. Change --batch-size or --accumulation."
            )
        # The last is what a launcher passes on if its terminal, such as that of ssh, is gone.
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, self._on_stop)
        emit({"type": "phase", "phase": "load", "detail": str(job.model)})

    @property
    def per_step(self) -> int:
        """Windows of an update."""
        return self.job.options["batchSize"] * self.job.options["accumulation"]

    def elapsed(self) -> float:
        """Seconds, with those of earlier sittings."""
        return time.monotonic() - self.began

    def stops(self) -> bool:
        """Whether the run is asked to end with its work kept."""
        return self._wants_stop or (self.ranks.is_writer and self.job.stop_file.exists())

    def _on_stop(self, number: int, _: object) -> None:
        if not self.has_work:
            os._exit(128 + number)
        self._wants_stop = True
