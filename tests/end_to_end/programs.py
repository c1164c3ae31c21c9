"""How the end-to-end tests run the program, and read what it left."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

ROOT = Path(__file__).parents[2]

# Runs train.py and dies, by a signal that cannot be caught, at the checkpoint of step {step}:
# before it is written, or after.
KILL = """
import os, signal, sys
sys.path.insert(0, {root!r})
from vqvae_jax.training.checkpoint import Checkpoints
save = Checkpoints.save
def save_and_die(self, step, *arguments):
    if step == {step} and {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, step, *arguments)
    if step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
Checkpoints.save = save_and_die
import train
train.main()
"""

_COMPILED = tempfile.TemporaryDirectory()


def run(arguments, *, script=None):
    """Runs train.py, or another script."""
    program = [str(ROOT / "train.py")] if script is None else ["-c", script]
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "4",
            "JAX_COMPILATION_CACHE_DIR": _COMPILED.name,  # the processes compile the same programs
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
    )


def metrics(workdir):
    """The records of metrics.jsonl, but for the speed."""
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k != "images_per_second"} for r in records]


def saved_state(workdir, step):
    """The arrays of a checkpoint."""
    with ocp.CheckpointManager(workdir / "checkpoints", item_names=("state", "run")) as manager:
        restored = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore()))
    return {name: np.asarray(value) for name, value in restored.state.items()}
