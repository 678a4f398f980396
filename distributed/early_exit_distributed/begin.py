"""What a run's updates begin with: copies, noise or a fit, judged and written as the first checkpoint; or an earlier sitting's state."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .checkpoint import EXITS_FILE, STATE_KINDS, Checkpoint, read_progress, read_saved
from .exits import Table, final_state
from .held_out import Judge
from .initial import Fit, first_values, is_fitted
from .job import Exit
from .reached import Position, Reached, gathered, merged, owner, save_state
from .run import Run
from .schedule import improved, mean_loss
from .weights import Weights
from .windows import shared_evenly, windows_at

FIT_WINDOWS = 8
"""Windows of a fit between two looks at the clock."""


def begin(run: Run, judge: Judge) -> Reached:
    job = run.job
    run.emit({"type": "phase", "phase": "evaluate", "detail": "exits before tuning"})
    plain = {name: value.to(run.ranks.device) for exit in run.exits for name, value in first_values(job, exit, run.weights).items()}
    run.step.load(plain)
    before = judge.scores(run)
    origin = "random" if job.options["initialise"] == "random" else "copy"
    progress = {"step": 0, "tokens": 0, "scores": before, "origins": {exit.id: origin for exit in job.exits}}
    if job.fits:
        fitted = _fit(run, plain)
        run.step.load({**plain, **fitted})
        now = judge.scores(run)
        better = improved(now, before, before)
        chosen = {name: value for name, value in fitted.items() if owner(name) in better}
        run.step.load({**plain, **chosen})
        progress = merged(progress, better, {"step": 0, "tokens": 0, "scores": now}, "fit")
    seconds = run.elapsed()
    held_out = {"tokens": run.held_out.count * run.held_out.length}
    position = Position(0, 0, 0, seconds, mean_loss(progress["scores"]), before, job.data, False, seconds, others={"heldOut": held_out})
    run.emit({"type": "phase", "phase": "save", "detail": str(job.directory)})
    kept = gathered(run, run.step.parameters)
    checkpoint = Checkpoint(job) if run.ranks.is_writer else None
    evaluation = {"type": "evaluation", "step": 0, "tokens": 0, "scores": progress["scores"], "best": True}
    if checkpoint:
        checkpoint.metric(evaluation)
    save_state(run, checkpoint, position)
    if checkpoint:
        checkpoint.save_exits(kept, progress)
    run.emit(evaluation)
    return Reached(position, kept, progress, checkpoint)


def go_on(run: Run) -> Reached:
    """From the state of an earlier sitting, on whatever mesh."""
    job = run.job
    saved = read_saved(job)
    parts = ({name: saved.state[f"{kind}.{name}"] for name in run.step.parameters} for kind in STATE_KINDS)
    run.step.load(*parts)
    run.step.updates = saved.updates
    position = Position.of(saved.position, job.limits)
    exits = job.directory / EXITS_FILE
    kept = Weights.of_file(exits, list(run.shapes)) if run.ranks.is_writer else {}
    run.began -= position.seconds
    checkpoint = Checkpoint(job, saved.metrics_bytes) if run.ranks.is_writer else None
    return Reached(position, kept, read_progress(exits), checkpoint)


def _fit(run: Run, plain: dict[str, Tensor]) -> dict[str, Tensor]:
    job, ranks = run.job, run.ranks
    count = min(run.train.count, math.ceil(job.options["fitTokens"] / run.train.length))
    run.emit({"type": "phase", "phase": "fit", "detail": f"{count} windows of {run.train.length} tokens"})
    fits = [Fit(job, exit, {**run.frozen, **_of(plain, exit)}, ranks) for exit in run.exits if is_fitted(exit)]
    order = windows_at(job.options["seed"], run.train.count, 0, count)
    part, parts = ranks.share
    passes = run.pipeline.passes(run.train, iter(shared_evenly(order, 1, ranks.dp, ranks.mesh.dp)), run.pipeline.whole())
    for turn, passed in enumerate(passes):
        place = turn * ranks.mesh.dp + ranks.dp
        # Ranks with the same states take turns.
        if fits and place < count and turn % parts == part:
            with torch.no_grad():
                final = final_state(job.spec, run.frozen, passed.reply).flatten(0, 1)
                counted = passed.targets.flatten() >= 0
                for fit in fits:
                    fit.add(place, passed.features[fit.exit.cut].float(), final, counted, run.lm_head())
        run.emit({"type": "progress", "phase": "fit", "done": place + 1, "total": count, "unit": "windows"})
        # Asking is a sum over all ranks, which all have equally many turns.
        if (turn + 1) % FIT_WINDOWS == 0 and _is_late(run):
            break
    run.pipeline.drain()
    with torch.no_grad():
        return {name: value for fit in fits for name, value in fit.solve().items()}


def _is_late(run: Run) -> bool:
    """Whether a fit has had half of the time, by the first rank's clock."""
    limit = run.job.limits.seconds
    late = limit is not None and run.ranks.is_writer and run.elapsed() > limit / 2
    return run.ranks.sum_all([float(late)])[0] > 0


def _of(values: Table, exit: Exit) -> Table:
    return {p.name: values[p.name] for p in exit.parameters}
