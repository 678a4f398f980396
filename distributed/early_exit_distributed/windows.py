"""Packed tokens as the command line wrote them, and the order in which a run takes its windows: the same numbers as there."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch

from .job import JobError

MAGIC = b"EETK"
HEADER_BYTES = 64
TARGET_BIT = 1 << 31


class Windows:
    """A token file (backend/data/texts/token-file.ts): windows overlap by one token, so that each token is a target once."""

    def __init__(self, file: Path, most: int | None = None):
        try:
            words = np.memmap(file, dtype="<u4", mode="r")
            header = bytes(words[: HEADER_BYTES // 4].tobytes())
        except (OSError, ValueError) as error:
            raise JobError(f"{file} cannot be read: it must be on a path that all machines share.") from error
        if header[:4] != MAGIC:
            raise JobError(f"{file} is no token file. Start the run again with early-exit tune --on.")
        self.length, entries, windows = (int(number) for number in struct.unpack_from("<3d", header, 8))
        begin = HEADER_BYTES // 4
        self._entries = words[begin : begin + entries]
        self._starts = words[begin + entries : begin + entries + windows]
        self.count = windows if most is None else min(windows, max(1, most // self.length))

    def batch(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and targets `[windows, length]`; a target is the next token, -1 if there is none.

        Without indices: a window without targets, for a rank that only keeps step with others, see `shared_evenly`.
        """
        ids, targets = (torch.from_numpy(np.stack(rows)) for rows in zip(*(self._window(index) for index in indices or [0])))
        return ids, targets if indices else torch.full_like(targets, -1)

    def _window(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        first = int(self._starts[index]) * (self.length - 1)
        entries = np.asarray(self._entries[first : first + self.length], dtype=np.int64)
        known = entries & (TARGET_BIT - 1)
        ids = np.full(self.length, known[-1], dtype=np.int64)
        ids[: len(known)] = known
        targets = np.full(self.length, -1, dtype=np.int64)
        targets[: len(known) - 1] = np.where(entries[1:] >= TARGET_BIT, known[1:], -1)
        return ids, targets


def shared_evenly(windows: list[int], size: int, replica: int, replicas: int) -> list[list[int]]:
    """A replica's windows in batches of `size`. All replicas have equally many batches, since they gather sharded weights together: the last
    of some may be empty."""
    own = windows[replica::replicas]
    most = -(-len(windows) // replicas)
    return [own[i : i + size] for i in range(0, most, size)]


def windows_at(seed: int, windows: int, first: int, count: int) -> list[int]:
    """The windows at places `first` to `first + count` of the endless sequence of epochs."""
    taken: list[int] = []
    epoch, order = -1, None
    for place in range(first, first + count):
        if place // windows != epoch:
            epoch = place // windows
            order = _order(windows, seed, epoch)
        taken.append(order(place % windows))
    return taken


def _order(count: int, seed: int, epoch: int):
    """A permutation of `0 … count - 1` that depends on seed and epoch alone: a four-round Feistel network, walked into range."""
    bits = max(1, -(-(max(count, 2) - 1).bit_length() // 2))
    half = 1 << bits
    keys = [_mix(_mix(_mix(seed) ^ epoch) ^ turn) for turn in range(4)]

    def permute(value: int) -> int:
        left, right = divmod(value, half)
        for key in keys:
            left, right = right, (left ^ _mix(right ^ key)) & (half - 1)
        return left * half + right

    def order(place: int) -> int:
        value = permute(place)
        while value >= count:
            value = permute(value)
        return value

    return order


def _mix(value: int) -> int:
    """A 32-bit hash (the finaliser of MurmurHash3)."""
    h = (value + 0x9E3779B9) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ (h >> 16)
