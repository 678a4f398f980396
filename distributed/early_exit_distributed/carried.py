"""A run that came to a cluster in packages of the job, because its folder is not shared with the cluster: put together again on each node, and what it
writes listed with hashes, so that it can be copied back while it goes on.

Ray unpacks packages into folders of its own, which are on Python's path. The first holds this package and `carried.json`; of the others each
holds one piece of an archive of the run's files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from .job import JobError

LIST_FILE = "carried.json"
RESULTS_FILE = "results.json"
STATE = re.compile(r"state/step-.*")


def unpack(place: Path) -> None:
    """Makes the run's folder, unless another rank of this node has: whole or not at all."""
    if place.is_dir():
        return
    listed = json.loads(_on_path(LIST_FILE).read_text())
    digest = hashlib.sha256()
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        archive = Path(folder) / "run.zip"
        with open(archive, "wb") as opened:
            for name in listed["pieces"]:
                piece = _on_path(name).read_bytes()
                digest.update(piece)
                opened.write(piece)
        if digest.hexdigest() != listed["sha256"]:
            raise JobError("The run's files came to the cluster damaged. Start the run again.")
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(Path(folder) / "run")
        try:
            os.rename(Path(folder) / "run", place)
        except OSError:
            if not place.is_dir():
                raise


def forget(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)


class Results:
    """What of a run is whole, by name: its size and SHA-256, for the process that copies it. A resume begins with what came."""

    def __init__(self, folder: Path, directory: Path):
        self.file = folder / RESULTS_FILE
        self._directory = directory
        self._files: dict[str, dict] = {}
        for name in ("exits.safetensors", "exits.json", "state/best.safetensors"):
            if (directory / name).exists():
                self.has(name)

    def has(self, name: str) -> None:
        if STATE.fullmatch(name):
            # A newer state takes the place of the one before.
            self._files = {other: file for other, file in self._files.items() if not STATE.fullmatch(other)}
        digest, size = hashlib.sha256(), 0
        with open(self._directory / name, "rb") as opened:
            while piece := opened.read(1 << 22):
                digest.update(piece)
                size += len(piece)
        self._files[name] = {"bytes": size, "sha256": digest.hexdigest()}

    def text(self) -> bytes:
        return json.dumps({"files": self._files}).encode()


def _on_path(name: str) -> Path:
    for folder in sys.path:
        file = Path(folder or ".") / name
        if file.is_file():
            return file
    raise JobError(f"{name} did not come to the cluster with the job. Start the run again.")
