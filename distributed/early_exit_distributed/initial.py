"""What exits begin with: copies of the model's parameters, seeded noise, or a fit in closed form; the same numbers as backend/exits/.

A fit is a ridge regression from the state an exit's head reads to the model's normed final state, *towards the copy*: identity
plus a correction whose penalty is chosen on every fourth window, which is kept apart. Its sums are taken over all ranks of a stage.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .exits import Table, exit_state
from .job import Exit, Job
from .objective import Head, chunk_tokens, logits_of
from .ranks import Ranks
from .weights import Weights

DEVIATION = 0.02
MOST_OTHERS = 4096
"""Tokens outside a list whose rows give that of its defer class, at most."""


def first_values(job: Job, exit: Exit, weights: Weights) -> dict[str, Tensor]:
    """Copies or noise, float32 on the CPU."""
    if job.options["initialise"] == "random":
        return {p.name: _drawn(job, exit, p.name, p.shape) for p in exit.parameters}
    return {p.name: _copied(job, exit, p.name, p.source, weights) for p in exit.parameters}


def _copied(job: Job, exit: Exit, name: str, source: str | None, weights: Weights) -> Tensor:
    if source is None:
        return torch.eye(job.spec["hidden"])
    values = weights.values(source)
    if exit.head != "shortlist" or not re.search(r"\.head\.(weight|bias)$", name):
        return values
    # The defer class represents all other tokens: to first order its logit is the mean of theirs, here of some from all over the vocabulary.
    is_outside = torch.ones(values.shape[0], dtype=torch.bool)
    is_outside[list(exit.tokens)] = False
    outside = is_outside.nonzero()[:, 0]
    others = outside[:: max(1, math.ceil(len(outside) / MOST_OTHERS))]
    mean = values[others].sum(0, dtype=torch.float64) / max(1, len(others))
    return torch.cat((values[list(exit.tokens)], mean.float()[None]))


def _drawn(job: Job, exit: Exit, name: str, shape: tuple[int, ...]) -> Tensor:
    if len(shape) == 1:
        return torch.full(shape, 1.0 - job.spec["norm"]["unitOffset"] if name.endswith(".weight") else 0.0)
    to_stream = re.search(r"\.(down_proj|o_proj)\.weight$", name)
    scale = DEVIATION / math.sqrt(2 * exit.layer) if to_stream else DEVIATION
    return (_normal_numbers(job.options["seed"], name, math.prod(shape)) * scale).float().view(shape)


def _normal_numbers(seed: int, name: str, count: int) -> Tensor:
    """Standard normal numbers (Box–Muller over a 32-bit mix of a counter), a stream for each seed and name."""
    mask = 0xFFFFFFFF
    state = seed & mask
    for character in name:
        state = ((state ^ ord(character)) * 0x01000193) & mask
    pairs = (count + 1) // 2
    counters = (torch.arange(1, 2 * pairs + 1, dtype=torch.int64) * 0x9E3779B9 + state) & mask
    mixed = _times(counters ^ (counters >> 16), 0x21F0AAAD)
    mixed = _times(mixed ^ (mixed >> 15), 0x735A2D97)
    uniform = ((mixed ^ (mixed >> 15)).double() + 0.5) / 2**32
    radius, angle = torch.sqrt(-2 * torch.log(uniform[0::2])), 2 * math.pi * uniform[1::2]
    return torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), 1).flatten()[:count]


def _times(a: Tensor, b: int) -> Tensor:
    """The low 32 bits of products that would not fit into 63."""
    low, high = b & 0xFFFF, b >> 16
    return (a * low + (((a * high) & 0xFFFF) << 16)) & 0xFFFFFFFF


# ── fit ──

KEPT_POSITIONS = 4096
"""Positions for which states are kept and the teacher is computed, to find the defer class."""


def is_fitted(exit: Exit) -> bool:
    """Whether an exit has a place for what a fit finds: a translator, or a head of its own."""
    return exit.translates or exit.head != "shared"


@dataclass
class _Kept:
    x: Tensor
    log_odds: Tensor
    apart: bool


@dataclass
class _Sums:
    """Σ xᵀx and Σ xᵀr of tokens that are learned from (0) and of those kept apart (1), in float64."""

    xx: list[Tensor]
    xr: list[Tensor]

    @staticmethod
    def empty(size: int, columns: int, device: torch.device) -> _Sums:
        return _Sums(*([torch.zeros(size, n, dtype=torch.float64, device=device) for _ in range(2)] for n in (size, columns)))

    def add(self, x: Tensor, residual: Tensor, apart: bool) -> None:
        self.xx[apart] += x.T @ x
        self.xr[apart] += x.T @ residual

    def over(self, ranks: Ranks) -> _Sums:
        total = ranks.sum_stage("fit", torch.stack([torch.cat((a, b), 1) for a, b in zip(self.xx, self.xr)]))
        size = self.xx[0].shape[0]
        return _Sums(list(total[:, :, :size]), list(total[:, :, size:]))


@dataclass
class Fit:
    """A fit of one exit: add windows, then solve."""

    job: Job
    exit: Exit
    copies: Table
    """Its own copies and the parameters of the model that it reads, on the device."""
    ranks: Ranks
    _kept: list[_Kept] = field(default_factory=list)
    _sums: _Sums | None = None

    def add(self, window: int, features: Tensor, final: Tensor, counted: Tensor, lm_head: Head) -> None:
        """Takes in the window with this number: states at the cut `[1, tokens, width]`, final states and marks of targets by position."""
        apart = window % 4 == 1
        x = exit_state(self.job.spec, self.exit, self.copies, features).flatten(0, 1)
        self._sums = self._sums or _Sums.empty(x.shape[1], x.shape[1], x.device)
        self._sums.add(x[counted], (final - x)[counted], apart)
        if self.exit.head == "shortlist" and window * counted.shape[0] < KEPT_POSITIONS:
            self._kept.append(_Kept(x[counted], self._log_odds(final[counted], lm_head), apart))

    def solve(self) -> dict[str, Tensor]:
        """The exit's parameters, corrected if that does better on what was kept apart. All ranks of the stage together."""
        hidden = self.job.spec["hidden"]
        sums = (self._sums or _Sums.empty(hidden, hidden, self.ranks.device)).over(self.ranks)
        delta = correction(sums.xx, sums.xr)
        names = [p.name for p in self.exit.parameters]
        fitted = {name: self.copies[name] for name in names}
        head, translator = f"{self.exit.path}.head.weight", f"{self.exit.path}.translator.weight"
        if delta is not None:
            turned = (torch.eye(hidden, dtype=torch.float64, device=delta.device) + delta.T).float()
            if self.exit.translates:
                fitted[translator] = turned
            else:
                fitted[head] = fitted[head] @ turned
        if self.exit.head == "shortlist":
            bias = fitted.get(f"{self.exit.path}.head.bias")
            fitted[head] = self._with_defer(Head(fitted[head], bias), fitted.get(translator))
        return fitted

    def _with_defer(self, head: Head, translator: Tensor | None) -> Tensor:
        """Its matrix, with the right last row: the log-sum-exp of the others plus the model's log odds of a token
        outside the list."""
        weight = head.weight
        listed, defer = (Head(weight[part], None if head.bias is None else head.bias[part]) for part in (slice(-1), slice(-1, None)))
        sums = _Sums.empty(weight.shape[1], 1, weight.device)
        for kept in self._kept:
            z = kept.x if translator is None else kept.x @ translator.T
            others = _log_sums(z, listed, self.job.spec["finalSoftcap"])
            sums.add(z, others[:, None] + kept.log_odds[:, None] - logits_of(z, defer, None), kept.apart)
        sums = sums.over(self.ranks)
        delta = correction(sums.xx, sums.xr)
        if delta is None:
            return weight
        return torch.cat((weight[:-1], weight[-1:] + delta.T.float()))

    def _log_odds(self, final: Tensor, lm_head: Head) -> Tensor:
        """Of a token outside the list against one in it, as the model has them."""
        parts = []
        for part in final.split(chunk_tokens(lm_head.weight.shape[0])):
            logits = logits_of(part, lm_head, self.job.spec["finalSoftcap"])
            listed = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
            listed[list(self.exit.tokens)] = True
            outside, inside = (logits.masked_fill(mask, -math.inf).logsumexp(-1) for mask in (listed, ~listed))
            parts.append(outside - inside)
        return torch.cat(parts) if parts else final.new_zeros(0)


def _log_sums(x: Tensor, head: Head, softcap: float | None) -> Tensor:
    parts = [logits_of(part, head, softcap).logsumexp(-1) for part in x.split(chunk_tokens(head.weight.shape[0]))]
    return torch.cat(parts) if parts else x.new_zeros(0)


STRIDE = math.sqrt(10)
FIRST, WEAKEST, STRONGEST, CAUTIOUS = 0.1, 1e-9, 1e3, 1.0


def correction(xx: list[Tensor], xr: list[Tensor]) -> Tensor | None:
    """Δ that makes Σ‖r - xΔ‖² + λ‖Δ‖² least, λ chosen on the sums kept apart (index 1); None if every correction makes it worse."""
    all_xx, all_xr = xx[0] + xx[1], xr[0] + xr[1]
    if float(all_xx.trace()) == 0:
        return None
    if float(xx[1].trace()) == 0:
        return solve(all_xx, all_xr, CAUTIOUS)

    def gain(strength: float) -> float:
        delta = solve(xx[0], xr[0], strength)
        return float((delta * (2 * xr[1] - xx[1] @ delta)).sum())

    best, best_gain = FIRST, gain(FIRST)
    for factor in (1 / STRIDE, STRIDE):
        strength = FIRST * factor
        while WEAKEST < strength < STRONGEST:
            now = gain(strength)
            if now <= best_gain:
                break
            best, best_gain = strength, now
            strength *= factor
        if best != FIRST:
            break
    return solve(all_xx, all_xr, best) if best_gain > 0 else None


def solve(xx: Tensor, xr: Tensor, strength: float) -> Tensor:
    """(Σxᵀx + λI)⁻¹ Σxᵀr. If rounding leaves the matrix not positive definite, λ grows tenfold until it is."""
    size = xx.shape[0]
    weight = strength * max(float(xx.trace()), 1e-30) / size
    while math.isfinite(weight):
        factor, trouble = torch.linalg.cholesky_ex(xx + weight * torch.eye(size, dtype=xx.dtype, device=xx.device))
        if int(trouble) == 0:
            return torch.cholesky_solve(xr, factor)
        weight *= 10
    raise ValueError("the sums of a fit are not finite")
