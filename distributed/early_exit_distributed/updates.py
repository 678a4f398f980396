"""Updates to the end of a run: passes, sums over ranks, AdamW, and in between what the clock asks for.

All ranks take the same decisions from the same numbers: one sum of a few numbers a step carries losses, norms, and what the
first rank alone knows (the clock, the wish to stop).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from .clock import Clock
from .exits import final_state
from .held_out import Judge
from .pipeline import Passed
from .reached import Position, Reached, judged, save_state
from .run import Run
from .schedule import clip_coefficient, exit_weights_at, learning_rate_at
from .step import Pass
from .windows import windows_at


def update_to_the_end(run: Run, judge: Judge, reached: Reached) -> dict:
    """Answers how the run ended."""
    job, ranks, per_step, checkpoint = run.job, run.ranks, run.per_step, reached.checkpoint
    planned = _planned(run)
    run.emit({"type": "phase", "phase": "tune", "detail": f"{run.train.count} windows on {ranks.mesh.ranks} ranks"})
    position = reached.position
    clock = Clock(job.limits, planned, position.step, position.updatesFrom, run.elapsed, ranks.is_writer)
    reply = run.pipeline.whole() if job.distils else None
    passes = run.pipeline.passes(run.train, _batches(run, position, planned), reply)
    per_rank = math.ceil(per_step // ranks.mesh.dp / job.options["batchSize"])
    evaluated, steps_here, stopped = position.step, 0, False
    ranks.traffic.clear()
    while not clock.over:
        rate, weights = _settings(run, clock.update(position.step), clock.updates)
        count = sum(_learn(run, passed, weights) for passed in itertools.islice(passes, per_rank))
        event, told = _update(run, rate, weights, count, clock)
        tokens = told["tokens"]
        position = replace(position, step=position.step + 1, windows=position.windows + per_step, tokens=position.tokens + tokens, seconds=run.elapsed())
        steps_here += 1
        event |= {"step": position.step, "epoch": (position.windows - 1) // run.train.count + 1, "tokens": position.tokens}
        clock.after_step(position.step, tokens, told)
        if checkpoint:
            checkpoint.metric({"type": "step", **event})
        run.emit({"type": "step", **event, **clock.shown(position.step)})
        stopped = told["stop"] > 0
        if stopped:
            break
        if clock.is_evaluation_due(position.step, job.options["evaluateEvery"]) and not clock.over:
            reached, seconds = judged(run, judge, replace(reached, position=position))
            clock.evaluated(seconds)
            position, evaluated = reached.position, position.step
        if told["save"] > 0:
            clock.saved(save_state(run, checkpoint, position))
    traffic = dict(ranks.traffic)
    run.pipeline.drain()
    size = checkpoint.metrics_bytes() if checkpoint and stopped else None
    last = position
    if position.step > evaluated:
        reached, _ = judged(run, judge, replace(reached, position=position))
        position = reached.position
    # One that was stopped goes on as if its last evaluation had not been.
    position = replace(last, seconds=run.elapsed()) if stopped else replace(position, finished=True, seconds=run.elapsed())
    save_state(run, checkpoint, position, size)
    return {
        "type": "finished",
        "step": position.step,
        "before": position.before,
        "after": reached.progress["scores"],
        "seconds": position.seconds,
        "stopped": stopped,
        "traffic": _traffic(run, traffic, steps_here),
        "memory": run.memory(),
    }


def _learn(run: Run, passed: Passed, weights: dict[str, float]) -> int:
    """Adds a pass to the gradients; answers its tokens."""
    final = None
    if run.job.distils and run.exits:
        with torch.no_grad():
            final = final_state(run.job.spec, run.frozen, passed.reply).flatten(0, 1)
    if run.exits:
        run.step.differentiate(Pass(passed.features, final, passed.targets), weights)
    return int((passed.targets >= 0).sum())


def _update(run: Run, rate: float, weights: dict[str, float], count: int, clock: Clock) -> tuple[dict, dict]:
    """Sums over all ranks, clips and updates; answers the numbers of the step, and what the first rank has decided."""
    job, ranks = run.job, run.ranks
    sums = run.step.gather()
    speaks = ranks.dp == 0 and ranks.tp == 0
    own = [[sums[e.id].loss, sums[e.id].cross_entropy, sums[e.id].squares] if speaks and e.id in sums else [0.0] * 3 for e in job.exits]
    counts = count if ranks.pp == 0 and ranks.tp == 0 else 0
    numbers = ranks.sum_all([*itertools.chain(*own), counts, *clock.decisions(run.stops())])
    each = [numbers[3 * i : 3 * i + 3] for i in range(len(job.exits))]
    tokens, stop, *decided = numbers[3 * len(job.exits) :]
    told = {"tokens": int(tokens), "stop": stop, "over": decided[0], "due": decided[1], "save": decided[2], "share": decided[3]}
    scale = 1 / max(1.0, tokens)
    ids = [exit.id for exit in job.exits]
    norms = {id: scale * math.sqrt(squares) for id, (_, _, squares) in zip(ids, each)}
    joint = math.hypot(*norms.values())
    clip = job.options["gradientClip"]
    norm_of = norms if job.options["clip"] == "each" else dict.fromkeys(ids, joint)
    run.step.update(rate, {exit.id: scale * clip_coefficient(norm_of[exit.id], clip) for exit in run.exits})
    losses = {id: loss * scale for id, (loss, _, _) in zip(ids, each)}
    return {
        "learningRate": rate,
        "loss": sum(weights[id] * loss for id, loss in losses.items()),
        "losses": {id: cross_entropy * scale for id, (_, cross_entropy, _) in zip(ids, each)},
        "gradientNorms": norms,
    }, told


def _batches(run: Run, position: Position, planned: int | None) -> Iterator[list[int]]:
    """This replica's windows of every update from here on, in passes."""
    size, mesh = run.job.options["batchSize"], run.ranks.mesh
    for step in itertools.count(position.step) if planned is None else range(position.step, planned):
        first = position.windows + (step - position.step) * run.per_step
        own = windows_at(run.job.options["seed"], run.train.count, first, run.per_step)[run.ranks.dp :: mesh.dp]
        yield from (own[i : i + size] for i in range(0, len(own), size))


def _settings(run: Run, update: float, updates: int) -> tuple[float, dict[str, float]]:
    """The learning rate, and the weight of each exit."""
    ids = [exit.id for exit in run.job.exits]
    weights = exit_weights_at(run.job.options["exitWeights"], len(ids), update, updates)
    return learning_rate_at(run.job.options, update, updates), dict(zip(ids, weights))


def _planned(run: Run) -> int | None:
    """Updates of the run; None where only the clock ends it."""
    steps, epochs = run.job.limits.steps, run.job.limits.epochs
    by_epochs = math.inf if epochs is None else math.ceil(epochs * run.train.count / run.per_step)
    planned = min(math.inf if steps is None else steps, by_epochs)
    return None if planned == math.inf else int(planned)


def _traffic(run: Run, own: dict[str, int], steps: int) -> dict[str, float]:
    """Bytes a step that all ranks together gave away, by kind."""
    kinds = ("hidden", "final", "gradients", "bookkeeping", "tensor")
    total = run.ranks.sum_all([float(own.get(kind, 0)) for kind in kinds])
    return {kind: value / max(1, steps) for kind, value in zip(kinds, total)}
