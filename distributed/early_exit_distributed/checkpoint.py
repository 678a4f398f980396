"""The project's checkpoint format (docs/formats.md), written by the first rank: every file under a temporary name, synced, renamed.

`exits.safetensors` alone is the truth about the exits; `state/state.json` names the state that a resume begins with.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from .job import Job, JobError

FORMAT_VERSION = 1
EXITS_FILE = "exits.safetensors"
BEST_FILE = "best.safetensors"
"""The best model with its exits, of a run that trains all of it; beside the state (backend/checkpoint/continued.ts)."""
STATE_KINDS = ("parameter", "first", "second")


@dataclass(frozen=True)
class Saved:
    """What a resume finds."""

    updates: int
    position: dict
    metrics_bytes: int
    state: dict[str, Tensor]


class Checkpoint:
    """Writes a checkpoint. Only the writing rank opens one."""

    def __init__(self, job: Job, metrics_bytes: int = 0):
        self._job = job
        self._info = {"base": job.base, "exits": [_exit_info(exit) for exit in job.exits], "tuning": job.tuning, "calibration": None}
        (job.directory / "state").mkdir(parents=True, exist_ok=True)
        for left in job.directory.glob(".exits.*.tmp"):
            # A writer was killed.
            left.unlink()
        self._metrics = open(job.directory / "metrics.jsonl", "ab")
        if self._metrics.tell() > metrics_bytes:
            self._metrics.truncate(metrics_bytes)

    def metric(self, line: dict) -> None:
        self._metrics.write(f"{json.dumps(plain(line), ensure_ascii=False, separators=(',', ':'))}\n".encode())
        self._metrics.flush()

    def metrics_bytes(self) -> int:
        return os.fstat(self._metrics.fileno()).st_size

    def save_exits(self, values: dict[str, Tensor], progress: dict) -> None:
        """All parameters of all exits; `exits.json` comes last, which makes a new directory a checkpoint."""
        lists = {f"{exit.path}.head.tokens": torch.tensor(exit.tokens, dtype=torch.int32) for exit in self._job.exits if exit.tokens}
        metadata = {"format": "early-exit", "base_sha256": self._job.base["sha256"], "progress": json.dumps(plain(progress), separators=(",", ":"))}
        write_tensors(self._job.directory / EXITS_FILE, {**values, **lists}, metadata)
        text = {"format": "early-exit", "version": FORMAT_VERSION, **self._info, "progress": progress}
        write_whole(self._job.directory / "exits.json", f"{json.dumps(plain(text), indent=2, ensure_ascii=False)}\n".encode())

    def save_best(self, values: dict[str, Tensor], progress: dict) -> None:
        """The model's tensors by the names of its files, and the exits'."""
        metadata = {"progress": json.dumps(plain(progress), separators=(",", ":"))}
        write_tensors(self._job.directory / "state" / BEST_FILE, values, metadata)

    def save_state(self, state: dict[str, Tensor], updates: int, position: dict, metrics_bytes: int | None = None) -> None:
        """`state`: `parameter.`, `first.` and `second.` of every parameter."""
        os.fsync(self._metrics.fileno())
        folder = self._job.directory / "state"
        file = f"step-{position['step']}-{time.time_ns() // 1_000_000:x}.safetensors"
        write_tensors(folder / file, state)
        size = self.metrics_bytes() if metrics_bytes is None else metrics_bytes
        text = {"version": FORMAT_VERSION, "file": file, "metricsBytes": size, "updates": updates, "position": position}
        write_whole(folder / "state.json", f"{json.dumps(plain(text), indent=2)}\n".encode())
        for name in os.listdir(folder):
            if name not in (file, "state.json", BEST_FILE):
                (folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        self._metrics.close()


def read_saved(job: Job) -> Saved:
    """What a resume begins with; every rank reads it."""
    file = job.directory / "state" / "state.json"
    try:
        text = json.loads(file.read_text())
        state = load_file(job.directory / "state" / text["file"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JobError(f"{job.directory} cannot be gone on with: {file} is not whole. Restore it from a copy, or tune again.") from error
    if text["position"]["data"] != job.data:
        raise JobError(f"The text is not the text that the run in {job.directory} began with. Restore it, or begin another run (--out).")
    return Saved(text["updates"], text["position"], text["metricsBytes"], state)


def read_progress(file: Path) -> dict:
    """What a file of values says of them: it is replaced as a whole, and so never speaks of others."""
    with safe_open(file, framework="pt") as opened:
        return json.loads(opened.metadata()["progress"])


def write_whole(file: Path, data: bytes) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    os.replace(temporary, file)


def write_tensors(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Straight from memory: a second copy of a whole model's state may not fit."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    save_file(tensors, temporary, metadata)
    with open(temporary, "rb+") as opened:
        os.fsync(opened.fileno())
    os.replace(temporary, file)


def _exit_info(exit) -> dict:
    head = {"kind": exit.head, "size": len(exit.tokens)} if exit.head == "shortlist" else {"kind": exit.head}
    return {"layer": exit.layer, "architecture": exit.architecture, "head": head}


def plain(value: object) -> object:
    """JSON knows no numbers that are not finite; JavaScript writes null for them."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return None if value != value or value in (float("inf"), float("-inf")) else int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value
