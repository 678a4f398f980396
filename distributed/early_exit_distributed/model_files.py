"""The location of the model, and whether it is the one that the exits are for. Needs no PyTorch."""

from __future__ import annotations

import hashlib
import re
import socket
from pathlib import Path

from .job import JobError, Sample

SAMPLE = 1 << 20
"""Bytes at the beginning, in the middle and at the end of a file; backend/cluster/model-files.ts takes the same."""
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def find_model(place: str, files: dict[str, Sample]) -> Path:
    """A folder as it is, or that of a name on the Hugging Face hub, which is downloaded once a machine."""
    folder = Path(place)
    if not folder.is_dir() and HUB_NAME.fullmatch(place):
        folder = _downloaded(place)
    if not folder.is_dir():
        raise JobError(f"{place} is not there on {socket.gethostname()}. Name the model as the ranks find it with --model-there.")
    if not holds(folder, files):
        raise JobError(f"{place} on {socket.gethostname()} is another model than the one that exits are tuned for. Name the same with --model-there.")
    return folder


def holds(folder: Path, files: dict[str, Sample]) -> bool:
    """Whether these files of weights exist, judged by their sizes and samples."""
    try:
        return all(_sample(folder / name) == sample for name, sample in files.items())
    except OSError:
        return False


def _sample(file: Path) -> Sample:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        size = opened.seek(0, 2)
        for start in (0, max(0, size // 2 - SAMPLE // 2), max(0, size - SAMPLE)):
            opened.seek(start)
            digest.update(opened.read(SAMPLE))
    return Sample(size, digest.hexdigest())


def _downloaded(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["config.json", "*.safetensors", "*.safetensors.index.json"]))
    except Exception as error:  # The message of a hub or a network is shown on one line.
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise JobError(f"{name} could not be downloaded on {socket.gethostname()}: {reason}. Name a folder with --model-there.") from error
