"""When a run evaluates, saves and ends. Only the first rank's clock counts; its decisions are sent to the others as
numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

from .job import JobError, Limits

EVALUATIONS = 10
"""Evaluations of a run, by default."""
SAVE_PATIENCE = 20
"""Bounds how often the state is written: at most a twentieth of the time."""
TIME_PARTS = 1000
"""A run whose number of steps is not known reports its progress in this many parts."""


class Clock:
    """What only the first rank knows, as numbers for all: whether time is over, an evaluation or a state is due, how far the run is."""

    def __init__(self, limits: Limits, planned: int | None, step: int, updates_from: float, elapsed: Callable[[], float], decides: bool):
        self._planned, self._elapsed, self._decides = planned, elapsed, decides
        self._limit = limits.seconds
        self._from = updates_from
        self._share = 0.0
        self._ending = self._saving = 0.0
        self._save_after = 0.0
        self._saved_at = self._evaluated_at = elapsed()
        self._recent: list[tuple[int, float]] = []
        self._stepped_at = elapsed()
        self._due = False
        if planned is None and self._limit is None:
            raise JobError("A run needs an end: give --steps, --epochs or --minutes.")
        self.over = planned is not None and step >= planned

    @property
    def updates(self) -> int:
        return TIME_PARTS if self._planned is None or self._limit is not None else self._planned

    def update(self, step: int) -> float:
        return step if self._limit is None else self._share * (TIME_PARTS - 1)

    def reach(self, share: float, step: int) -> None:
        """Takes over how far the run is: `share` of the time, by the first rank's clock, or `step` of its updates."""
        self._share = max(share, 0 if self._planned is None else step / self._planned)

    def share_now(self) -> float:
        """Of the time that updates have, by the first rank's clock; 0 on the others."""
        if self._limit is None or not self._decides:
            return 0.0
        return min(1.0, max(0.0, (self._elapsed() - self._from) / max(1e-9, self._limit - self._from)))

    def decisions(self, stops: bool) -> list[float]:
        """[stop, over, due, save, share]; of the first rank, and of the others the wish to stop."""
        if not self._decides:
            return [float(stops), 0.0, 0.0, 0.0, 0.0]
        now = self._elapsed()
        over = self._limit is not None and now + self._seconds_per_step() + self._ending + self._saving >= self._limit
        due = self._limit is not None and now - self._evaluated_at >= max(self._limit / EVALUATIONS, 9 * self._ending)
        save = now - self._saved_at >= self._save_after
        return [float(stops), float(over), float(due), float(save), self.share_now()]

    def after_step(self, step: int, tokens: int, agreed: dict) -> None:
        now = self._elapsed()
        self._recent = [*self._recent[-19:], (tokens, max(now - self._stepped_at, 1e-9))]
        self._stepped_at = now
        self.reach(agreed["share"], step)
        self._due = agreed["due"] > 0
        self.over = agreed["over"] > 0 or (self._planned is not None and step >= self._planned)

    def is_evaluation_due(self, step: int, every: int | None) -> bool:
        if every is not None:
            return step % every == 0
        return self._due or (self._planned is not None and step % max(1, _rounded(self._planned / EVALUATIONS)) == 0)

    def evaluated(self, seconds: float) -> None:
        self._ending = seconds
        self._evaluated_at = self._stepped_at = self._elapsed()

    def saved(self, seconds: float) -> None:
        self._saving, self._save_after = seconds, SAVE_PATIENCE * seconds
        self._saved_at = self._stepped_at = self._elapsed()

    def shown(self, step: int) -> dict:
        each = self._seconds_per_step()
        left = math.inf if self._limit is None else self._limit - self._elapsed()
        left = max(0.0, min(left, math.inf if self._planned is None else (self._planned - step) * each))
        steps = self._planned if self._planned is not None else step + _rounded(left / each)
        speed = sum(tokens for tokens, _ in self._recent) / sum(seconds for _, seconds in self._recent)
        return {"steps": steps, "tokensPerSecond": speed, "secondsLeft": left}

    def _seconds_per_step(self) -> float:
        return sum(seconds for _, seconds in self._recent) / len(self._recent) if self._recent else 0.0


def _rounded(value: float) -> int:
    """As JavaScript rounds, halves up: Python rounds them to even numbers."""
    return math.floor(value + 0.5)
