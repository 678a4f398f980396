"""Where this rank stands among the others, and everything that passes between them, counted.

The mesh is `init_device_mesh(pp, dp, tp)`. Hidden states go forward from stage to stage, the final stream back to stages that
distil, gradients of exits are summed over the ranks of a stage, and a few numbers a step keep all ranks in step. Nothing else.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from .job import JobError, Mesh

TIMEOUT = timedelta(minutes=30)


@dataclass
class Ranks:
    mesh: Mesh
    device: torch.device
    rank: int
    pp: int
    dp: int
    tp: int
    device_mesh: DeviceMesh | None
    stage_group: dist.ProcessGroup | None
    """The ranks of this stage, which have the same exits."""
    returning: dist.ProcessGroup | None
    """For the final stream on its way back: in the group of the hidden states it could wait for them, and they for it."""
    control: dist.ProcessGroup | None
    """Numbers and checkpoints, on the CPU."""
    traffic: Counter[str] = field(default_factory=Counter)
    """Bytes that this rank gave away, by kind."""
    _sending: list[tuple[dist.Work, Tensor]] = field(default_factory=list)

    @property
    def is_writer(self) -> bool:
        return self.rank == 0

    @property
    def is_last_stage(self) -> bool:
        return self.pp == self.mesh.pp - 1

    @property
    def share(self) -> tuple[int, int]:
        """Index and number of the parts of a batch's positions at the exits: tensor parallel ranks have the same
        states, and this rank takes one part."""
        return self.tp, self.mesh.tp

    def peer(self, stage: int) -> int:
        """The rank of another stage that works on the same windows."""
        return (stage * self.mesh.dp + self.dp) * self.mesh.tp + self.tp

    def owner(self, stage: int) -> int:
        """The rank that speaks for a stage."""
        return stage * self.mesh.dp * self.mesh.tp

    def send(self, kind: str, tensor: Tensor, stage: int) -> None:
        """Does not wait for the receiver."""
        tensor = tensor.contiguous()
        self.count(kind, tensor)
        group = self.returning if kind == "final" else None
        self._sending = [(work, kept) for work, kept in self._sending if not work.is_completed()]
        self._sending.append((dist.isend(tensor, self.peer(stage), group=group), tensor))

    def receive(self, kind: str, shape: tuple[int, ...], dtype: torch.dtype, stage: int) -> Tensor:
        tensor = torch.empty(shape, dtype=dtype, device=self.device)
        dist.recv(tensor, self.peer(stage), group=self.returning if kind == "final" else None)
        return tensor

    def sum_gradients(self, buffer: Tensor) -> None:
        """Sums in place over the ranks with the same exits."""
        if self.mesh.dp * self.mesh.tp > 1:
            self.count("gradients", buffer)
            dist.all_reduce(buffer, group=self.stage_group)

    def sum_stage(self, kind: str, values: Tensor) -> Tensor:
        """A sum over the ranks of a stage, on the CPU, of what is no gradient (a fit's sums)."""
        if self.mesh.dp * self.mesh.tp == 1:
            return values
        self.count(kind, values)
        total = values.clone().to(self.device)
        dist.all_reduce(total, group=self.stage_group)
        return total.to(values.device)

    def sum_all(self, values: list[float], kind: str = "bookkeeping") -> list[float]:
        """Sums of numbers over all ranks."""
        if self.mesh.ranks == 1:
            return values
        numbers = torch.tensor(values, dtype=torch.float64)
        self.count(kind, numbers)
        dist.all_reduce(numbers, group=self.control)
        return numbers.tolist()

    def most(self, value: float) -> float:
        """The largest of all ranks' values."""
        return max(self.sum_all([value if rank == self.rank else 0.0 for rank in range(self.mesh.ranks)]))

    def gather(self, tensors: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], stages: dict[str, int]) -> dict[str, Tensor]:
        """Brings float32 tensors from the owners of their stages to the writer, by name; elsewhere the answer is empty."""
        gathered: dict[str, Tensor] = {}
        for name, shape in shapes.items():
            owner = self.owner(stages[name])
            if self.is_writer and owner == 0:
                gathered[name] = tensors[name].cpu()
            elif self.is_writer:
                gathered[name] = torch.empty(shape)
                dist.recv(gathered[name], owner, group=self.control)
            elif self.rank == owner:
                self.count("checkpoint", tensors[name])
                dist.send(tensors[name].cpu().contiguous(), 0, group=self.control)
        return gathered

    def flush(self) -> None:
        for work, _ in self._sending:
            work.wait()
        self._sending.clear()

    def count(self, kind: str, tensor: Tensor) -> None:
        """Notes what this rank gives away."""
        self.traffic[kind] += tensor.numel() * tensor.element_size()


def open_ranks(mesh: Mesh) -> Ranks:
    """Joins the ranks that a launcher started (RANK, WORLD_SIZE …); alone without one."""
    has_gpu = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world != mesh.ranks:
        raise JobError(f"The mesh {mesh.pp}×{mesh.dp}×{mesh.tp} needs {mesh.ranks} ranks, and {world} were started.")
    if world == 1:
        return Ranks(mesh, device, 0, 0, 0, 0, None, None, None, None)
    dist.init_process_group("nccl" if has_gpu else "gloo", timeout=TIMEOUT)
    rank = dist.get_rank()
    device_mesh = init_device_mesh(device.type, (mesh.pp, mesh.dp, mesh.tp), mesh_dim_names=("pp", "dp", "tp"))
    size = mesh.dp * mesh.tp
    stages = [dist.new_group(range(stage * size, (stage + 1) * size), timeout=TIMEOUT) for stage in range(mesh.pp)]
    pp, within = divmod(rank, size)
    dp, tp = divmod(within, mesh.tp)
    control = dist.new_group(backend="gloo", timeout=TIMEOUT)
    return Ranks(mesh, device, rank, pp, dp, tp, device_mesh, stages[pp], dist.new_group(timeout=TIMEOUT), control)


def close_ranks(ranks: Ranks) -> None:
    if dist.is_initialized():
        ranks.flush()
        dist.destroy_process_group()
