"""How far a run has come and the best values of each exit so far, brought to the first rank and written by it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, fields, replace

from torch import Tensor

from .checkpoint import STATE_KINDS, Checkpoint
from .exits import Table
from .held_out import Judge
from .job import Limits
from .run import Run
from .schedule import improved, mean_loss


@dataclass(frozen=True)
class Position:
    """The position of a run, with the names of `state.json`."""

    step: int
    windows: int
    tokens: int
    seconds: float
    best: float | None
    before: list[dict]
    data: str
    finished: bool
    updatesFrom: float
    evaluatedAt: int = 0
    """Updates at the last evaluation that belongs to the run."""
    others: dict = field(default_factory=dict)
    """What else `state.json` has."""

    @staticmethod
    def of(saved: dict, limits: Limits) -> Position:
        """From `state.json`, which an earlier version may have written, of a run that goes on to these limits."""
        names = {each.name for each in fields(Position)} & saved.keys()
        others = {name: value for name, value in saved.items() if name not in names and value is not None} | {"end": asdict(limits)}
        if saved["finished"]:
            # A run that goes on beyond its end needs windows that it has not seen.
            others.pop("pool", None)
        known = {"updatesFrom": 0, "evaluatedAt": saved["step"], **{name: saved[name] for name in names}, "finished": False}
        return Position(**known, others=others)

    def stored(self) -> dict:
        """As `state.json` has it."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "others"} | self.others


@dataclass(frozen=True)
class Reached:
    position: Position
    kept: dict[str, Tensor]
    """The best values of all exits; of the first rank, empty elsewhere."""
    progress: dict
    """Origin of each exit's values, as in `exits.json`."""
    checkpoint: Checkpoint | None
    """Of the first rank."""


def judged(run: Run, judge: Judge, reached: Reached) -> tuple[Reached, float]:
    """Scores exits as they are, and keeps those that became better; answers how long that took, too."""
    began = time.monotonic()
    position, checkpoint, progress = reached.position, reached.checkpoint, reached.progress
    scores = judge.scores(run)
    loss = mean_loss(scores)
    best = position.best is None or loss < position.best
    reached = replace(reached, position=replace(position, best=loss)) if best else reached
    event = {"type": "evaluation", "step": position.step, "tokens": position.tokens, "scores": scores, "best": best}
    if checkpoint:
        checkpoint.metric(event)
    better = improved(scores, progress["scores"], position.before)
    if better:
        names = {name for name in run.shapes if owner(name) in better}
        kept = {**reached.kept, **gathered(run, run.step.parameters, names)}
        progress = merged(progress, better, {"step": position.step, "tokens": position.tokens, "scores": scores}, position.step)
        reached = replace(reached, kept=kept, progress=progress)
        if checkpoint:
            checkpoint.save_exits(kept, progress)
    run.emit(event)
    return reached, time.monotonic() - began


def save_state(run: Run, checkpoint: Checkpoint | None, position: Position, metrics_bytes: int | None = None) -> float:
    """What a resume begins with; answers how many seconds it took."""
    began = time.monotonic()
    state = {}
    for kind, tensors in zip(STATE_KINDS, (run.step.parameters, run.step.first, run.step.second)):
        state |= {f"{kind}.{name}": value for name, value in gathered(run, tensors).items()}
    if checkpoint:
        checkpoint.save_state(state, run.step.updates, position.stored(), metrics_bytes)
    return time.monotonic() - began


def gathered(run: Run, tensors: Table, names: set[str] | None = None) -> dict[str, Tensor]:
    """Values of parameters, all or some, on the first rank."""
    shapes = {name: shape for name, shape in run.shapes.items() if names is None or name in names}
    return {name: value.clone() for name, value in run.ranks.gather(tensors, shapes, run.stages).items()}


def merged(kept: dict, better: set[str], now: dict, origin: str | int) -> dict:
    """The progress if these exits' values are replaced by the current ones."""
    earlier = {each["exit"]: each for each in kept["scores"]}
    scores = [each if each["exit"] in better else earlier.get(each["exit"], each) for each in now["scores"]]
    return {"step": now["step"], "tokens": now["tokens"], "scores": scores, "origins": {**kept.get("origins", {}), **dict.fromkeys(sorted(better), origin)}}


def owner(name: str) -> str:
    """`exits.8.mlp.norm.weight` → `8:mlp`."""
    return ":".join(name.split(".")[1:3])
