"""Continued pretraining as a reader would write it: whole logits, autograd through everything, AdamW and clipping of PyTorch. For Llama's shape.

    python plain_pretraining.py DIRECTORY      prints a JSON list of each step's losses, of the job that lies there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from early_exit_distributed.exits import exit_state, final_state, head_of  # noqa: E402
from early_exit_distributed.job import read_job  # noqa: E402
from early_exit_distributed.schedule import exit_weights_at, learning_rate_at  # noqa: E402
from early_exit_distributed.windows import Windows, windows_at  # noqa: E402


def main(directory: str) -> list[dict]:
    job = read_job(directory)
    options, spec = job.options, job.spec
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32).eval()
    own = {p.name: torch.nn.Parameter(load_file(job.continues)[p.name]) for exit in job.exits for p in exit.parameters}
    parts = [(list(model.parameters()), options["backboneLearningRate"], options["backboneLearningRate"] / 10)]
    parts.append((list(own.values()), options["learningRate"], options["finalLearningRate"]))
    groups = [
        {"params": [p for p in of if (p.dim() > 1) == decays], "weight_decay": options["weightDecay"] * decays, "rates": (peak, end)}
        for of, peak, end in parts
        for decays in (True, False)
    ]
    optimiser = torch.optim.AdamW(groups, betas=(options["beta1"], options["beta2"]), eps=options["epsilon"])
    names = {"norm.weight": model.model.norm, "lm_head.weight": model.lm_head}
    for i, layer in enumerate(model.model.layers):
        names[f"layers.{i}.post_attention_layernorm.weight"] = layer.post_attention_layernorm
    windows = Windows(job.train)
    per_step = options["batchSize"] * options["accumulation"]
    told = []
    for step in range(job.limits.steps):
        ids, targets = windows.batch(windows_at(options["seed"], windows.count, step * per_step, per_step))
        seen = {}
        hooks = []
        for i, layer in enumerate(model.model.layers, 1):
            hooks.append(layer.post_attention_layernorm.register_forward_pre_hook(lambda _m, args, i=i: seen.update({f"{i}.attention": args[0]})))
            hooks.append(layer.register_forward_hook(lambda _m, _a, y, i=i: seen.update({f"{i}.end": y[0] if isinstance(y, tuple) else y})))
        logits = model(ids).logits
        for hook in hooks:
            hook.remove()
        table = {**{name: module.weight for name, module in names.items()}, **own}
        counted = targets.flatten() >= 0
        wanted = targets.flatten()[counted]
        final = final_state(spec, table, seen[f"{job.layers}.end"]).flatten(0, 1)
        torch.testing.assert_close(final @ model.lm_head.weight.T, logits.flatten(0, 1), rtol=1e-4, atol=1e-4)
        p = logits.flatten(0, 1)[counted].detach().softmax(-1)
        losses = {"final": F.cross_entropy(logits.flatten(0, 1)[counted], wanted)}
        total = losses["final"]
        weights = exit_weights_at(options["exitWeights"], len(job.exits), step, job.limits.steps)
        for exit, weight in zip(job.exits, weights):
            head, _ = head_of(exit, table)
            q = (exit_state(spec, exit, table, seen[exit.cut]).flatten(0, 1)[counted] @ head.T).log_softmax(-1)
            classes, teacher = wanted, p
            if exit.tokens:
                places = torch.full((spec["vocabulary"],), len(exit.tokens))
                places[list(exit.tokens)] = torch.arange(len(exit.tokens))
                classes = places[wanted]
                teacher = torch.cat((p[:, list(exit.tokens)], (1 - p[:, list(exit.tokens)].sum(-1, keepdim=True)).clamp_min(1e-30)), -1)
            losses[exit.id] = F.nll_loss(q, classes)
            divergence = (teacher * (teacher.clamp_min(1e-30).log() - q)).sum(-1).mean()
            total = total + weight * (options["crossEntropy"] * losses[exit.id] + options["distillation"] * divergence)
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_([*model.parameters(), *own.values()], options["gradientClip"])
        for group in optimiser.param_groups:
            peak, end = group["rates"]
            group["lr"] = learning_rate_at({**options, "learningRate": peak, "finalLearningRate": end}, step, job.limits.steps)
        optimiser.step()
        told.append({"loss": total.item(), "losses": {name: loss.item() for name, loss in losses.items()}})
    return told


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
