"""What a rank has in its hands throughout a run: the job, its part of the model, its exits and their step. It decides nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import torch

from .backbone import Backbone
from .exits import Table
from .job import Job, JobError
from .objective import Head
from .pipeline import Layout, Pipeline, layout_of
from .ranks import Ranks
from .step import Step
from .weights import Weights
from .windows import Windows

Emit = Callable[[dict], None]


class Run:
    def __init__(self, job: Job, ranks: Ranks, emit: Emit):
        self.job, self.ranks, self.emit = job, ranks, emit
        self.began = time.monotonic()
        self.has_work = False
        """Whether there is a checkpoint: before, a run that is asked to stop has nothing to keep."""
        self._wants_stop = False
        self.layout = layout_of(job)
        self.exits = [exit for exit in job.exits if self.layout.stage_of(exit.layer) == ranks.pp]
        self.dtype = torch.bfloat16 if job.options["backbonePrecision"] == "fast" else torch.float32
        self.train = Windows(job.train)
        self.held_out = Windows(job.held_out, job.held_out_tokens)
        self.weights = Weights(job.model, job.sources)
        _check(job, self.layout)
        self.shapes = {p.name: p.shape for exit in job.exits for p in exit.parameters}
        self.stages = {p.name: self.layout.stage_of(exit.layer) for exit in job.exits for p in exit.parameters}
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        emit({"type": "phase", "phase": "load", "detail": str(job.model)})
        first, last = self.layout.bounds[ranks.pp]
        # The final exit judges the others, so somebody must have the layers behind them once.
        last = job.layers if ranks.is_last_stage else last
        self.backbone = Backbone(job, self.weights, ranks, first, last, self.dtype)
        self.pipeline = Pipeline(job, ranks, self.backbone, self.layout, self.dtype)
        self.backbone_bytes = self.backbone.bytes()
        self.frozen = self._frozen(needs_head=bool(self.exits) or ranks.is_last_stage)
        self.step = Step(job, self.exits, self.frozen, ranks)

    @property
    def per_step(self) -> int:
        """Windows of an update."""
        return self.job.options["batchSize"] * self.job.options["accumulation"]

    def lm_head(self) -> Head:
        return Head(self.frozen["lm_head.weight"], self.frozen.get("lm_head.bias"))

    def elapsed(self) -> float:
        """Seconds, with those of earlier sittings."""
        return time.monotonic() - self.began

    def stops(self) -> bool:
        """Whether somebody wants the run to end with its work kept."""
        return self._wants_stop or (self.ranks.is_writer and self.job.stop_file.exists())

    def memory(self) -> dict[str, float]:
        """Bytes that the rank with most of each has held, by what they are."""
        sizes = {"backbone": self.backbone_bytes, "exits": self.step.bytes, "heads": _bytes(self.frozen)}
        return {part: self.ranks.most(size) for part, size in sizes.items()}

    def _frozen(self, needs_head: bool) -> Table:
        names = {name for exit in self.exits for name in exit.frozen} | {"norm.weight", "norm.bias"}
        if needs_head:
            names |= {"lm_head.weight", "lm_head.bias"}
        return {name: self.weights.values(name).to(self.ranks.device) for name in sorted(names) if self.weights.has(name)}

    def _on_stop(self, number: int, _: object) -> None:
        if not self.has_work:
            os._exit(128 + number)
        self._wants_stop = True


def _check(job: Job, layout: Layout) -> None:
    mesh, options = job.mesh, job.options
    depth = layout.bounds[-1][1]
    if depth < mesh.pp:
        raise JobError(f"{depth} layers cannot be cut into {mesh.pp} stages. Take a smaller pp.")
    windows = options["batchSize"] * options["accumulation"]
    if windows % mesh.dp:
        raise JobError(f"An update has {windows} windows, which {mesh.dp} data parallel ranks cannot share evenly. Change --batch-size or --accumulation.")


def _bytes(table: Table) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in table.values())
