"""Held-out scores of exits: loss, accuracy, and agreement with the final exit. States of the text are read once and kept on the CPU."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .exits import Table, exit_state, head_of
from .job import Exit, Job
from .objective import Head, chunk_tokens, logits_of
from .ranks import Ranks


@dataclass(frozen=True)
class HeldOut:
    """One pass of held-out text on this rank."""

    features: dict[str, Tensor]
    targets: Tensor
    """`[windows, tokens]`, on the device."""
    tokens: Tensor
    """The final exit's most probable token of each position, on the device."""


def final_scores(final: Tensor, targets: Tensor, head: Head, softcap: float | None) -> tuple[Tensor, list[float]]:
    """The final exit's token of each position, and [loss, right, agreed, count] of those with a target."""
    tokens, losses = _read(final, head, targets.flatten().clamp_min(0), softcap)
    counted = targets.flatten() >= 0
    right = (tokens == targets.flatten())[counted].sum()
    count = int(counted.sum())
    return tokens, [float(losses[counted].sum(dtype=torch.float64)), float(right), count, count]


@torch.no_grad()
def exit_scores(job: Job, exit: Exit, table: Table, texts: list[HeldOut], ranks: Ranks) -> list[float]:
    """[loss, right, agreed, count] of this rank's share of the text."""
    sums = [0.0, 0.0, 0.0, 0.0]
    head = Head(*head_of(exit, table))
    vocabulary = job.spec["vocabulary"]
    listed = torch.tensor(exit.tokens, device=ranks.device) if exit.head == "shortlist" else None
    places = torch.full((vocabulary,), len(exit.tokens), device=ranks.device)
    if listed is not None:
        places[listed] = torch.arange(len(exit.tokens), device=ranks.device)
    # A token outside a shortlist has an even share of the defer class's probability.
    even_share = math.log(max(1, vocabulary - len(exit.tokens)))
    part, parts = ranks.share
    for text in texts[part::parts]:
        targets = text.targets.flatten()
        counted = targets >= 0
        state = exit_state(job.spec, exit, table, text.features[exit.cut].to(ranks.device).float()).flatten(0, 1)
        classes = targets.clamp_min(0) if listed is None else places[targets.clamp_min(0)]
        tokens, losses = _read(state, head, classes, job.spec["finalSoftcap"], listed)
        if listed is not None:
            losses = losses + even_share * (classes == len(exit.tokens))
        sums[0] += float(losses[counted].sum(dtype=torch.float64))
        sums[1] += float((tokens == targets)[counted].sum())
        sums[2] += float((tokens == text.tokens)[counted].sum())
        sums[3] += float(counted.sum())
    return sums


def score(exit: str, layer: int, sums: list[float]) -> dict:
    """As a line of `metrics.jsonl` has it."""
    loss, right, agreed, count = sums
    mean = loss / count
    perplexity = math.exp(mean) if mean < 700 else float("1e300")
    return {"exit": exit, "layer": layer, "loss": mean, "perplexity": perplexity, "accuracy": right / count, "agreement": agreed / count}


def _read(states: Tensor, head: Head, classes: Tensor, softcap: float | None, listed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The most probable token of each state and the loss of its class; *defer* is no token."""
    tokens, losses = [], []
    chunk = chunk_tokens(head.weight.shape[0])
    for part, wanted in zip(states.split(chunk), classes.split(chunk)):
        z = logits_of(part, head, softcap)
        losses.append(z.logsumexp(-1) - z.gather(1, wanted[:, None])[:, 0])
        tokens.append(z.argmax(-1) if listed is None else listed[z[:, :-1].argmax(-1)])
    return torch.cat(tokens), torch.cat(losses)
