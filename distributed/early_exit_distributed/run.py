"""What a rank keeps throughout a tuning run: its part of the frozen model, its exits and their step. It decides nothing."""

from __future__ import annotations

import torch

from .backbone import Backbone
from .exits import Table
from .job import Job, JobError
from .objective import Head
from .pipeline import Pipeline, layout_of
from .ranks import Ranks
from .sitting import Emit, Sitting
from .step import Step


class Run(Sitting):
    def __init__(self, job: Job, ranks: Ranks, emit: Emit):
        self.layout = layout_of(job)
        depth = self.layout.bounds[-1][1]
        if depth < job.mesh.pp:
            raise JobError(f"{depth} layers cannot be cut into {job.mesh.pp} stages. Take a smaller pp.")
        super().__init__(job, ranks, emit)
        self.exits = [exit for exit in job.exits if self.layout.stage_of(exit.layer) == ranks.pp]
        self.dtype = torch.bfloat16 if job.options["backbonePrecision"] == "fast" else torch.float32
        self.shapes = {p.name: p.shape for exit in job.exits for p in exit.parameters}
        self.stages = {p.name: self.layout.stage_of(exit.layer) for exit in job.exits for p in exit.parameters}
        first, last = self.layout.bounds[ranks.pp]
        # The other exits are judged by the final exit, so one stage needs the layers behind them once.
        last = job.layers if ranks.is_last_stage else last
        self.backbone = Backbone(job, self.weights, ranks, first, last, self.dtype)
        self.pipeline = Pipeline(job, ranks, self.backbone, self.layout, self.dtype)
        self.backbone_bytes = self.backbone.bytes()
        self.frozen = self._frozen(needs_head=bool(self.exits) or ranks.is_last_stage)
        self.step = Step(job, self.exits, self.frozen, ranks)

    def lm_head(self) -> Head:
        return Head(self.frozen["lm_head.weight"], self.frozen.get("lm_head.bias"))

    def memory(self) -> dict[str, float]:
        """Bytes of each kind, on the rank that has had most of it."""
        sizes = {"backbone": max(self.backbone_bytes, self.backbone.bytes()), "exits": self.step.bytes, "heads": _bytes(self.frozen)}
        return {part: self.ranks.most(size) for part, size in sizes.items()}

    def _frozen(self, needs_head: bool) -> Table:
        names = {name for exit in self.exits for name in exit.frozen} | {"norm.weight", "norm.bias"}
        if needs_head:
            names |= {"lm_head.weight", "lm_head.bias"}
        return {name: self.weights.values(name).to(self.ranks.device) for name in sorted(names) if self.weights.has(name)}


def _bytes(table: Table) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in table.values())
