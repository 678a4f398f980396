"""A step of distributed/ beside the plain PyTorch loop of torch_step.py, in turns: SmolLM2-135M's shape, random weights, float32.

    python test/bench/distributed_step.py [--steps 7 --batch 2 --tokens 256 --threads 2 --exits 8,16,24]

Prints processor seconds of each (other programs take their time too), their medians and the ratio; what is asked is a ratio of at most 1.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "distributed"))

from early_exit_distributed.backbone import Backbone  # noqa: E402
from early_exit_distributed.job import Exit, Job, Limits, Mesh, Parameter, Source  # noqa: E402
from early_exit_distributed.ranks import open_ranks  # noqa: E402
from early_exit_distributed.step import Pass, Step  # noqa: E402
from early_exit_distributed.weights import Weights  # noqa: E402

SHAPE = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--exits", default="8,16,24")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        ours = open_step(Path(folder), given)
        words = [f"--{name}={getattr(given, name)}" for name in ("batch", "tokens", "threads", "exits")]
        plain = subprocess.Popen(
            [sys.executable, HERE / "torch_step.py", "--precision=f32", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        plain.stdout.readline()
        times = {"plain": [], "distributed": []}
        for turn in range(given.steps + 1):
            before = processor_seconds(plain.pid)
            plain.stdin.write("\n")
            plain.stdout.readline()
            seconds = processor_seconds(plain.pid) - before, ours()
            if turn > 0:  # The first of each warms up.
                for kind, value in zip(times, seconds):
                    times[kind].append(value)
        plain.stdin.close()
        plain.wait()
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    for kind, values in times.items():
        print(f"{kind}: {', '.join(f'{value:.2f}' for value in values)} s, median {medians[kind]:.2f}")
    print(f"ratio {medians['distributed'] / medians['plain']:.2f}")


def processor_seconds(pid: int) -> float:
    """Of all threads of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_step(folder: Path, given):
    """A function that does one step and answers its processor seconds."""
    torch.manual_seed(1)
    config = LlamaConfig(**SHAPE)
    config.save_pretrained(folder)
    with torch.device("meta"):
        blank = AutoModelForCausalLM.from_config(config)
    tensors = {name: torch.randn(p.shape) * 0.02 for name, p in blank.named_parameters() if name != "lm_head.weight"}
    save_file(tensors, folder / "model.safetensors")
    hidden, inner, vocabulary = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["vocab_size"]
    exits = []
    for layer in map(int, given.exits.split(",")):
        shapes = {"mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner), "norm": (hidden,), "head": (vocabulary, hidden)}
        parameters = tuple(Parameter(f"exits.{layer}.mlp.{name}.weight", shape, None) for name, shape in shapes.items())
        exits.append(Exit(layer, "mlp", "own", (), parameters, (f"layers.{layer - 1}.post_attention_layernorm.weight",)))
    names = ["embed_tokens.weight", *(name for exit in exits for name in exit.frozen)]
    job = Job(
        directory=folder,
        model=str(folder),
        files={},
        spec=spec_of(),
        base={"family": "llama"},
        sources={name: Source((f"model.{name}",), None, False) for name in names},
        exits=tuple(exits),
        continues=None,
        train=folder,
        held_out=folder,
        held_out_tokens=0,
        data="",
        tuning={},
        options={"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-5, "weightDecay": 0.01, "decay": "matrices", "crossEntropy": 1, "distillation": 0, "weighting": "uniform"},
        limits=Limits(1, None, None),
        mesh=Mesh(1, 1, 1),
        shard=False,
        resume=False,
        carried=False,
    )
    ranks = open_ranks(job.mesh)
    weights = Weights(folder, job.sources)
    backbone = Backbone(job, weights, ranks, 1, job.deepest, torch.float32)
    frozen = {name: weights.values(name) for exit in exits for name in exit.frozen}
    step = Step(job, exits, frozen, ranks)
    step.load({name: torch.randn(view.shape) * 0.02 if view.dim() > 1 else torch.ones(view.shape) for name, view in step.parameters.items()})
    ids = torch.randint(vocabulary, (given.batch, given.tokens + 1))
    ones = {exit.id: 1.0 for exit in exits}

    def one() -> float:
        began = processor_seconds(os.getpid())
        _, cuts = backbone.run(backbone.embed(ids[:, :-1]))
        step.differentiate(Pass(cuts, None, ids[:, 1:]), ones)
        sums = step.gather()
        count = given.batch * given.tokens
        step.update(1e-4, {id: min(1.0, 1 / (sums[id].squares ** 0.5 / count + 1e-6)) / count for id in ones})
        return processor_seconds(os.getpid()) - began

    return one


def spec_of() -> dict:
    layer = {"rope": None, "window": None}
    return {
        **{"hidden": SHAPE["hidden_size"], "vocabulary": SHAPE["vocab_size"], "layers": [layer] * SHAPE["num_hidden_layers"]},
        **{"norm": {"kind": "rms", "epsilon": 1e-5, "unitOffset": 0}, "normPlacement": "pre", "parallelResidual": False},
        **{"mlp": "gated", "activation": "silu", "residualScale": 1, "logitScale": 1, "embeddingScale": 1},
        **{"learnedPositions": False, "attentionSoftcap": None, "finalSoftcap": None},
    }


if __name__ == "__main__":
    main()
