"""A tuning run on every rank: read the held-out text, find the exits' initial values, update, evaluate, keep the best
values of each."""

from __future__ import annotations

from .begin import begin, go_on
from .exits_learner import ExitsLearner
from .held_out import read_held_out
from .job import Job
from .ranks import Ranks
from .run import Run
from .sitting import Emit
from .updates import update_to_the_end


def tune(job: Job, ranks: Ranks, emit: Emit) -> dict:
    """The run to its end; answers how it ended."""
    run = Run(job, ranks, emit)
    judge = read_held_out(run)
    reached = go_on(run) if job.resume else begin(run, judge)
    run.has_work = True
    if not job.distils:
        run.backbone.release(run.layout.bounds[ranks.pp][1])
    try:
        return update_to_the_end(run, ExitsLearner(run, judge), reached)
    finally:
        if reached.checkpoint:
            reached.checkpoint.close()
