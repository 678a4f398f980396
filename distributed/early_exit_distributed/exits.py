"""What each exit computes, over the model as data; the same definitions as backend/exits/forward.ts and backend/model/layer.ts.

Tensors are `[windows, tokens, hidden]` in float32. Parameter paths are Llama's names without `model.`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .job import Exit

Table = dict[str, Tensor]


def exit_state(spec: dict, exit: Exit, table: Table, value: Tensor) -> Tensor:
    """The value at the exit's cut → the state that its head reads."""
    state = STATES[exit.architecture](spec, exit, table, value)
    return state if spec["logitScale"] == 1 else state * spec["logitScale"]


def _embedding_state(spec: dict, exit: Exit, table: Table, value: Tensor) -> Tensor:
    return value


def _norm_state(spec: dict, exit: Exit, table: Table, value: Tensor) -> Tensor:
    return norm(spec, table, f"{exit.path}.norm", value)


def _lens_state(spec: dict, exit: Exit, table: Table, value: Tensor) -> Tensor:
    return linear(table, f"{exit.path}.translator", _norm_state(spec, exit, table, value))


def _mlp_state(spec: dict, exit: Exit, table: Table, value: Tensor) -> Tensor:
    stream, given = value.chunk(2, -1) if spec["parallelResidual"] else (value, None)
    own = f"layers.{exit.layer - 1}"
    return _norm_state(spec, exit, table, _mlp_half(spec, table, stream, given, own, f"{exit.path}.mlp"))


def _layer_state(spec: dict, exit: Exit, table: Table, value: Tensor) -> Tensor:
    return _norm_state(spec, exit, table, _layer(spec, spec["layers"][-1], table, value, f"{exit.path}.layer"))


STATES = {
    "embedding": _embedding_state,
    "norm": _norm_state,
    "lens": _lens_state,
    "mlp": _mlp_state,
    "layer": _layer_state,
}
"""By architecture; all else that a rank must know of one comes with the job."""


def final_state(spec: dict, table: Table, stream: Tensor) -> Tensor:
    """The stream behind the last layer → the state that the model's own head reads."""
    state = norm(spec, table, "norm", stream.float())
    return state if spec["logitScale"] == 1 else state * spec["logitScale"]


def head_of(exit: Exit, table: Table) -> tuple[Tensor, Tensor | None]:
    """Weight `[classes, hidden]` and bias of the head that an exit reads with."""
    path = "lm_head" if exit.head == "shared" else f"{exit.path}.head"
    return table[f"{path}.weight"], table.get(f"{path}.bias")


def soft_capped(logits: Tensor, cap: float | None) -> Tensor:
    return logits if cap is None else torch.tanh(logits / cap) * cap


def linear(table: Table, path: str, x: Tensor) -> Tensor:
    return F.linear(x, table[f"{path}.weight"], table.get(f"{path}.bias"))


def norm(spec: dict, table: Table, path: str, x: Tensor, shape: tuple[int, ...] = (-1,)) -> Tensor:
    kind = spec["norm"]
    gain = table[f"{path}.weight"].view(shape) + kind["unitOffset"]
    if kind["kind"] == "layer":
        x = x - x.mean(-1, keepdim=True)
    y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + kind["epsilon"]) * gain
    bias = table.get(f"{path}.bias")
    return y if bias is None else y + bias


def _activation(spec: dict, x: Tensor) -> Tensor:
    if spec["activation"] == "silu":
        return F.silu(x)
    return F.gelu(x, approximate="tanh" if spec["activation"] == "gelu_tanh" else "none")


def _mlp(spec: dict, table: Table, x: Tensor, path: str) -> Tensor:
    up = linear(table, f"{path}.up_proj", x)
    if spec["mlp"] == "plain":
        return linear(table, f"{path}.down_proj", _activation(spec, up))
    return linear(table, f"{path}.down_proj", _activation(spec, linear(table, f"{path}.gate_proj", x)) * up)


def _mlp_half(spec: dict, table: Table, stream: Tensor, given: Tensor | None, path: str, mlp: str) -> Tensor:
    """The stream between attention and MLP → at the layer's end. `given`: the layer's input in a parallel-residual model."""
    scale = spec["residualScale"]
    if given is not None:
        return stream + scale * _mlp(spec, table, norm(spec, table, f"{path}.post_attention_layernorm", given), mlp)
    if spec["normPlacement"] == "post":
        return stream + norm(spec, table, f"{path}.post_feedforward_layernorm", _mlp(spec, table, stream, mlp))
    sandwich = spec["normPlacement"] == "sandwich"
    before = "pre_feedforward_layernorm" if sandwich else "post_attention_layernorm"
    y = _mlp(spec, table, norm(spec, table, f"{path}.{before}", stream), mlp)
    return stream + scale * (norm(spec, table, f"{path}.post_feedforward_layernorm", y) if sandwich else y)


def _layer(spec: dict, layer: dict, table: Table, x: Tensor, path: str) -> Tensor:
    """A whole decoder layer with its parameters under `path`."""
    attend = f"{path}.self_attn"
    if spec["normPlacement"] == "post":
        y = norm(spec, table, f"{path}.post_attention_layernorm", _attention(spec, layer, table, x, attend))
        return _mlp_half(spec, table, x + y, None, path, f"{path}.mlp")
    y = _attention(spec, layer, table, norm(spec, table, f"{path}.input_layernorm", x), attend)
    if spec["normPlacement"] == "sandwich":
        y = norm(spec, table, f"{path}.post_attention_layernorm", y)
    given = x if spec["parallelResidual"] else None
    return _mlp_half(spec, table, x + spec["residualScale"] * y, given, path, f"{path}.mlp")


def _attention(spec: dict, layer: dict, table: Table, x: Tensor, path: str) -> Tensor:
    heads, kv_heads, width = spec["heads"], spec["kvHeads"], spec["headDimensions"]
    windows, tokens, _ = x.shape
    q, k, v = (linear(table, f"{path}.{name}_proj", x) for name in "qkv")
    if spec["qkNorm"] == "all":
        q, k = norm(spec, table, f"{path}.q_norm", q), norm(spec, table, f"{path}.k_norm", k)
    q, k, v = (y.view(windows, tokens, -1, width) for y in (q, k, v))
    if spec["qkNorm"] in ("head", "heads"):
        shapes = [(n, -1) if spec["qkNorm"] == "heads" else (-1,) for n in (heads, kv_heads)]
        q, k = (norm(spec, table, f"{path}.{n}_norm", y, s) for n, y, s in zip("qk", (q, k), shapes))
    if layer["rope"]:
        q = _rotated(q, layer.get("queryRope") or layer["rope"])
        k = _rotated(k, layer["rope"])
    k, v = (y.repeat_interleave(heads // kv_heads, dim=2) for y in (k, v))
    seen = _seen(tokens, layer["window"], x.device)
    q, k, v = (y.transpose(1, 2) for y in (q, k, v))
    if spec["attentionSoftcap"] is None:
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=spec["attentionScale"])
    else:
        scores = soft_capped(q @ k.transpose(-1, -2) * spec["attentionScale"], spec["attentionSoftcap"])
        y = scores.masked_fill(~seen, -math.inf).softmax(-1) @ v
    return linear(table, f"{path}.o_proj", y.transpose(1, 2).reshape(windows, tokens, heads * width))


def _seen(tokens: int, window: int | None, device: torch.device) -> Tensor:
    """Which keys each query sees; a window counts the own position."""
    back = torch.arange(tokens, device=device)[:, None] - torch.arange(tokens, device=device)[None, :]
    return (back >= 0) & (back < (window or tokens))


def _rotated(x: Tensor, rope: dict) -> Tensor:
    """Rotates pairs (j, j + dimensions/2) of every head `[windows, tokens, heads, width]` by position · frequency[j]."""
    tokens, dimensions = x.shape[1], rope["dimensions"]
    longer = rope["long"] and tokens > rope["long"]["beyond"]
    frequencies = (rope["long"] if longer else rope)["inverseFrequencies"]
    positions = torch.arange(tokens, dtype=torch.float64, device=x.device)
    angles = (positions[:, None] * torch.tensor(frequencies, dtype=torch.float64, device=x.device)).float().double()
    scale = torch.full_like(positions, rope["scale"])
    if rope["growth"]:
        grown = torch.log(1 + torch.floor(positions / rope["growth"]["original"]))
        scale = scale * (1 + rope["growth"]["beta"] * grown)
    cos, sin = ((of(angles) * scale[:, None]).float()[:, None, :] for of in (torch.cos, torch.sin))
    first, second, rest = x.split((dimensions // 2, dimensions // 2, x.shape[-1] - dimensions), -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), -1)
