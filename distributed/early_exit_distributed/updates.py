"""Updates to the end of a run: passes, sums over ranks, AdamW, and in between what the clock asks for. What is trained is a learner's.

All ranks take the same decisions from the same numbers: one sum of a few numbers a step carries losses, norms, and what the
first rank alone knows (the clock, the wish to stop).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from .checkpoint import Checkpoint
from .clock import Clock
from .reached import Position, Reached
from .schedule import exit_weights_at
from .sitting import Sitting
from .step import Sums
from .windows import windows_at


@dataclass(frozen=True)
class Moment:
    """Which update of how many, from 0; under a limit in time, which part of it."""

    update: float
    updates: int


class Learner(Protocol):
    """What is trained, as the updates see it. `P` is a pass of windows."""

    ids: list[str]
    """Of those that have a loss."""

    def passes(self, batches: Iterator[list[int]]) -> Iterator[object]:
        """This replica's windows, a pass at a time."""

    def learn(self, passed: object, weights: dict[str, float]) -> int:
        """Adds a pass to the gradients; answers its targets."""

    def gather(self) -> dict[str, Sums]:
        """Sums gradients over the ranks with the same exits; returns losses and squares of this rank's gradients."""

    def update(self, moment: Moment, scale: float, norms: dict[str, float]) -> float:
        """AdamW with scale · gradient, clipped by the norms of all; answers the learning rate."""

    def judged(self, reached: Reached) -> tuple[Reached, float]:
        """Scores what is trained as it is, and keeps what became better; answers how many seconds that took, too."""

    def save(self, checkpoint: Checkpoint | None, position: Position, metrics_bytes: int | None = None) -> float:
        """Writes what a resume begins with; answers how many seconds it took."""

    def drain(self) -> None:
        """Takes in what is still under way."""

    def memory(self) -> dict[str, float]:
        """Bytes of each kind, on the rank that has had most of it."""


def update_to_the_end(run: Sitting, learner: Learner, reached: Reached) -> dict:
    """Answers how the run ended."""
    job, ranks, per_step, checkpoint = run.job, run.ranks, run.per_step, reached.checkpoint
    planned = _planned(run)
    run.emit({"type": "phase", "phase": "tune", "detail": f"{run.train.count} windows on {ranks.mesh.ranks} ranks"})
    position = reached.position
    clock = Clock(job.limits, planned, position.step, position.updatesFrom, run.elapsed, ranks.is_writer)
    clock.reach(*ranks.sum_all([clock.share_now()]), position.step)
    passes = learner.passes(_batches(run, position, planned))
    per_rank = math.ceil(per_step // ranks.mesh.dp / job.options["batchSize"])
    steps_here, stopped = 0, False
    ranks.traffic.clear()
    while not clock.over:
        moment = Moment(clock.update(position.step), clock.updates)
        weights = _weights(run, learner.ids, moment)
        count = sum(learner.learn(passed, weights) for passed in itertools.islice(passes, per_rank))
        event, agreed = _update(run, learner, moment, weights, count, clock)
        tokens = agreed["tokens"]
        position = replace(position, step=position.step + 1, windows=position.windows + per_step, tokens=position.tokens + tokens, seconds=run.elapsed())
        steps_here += 1
        event |= {"step": position.step, "epoch": (position.windows - 1) // run.train.count + 1, "tokens": position.tokens}
        clock.after_step(position.step, tokens, agreed)
        if checkpoint:
            checkpoint.metric({"type": "step", **event})
        run.emit({"type": "step", **event, **clock.shown(position.step)})
        if clock.is_evaluation_due(position.step, job.options["evaluateEvery"]) and not clock.over:
            reached, seconds = learner.judged(replace(reached, position=position))
            clock.evaluated(seconds)
            position = replace(reached.position, evaluatedAt=position.step)
        stopped = agreed["stop"] > 0 and not clock.over
        if stopped:
            break
        # The last update is followed by its evaluation: a run that is killed there is resumed before it.
        if agreed["save"] > 0 and not clock.over:
            clock.saved(learner.save(checkpoint, position))
    traffic = dict(ranks.traffic)
    learner.drain()
    size = checkpoint.metrics_bytes() if checkpoint and stopped else None
    last = position
    if position.step > position.evaluatedAt:
        reached, _ = learner.judged(replace(reached, position=position))
        position = replace(reached.position, evaluatedAt=position.step)
    # A run that was stopped is resumed as if its last evaluation had not been.
    position = replace(last, seconds=run.elapsed()) if stopped else replace(position, finished=True, seconds=run.elapsed())
    learner.save(checkpoint, position, size)
    return {
        "type": "finished",
        "step": position.step,
        "before": position.before,
        "after": reached.progress["scores"],
        "seconds": position.seconds,
        "stopped": stopped,
        "traffic": _traffic(run, traffic, steps_here),
        "memory": learner.memory(),
    }


def _update(run: Sitting, learner: Learner, moment: Moment, weights: dict[str, float], count: int, clock: Clock) -> tuple[dict, dict]:
    """Sums over all ranks, clips and updates; answers the numbers of the step, and what the first rank has decided."""
    ranks, ids = run.ranks, learner.ids
    sums = learner.gather()
    speaks = ranks.dp == 0 and ranks.tp == 0
    own = [[sums[id].loss, sums[id].cross_entropy, sums[id].squares] if speaks and id in sums else [0.0] * 3 for id in ids]
    counts = count if ranks.pp == 0 and ranks.tp == 0 else 0
    numbers = ranks.sum_all([*itertools.chain(*own), counts, *clock.decisions(run.stops())])
    each = [numbers[3 * i : 3 * i + 3] for i in range(len(ids))]
    tokens, stop, *decided = numbers[3 * len(ids) :]
    agreed = {"tokens": int(tokens), "stop": stop, "over": decided[0], "due": decided[1], "save": decided[2], "share": decided[3]}
    scale = 1 / max(1.0, tokens)
    norms = {id: scale * math.sqrt(squares) for id, (_, _, squares) in zip(ids, each)}
    rate = learner.update(moment, scale, norms)
    losses = {id: loss * scale for id, (loss, _, _) in zip(ids, each)}
    return {
        "learningRate": rate,
        "loss": sum(weights[id] * loss for id, loss in losses.items()),
        "losses": {id: cross_entropy * scale for id, (_, cross_entropy, _) in zip(ids, each)},
        "gradientNorms": norms,
    }, agreed


def _batches(run: Sitting, position: Position, planned: int | None) -> Iterator[list[int]]:
    """This replica's windows of every update from here on, in passes."""
    size, mesh = run.job.options["batchSize"], run.ranks.mesh
    for step in itertools.count(position.step) if planned is None else range(position.step, planned):
        first = position.windows + (step - position.step) * run.per_step
        own = windows_at(run.job.options["seed"], run.train.count, first, run.per_step)[run.ranks.dp :: mesh.dp]
        yield from (own[i : i + size] for i in range(0, len(own), size))


def _weights(run: Sitting, ids: list[str], moment: Moment) -> dict[str, float]:
    """The weight of each loss: of exits as the options say, and 1 for the others."""
    exits = [exit.id for exit in run.job.exits]
    weights = exit_weights_at(run.job.options["exitWeights"], len(exits), moment.update, moment.updates)
    return {**dict.fromkeys(ids, 1.0), **dict(zip(exits, weights))}


def _planned(run: Sitting) -> int | None:
    """Updates of the run; None if only the clock ends it."""
    steps, epochs = run.job.limits.steps, run.job.limits.epochs
    by_epochs = math.inf if epochs is None else math.ceil(epochs * run.train.count / run.per_step - 1e-9)
    planned = min(math.inf if steps is None else steps, by_epochs)
    return None if planned == math.inf else int(planned)


def _traffic(run: Sitting, own: dict[str, int], steps: int) -> dict[str, float]:
    """Bytes a step that all ranks together gave away, by kind."""
    kinds = ("hidden", "final", "gradients", "bookkeeping", "tensor")
    total = run.ranks.sum_all([float(own.get(kind, 0)) for kind in kinds])
    return {kind: value / max(1, steps) for kind, value in zip(kinds, total)}
