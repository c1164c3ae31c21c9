"""How the end-to-end tests run the program, and read what it left."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from vqvae_jax.arrays import read_arrays
from vqvae_jax.training.histograms import read_usage

ROOT = Path(__file__).parents[2]

# Runs train.py and dies, by a signal that cannot be caught, at the checkpoint of step {step}:
# before it is written, or after.
KILL = """
import os, signal, sys
sys.path.insert(0, {root!r})
from vqvae_jax.training import loop
save = loop.save_checkpoint
def save_and_die(workdir, step, *given, **named):
    if step == {step} and {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    save(workdir, step, *given, **named)
    if step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
loop.save_checkpoint = save_and_die
import train
train.main()
"""


def start(arguments, *, script=None, **env):
    """Starts train.py, or another script."""
    program = [str(ROOT / "train.py")] if script is None else ["-c", script]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "4",
            "JAX_COMPILATION_CACHE_DIR": os.environ["TESTS_COMPILED"],
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            **env,
        },
    )


def finish(process, timeout=300):
    """Waits for a program; its status, output and errors."""
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def run(arguments, *, script=None, **env):
    """Runs train.py, or another script."""
    return finish(start(arguments, script=script, **env))


def metrics(workdir):
    """The records of metrics.jsonl, but for the speed."""
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k != "images_per_second"} for r in records]


def saved_state(workdir, step):
    """The arrays of a checkpoint."""
    return read_arrays(workdir / "checkpoints" / f"{step}.safetensors")[0]


def assert_same_run(ours, expected, step):
    """Whether two runs logged the same and ended at a step with the same arrays, bit-exact."""
    assert metrics(ours) == metrics(expected)
    assert read_usage(ours) == read_usage(expected)
    state, wanted = saved_state(ours, step), saved_state(expected, step)
    assert state.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)
