"""Held-out text of a run: read once through the frozen model; every exit is evaluated on it, over all ranks together.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from .evaluate import HeldOut, exit_scores, final_scores, score
from .exits import final_state
from .job import JobError
from .pipeline import Reply
from .run import Run
from .windows import shared_evenly


@dataclass(frozen=True)
class Judge:
    """What exits are judged by."""

    passes: list[HeldOut]
    """Of this rank's windows."""
    final: list[float]
    """The final exit's sums, of all ranks."""

    def scores(self, run: Run) -> list[dict]:
        """Of all exits as they are now, the final exit behind them."""
        job = run.job
        own = {exit.id: exit_scores(job, exit, {**run.frozen, **run.step.parameters}, self.passes, run.ranks) for exit in run.exits}
        numbers = run.ranks.sum_all([*itertools.chain(*(own.get(exit.id, [0.0] * 4) for exit in job.exits))], "evaluation")
        scores = [score(exit.id, exit.layer, numbers[4 * i : 4 * i + 4]) for i, exit in enumerate(job.exits)]
        return [*scores, score("final", job.layers, self.final)]


def read_held_out(run: Run) -> Judge:
    ranks = run.ranks
    count = run.held_out.count
    run.emit({"type": "phase", "phase": "features", "detail": f"{count} window{'s'[: count > 1]} held out"})
    batches = shared_evenly(list(range(count)), run.job.options["batchSize"], ranks.dp, ranks.mesh.dp)
    softcap = run.job.spec["finalSoftcap"]
    sums = [0.0, 0.0, 0.0, 0.0]

    def judge(x: Tensor, targets: Tensor) -> Tensor:
        state = final_state(run.job.spec, run.frozen, x).flatten(0, 1)
        tokens, part = final_scores(state, targets, run.lm_head(), softcap)
        sums[:] = [a + b for a, b in zip(sums, part)]
        return tokens

    reply = Reply(judge, lambda windows, tokens: (windows * tokens,), torch.int64)
    texts: list[HeldOut] = []
    cuts = {exit.cut for exit in run.exits}
    for done, passed in enumerate(run.pipeline.passes(run.held_out, iter(batches), reply), 1):
        if run.exits and batches[done - 1]:
            features = {cut: value.cpu() for cut, value in passed.features.items() if cut in cuts}
            texts.append(HeldOut(features, passed.targets, passed.reply))
        run.emit({"type": "progress", "phase": "features", "done": done, "total": len(batches), "unit": "batches"})
    speaks = ranks.is_last_stage and ranks.tp == 0
    final = ranks.sum_all(sums if speaks else [0.0] * 4)
    if final[3] == 0:
        raise JobError("The held-out text has no token to predict. Give more text, or a larger held-out share.")
    return Judge(texts, final)
