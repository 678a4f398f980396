"""Parameters of the model from its safetensors files, under our names (job.json has their places) or under the files'
own."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

from .job import JobError, Source


class Weights:
    """All tensors of a Hugging Face directory; read on demand, never kept."""

    def __init__(self, model: Path, sources: dict[str, Source]):
        self.model = model
        self._sources = sources
        self._files = _files_by_tensor(model)
        self._open: dict[Path, safe_open] = {}

    @staticmethod
    def of_file(file: Path, names: list[str]) -> dict[str, torch.Tensor]:
        """Tensors of one file by name."""
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in names}

    def has(self, name: str) -> bool:
        return name in self._sources

    def values(self, name: str) -> torch.Tensor:
        """One of our parameters in float32, `[out, in]` of a matrix."""
        source = self._sources[name]
        parts = [self.stored(tensor).float() for tensor in source.tensors]
        value = torch.cat([part.flatten() for part in parts]) if len(parts) > 1 else parts[0]
        if source.transposed and value.dim() == 2:
            value = value.T.contiguous()
        return value if source.rows is None else value[list(source.rows)].contiguous()

    def holds(self, tensor: str) -> bool:
        return tensor in self._files

    def names(self) -> list[str]:
        """All tensors by the files' own names."""
        return list(self._files)

    def shape(self, tensor: str) -> tuple[int, ...]:
        return tuple(self._opened(tensor).get_slice(tensor).get_shape())

    def stored(self, tensor: str) -> torch.Tensor:
        """A tensor by the file's own name, in its own type."""
        return self._opened(tensor).get_tensor(tensor)

    def _opened(self, tensor: str) -> safe_open:
        file = self._files.get(tensor)
        if file is None:
            raise JobError(f"{self.model} has no tensor {tensor}. The download may be incomplete; get the model again.")
        if file not in self._open:
            self._open[file] = safe_open(file, framework="pt")
        return self._open[file]


def _files_by_tensor(model: Path) -> dict[str, Path]:
    # One file goes before an index, as in the engine here and in Transformers.
    file = model / "model.safetensors"
    index = model / "model.safetensors.index.json"
    if index.exists() and not file.exists():
        return {name: model / file for name, file in json.loads(index.read_text())["weight_map"].items()}
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: file for name in opened.keys()}
    except OSError as error:
        raise JobError(f"{file} cannot be read. The model must be on a path that all machines share.") from error
