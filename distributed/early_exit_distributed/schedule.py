"""How the learning rate and the exits' weights change over a run, and which values of an exit are kept; as backend/tuning/ has it."""

from __future__ import annotations

import math


def learning_rate_at(options: dict, update: float, updates: int) -> float:
    """Of update `update` (from 0) of `updates`: a straight rise, then a fall to the final rate, which the last update has; no rise again."""
    peak = options["learningRate"]
    warmup = min(updates, math.ceil(updates * options["warmupFraction"]))
    if update < warmup:
        return peak * (update + 1) / warmup
    if options["schedule"] == "constant":
        return peak
    last = min(peak, options["finalLearningRate"])
    return _between(peak, last, (update - warmup) / max(1, updates - 1 - warmup), options["schedule"])


def exit_weights_at(schedule: dict, exits: int, update: float, updates: int) -> list[float]:
    """Weight of each exit; a single weight applies to all."""

    def of(weights: list[float], exit: int) -> float:
        return weights[0 if len(weights) == 1 else exit]

    if schedule["kind"] == "static":
        return [of(schedule["weights"], exit) for exit in range(exits)]
    share = update / max(1, updates - 1)
    return [_between(of(schedule["from"], exit), of(schedule["to"], exit), share, schedule["shape"]) for exit in range(exits)]


def _between(begin: float, end: float, progress: float, shape: str) -> float:
    share = min(1.0, progress)
    return begin + (end - begin) * (share if shape == "linear" else (1 - math.cos(math.pi * share)) / 2)


def clip_coefficient(norm: float, limit: float) -> float:
    """As torch's clip_grad_norm_ has it."""
    return min(1.0, limit / (norm + 1e-6))


def improved(now: list[dict], kept: list[dict], before: list[dict]) -> set[str]:
    """Exits whose held-out loss is now lower than the kept one, and that agree with the final exit at least as often as
    at the start."""
    losses = {score["exit"]: score["loss"] for score in kept}
    agreements = {score["exit"]: score["agreement"] for score in before}
    return {
        score["exit"]
        for score in now
        if score["exit"] != "final"
        and score["loss"] < losses.get(score["exit"], math.inf)
        and score["agreement"] >= agreements.get(score["exit"], 0)
    }


def mean_loss(scores: list[dict]) -> float:
    losses = [score["loss"] for score in scores if score["exit"] != "final"]
    return sum(losses) / len(losses)
