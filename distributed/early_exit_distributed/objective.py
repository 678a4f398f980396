"""The loss of an exit and its gradient at its head, in chunks of tokens: whole rows of logits over the vocabulary never exist together.

With q the exit's distribution and p the teacher's, the gradient of crossEntropy · CE + distillation · KL(p ‖ q) at the logits is
(crossEntropy + distillation) · q - distillation · p - crossEntropy · onehot; written out, it costs one pass instead of autograd's three.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .exits import soft_capped

CHUNK_ELEMENTS = 12_500_000
"""Logits alive at a time: 50 MB."""
SMALLEST = 1e-30


@dataclass(frozen=True)
class Objective:
    cross_entropy: float
    distillation: float
    dynamic: bool
    softcap: float | None


@dataclass(frozen=True)
class Head:
    weight: Tensor
    """`[classes, hidden]`."""
    bias: Tensor | None


@dataclass(frozen=True)
class Teacher:
    """The model's last word: the states `[tokens, hidden]` that its own head reads."""

    states: Tensor
    head: Head


@dataclass(frozen=True)
class HeadTask:
    """One exit's head, and its targets."""

    states: Tensor
    """`[tokens, hidden]`."""
    head: Head
    classes: Tensor
    """Class of each token's target, -1 if there is none."""
    shortlist: Tensor | None
    """Ids of the classes but the last, which is *defer*; exits with the same list share the teacher's targets for it.
    """
    head_gradient: Tensor | None
    """Tensor to which the head's gradient is added, times `scale`; None for a frozen head."""
    scale: float
    bias_gradient: Tensor | None = None
    """The same of the head's bias."""


@dataclass
class HeadLoss:
    """Summed over tokens with a target."""

    loss: Tensor
    cross_entropy: Tensor
    state_gradient: Tensor


def chunk_tokens(classes: int) -> int:
    return max(64, CHUNK_ELEMENTS // classes // 64 * 64)


def head_losses(tasks: list[HeadTask], teacher: Teacher | None, objective: Objective) -> list[HeadLoss]:
    """Losses and gradients of exits over the same tokens: sums, not means. The teacher is computed once for all."""
    widest = max(task.head.weight.shape[0] for task in tasks)
    if teacher is not None:
        widest = max(widest, teacher.head.weight.shape[0])
    chunk = chunk_tokens(widest)
    zero = torch.zeros((), dtype=torch.float64, device=tasks[0].states.device)
    results = [HeadLoss(zero.clone(), zero.clone(), torch.empty_like(task.states)) for task in tasks]
    for begin in range(0, tasks[0].states.shape[0], chunk):
        part = slice(begin, begin + chunk)
        lessons = _Lessons(teacher, part, objective)
        for task, result in zip(tasks, results):
            _chunk(task, result, part, lessons, objective)
    return results


def _chunk(task: HeadTask, result: HeadLoss, part: slice, lessons: _Lessons, objective: Objective) -> None:
    states = task.states[part]
    z = logits_of(states, task.head, objective.softcap)
    # The softmax in place of its logits: a chunk is read and written as few times as it can be.
    log_sum = z.logsumexp(-1, keepdim=True)
    q = (z - log_sum).exp_()
    counted = task.classes[part] >= 0
    target = task.classes[part].clamp_min(0)[:, None]
    surprise = (log_sum - z.gather(1, target))[:, 0]
    weight = counted.float()
    result.cross_entropy += (weight * surprise).sum(dtype=torch.float64)
    if objective.dynamic:
        # The probability of deferring never counts as confidence.
        weight = weight * (q if task.shortlist is None else q[:, :-1]).amax(-1)
    gradient = q
    if objective.cross_entropy + objective.distillation != 1:
        gradient = gradient.mul_(objective.cross_entropy + objective.distillation)
    token_loss = torch.zeros_like(surprise)
    if objective.distillation > 0:
        p, negentropy = lessons.of(task.shortlist)
        # KL(p ‖ q) = Σ p log p - Σ p z + log Σ exp z.
        divergence = negentropy - torch.linalg.vecdot(p, z) + log_sum[:, 0]
        token_loss += objective.distillation * divergence
        gradient = gradient.sub_(p, alpha=objective.distillation)
    if objective.cross_entropy > 0:
        token_loss += objective.cross_entropy * surprise
        gradient.scatter_add_(1, target, torch.full_like(target, -objective.cross_entropy, dtype=gradient.dtype))
    if objective.softcap is not None:
        gradient *= 1 - (z / objective.softcap).square()
    result.loss += (weight * token_loss).sum(dtype=torch.float64)
    result.state_gradient[part] = (gradient @ task.head.weight).mul_(weight[:, None])
    if task.head_gradient is not None:
        task.head_gradient.addmm_(gradient.T, states * weight[:, None], alpha=task.scale)
    if task.bias_gradient is not None:
        task.bias_gradient.addmv_(gradient.T, weight, alpha=task.scale)


class _Lessons:
    """The teacher's targets for some tokens, once for each list of classes."""

    def __init__(self, teacher: Teacher | None, part: slice, objective: Objective):
        self._p = None
        if teacher is not None:
            self._p = logits_of(teacher.states[part], teacher.head, objective.softcap).softmax(-1)
        self._said: dict[int | None, tuple[Tensor, Tensor]] = {}

    def of(self, shortlist: Tensor | None) -> tuple[Tensor, Tensor]:
        """Probabilities on an exit's classes, and Σ p log p: what is outside a shortlist goes to the last, *defer*."""
        key = None if shortlist is None else id(shortlist)
        if key not in self._said:
            p = self._p
            if shortlist is not None:
                listed = p[:, shortlist]
                p = torch.cat((listed, (1 - listed.sum(-1, keepdim=True)).clamp_min(SMALLEST)), -1)
            self._said[key] = p, torch.special.entr(p).sum(-1).neg()
        return self._said[key]


def logits_of(states: Tensor, head: Head, softcap: float | None) -> Tensor:
    return soft_capped(torch.nn.functional.linear(states, head.weight, head.bias), softcap)
