"""Windows through the stages: a stage receives hidden states, runs its layers, and sends on; nothing comes back but the final
stream (or what is made of it), and that only to stages whose exits ask for it.

The backbone never changes, so a stage need not wait for anyone's update: stage s runs ahead of its own exits by as many passes as
there are stages behind it, over the ends of updates too, and no rank ever waits in a bubble.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .backbone import Backbone, Cuts
from .job import Job
from .ranks import Ranks
from .windows import Windows


@dataclass(frozen=True)
class Layout:
    """Which stage has which layers, and so which exits."""

    bounds: tuple[tuple[int, int], ...]
    """First and last layer of each stage while exits learn, counted from 1."""

    def stage_of(self, layer: int) -> int:
        return next(stage for stage, (_, last) in enumerate(self.bounds) if layer <= last)


def layout_of(job: Job) -> Layout:
    """Layers behind the deepest exit belong to no stage, unless exits distil."""
    depth = job.layers if job.distils else job.deepest
    ends = [depth * (stage + 1) // job.mesh.pp for stage in range(job.mesh.pp)]
    return Layout(tuple((first + 1, last) for first, last in zip([0, *ends], ends)))


@dataclass(frozen=True)
class Reply:
    """What the last stage makes of the final stream `[windows, tokens, hidden]` for stages that have exits."""

    make: Callable[[Tensor, Tensor], Tensor]
    """Of the stream and the targets."""
    shape: Callable[[int, int], tuple[int, ...]]
    """Of windows and tokens."""
    dtype: torch.dtype


@dataclass(frozen=True)
class Passed:
    features: Cuts
    targets: Tensor
    reply: Tensor | None


class Pipeline:
    def __init__(self, job: Job, ranks: Ranks, backbone: Backbone, layout: Layout, dtype: torch.dtype):
        self._job, self._ranks, self._backbone, self._dtype = job, ranks, backbone, dtype
        self._listeners = sorted({layout.stage_of(exit.layer) for exit in job.exits} - {ranks.mesh.pp - 1})

    def whole(self) -> Reply:
        """The final stream itself."""
        hidden = self._job.spec["hidden"]
        return Reply(lambda x, _: x, lambda windows, tokens: (windows, tokens, hidden), self._dtype)

    def passes(self, windows: Windows, batches: Iterator[list[int]], reply: Reply | None) -> Iterator[Passed]:
        """Runs batches in order; stops running ahead at their end. `drain` receives what is in flight when a caller
        stops."""
        ahead = self._ranks.mesh.pp - 1 - self._ranks.pp
        waiting: deque[Passed] = deque()
        self._windows, self._batches = windows, batches
        for batch in batches:
            waiting.append(self._forward(windows, batch, reply))
            if len(waiting) > ahead:
                yield self._answered(waiting.popleft(), reply)
        while waiting:
            yield self._answered(waiting.popleft(), reply)

    def drain(self) -> None:
        """Takes in what the stage before this one sent ahead for passes that will not be run."""
        if self._ranks.pp > 0:
            batch = next(self._batches, None)
            if batch is not None:
                self._receive(max(1, len(batch)), self._windows.length)
        self._ranks.flush()

    def _forward(self, windows: Windows, batch: list[int], reply: Reply | None) -> Passed:
        ids, targets = windows.batch(batch)
        targets = targets.to(self._ranks.device, non_blocking=True)
        if self._ranks.pp == 0:
            x = self._backbone.embed(ids.to(self._ranks.device, non_blocking=True))
        else:
            x = self._receive(*ids.shape)
        x, cuts = self._backbone.run(x)
        if not self._ranks.is_last_stage:
            self._ranks.send("hidden", x, self._ranks.pp + 1)
            return Passed(cuts, targets, None)
        made = reply.make(x, targets) if reply else None
        if made is not None:
            for stage in self._listeners:
                self._ranks.send("final", made, stage)
        return Passed(cuts, targets, made)

    def _answered(self, passed: Passed, reply: Reply | None) -> Passed:
        if reply is None or self._ranks.pp not in self._listeners:
            return passed
        made = self._ranks.receive("final", reply.shape(*passed.targets.shape), reply.dtype, self._ranks.mesh.pp - 1)
        return Passed(passed.features, passed.targets, made)

    def _receive(self, windows: int, tokens: int) -> Tensor:
        shape = (windows, tokens, self._job.spec["hidden"])
        return self._ranks.receive("hidden", shape, self._dtype, self._ranks.pp - 1)
