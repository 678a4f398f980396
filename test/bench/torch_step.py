"""The tuning step in PyTorch, as plainly as a user would write it, for comparison.

Shape of SmolLM2-135M, random weights: the frozen backbone up to the deepest exit, then for each exit a parallel MLP, a norm and
its own full head, cross-entropy, backward, AdamW. Reads a line, does one step, prints its seconds; ends with its input.

    python torch_step.py --precision f32|bf16 --threads 2 [--batch 4 --tokens 512 --exits 8,16,24]

bf16: the backbone's weights in bfloat16, the exits under autocast with float32 weights, as tuning in mixed precision is done.
"""
import argparse
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

HIDDEN, HEADS, KV_HEADS, WIDTH, FFN, VOCABULARY = 576, 9, 3, 64, 1536, 49152
EPSILON, ROPE_BASE = 1e-5, 100000.0


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(HIDDEN, FFN, bias=False)
        self.up = nn.Linear(HIDDEN, FFN, bias=False)
        self.down = nn.Linear(FFN, HIDDEN, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_norm = nn.RMSNorm(HIDDEN, eps=EPSILON)
        self.q = nn.Linear(HIDDEN, HEADS * WIDTH, bias=False)
        self.k = nn.Linear(HIDDEN, KV_HEADS * WIDTH, bias=False)
        self.v = nn.Linear(HIDDEN, KV_HEADS * WIDTH, bias=False)
        self.o = nn.Linear(HEADS * WIDTH, HIDDEN, bias=False)
        self.post_norm = nn.RMSNorm(HIDDEN, eps=EPSILON)
        self.mlp = Mlp()

    def attend(self, x, cos, sin):
        """The stream after attention, before the MLP: where an exit with a parallel MLP reads it."""
        batch, tokens, _ = x.shape
        n = self.input_norm(x)

        def heads(y, count):
            return y.view(batch, tokens, count, WIDTH).transpose(1, 2)

        def rotate(y):
            a, b = y.chunk(2, dim=-1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

        q, k, v = rotate(heads(self.q(n), HEADS)), rotate(heads(self.k(n), KV_HEADS)), heads(self.v(n), KV_HEADS)
        k, v = (y.repeat_interleave(HEADS // KV_HEADS, dim=1) for y in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.o(y.transpose(1, 2).reshape(batch, tokens, HEADS * WIDTH))

    def finish(self, a):
        return a + self.mlp(self.post_norm(a))


class Exit(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = Mlp()
        self.norm = nn.RMSNorm(HIDDEN, eps=EPSILON)
        self.head = nn.Linear(HIDDEN, VOCABULARY, bias=False)

    def forward(self, a, normed):
        return self.head(self.norm(a + self.mlp(normed)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--precision", choices=["f32", "bf16"], required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--exits", default="8,16,24")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    at = [int(layer) for layer in options.exits.split(",")]
    bf16 = options.precision == "bf16"
    dtype = torch.bfloat16 if bf16 else torch.float32

    embedding = nn.Embedding(VOCABULARY, HIDDEN).to(dtype)
    layers = nn.ModuleList([Layer() for _ in range(max(at))]).to(dtype)
    exits = nn.ModuleDict({str(layer): Exit() for layer in at})
    for module in (embedding, layers):
        for parameter in module.parameters():
            parameter.requires_grad_(False)
    for parameter in exits.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02)
    optimiser = torch.optim.AdamW(exits.parameters(), lr=1e-4, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.01)

    frequencies = ROPE_BASE ** (-torch.arange(0, WIDTH, 2) / WIDTH)
    angles = torch.arange(options.tokens)[:, None] * frequencies
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    ids = torch.randint(VOCABULARY, (options.batch, options.tokens + 1))

    def step():
        started = time.perf_counter()
        reads = {}
        with torch.no_grad():
            x = embedding(ids[:, :-1])
            for number, layer in enumerate(layers, start=1):
                a = layer.attend(x, cos, sin)
                if number in at:
                    reads[number] = (a, layer.post_norm(a))
                if number < max(at):
                    x = layer.finish(a)
        targets = ids[:, 1:].reshape(-1)
        optimiser.zero_grad(set_to_none=True)
        for number, (a, normed) in reads.items():
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                logits = exits[str(number)](a, normed)
            # One exit at a time, so that one set of logits is alive at a time.
            F.cross_entropy(logits.view(-1, VOCABULARY).float(), targets).backward()
            del logits
        for module in exits.values():
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        return time.perf_counter() - started

    print("ready", torch.__version__, flush=True)
    for _ in sys.stdin:
        print(step(), flush=True)


main()
