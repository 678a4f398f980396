"""Exits of a frozen model as what is trained: each is differentiated, clipped, judged and kept on its own."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from .checkpoint import Checkpoint
from .exits import final_state
from .held_out import Judge
from .pipeline import Passed
from .reached import Position, Reached, judged, save_state
from .run import Run
from .schedule import clip_coefficient, learning_rate_at
from .step import Pass, Sums
from .updates import Moment


class ExitsLearner:
    """See `updates.Learner`."""

    def __init__(self, run: Run, judge: Judge):
        self._run, self._judge = run, judge
        self.ids = [exit.id for exit in run.job.exits]

    def passes(self, batches: Iterator[list[int]]) -> Iterator[Passed]:
        run = self._run
        return run.pipeline.passes(run.train, batches, run.pipeline.whole() if run.job.distils else None)

    def learn(self, passed: Passed, weights: dict[str, float]) -> int:
        run = self._run
        final = None
        if run.job.distils and run.exits:
            with torch.no_grad():
                final = final_state(run.job.spec, run.frozen, passed.reply).flatten(0, 1)
        if run.exits:
            run.step.differentiate(Pass(passed.features, final, passed.targets), weights)
        return int((passed.targets >= 0).sum())

    def gather(self) -> dict[str, Sums]:
        return self._run.step.gather()

    def update(self, moment: Moment, scale: float, norms: dict[str, float]) -> float:
        options = self._run.job.options
        rate = learning_rate_at(options, moment.update, moment.updates)
        norm_of = norms if options["clip"] == "each" else dict.fromkeys(norms, math.hypot(*norms.values()))
        scales = {exit.id: scale * clip_coefficient(norm_of[exit.id], options["gradientClip"]) for exit in self._run.exits}
        self._run.step.update(rate, scales)
        return rate

    def judged(self, reached: Reached) -> tuple[Reached, float]:
        return judged(self._run, self._judge, reached)

    def save(self, checkpoint: Checkpoint | None, position: Position, metrics_bytes: int | None = None) -> float:
        return save_state(self._run, checkpoint, position, metrics_bytes)

    def drain(self) -> None:
        self._run.pipeline.drain()

    def memory(self) -> dict[str, float]:
        return self._run.memory()
