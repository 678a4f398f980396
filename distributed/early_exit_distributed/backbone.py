"""The frozen model, or the layers of one stage of it: Hugging Face's modelling code, run forward only.

What a model's own forward gives each of its layers (masks, rotations) depends on the shape of a batch alone. It is recorded
once, with layers that compute nothing, and so the layers of a stage run without the rest of the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.utils.hooks import RemovableHandle
from transformers import AutoConfig, AutoModelForCausalLM

from .job import Job, JobError
from .ranks import Ranks
from .weights import Weights

Cuts = dict[str, Tensor]

PARALLEL = {
    "colwise": lambda: ColwiseParallel(),
    "rowwise": lambda: RowwiseParallel(),
    "colwise_gather_output": lambda: ColwiseParallel(output_layouts=Replicate()),
    "rowwise_split_input": lambda: RowwiseParallel(input_layouts=Replicate()),
}
"""Hugging Face's words for DTensor's. Other entries of a plan (replicated norms) need nothing without a backward pass.
"""


class Backbone:
    """Layers `first` to `last`, counted from 1, on this rank's device."""

    def __init__(self, job: Job, weights: Weights, ranks: Ranks, first: int, last: int, dtype: torch.dtype):
        self.first, self.last = first, last
        self._spec, self._ranks, self._dtype = job.spec, ranks, dtype
        self._wanted = {exit.cut for exit in job.exits}
        # Attention with a soft cap is written out in the eager form only.
        attention = "eager" if job.spec["attentionSoftcap"] is not None else "sdpa"
        config = AutoConfig.from_pretrained(weights.model)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype)
        self._frame = model.base_model.eval()
        self._prefix = next(name for name, module in model.named_modules() if module is self._frame)
        self._layers_name, layers = layers_of(self._frame)
        self._recorded: dict[tuple[int, int], list[dict]] = {}
        self._recorder = _empty(self._frame, layers, job.spec["hidden"], ranks.device, dtype)
        self.layers = {i: self._load(layers[i - 1], i, model.config, weights) for i in range(first, last + 1)}
        self._places = {i: attention_place(self.layers[i], i, job) for i in self.layers if f"{i}.attention" in self._wanted}
        self._embedding = weights.values("embed_tokens.weight").to(ranks.device, dtype) if first == 1 else None
        learned = job.spec["learnedPositions"] and first == 1
        self._positions = weights.values("embed_positions.weight").to(ranks.device, dtype) if learned else None
        plan = getattr(model.config, "base_model_tp_plan", None)
        if ranks.mesh.tp > 1:
            self._parallelise(plan, job)
        if job.shard and ranks.mesh.dp > 1:
            for layer in self.layers.values():
                # A layer that is called by itself would stay whole after its first pass.
                fully_shard(layer, mesh=ranks.device_mesh["dp"], reshard_after_forward=True)

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        x = nn.functional.embedding(ids, self._embedding) * self._spec["embeddingScale"]
        return x if self._positions is None else x + self._positions[: ids.shape[1]]

    @torch.no_grad()
    def run(self, x: Tensor, last: int | None = None) -> tuple[Tensor, Cuts]:
        """The stream `[windows, tokens, hidden]` behind layer `first - 1` → behind `last`, and the exits' cuts on the way."""
        kwargs = self._kwargs(x.shape[0], x.shape[1])
        cuts: Cuts = {}
        for i in range(self.first, (last or self.last) + 1):
            y = self._run_layer(i, x, kwargs[i - 1], cuts)
            x = y[0] if isinstance(y, tuple) else y
            if f"{i}.end" in self._wanted:
                cuts[f"{i}.end"] = x
        return x, cuts

    def bytes(self) -> int:
        """Bytes of the frozen weights on this rank."""
        own = [_local(parameter) for layer in self.layers.values() for parameter in layer.parameters()]
        tables = [table for table in (self._embedding, self._positions) if table is not None]
        return sum(tensor.numel() * tensor.element_size() for tensor in [*own, *tables])

    def release(self, last: int) -> None:
        """Lets go of the layers behind `last`."""
        for i in [i for i in self.layers if i > last]:
            del self.layers[i]
        self.last = last

    def _run_layer(self, i: int, x: Tensor, kwargs: dict, cuts: Cuts) -> Tensor:
        place = self._places.get(i)
        if place is None:
            return self.layers[i](x, **kwargs)
        seen: list[Tensor] = []
        handle = place(seen)
        try:
            y = self.layers[i](x, **kwargs)
        finally:
            handle.remove()
        cuts[f"{i}.attention"] = attention_cut(self._spec, x, seen[0])
        return y

    def _load(self, blank: nn.Module, i: int, config: object, weights: Weights) -> nn.Module:
        # Numbers that are no parameters are computed when a layer is made.
        layer = type(blank)(config, i - 1).to(self._dtype) if any(True for _ in blank.buffers()) else blank
        prefixes = [f"{self._prefix}.{self._layers_name}.{i - 1}.", f"{self._layers_name}.{i - 1}.", f"model.language_model.layers.{i - 1}."]
        state: dict[str, Tensor] = {}
        for name, parameter in layer.named_parameters():
            tensor = next((prefix + name for prefix in prefixes if weights.holds(prefix + name)), prefixes[0] + name)
            value = weights.stored(tensor)
            if value.shape != parameter.shape:
                raise JobError(f"{tensor} has the shape {list(value.shape)}, and the model's code wants {list(parameter.shape)}.")
            state[name] = value.to(self._ranks.device, self._dtype)
        layer.load_state_dict(state, strict=False, assign=True)
        return layer.to(self._ranks.device).eval().requires_grad_(False)

    def _parallelise(self, plan: dict[str, str] | None, job: Job) -> None:
        tp = self._ranks.mesh.tp
        if not plan:
            raise JobError(f"{job.base['family']} models have no tensor parallel plan. Take a mesh with tp=1.")
        if job.spec["kvHeads"] % tp:
            raise JobError(f"{job.spec['kvHeads']} key heads cannot be shared among {tp} tensor parallel ranks. Take a smaller tp.")
        within = f"{self._layers_name}.*."
        styles = {name.removeprefix(within): style for name, style in plan.items() if name.startswith(within)}
        for layer in self.layers.values():
            known = {name: PARALLEL[style]() for name, style in styles.items() if style in PARALLEL}
            # Every rank has read the whole layer, so nothing is sent: each keeps its part.
            parallelize_module(layer, self._ranks.device_mesh["tp"], known, src_data_rank=None)
            for name, style in styles.items():
                if style.startswith("rowwise"):
                    layer.get_submodule(name).register_forward_hook(lambda _m, _a, y: self._ranks.count("tensor", y))

    def _kwargs(self, windows: int, tokens: int) -> list[dict]:
        """What the model's forward hands to each of its layers for batches of a shape."""
        if (windows, tokens) not in self._recorded:
            recorded: list[dict] = []
            self._recorder[0] = recorded
            x = torch.zeros((windows, tokens, self._spec["hidden"]), device=self._ranks.device, dtype=self._dtype)
            self._frame(inputs_embeds=x, use_cache=False)
            self._recorded[windows, tokens] = recorded
        return self._recorded[windows, tokens]


def attention_place(layer: nn.Module, i: int, job: Job) -> Callable[[list[Tensor]], RemovableHandle]:
    """Hooks the place of layer i's stream between attention and MLP: the input of the norm before the MLP, or of the
    MLP itself if there is none; in a parallel layer, what attention adds."""
    own = f"layers.{i - 1}"
    if job.spec["parallelResidual"]:
        module = _module(layer, job, f"{own}.self_attn.o_proj")
        return lambda seen: module.register_forward_hook(lambda _m, _a, y: seen.append(y))
    names = {"pre": "post_attention_layernorm", "sandwich": "pre_feedforward_layernorm", "post": "mlp.up_proj"}
    module = _module(layer, job, f"{own}.{names[job.spec['normPlacement']]}")
    # Before anything that a parallel module does with its input.
    return lambda seen: module.register_forward_pre_hook(lambda _m, args: seen.append(args[0]), prepend=True)


def attention_cut(spec: dict, x: Tensor, recorded: Tensor) -> Tensor:
    """The value at a layer's attention cut, from the layer's input and the value recorded at its `attention_place`."""
    return torch.cat((x + spec["residualScale"] * recorded, x), -1) if spec["parallelResidual"] else recorded


def _module(layer: nn.Module, job: Job, name: str) -> nn.Module:
    """The module of a layer that has one of our parameters."""
    tensor = job.sources[f"{name}.weight"].tensors[0]
    return layer.get_submodule(re.sub(r"^.*?(?:layers|h)\.\d+\.", "", tensor).removesuffix(".weight"))


def _local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor that is spread over ranks."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def layers_of(frame: nn.Module) -> tuple[str, nn.ModuleList]:
    """The decoder layers of a model without its head, and what they are called there."""
    return next((name, child) for name, child in frame.named_children() if isinstance(child, nn.ModuleList))


def _empty(frame: nn.Module, layers: nn.ModuleList, hidden: int, device: torch.device, dtype: torch.dtype) -> list:
    """Makes a model without weights whose layers only record their inputs, in the list that is the first result."""
    recorder: list = [[]]

    def note(x: Tensor, *args: object, **kwargs: object) -> Tensor:
        recorder[0].append(kwargs)
        return x

    for name, child in list(frame.named_children()):
        if child is layers:
            frame.__dict__["_modules"][name] = nn.ModuleList(_Noting(layer, note) for layer in layers)
        elif isinstance(child, nn.Embedding):
            child.forward = lambda ids: torch.zeros((*ids.shape, hidden), device=device, dtype=dtype)
        elif any(True for _ in child.parameters()):
            child.forward = lambda x: x
        elif any(buffer.is_meta for buffer in child.buffers()):
            setattr(frame, name, type(child)(frame.config).to(device))
    return recorder


class _Noting(nn.Module):
    """Takes the place of a layer, with the attributes that its model may read."""

    def __init__(self, layer: nn.Module, note: Callable):
        super().__init__()
        self.note = note
        for name in ("attention_type", "layer_idx"):
            if hasattr(layer, name):
                setattr(self, name, getattr(layer, name))

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        return self.note(*args, **kwargs)
