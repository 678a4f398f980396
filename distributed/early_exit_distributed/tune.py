"""A tuning run as every rank has it: read the held-out text, find what exits begin with, update, evaluate, keep the best of each.

All ranks take the same decisions from the same numbers: one sum of a few numbers a step carries losses, norms, and what the
first rank alone knows (the clock, the wish to stop).
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .backbone import Backbone
from .checkpoint import STATE_KINDS, Checkpoint, read_saved
from .clock import Clock
from .evaluate import HeldOut, exit_scores, final_scores, score
from .exits import Table, final_state
from .initial import Fit, first_values, is_fitted
from .job import Exit, Job, JobError
from .objective import Head
from .pipeline import Pipeline, Reply, layout_of
from .ranks import Ranks
from .schedule import clip_coefficient, exit_weights_at, improved, learning_rate_at, mean_loss
from .step import Pass, Step
from .weights import Weights
from .windows import Windows, windows_at

Emit = Callable[[dict], None]

FIT_WINDOWS = 8
"""A fit looks at the clock so often."""

@dataclass(frozen=True)
class Position:
    """Where a run stands, with the names that `state.json` gives it."""

    step: int
    windows: int
    tokens: int
    seconds: float
    best: float | None
    before: list[dict]
    data: str
    finished: bool
    updatesFrom: float
    heldOut: dict


class Run:
    def __init__(self, job: Job, ranks: Ranks, emit: Emit):
        self.job, self.ranks, self.emit = job, ranks, emit
        self.began = time.monotonic()
        self.layout = layout_of(job)
        self.exits = [exit for exit in job.exits if self.layout.stage_of(exit.layer) == ranks.pp]
        self.dtype = torch.bfloat16 if job.options["backbonePrecision"] == "fast" else torch.float32
        self.train = Windows(job.train)
        self.held_out = Windows(job.held_out, job.held_out_tokens)
        self.weights = Weights(job.model, job.sources)
        self._check()
        self.shapes = {p.name: p.shape for exit in job.exits for p in exit.parameters}
        self.stages = {p.name: self.layout.stage_of(exit.layer) for exit in job.exits for p in exit.parameters}
        self.wants_stop = False
        self.has_work = False
        """Whether there is a checkpoint: before, a run that is asked to stop has nothing to keep."""
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)

    def run(self) -> dict:
        """The run to its end; answers how it ended."""
        self.emit({"type": "phase", "phase": "load", "detail": str(self.job.model)})
        first, last = self.layout.bounds[self.ranks.pp]
        # The final exit judges the others, so somebody must have the layers behind them once.
        last = self.job.layers if self.ranks.is_last_stage else last
        self.backbone = Backbone(self.job, self.weights, self.ranks, first, last, self.dtype)
        self.pipeline = Pipeline(self.job, self.ranks, self.backbone, self.layout, self.dtype)
        self.backbone_bytes = self.backbone.bytes()
        self.frozen = self._frozen(needs_head=bool(self.exits) or self.ranks.is_last_stage)
        self.held, self.final = self._read_held_out()
        self.step = Step(self.job, self.exits, self.frozen, self.ranks)
        kept, progress, position, checkpoint = self._resume() if self.job.resume else self._begin()
        self.has_work = True
        if not self.job.distils:
            self.backbone.release(self.layout.bounds[self.ranks.pp][1])
        try:
            return self._train(kept, progress, position, checkpoint)
        finally:
            if checkpoint:
                checkpoint.close()

    # ── before the first update ──

    def _begin(self) -> tuple:
        self.emit({"type": "phase", "phase": "evaluate", "detail": "exits before tuning"})
        plain = {name: value.to(self.ranks.device) for exit in self.exits for name, value in first_values(self.job, exit, self.weights).items()}
        self.step.load(plain)
        before = self._evaluate()
        origin = "random" if self.job.options["initialise"] == "random" else "copy"
        progress = {"step": 0, "tokens": 0, "scores": before, "origins": {exit.id: origin for exit in self.job.exits}}
        if self.job.fits:
            fitted = self._fit(plain)
            self.step.load({**plain, **fitted})
            now = self._evaluate()
            better = improved(now, before, before)
            chosen = {name: value for name, value in fitted.items() if _owner(name) in better}
            self.step.load({**plain, **chosen})
            progress = _merged(progress, better, {"step": 0, "tokens": 0, "scores": now}, "fit")
        seconds = self._elapsed()
        tokens = self.held_out.count * self.held_out.length
        held = {"tokens": tokens, "backbone": "exact" if self.dtype == torch.float32 else "learning"}
        best = mean_loss(progress["scores"])
        position = Position(0, 0, 0, seconds, best, before, self.job.data, False, seconds, held)
        self.emit({"type": "phase", "phase": "save", "detail": str(self.job.directory)})
        kept = self._gathered(self.step.parameters)
        checkpoint = Checkpoint(self.job) if self.ranks.is_writer else None
        evaluation = {"type": "evaluation", "step": 0, "tokens": 0, "scores": progress["scores"], "best": True}
        if checkpoint:
            checkpoint.metric(evaluation)
        self._save_state(checkpoint, position)
        if checkpoint:
            checkpoint.save_exits(kept, progress)
        self.emit(evaluation)
        return kept, progress, position, checkpoint

    def _resume(self) -> tuple:
        saved = read_saved(self.job)
        if saved.position["data"] != self.job.data:
            raise JobError(f"The text is not the text that the run in {self.job.directory} began with. Restore it, or begin another run (--out).")
        parts = ({name: saved.state[f"{kind}.{name}"] for name in self.step.parameters} for kind in STATE_KINDS)
        self.step.load(*parts)
        self.step.updates = saved.updates
        position = Position(**{**saved.position, "updatesFrom": saved.position.get("updatesFrom", 0), "heldOut": saved.position.get("heldOut")})
        kept = Weights.of_file(self.job.directory / "exits.safetensors", list(self.shapes)) if self.ranks.is_writer else {}
        self.began = time.monotonic() - position.seconds
        checkpoint = Checkpoint(self.job, saved.metrics_bytes) if self.ranks.is_writer else None
        return kept, saved.progress, replace(position, finished=False), checkpoint

    def _read_held_out(self) -> tuple[list[HeldOut], list[float]]:
        count = self.held_out.count
        self.emit({"type": "phase", "phase": "features", "detail": f"{count} window{'s'[: count > 1]} held out"})
        own = range(count)[self.ranks.dp :: self.ranks.mesh.dp]
        size = self.job.options["batchSize"]
        softcap = self.job.spec["finalSoftcap"]
        sums = [0.0, 0.0, 0.0, 0.0]

        def judge(x: Tensor, targets: Tensor) -> Tensor:
            state = final_state(self.job.spec, self.frozen, x).flatten(0, 1)
            tokens, part = final_scores(state, targets, self._lm_head(), softcap)
            sums[:] = [a + b for a, b in zip(sums, part)]
            return tokens

        reply = Reply(judge, lambda windows, tokens: (windows * tokens,), torch.int64)
        held: list[HeldOut] = []
        cuts = {exit.cut for exit in self.exits}
        batches = iter([list(own[i : i + size]) for i in range(0, len(own), size)])
        for done, passed in enumerate(self.pipeline.passes(self.held_out, batches, reply), 1):
            if self.exits:
                features = {cut: value.cpu() for cut, value in passed.features.items() if cut in cuts}
                held.append(HeldOut(features, passed.targets, passed.reply))
            self.emit({"type": "progress", "phase": "features", "done": done, "total": -(-len(own) // size), "unit": "batches"})
        speaks = self.ranks.is_last_stage and self.ranks.tp == 0
        final = self.ranks.sum_all(sums if speaks else [0.0] * 4)
        if final[3] == 0:
            raise JobError("The held-out text has no token to predict. Give more text, or a larger held-out share.")
        return held, final

    def _fit(self, plain: dict[str, Tensor]) -> dict[str, Tensor]:
        job = self.job
        count = min(self.train.count, math.ceil(job.options["fitTokens"] / self.train.length))
        self.emit({"type": "phase", "phase": "fit", "detail": f"{count} windows of {self.train.length} tokens"})
        fits = [Fit(job, exit, {**self.frozen, **_of(plain, exit)}, self.ranks) for exit in self.exits if is_fitted(exit)]
        order = windows_at(job.options["seed"], self.train.count, 0, count)
        own = list(range(count))[self.ranks.dp :: self.ranks.mesh.dp]
        batches = iter([[order[place]] for place in own])
        part, parts = self.ranks.share
        passes = self.pipeline.passes(self.train, batches, self.pipeline.whole())
        for done, (place, passed) in enumerate(zip(own, passes), 1):
            # Ranks that hold the same states take turns.
            if fits and place // self.ranks.mesh.dp % parts == part:
                with torch.no_grad():
                    final = final_state(job.spec, self.frozen, passed.reply).flatten(0, 1)
                    counted = passed.targets.flatten() >= 0
                    for fit in fits:
                        fit.add(place, passed.features[fit.exit.cut].float(), final, counted, self._lm_head())
            self.emit({"type": "progress", "phase": "fit", "done": place + 1, "total": count, "unit": "windows"})
            # All ranks ask as often: those with a window more than others not for that one.
            if done % FIT_WINDOWS == 0 and done <= count // self.ranks.mesh.dp and self._is_late():
                break
        self.pipeline.drain()
        with torch.no_grad():
            return {name: value for fit in fits for name, value in fit.solve().items()}

    def _is_late(self) -> bool:
        """Whether a fit has had half of the time, by the first rank's clock."""
        limit = self.job.limits.seconds
        late = limit is not None and self.ranks.is_writer and self._elapsed() > limit / 2
        return self.ranks.sum_all([float(late)])[0] > 0

    # ── updates ──

    def _train(self, kept: dict, progress: dict, position: Position, checkpoint: Checkpoint | None) -> dict:
        job, options, ranks = self.job, self.job.options, self.ranks
        per_step = options["batchSize"] * options["accumulation"]
        planned = self._planned(per_step)
        self.emit({"type": "phase", "phase": "tune", "detail": f"{self.train.count} windows on {ranks.mesh.ranks} ranks"})
        clock = Clock(job.limits, planned, position.step, position.updatesFrom, self._elapsed, ranks.is_writer)
        reply = self.pipeline.whole() if job.distils else None
        passes = self.pipeline.passes(self.train, self._batches(position, per_step, planned), reply)
        per_rank = math.ceil(per_step // ranks.mesh.dp / options["batchSize"])
        evaluated, steps_here, stopped = position.step, 0, False
        ranks.traffic.clear()
        while not clock.over:
            settings = self._settings(clock.update(position.step), clock.updates)
            count = 0
            for passed in itertools.islice(passes, per_rank):
                count += self._learn(passed, settings[1])
            step_event, told = self._update(settings, position, count, clock)
            tokens = told["tokens"]
            position = replace(position, step=position.step + 1, windows=position.windows + per_step, tokens=position.tokens + tokens, seconds=self._elapsed())
            steps_here += 1
            step_event |= {"step": position.step, "epoch": (position.windows - 1) // self.train.count + 1, "tokens": position.tokens}
            clock.after_step(position.step, tokens, told)
            if checkpoint:
                checkpoint.metric({"type": "step", **step_event})
            self.emit({"type": "step", **step_event, **clock.shown(position.step)})
            stopped = told["stop"] > 0
            if stopped:
                break
            if clock.is_evaluation_due(position.step, options["evaluateEvery"]) and not clock.over:
                kept, progress, position = self._judged(kept, progress, position, checkpoint, clock)
                evaluated = position.step
            if told["save"] > 0:
                clock.saved(self._timed(lambda: self._save_state(checkpoint, position)))
        traffic = dict(ranks.traffic)
        self.pipeline.drain()
        size = checkpoint.metrics_bytes() if checkpoint and stopped else None
        reached = position
        if position.step > evaluated:
            kept, progress, position = self._judged(kept, progress, position, checkpoint, clock)
        position = replace(reached, seconds=self._elapsed()) if stopped else replace(position, finished=True, seconds=self._elapsed())
        self._save_state(checkpoint, position, size)
        return {
            "type": "finished",
            "step": position.step,
            "before": position.before,
            "after": progress["scores"],
            "seconds": position.seconds,
            "stopped": stopped,
            "traffic": self._traffic(traffic, steps_here),
            "memory": self._memory(),
        }

    def _learn(self, passed, weights: dict[str, float]) -> int:
        final = None
        if self.job.distils and self.exits:
            with torch.no_grad():
                final = final_state(self.job.spec, self.frozen, passed.reply).flatten(0, 1)
        if self.exits:
            self.step.differentiate(Pass(passed.features, final, passed.targets), weights)
        return int((passed.targets >= 0).sum())

    def _update(self, settings: tuple[float, dict[str, float]], position: Position, count: int, clock: Clock) -> tuple[dict, dict]:
        """Sums over all ranks, clips and updates; answers the numbers of the step, and what the first rank has decided."""
        rate, weights = settings
        sums = self.step.gather()
        speaks = self.ranks.dp == 0 and self.ranks.tp == 0
        own = [[sums[e.id].loss, sums[e.id].cross_entropy, sums[e.id].squares] if speaks and e.id in sums else [0.0] * 3 for e in self.job.exits]
        counts = count if self.ranks.pp == 0 and self.ranks.tp == 0 else 0
        numbers = self.ranks.sum_all([*itertools.chain(*own), counts, *clock.decisions(self._stops())])
        each = [numbers[3 * i : 3 * i + 3] for i in range(len(self.job.exits))]
        tokens, stop, *decided = numbers[3 * len(self.job.exits) :]
        told = {"tokens": int(tokens), "stop": stop, "over": decided[0], "due": decided[1], "save": decided[2], "share": decided[3]}
        scale = 1 / max(1.0, tokens)
        ids = [exit.id for exit in self.job.exits]
        norms = {id: scale * math.sqrt(squares) for id, (_, _, squares) in zip(ids, each)}
        joint = math.hypot(*norms.values())
        clip = self.job.options["gradientClip"]
        norm_of = norms if self.job.options["clip"] == "each" else dict.fromkeys(ids, joint)
        self.step.update(rate, {exit.id: scale * clip_coefficient(norm_of[exit.id], clip) for exit in self.exits})
        losses = {id: loss * scale for id, (loss, _, _) in zip(ids, each)}
        return {
            "learningRate": rate,
            "loss": sum(weights[id] * loss for id, loss in losses.items()),
            "losses": {id: cross_entropy * scale for id, (_, cross_entropy, _) in zip(ids, each)},
            "gradientNorms": norms,
        }, told

    def _judged(self, kept: dict, progress: dict, position: Position, checkpoint: Checkpoint | None, clock: Clock) -> tuple:
        began = time.monotonic()
        scores = self._evaluate()
        loss = mean_loss(scores)
        best = position.best is None or loss < position.best
        position = replace(position, best=loss) if best else position
        event = {"type": "evaluation", "step": position.step, "tokens": position.tokens, "scores": scores, "best": best}
        if checkpoint:
            checkpoint.metric(event)
        better = improved(scores, progress["scores"], position.before)
        if better:
            names = {name for name in self.shapes if _owner(name) in better}
            kept = {**kept, **self._gathered(self.step.parameters, names)}
            progress = _merged(progress, better, {"step": position.step, "tokens": position.tokens, "scores": scores}, position.step)
            if checkpoint:
                checkpoint.save_exits(kept, progress)
        self.emit(event)
        clock.evaluated(time.monotonic() - began)
        return kept, progress, position

    def _evaluate(self) -> list[dict]:
        own = {exit.id: exit_scores(self.job, exit, {**self.frozen, **self.step.parameters}, self.held, self.ranks) for exit in self.exits}
        numbers = self.ranks.sum_all([*itertools.chain(*(own.get(exit.id, [0.0] * 4) for exit in self.job.exits))], "evaluation")
        scores = [score(exit.id, exit.layer, numbers[4 * i : 4 * i + 4]) for i, exit in enumerate(self.job.exits)]
        return [*scores, score("final", self.job.layers, self.final)]

    # ── small parts ──

    def _batches(self, position: Position, per_step: int, planned: int | None) -> Iterator[list[int]]:
        """This replica's windows of every update from here on, in passes."""
        size, mesh = self.job.options["batchSize"], self.ranks.mesh
        for step in itertools.count(position.step) if planned is None else range(position.step, planned):
            first = position.windows + (step - position.step) * per_step
            own = windows_at(self.job.options["seed"], self.train.count, first, per_step)[self.ranks.dp :: mesh.dp]
            yield from (own[i : i + size] for i in range(0, len(own), size))

    def _settings(self, update: float, updates: int) -> tuple[float, dict[str, float]]:
        ids = [exit.id for exit in self.job.exits]
        weights = exit_weights_at(self.job.options["exitWeights"], len(ids), update, updates)
        return learning_rate_at(self.job.options, update, updates), dict(zip(ids, weights))

    def _planned(self, per_step: int) -> int | None:
        steps, epochs = self.job.limits.steps, self.job.limits.epochs
        by_epochs = math.inf if epochs is None else math.ceil(epochs * self.train.count / per_step)
        planned = min(math.inf if steps is None else steps, by_epochs)
        return None if planned == math.inf else int(planned)

    def _frozen(self, needs_head: bool) -> Table:
        names = {name for exit in self.exits for name in exit.frozen} | {"norm.weight", "norm.bias"}
        if needs_head:
            names |= {"lm_head.weight", "lm_head.bias"}
        return {name: self.weights.values(name).to(self.ranks.device) for name in sorted(names) if self.weights.has(name)}

    def _lm_head(self) -> Head:
        return Head(self.frozen["lm_head.weight"], self.frozen.get("lm_head.bias"))

    def _gathered(self, tensors: Table, names: set[str] | None = None) -> dict[str, Tensor]:
        shapes = {name: shape for name, shape in self.shapes.items() if names is None or name in names}
        gathered = self.ranks.gather(tensors, shapes, self.stages)
        return {name: value.clone() for name, value in gathered.items()}

    def _save_state(self, checkpoint: Checkpoint | None, position: Position, metrics_bytes: int | None = None) -> None:
        state = {}
        for kind, tensors in zip(STATE_KINDS, (self.step.parameters, self.step.first, self.step.second)):
            state |= {f"{kind}.{name}": value for name, value in self._gathered(tensors).items()}
        if checkpoint:
            checkpoint.save_state(state, self.step.updates, position.__dict__, metrics_bytes)

    def _traffic(self, own: dict[str, int], steps: int) -> dict[str, float]:
        """Bytes a step that all ranks together gave away, by kind."""
        kinds = ("hidden", "final", "gradients", "bookkeeping", "tensor")
        total = self.ranks.sum_all([float(own.get(kind, 0)) for kind in kinds])
        return {kind: value / max(1, steps) for kind, value in zip(kinds, total)}

    def _memory(self) -> dict[str, float]:
        """Bytes that the rank with most of each has held, by what they are."""
        sizes = {"backbone": self.backbone_bytes, "exits": self.step.bytes, "heads": _bytes(self.frozen)}
        return {part: self.ranks.most(size) for part, size in sizes.items()}

    def _timed(self, work: Callable[[], None]) -> float:
        began = time.monotonic()
        work()
        return time.monotonic() - began

    def _elapsed(self) -> float:
        return time.monotonic() - self.began

    def _stops(self) -> bool:
        return self.wants_stop or (self.ranks.is_writer and self.job.stop_file.exists())

    def _on_stop(self, number: int, _: object) -> None:
        if not self.has_work:
            os._exit(128 + number)
        self.wants_stop = True

    def _check(self) -> None:
        mesh, options = self.ranks.mesh, self.job.options
        depth = self.layout.bounds[-1][1]
        if depth < mesh.pp:
            raise JobError(f"{depth} layers cannot be cut into {mesh.pp} stages. Take a smaller pp.")
        windows = options["batchSize"] * options["accumulation"]
        if windows % mesh.dp:
            raise JobError(f"An update has {windows} windows, which {mesh.dp} data parallel ranks cannot share evenly. Change --batch-size or --accumulation.")


def _merged(kept: dict, better: set[str], now: dict, origin: str | int) -> dict:
    """What is kept once these exits' values are replaced by those of now."""
    earlier = {each["exit"]: each for each in kept["scores"]}
    scores = [each if each["exit"] in better else earlier.get(each["exit"], each) for each in now["scores"]]
    return {"step": now["step"], "tokens": now["tokens"], "scores": scores, "origins": {**kept.get("origins", {}), **dict.fromkeys(sorted(better), origin)}}


def _bytes(table: Table) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in table.values())


def _owner(name: str) -> str:
    """`exits.8.mlp.norm.weight` → `8:mlp`."""
    return ":".join(name.split(".")[1:3])


def _of(values: Table, exit: Exit) -> Table:
    return {p.name: values[p.name] for p in exit.parameters}
