"""The tuning step of MLP exits with own full heads in PyTorch: the yardstick of step.ts. Prints figures as JSON."""

import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

shape = json.loads(sys.argv[1])
torch.set_num_threads(shape["threads"])
rows, hidden, inner, vocabulary = (
    shape["batch"] * shape["tokens"],
    shape["hidden"],
    shape["feedForward"],
    shape["vocabulary"],
)
torch.manual_seed(1)
targets = torch.randint(vocabulary, (rows,))


class Exit(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = torch.nn.Linear(hidden, inner, bias=False)
        self.up = torch.nn.Linear(hidden, inner, bias=False)
        self.down = torch.nn.Linear(inner, hidden, bias=False)
        self.norm = torch.nn.Parameter(torch.ones(hidden))
        self.head = torch.nn.Linear(hidden, vocabulary, bias=False)

    def forward(self, x):
        y = x + self.down(F.silu(self.gate(x)) * self.up(x))
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-5) * self.norm
        return F.cross_entropy(self.head(y).float(), targets)


def measure(name, dtype, rounds=3):
    seconds = []
    exits = [Exit() for _ in range(shape["exits"])]
    optimisers = [torch.optim.AdamW(e.parameters(), 1e-4, (0.9, 0.95), 1e-5, 0.01) for e in exits]
    features = [torch.randn(rows, hidden) for _ in exits]
    for _ in range(rounds + 1):
        start = time.perf_counter()
        for exit, optimiser, x in zip(exits, optimisers, features):
            optimiser.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                loss = exit(x)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(exit.parameters(), 1.0)
            optimiser.step()
        seconds.append(time.perf_counter() - start)
    seconds = seconds[1:]
    speed = lambda s: (rows - shape["batch"]) / s
    return {
        "name": name,
        "best": speed(min(seconds)),
        "median": speed(statistics.median(seconds)),
        "rounds": rounds,
    }


print(json.dumps([measure("PyTorch, float32", torch.float32), measure("PyTorch, bfloat16", torch.bfloat16)]))
