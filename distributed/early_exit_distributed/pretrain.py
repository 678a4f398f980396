"""Continued pretraining as every rank has it: all parameters of the model and its tuned exits are trained together on the final exit's
cross-entropy and the exits' weighted losses. Every rank has all of it, and windows are shared.

The best is kept as a whole, since neither half is good with another: the lowest mean of the held-out losses of all exits and of the final one.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from .checkpoint import BEST_FILE, STATE_KINDS, Checkpoint, read_progress, read_saved
from .evaluate import HeldOut, exit_scores, final_scores, score
from .job import Job, JobError
from .objective import Head
from .ranks import Ranks
from .reached import Position, Reached
from .schedule import clip_coefficient, learning_rate_at
from .sitting import Emit, Sitting
from .step import Sums
from .updates import Moment, update_to_the_end
from .weights import Weights
from .whole import WholeModel


def pretrain(job: Job, ranks: Ranks, emit: Emit) -> dict:
    """The run to its end; answers how it ended."""
    if ranks.mesh.pp * ranks.mesh.tp > 1 or job.shard:
        raise JobError("Every rank trains the whole model. Take a mesh of data parallel ranks alone.")
    run = Sitting(job, ranks, emit)
    model = WholeModel(job, run.weights, ranks, fast=job.options["backbonePrecision"] == "fast")
    learner = WholeLearner(run, model)
    reached = _go_on(run, model) if job.resume else _begin(run, model, learner)
    run.has_work = True
    try:
        return update_to_the_end(run, learner, reached)
    finally:
        if reached.checkpoint:
            reached.checkpoint.close()


class WholeLearner:
    """See `updates.Learner`."""

    def __init__(self, run: Sitting, model: WholeModel):
        self._run, self._model = run, model
        self.ids = model.ids

    def passes(self, batches: Iterator[list[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        device = self._run.ranks.device
        for batch in batches:
            ids, targets = self._run.train.batch(batch)
            yield ids.to(device), targets.to(device)

    def learn(self, passed: tuple[Tensor, Tensor], weights: dict[str, float]) -> int:
        ids, targets = passed
        self._model.differentiate(ids, targets, weights)
        return int((targets >= 0).sum())

    def gather(self) -> dict[str, Sums]:
        return self._model.gather()

    def update(self, moment: Moment, scale: float, norms: dict[str, float]) -> float:
        options = self._run.job.options
        rate = learning_rate_at(options, moment.update, moment.updates)
        own = options["backboneLearningRate"]
        model_rate = learning_rate_at({**options, "learningRate": own, "finalLearningRate": own / 10}, moment.update, moment.updates)
        # One norm, of everything: what is trained together is clipped together.
        norm = math.hypot(*norms.values())
        self._model.update(model_rate, rate, scale * clip_coefficient(norm, options["gradientClip"]))
        return rate

    def judged(self, reached: Reached) -> tuple[Reached, float]:
        began = time.monotonic()
        run, position, checkpoint = self._run, reached.position, reached.checkpoint
        scores = self.scores()
        loss = _mean(scores)
        best = position.best is None or loss < position.best
        event = {"type": "evaluation", "step": position.step, "tokens": position.tokens, "scores": scores, "best": best}
        if checkpoint:
            checkpoint.metric(event)
        if best:
            reached = replace(reached, position=replace(position, best=loss))
        if loss < _mean(reached.progress["scores"]):
            origins = {exit.id: position.step for exit in run.job.exits}
            progress = {"step": position.step, "tokens": position.tokens, "scores": scores, "origins": origins}
            reached = replace(reached, progress=progress)
            if checkpoint:
                checkpoint.save_best(self._model.stored(run.weights), progress)
        run.emit(event)
        return reached, time.monotonic() - began

    def save(self, checkpoint: Checkpoint | None, position: Position, metrics_bytes: int | None = None) -> float:
        began = time.monotonic()
        if checkpoint:
            model = self._model
            kinds = zip(STATE_KINDS, (model.parameters, model.first, model.second))
            state = {f"{kind}.{name}": value.to("cpu", copy=True) for kind, tensors in kinds for name, value in tensors.items()}
            checkpoint.save_state(state, model.updates, position.stored(), metrics_bytes)
        return time.monotonic() - began

    def drain(self) -> None:
        """Nothing is ever under way between ranks."""

    def memory(self) -> dict[str, float]:
        return {part: self._run.ranks.most(size) for part, size in self._model.bytes().items()}

    @torch.no_grad()
    def scores(self) -> list[dict]:
        """Held-out scores of all exits with their current values, the final exit last."""
        run, job, ranks = self._run, self._run.job, self._run.ranks
        own = range(run.held_out.count)[ranks.dp :: ranks.mesh.dp]
        size = job.options["batchSize"]
        sums = {id: [0.0] * 4 for id in self.ids}
        for i in range(0, len(own), size):
            ids, targets = (tensor.to(ranks.device) for tensor in run.held_out.batch(list(own[i : i + size])))
            read = self._model.read(ids)
            head = Head(read.table["lm_head.weight"], read.table.get("lm_head.bias"))
            tokens, final = final_scores(read.final, targets, head, job.spec["finalSoftcap"])
            texts = [HeldOut(read.cuts, targets, tokens)]
            parts = [*(exit_scores(job, exit, read.table, texts, ranks) for exit in job.exits), final]
            for id, part in zip(self.ids, parts):
                sums[id] = [a + b for a, b in zip(sums[id], part)]
        numbers = ranks.sum_all([*itertools.chain(*sums.values())], "evaluation")
        layers = [*(exit.layer for exit in job.exits), job.layers]
        if numbers[-1] == 0:
            raise JobError("The held-out text has no token to predict. Give more text, or a larger held-out share.")
        return [score(id, layer, numbers[4 * i : 4 * i + 4]) for i, (id, layer) in enumerate(zip(self.ids, layers))]


def _begin(run: Sitting, model: WholeModel, learner: WholeLearner) -> Reached:
    job = run.job
    exits = [p.name for exit in job.exits for p in exit.parameters]
    values = Weights.of_file(job.continues, exits)
    model.load(values)
    run.emit({"type": "phase", "phase": "evaluate", "detail": "before training"})
    before = learner.scores()
    origins = read_progress(job.continues).get("origins", {})
    progress = {"step": 0, "tokens": 0, "scores": before, "origins": origins}
    seconds = run.elapsed()
    held_out = {"tokens": run.held_out.count * run.held_out.length}
    position = Position(0, 0, 0, seconds, _mean(before), before, job.data, False, seconds, others={"heldOut": held_out})
    run.emit({"type": "phase", "phase": "save", "detail": str(job.directory)})
    checkpoint = Checkpoint(job) if run.ranks.is_writer else None
    evaluation = {"type": "evaluation", "step": 0, "tokens": 0, "scores": before, "best": True}
    if checkpoint:
        checkpoint.metric(evaluation)
        checkpoint.save_best(model.stored(run.weights), progress)
    learner.save(checkpoint, position)
    if checkpoint:
        # Until the end these are the exits of the model as it was.
        checkpoint.save_exits(values, progress)
    run.emit(evaluation)
    return Reached(position, {}, progress, checkpoint)


def _go_on(run: Sitting, model: WholeModel) -> Reached:
    """From the state of an earlier sitting, on however many ranks."""
    job = run.job
    saved = read_saved(job)
    model.load(*({name: saved.state[f"{kind}.{name}"] for name in model.shapes} for kind in STATE_KINDS))
    model.updates = saved.updates
    position = Position.of(saved.position, job.limits)
    run.began -= position.seconds
    progress = read_progress(job.directory / "state" / BEST_FILE)
    checkpoint = Checkpoint(job, saved.metrics_bytes) if run.ranks.is_writer else None
    return Reached(position, {}, progress, checkpoint)


def _mean(scores: list[dict]) -> float:
    return sum(each["loss"] for each in scores) / len(scores)
