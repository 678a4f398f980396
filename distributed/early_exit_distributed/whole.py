"""The whole model and its exits, all of it trained: Hugging Face's modelling code over parameters that lie in one buffer with the exits'.

Parameters have the names of the model's own files, or of the exits (`exits.8.mlp.norm.weight`). It knows no run and no schedule.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from .backbone import Cuts, attention_cut, attention_place, layers_of
from .exits import Table, exit_state, final_state, head_of
from .job import Exit, Job, JobError, Source
from .objective import Head, HeadTask, Objective, Teacher, head_losses
from .ranks import Ranks
from .step import Sums, classes_of, views
from .weights import Weights

FINAL = "final"
"""Id of the model's own exit among the others."""


@dataclass(frozen=True)
class Read:
    """What one pass gives: the state `[windows · tokens, hidden]` of the final exit, and the stream at the exits' cuts."""

    final: Tensor
    cuts: Cuts
    table: Table
    """Every parameter that an exit or the final exit reads, by our names."""


class WholeModel:
    def __init__(self, job: Job, weights: Weights, ranks: Ranks, fast: bool):
        self._job, self._ranks, self._fast = job, ranks, fast
        # Attention with a soft cap is written out in the eager form only.
        attention = "eager" if job.spec["attentionSoftcap"] is not None else "sdpa"
        self._model = AutoModelForCausalLM.from_pretrained(weights.model, dtype=torch.float32, attn_implementation=attention).to(ranks.device).eval()
        self._frame = self._model.base_model
        if job.spec["tied"]:
            # Transformers leaves two matrices apart if the files have both.
            self._model.get_output_embeddings().weight = self._model.get_input_embeddings().weight
        self._tensors = _by_stored_name(self._model, self._frame, weights)
        own = {name: tensor for name, tensor in self._tensors.items() if isinstance(tensor, nn.Parameter)}
        # A matrix that is tied is trained once, however often the files have it, under the name by which the engine here knows it.
        known = {tensor for source in job.sources.values() for tensor in source.tensors}
        own = dict(sorted(own.items(), key=lambda item: item[0] not in known))
        shapes = {name: tuple(p.shape) for name, p in {id(p): (n, p) for n, p in reversed(own.items())}.values()}
        self.model_shapes = dict(sorted(shapes.items()))
        self.shapes = {**self.model_shapes, **{p.name: p.shape for exit in job.exits for p in exit.parameters}}
        self._allocate(own)
        self._wanted = {name for exit in job.exits for name in exit.frozen} | {"norm.weight", "norm.bias", "lm_head.weight", "lm_head.bias"}
        self._seen: Cuts = {}
        self._listen()
        self._listed = {exit.tokens: torch.tensor(exit.tokens, device=ranks.device) if exit.tokens else None for exit in job.exits}
        self._classes = {exit.id: classes_of(exit, job.spec["vocabulary"], ranks.device) for exit in job.exits}
        options = job.options
        softcap = job.spec["finalSoftcap"]
        self._objective = Objective(options["crossEntropy"], options["distillation"], options["weighting"] == "dynamic", softcap)
        self._final_objective = Objective(1.0, 0.0, False, softcap)
        self._optimiser = self._adamw()
        self.updates = 0

    @property
    def ids(self) -> list[str]:
        """Of all exits, the final one last."""
        return [*(exit.id for exit in self._job.exits), FINAL]

    def load(self, values: Table, first: Table | None = None, second: Table | None = None) -> None:
        """Takes over values and moments; what is not given stays."""
        for into, given in ((self.parameters, values), (self.first, first or {}), (self.second, second or {})):
            for name, value in given.items():
                into[name].copy_(value)

    def read(self, ids: Tensor) -> Read:
        self._seen.clear()
        with torch.autocast(self._ranks.device.type, torch.bfloat16, enabled=self._fast):
            self._frame(input_ids=ids, use_cache=False)
        table = {name: self._value(source) for name, source in self._job.sources.items() if name in self._wanted}
        table |= {p.name: self._leaves[p.name] for exit in self._job.exits for p in exit.parameters}
        stream = self._seen[f"{self._job.layers}.end"]
        return Read(final_state(self._job.spec, table, stream).flatten(0, 1), dict(self._seen), table)

    def differentiate(self, ids: Tensor, targets: Tensor, weights: dict[str, float]) -> None:
        """Adds the gradient of the final exit's cross-entropy + Σ exit weight · exit loss, all summed over tokens."""
        read = self.read(ids)
        job, exits = self._job, self._job.exits
        flat = targets.flatten()
        own = {name: read.table[name] for name in ("lm_head.weight", "lm_head.bias") if name in read.table}
        into = {name: torch.zeros_like(value) for name, value in own.items()}
        head = Head(own["lm_head.weight"].detach(), _detached(own.get("lm_head.bias")))
        task = HeadTask(read.final.detach(), head, flat, None, into["lm_head.weight"], 1.0, into.get("lm_head.bias"))
        [final] = head_losses([task], None, self._final_objective)
        states = [exit_state(job.spec, exit, read.table, read.cuts[exit.cut].float()).flatten(0, 1) for exit in exits]
        tasks = [self._task(exit, state, read.table, flat, weights[exit.id], into) for exit, state in zip(exits, states)]
        teacher = Teacher(read.final.detach(), head) if job.distils else None
        results = head_losses(tasks, teacher, self._objective)
        gradients = [result.state_gradient.mul_(weights[exit.id]) for exit, result in zip(exits, results)]
        torch.autograd.backward([read.final, *own.values(), *states], [final.state_gradient, *into.values(), *gradients])
        for k, result in enumerate([*results, final]):
            self._losses[k] += torch.stack((result.loss, result.cross_entropy)).float()

    def gather(self) -> dict[str, Sums]:
        """Sums gradients and losses over replicas; the squares of the final exit are those of the model's own gradients."""
        self._ranks.sum_gradients(self._gradients)
        losses = self._losses.tolist()
        squares = dict.fromkeys(self.ids, 0.0)
        for name, gradient in self._gradient.items():
            squares[_owner(name)] += float(torch.linalg.vector_norm(gradient).double().square())
        return {id: Sums(loss, cross_entropy, squares[id]) for id, (loss, cross_entropy) in zip(self.ids, losses)}

    def update(self, model_rate: float, exits_rate: float, scale: float) -> None:
        """AdamW with scale · gradient, the model at a rate of its own, in one pass over all numbers."""
        self.updates += 1
        for group in self._optimiser.param_groups:
            group["lr"] = model_rate if group["of_model"] else exits_rate
        # What a gradient is divided by.
        self._optimiser.grad_scale = torch.tensor(1 / scale, device=self._ranks.device)
        for state in self._optimiser.state.values():
            state["step"].fill_(self.updates - 1)
        self._optimiser.step()
        self._gradients.zero_()

    def stored(self, weights: Weights) -> Table:
        """The model's files as they would be now, in what it computes with: every tensor that they have, and the exits'."""
        dtype = torch.bfloat16 if self._fast else torch.float32
        files = {}
        for name, tensor in self._tensors.items():
            value = weights.stored(name) if tensor is None else tensor.detach()
            files[name] = value.to("cpu", dtype if value.is_floating_point() else value.dtype, copy=True)
        return {**files, **{name: leaf.detach().to("cpu", copy=True) for name, leaf in self._leaves.items()}}

    def bytes(self) -> dict[str, int]:
        """Bytes of parameters, gradients and two moments of the model and of exits, and of the head's current gradient.
        """
        model = sum(_size(shape) for shape in self.model_shapes.values())
        exits = sum(_size(shape) for shape in self.shapes.values()) - model
        return {"backbone": 16 * model, "exits": 16 * exits, "heads": 4 * self._job.spec["vocabulary"] * self._job.spec["hidden"]}

    # ── small parts ──

    def _allocate(self, own: dict[str, nn.Parameter]) -> None:
        """One buffer a kind, so that gradients are summed over ranks in one call; parameters become views of it."""
        sizes = [_size(shape) for shape in self.shapes.values()]
        total = sum(sizes)
        device = self._ranks.device
        buffers = [torch.zeros(total, device=device) for _ in range(3)]
        self.parameters, self.first, self.second = (views(buffer, list(self.shapes.items()), sizes) for buffer in buffers)
        # Behind the gradients: what else must be summed over the same ranks.
        self._gradients = torch.zeros(total + 2 * len(self.ids), device=device)
        self._gradient = views(self._gradients, list(self.shapes.items()), sizes)
        self._losses = self._gradients[total:].view(len(self.ids), 2)
        self._leaves: dict[str, nn.Parameter] = {}
        for name, view in self.parameters.items():
            if name in self.model_shapes:
                leaf = own[name]
                view.copy_(leaf.data)
                leaf.data = view
            else:
                leaf = self._leaves[name] = nn.Parameter(view)
            leaf.grad = self._gradient[name]

    def _listen(self) -> None:
        """Records the stream at the exits' cuts, and behind the last layer."""
        job = self._job
        wanted = {exit.cut for exit in job.exits} | {f"{job.layers}.end"}
        for i, layer in enumerate(layers_of(self._frame)[1], 1):
            if f"{i}.attention" in wanted:
                self._note_attention(layer, i)
            if f"{i}.end" in wanted:
                layer.register_forward_hook(lambda _m, _a, y, cut=f"{i}.end": self._seen.update({cut: y[0] if isinstance(y, tuple) else y}))

    def _note_attention(self, layer: nn.Module, i: int) -> None:
        recorded: list[Tensor] = []
        attention_place(layer, i, self._job)(recorded)

        def note(_module: nn.Module, args: tuple, _y: object) -> None:
            self._seen[f"{i}.attention"] = attention_cut(self._job.spec, args[0], recorded.pop())

        layer.register_forward_hook(note)

    def _value(self, source: Source) -> Tensor:
        """One of our parameters as the model has it now; gradients reach the model's own."""
        parts = [self._tensors[tensor] for tensor in source.tensors]
        value = torch.cat([part.flatten() for part in parts]) if len(parts) > 1 else parts[0]
        value = value.T if source.transposed and value.dim() == 2 else value
        return value if source.rows is None else value[list(source.rows)]

    def _task(self, exit: Exit, state: Tensor, table: Table, targets: Tensor, scale: float, into: Table) -> HeadTask:
        """`into`: gradients of the model's own head, which exits may share."""
        weight, bias = head_of(exit, table)
        shares = exit.head == "shared"
        gradient, bias_gradient = (
            into.get(f"lm_head.{kind}") if shares else self._gradient.get(f"{exit.path}.head.{kind}") for kind in ("weight", "bias")
        )
        classes = self._classes[exit.id]
        wanted = targets if classes is None else torch.where(targets < 0, -1, classes[targets.clamp_min(0)])
        head = Head(weight.detach(), _detached(bias))
        return HeadTask(state.detach(), head, wanted, self._listed[exit.tokens], gradient, scale, bias_gradient)

    def _adamw(self) -> torch.optim.AdamW:
        """Over views of the buffers: its moments are ours, to save and to restore."""
        options = self._job.options
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        states = {}
        for name, view in self.parameters.items():
            parameter = nn.Parameter(view)
            parameter.grad = self._gradient[name]
            states[parameter] = {"step": torch.zeros((), device=view.device), "exp_avg": self.first[name], "exp_avg_sq": self.second[name]}
            decays = options["decay"] == "all" or view.dim() > 1
            groups.setdefault((name in self.model_shapes, decays), []).append(parameter)
        optimiser = torch.optim.AdamW(
            [
                {"params": params, "weight_decay": options["weightDecay"] if decays else 0, "of_model": of_model}
                for (of_model, decays), params in groups.items()
            ],
            betas=(options["beta1"], options["beta2"]),
            eps=options["epsilon"],
            fused=True,
        )
        optimiser.state.update(states)
        return optimiser


def _by_stored_name(model: nn.Module, frame: nn.Module, weights: Weights) -> dict[str, Tensor | None]:
    """Every tensor of the model's files with the parameter that it is; None for what is computed, such as masks.

    Throws if a parameter of the model's code is in no file.
    """
    prefix = next(name for name, module in model.named_modules() if module is frame)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    found: dict[str, nn.Parameter] = {}
    for name, parameter in parameters.items():
        bare = name.removeprefix(f"{prefix}.")
        tensor = next((each for each in (name, bare, f"model.language_model.{bare}") if weights.holds(each)), None)
        if tensor is not None:
            stored = weights.shape(tensor)
            if stored != tuple(parameter.shape):
                raise JobError(f"{tensor} has the shape {list(stored)}, and the model's code wants {list(parameter.shape)}.")
            found[tensor] = parameter
    known = {id(parameter) for parameter in found.values()}
    missing = next((name for name, parameter in parameters.items() if id(parameter) not in known), None)
    if missing is not None:
        raise JobError(f"The model's files have no tensor {missing}. The download may be incomplete; get the model again.")
    return {name: found.get(name) for name in weights.names()}


def _detached(tensor: Tensor | None) -> Tensor | None:
    """Losses write their gradients out themselves."""
    return None if tensor is None else tensor.detach()


def _owner(name: str) -> str:
    """`exits.8.mlp.norm.weight` → `8:mlp`; what is the model's belongs to the final exit."""
    return ":".join(name.split(".")[1:3]) if name.startswith("exits.") else FINAL


def _size(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()
