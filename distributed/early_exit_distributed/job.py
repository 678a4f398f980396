"""What the command line hands over, `distributed/job.json` in the run's directory, as typed records. Parsed here, trusted inside.

It says where the model's parameters lie by our names, which parameters each exit trains and what they start from, so that no
table of model families is needed here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FOLDER = "distributed"
JOB_FILE = "job.json"
INFO_FILE = "exits.json"
"""Of the run's directory; with it, the directory is a checkpoint."""
VERSION = 3


class JobError(Exception):
    """Something that a person can mend, in one sentence with the way out."""


@dataclass(frozen=True)
class Sample:
    """Size and sample of a file of weights, to tell it from another of the same name."""

    bytes: int
    sha256: str
    """Of some of its bytes, see model_files.py."""


@dataclass(frozen=True)
class Source:
    """The place of one of our parameters in the model's files."""

    tensors: tuple[str, ...]
    """Stored one behind the other; nearly always one."""
    rows: tuple[int, ...] | None
    transposed: bool


@dataclass(frozen=True)
class Parameter:
    name: str
    """`exits.8.mlp.norm.weight`."""
    shape: tuple[int, ...]
    source: str | None
    """The model's parameter that a copy starts from; None for a translator."""


@dataclass(frozen=True)
class Exit:
    layer: int
    """Counted from 1."""
    architecture: str
    head: str
    """`own`, `shared` or `shortlist`."""
    tokens: tuple[int, ...]
    """Of a shortlist; the class behind the last is *defer*."""
    parameters: tuple[Parameter, ...]
    frozen: tuple[str, ...]
    """Parameters of the model that the exit reads and never changes."""
    cut: str
    """The cut whose stream it reads, as `8.attention`."""
    has_branch: bool
    """Whether it has a layer of its own behind its cut: it needs whole windows."""
    translates: bool
    """Whether it has a linear map between its norm and its head."""

    @property
    def id(self) -> str:
        return f"{self.layer}:{self.architecture}"

    @property
    def path(self) -> str:
        return f"exits.{self.layer}.{self.architecture}"


@dataclass(frozen=True)
class Mesh:
    pp: int
    dp: int
    tp: int

    @property
    def ranks(self) -> int:
        return self.pp * self.dp * self.tp


@dataclass(frozen=True)
class Limits:
    """The limits of a run; the first that is reached ends it."""

    steps: int | None
    epochs: float | None
    seconds: float | None


@dataclass(frozen=True)
class Job:
    directory: Path
    model: str
    """A folder, as the ranks see it, or a name on the Hugging Face hub."""
    files: dict[str, Sample]
    """Of its weights, by name."""
    spec: dict
    """The model as data: the `ModelSpec` of the TypeScript side."""
    base: dict
    """Name, shape and hash of the model, for the checkpoint."""
    sources: dict[str, Source]
    exits: tuple[Exit, ...]
    """In the order of the stream."""
    continues: Path | None
    """The tuned exits that a run begins with which trains the whole model further; None if it is frozen."""
    train: Path
    held_out: Path
    held_out_tokens: int
    data: str
    """Hash of the windows tuned on."""
    tuning: dict
    """The options as the checkpoint keeps them."""
    options: dict
    """The options by name, parsed."""
    limits: Limits
    mesh: Mesh
    shard: bool
    """Whether frozen weights are sharded over data parallel ranks."""
    resume: bool
    """Whether it goes on from an earlier sitting's state, as a job does that Slurm has requeued."""

    @property
    def distils(self) -> bool:
        return self.options["distillation"] > 0

    @property
    def fits(self) -> bool:
        return self.options["initialise"] == "fit" and not self.resume

    @property
    def layers(self) -> int:
        return len(self.spec["layers"])

    @property
    def folder(self) -> Path:
        """What belongs to the sitting and not to the checkpoint."""
        return self.directory / FOLDER

    @property
    def stop_file(self) -> Path:
        """A file that exists once the run is asked to end with its work kept."""
        return self.folder / "stop"

    @cached_property
    def deepest(self) -> int:
        return max(exit.layer for exit in self.exits)


def read_job(directory: str | Path) -> Job:
    file = Path(directory) / FOLDER / JOB_FILE
    try:
        text = json.loads(file.read_text())
    except OSError as error:
        raise JobError(f"{file} cannot be read: {error.strerror}. Start the run with early-exit tune --on.") from error
    except ValueError as error:
        raise JobError(f"{file} is not JSON. Start the run again with early-exit tune --on.") from error
    if not isinstance(text, dict):
        raise JobError(f"{file} is no job. Start the run again with early-exit tune --on.")
    if text.get("version") != VERSION:
        raise JobError(f"{file} is of version {text.get('version')}, not {VERSION}. Use the same version on all machines.")
    return Job(
        directory=Path(directory),
        model=text["model"],
        files={name: Sample(**value) for name, value in text["files"].items()},
        spec=text["spec"],
        base=text["base"],
        sources={name: _source(value) for name, value in text["sources"].items()},
        exits=tuple(_exit(value) for value in text["exits"]),
        continues=None if text["continues"] is None else _beside(file, text["continues"]),
        train=_beside(file, text["train"]),
        held_out=_beside(file, text["heldOut"]),
        held_out_tokens=text["heldOutTokens"],
        data=text["data"],
        tuning=text["tuning"],
        options=text["options"],
        limits=Limits(**text["limits"]),
        mesh=Mesh(**text["mesh"]),
        shard=text["shard"],
        resume=text["resume"] or has_checkpoint(directory),
    )


def has_checkpoint(directory: str | Path) -> bool:
    return (Path(directory) / INFO_FILE).exists()


def way_on(directory: str | Path) -> str:
    """What a person can do if a rank fails, without the full stop."""
    return "Go on from its last state with --resume" if has_checkpoint(directory) else "Start it again"


def _beside(file: Path, name: str) -> Path:
    """Relative names are meant from the job's folder."""
    return file.parent / name


def _source(value: dict) -> Source:
    rows = value.get("rows")
    return Source(tuple(value["tensors"]), None if rows is None else tuple(rows), value.get("transposed", False))


def _exit(value: dict) -> Exit:
    parameters = tuple(Parameter(p["name"], tuple(p["shape"]), p["source"]) for p in value["parameters"])
    head = value["head"]
    tokens = tuple(head.get("tokens", ()))
    return Exit(
        layer=value["layer"],
        architecture=value["architecture"],
        head=head["kind"],
        tokens=tokens,
        parameters=parameters,
        frozen=tuple(value["frozen"]),
        cut=value["cut"],
        has_branch=value["hasBranch"],
        translates=value["translates"],
    )
