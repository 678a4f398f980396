"""The tuning step of a stage's exits: gradients of sums over tokens, summed over ranks, clipped, and AdamW.

Gradients are divided by the number of targets at the update, so that passes and ranks together equal one large batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .exits import Table, exit_state, head_of
from .job import Exit, Job
from .objective import Head, HeadTask, Objective, Teacher, head_losses
from .ranks import Ranks


@dataclass(frozen=True)
class Pass:
    """What a stage's exits learn from at once."""

    features: dict[str, Tensor]
    """By cut: `[windows, tokens, width]`."""
    final: Tensor | None
    """The state `[windows · tokens, hidden]` that the model's own head reads; None unless distilling."""
    targets: Tensor
    """`[windows, tokens]`; -1 if there is none."""


@dataclass
class Sums:
    """Of one exit over the passes of an update, on all ranks of its stage."""

    loss: float = 0.0
    cross_entropy: float = 0.0
    squares: float = 0.0


class Step:
    def __init__(self, job: Job, exits: list[Exit], frozen: Table, ranks: Ranks):
        self._job, self.exits, self._ranks, self._frozen = job, exits, ranks, frozen
        options = job.options
        dynamic = options["weighting"] == "dynamic"
        self._objective = Objective(options["crossEntropy"], options["distillation"], dynamic, job.spec["finalSoftcap"])
        names = [(p.name, p.shape) for exit in exits for p in exit.parameters]
        sizes = [math.prod(shape) for _, shape in names]
        total = sum(sizes)
        # One buffer a kind: gradients are summed over ranks in one call, and nothing is copied for it.
        self._buffers = {kind: torch.zeros(total, device=ranks.device) for kind in ("parameter", "first", "second")}
        # Behind the gradients: what else must be summed over the same ranks.
        self._gradients = torch.zeros(total + 2 * len(exits), device=ranks.device)
        self.parameters, self.first, self.second = (views(self._buffers[kind], names, sizes) for kind in self._buffers)
        self._gradient = views(self._gradients, names, sizes)
        self._losses = self._gradients[total:].view(len(exits), 2)
        self._optimisers = [self._optimiser(exit) for exit in exits]
        self.updates = 0
        self._classes = {exit.id: classes_of(exit, job.spec["vocabulary"], ranks.device) for exit in exits}
        # Exits with the same list share its tensor, and so the teacher's targets for it.
        self._lists = {exit.tokens: torch.tensor(exit.tokens, device=ranks.device) if exit.tokens else None for exit in exits}

    def load(self, values: dict[str, Tensor], first: dict[str, Tensor] | None = None, second: dict[str, Tensor] | None = None) -> None:
        for into, given in ((self.parameters, values), (self.first, first), (self.second, second)):
            for name, view in into.items():
                if given is not None:
                    view.copy_(given[name])

    def differentiate(self, given: Pass, weights: dict[str, float]) -> None:
        """Adds the gradient of Σ exit weight · exit loss over this rank's share of the positions."""
        part, parts = self._ranks.share
        positions = torch.tensor_split(torch.arange(given.targets.numel(), device=given.targets.device), parts)[part]
        targets = given.targets.flatten()[positions]
        teacher = None
        if given.final is not None:
            head = Head(self._frozen["lm_head.weight"], self._frozen.get("lm_head.bias"))
            teacher = Teacher(given.final[positions], head)
        read = [self._state(exit, given, positions) for exit in self.exits]
        tasks = [self._task(exit, state, table, targets, weights[exit.id]) for exit, (state, table) in zip(self.exits, read)]
        results = head_losses(tasks, teacher, self._objective)
        for k, (exit, (state, table), result) in enumerate(zip(self.exits, read, results)):
            inner = [p.name for p in exit.parameters if not p.name.startswith(f"{exit.path}.head.")]
            if inner:
                gradients = torch.autograd.grad(state, [table[name] for name in inner], result.state_gradient)
                for name, gradient in zip(inner, gradients):
                    self._gradient[name].add_(gradient, alpha=weights[exit.id])
            self._losses[k] += torch.stack((result.loss, result.cross_entropy)).float()

    def _state(self, exit: Exit, given: Pass, positions: Tensor) -> tuple[Tensor, Table]:
        """What the exit's head reads at some positions, and the leaves that it came from."""
        own = {p.name: self.parameters[p.name].detach().requires_grad_() for p in exit.parameters}
        table = {**self._frozen, **own}
        value = given.features[exit.cut].float()
        if exit.has_branch:
            # An exit with attention needs whole windows; the rank's share is taken from its output.
            return exit_state(self._job.spec, exit, table, value).flatten(0, 1)[positions], table
        return exit_state(self._job.spec, exit, table, value.flatten(0, 1)[positions][None])[0], table

    def _task(self, exit: Exit, state: Tensor, table: Table, targets: Tensor, scale: float) -> HeadTask:
        weight, bias = head_of(exit, table)
        # None for a head that is shared.
        gradient, bias_gradient = (self._gradient.get(f"{exit.path}.head.{kind}") for kind in ("weight", "bias"))
        head = Head(weight.detach(), None if bias is None else bias.detach())
        return HeadTask(state.detach(), head, self._class(exit, targets), self._lists[exit.tokens], gradient, scale, bias_gradient)

    def gather(self) -> dict[str, Sums]:
        """Sums everything over the ranks of the stage; the squares are of the summed gradients."""
        self._ranks.sum_gradients(self._gradients)
        losses = self._losses.tolist()
        sums = {}
        for exit, (loss, cross_entropy) in zip(self.exits, losses):
            norms = torch.stack([torch.linalg.vector_norm(self._gradient[p.name]) for p in exit.parameters])
            sums[exit.id] = Sums(loss, cross_entropy, float(norms.double().square().sum()))
        return sums

    def update(self, rate: float, scales: dict[str, float]) -> None:
        """AdamW with scale · gradient, for each exit its own scale, in one pass over its numbers."""
        self.updates += 1
        for exit, optimiser in zip(self.exits, self._optimisers):
            for group in optimiser.param_groups:
                group["lr"] = rate
            # What a gradient is divided by.
            optimiser.grad_scale = torch.tensor(1 / scales[exit.id], device=self._ranks.device)
            for state in optimiser.state.values():
                state["step"].fill_(self.updates - 1)
            optimiser.step()
        self._gradients.zero_()

    def _optimiser(self, exit: Exit) -> torch.optim.AdamW:
        """Over views of the buffers: its moments are ours, to save and to restore."""
        options = self._job.options
        groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
        states = {}
        for p in exit.parameters:
            parameter = torch.nn.Parameter(self.parameters[p.name])
            parameter.grad = self._gradient[p.name]
            states[parameter] = {
                "step": torch.zeros((), device=self._ranks.device),
                "exp_avg": self.first[p.name],
                "exp_avg_sq": self.second[p.name],
            }
            groups[options["decay"] == "all" or len(p.shape) > 1].append(parameter)
        optimiser = torch.optim.AdamW(
            [{"params": params, "weight_decay": options["weightDecay"] if decays else 0} for decays, params in groups.items() if params],
            betas=(options["beta1"], options["beta2"]),
            eps=options["epsilon"],
            fused=True,
        )
        optimiser.state.update(states)
        return optimiser

    def _class(self, exit: Exit, targets: Tensor) -> Tensor:
        classes = self._classes[exit.id]
        return targets if classes is None else torch.where(targets < 0, -1, classes[targets.clamp_min(0)])

    @property
    def bytes(self) -> int:
        """Bytes of its parameters, gradients and two moments."""
        return sum(buffer.numel() * buffer.element_size() for buffer in (*self._buffers.values(), self._gradients))


def views(buffer: Tensor, names: list[tuple[str, tuple[int, ...]]], sizes: list[int]) -> Table:
    """The tensors that lie one behind the other at the start of a buffer."""
    parts = buffer[: sum(sizes)].split(sizes) if sizes else ()
    return {name: part.view(shape) for (name, shape), part in zip(names, parts)}


def classes_of(exit: Exit, vocabulary: int, device: torch.device) -> Tensor | None:
    """Class of each token id under a shortlist: its place in the list, or the last class, *defer*."""
    if exit.head != "shortlist":
        return None
    classes = torch.full((vocabulary,), len(exit.tokens))
    classes[list(exit.tokens)] = torch.arange(len(exit.tokens))
    return classes.to(device)
