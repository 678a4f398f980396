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
class HeadLoss:
    loss: Tensor
    """Summed over tokens with a target."""
    cross_entropy: Tensor
    state_gradient: Tensor
    head_gradient: Tensor | None


def chunk_tokens(classes: int) -> int:
    return max(64, CHUNK_ELEMENTS // classes // 64 * 64)


def head_loss(
    states: Tensor,
    head: Head,
    classes: Tensor,
    shortlist: Tensor | None,
    teacher: Teacher | None,
    objective: Objective,
    trained: bool,
) -> HeadLoss:
    """Loss over `states` `[tokens, hidden]`; `classes` is each token's class, -1 where there is no target. Sums, not means."""
    widest = head.weight.shape[0] if teacher is None else max(head.weight.shape[0], teacher.head.weight.shape[0])
    chunk = chunk_tokens(widest)
    loss = torch.zeros((), dtype=torch.float64, device=states.device)
    plain = loss.clone()
    state_gradient = torch.empty_like(states)
    head_gradient = torch.zeros_like(head.weight) if trained else None
    for begin in range(0, states.shape[0], chunk):
        part = slice(begin, begin + chunk)
        z = logits_of(states[part], head, objective.softcap)
        log_q = z.log_softmax(-1)
        q = log_q.exp()
        counted = classes[part] >= 0
        target = classes[part].clamp_min(0)[:, None]
        surprise = -log_q.gather(1, target)[:, 0]
        weight = counted.float()
        plain += (weight * surprise).sum(dtype=torch.float64)
        if objective.dynamic:
            # The probability of deferring never counts as confidence.
            weight = weight * (q if shortlist is None else q[:, :-1]).amax(-1)
        gradient = q * (objective.cross_entropy + objective.distillation)
        token_loss = torch.zeros_like(surprise)
        if objective.distillation > 0:
            p = teacher_of(teacher, part, shortlist, objective.softcap)
            divergence = (p * (p.clamp_min(SMALLEST).log() - log_q)).sum(-1)
            token_loss += objective.distillation * divergence
            gradient -= objective.distillation * p
        if objective.cross_entropy > 0:
            token_loss += objective.cross_entropy * surprise
            gradient.scatter_add_(1, target, torch.full_like(target, -objective.cross_entropy, dtype=gradient.dtype))
        if objective.softcap is not None:
            gradient *= 1 - (z / objective.softcap).square()
        gradient *= weight[:, None]
        loss += (weight * token_loss).sum(dtype=torch.float64)
        state_gradient[part] = gradient @ head.weight
        if head_gradient is not None:
            head_gradient.addmm_(gradient.T, states[part])
    return HeadLoss(loss, plain, state_gradient, head_gradient)


def logits_of(states: Tensor, head: Head, softcap: float | None) -> Tensor:
    return soft_capped(torch.nn.functional.linear(states, head.weight, head.bias), softcap)


def teacher_of(teacher: Teacher, part: slice, shortlist: Tensor | None, softcap: float | None) -> Tensor:
    """The teacher's probabilities on an exit's classes: what is outside a shortlist goes to the last, *defer*."""
    p = logits_of(teacher.states[part], teacher.head, softcap).softmax(-1)
    if shortlist is None:
        return p
    listed = p[:, shortlist]
    return torch.cat((listed, (1 - listed.sum(-1, keepdim=True)).clamp_min(SMALLEST)), -1)
