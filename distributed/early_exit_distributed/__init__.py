"""The same exits on PyTorch, where a model outgrows one machine.

`early-exit tune --on …` writes a job (job.py) and starts `python -m early_exit_distributed DIRECTORY` (launch.py); every
rank runs `tune` (tune.py, over what run.py holds), and the first one writes the checkpoint that every other command opens (checkpoint.py).
"""

import os

# What a run writes contains its user's text, so only the user can read it, as on the TypeScript side (backend/system/files.ts).
os.umask(0o077)
