"""SIGTERM and SIGINT: the step at hand is saved; the same command resumes seamlessly."""

import random
import signal
import subprocess

import pytest

from tests.end_to_end.programs import ROOT, assert_same_run, finish, run, start
from tests.faults.commands import command, prepare
from vqvae_jax.training.checkpoint import latest_checkpoint

pytestmark = pytest.mark.faults

# Runs train.py, which a signal reaches at a certain point.
ASKED = """
import os, signal, sys, threading
sys.path.insert(0, {root!r})
from vqvae_jax.training import loop
from vqvae_jax.training.interruption import catch_signals

def ask():
    os.kill(os.getpid(), {number})

def before(owner, name, condition, act):
    function = getattr(owner, name)
    def patched(*given, **named):
        if condition(*given):
            act()
        return function(*given, **named)
    setattr(owner, name, patched)

{point}
import train
catch_signals()
sys.exit(train.main())
"""

LATER = "lambda: [threading.Timer(seconds, ask).start() for seconds in {seconds}]"

# Where the signal comes, and the step of the checkpoint that is left.
POINTS = {
    "training": ('before(loop.Run, "_dispatch", lambda run: run.step == 16, ask)', 17),
    "evaluation": (
        'before(loop.Run, "_evaluate", lambda run, *given: run.step == 24, ask)',
        24,
    ),
    "the last evaluation": (
        'before(loop.Run, "_evaluate", lambda run, *given: run.step == 40, ask)',
        40,
    ),
    "a checkpoint": (
        'before(loop, "save_checkpoint", lambda workdir, step, *given: step == 28, ask)',
        28,
    ),
    "training, twice at once": (
        'before(loop.Run, "_dispatch", lambda run: run.step == 16, lambda: (ask(), ask()))',
        17,
    ),
    "the first compilation": (
        f'before(loop, "train_steps", lambda *given: True, {LATER.format(seconds=[0.1])})',
        1,
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    data_dir = prepare(root)
    result = run(command("ema", root / "run", data_dir))
    assert result.returncode == 0, result.stderr
    return data_dir, root / "run"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("point", POINTS)
def test_a_signal_saves_and_leaves(tmp_path, whole, point, number):
    data_dir, expected = whole
    workdir = tmp_path / "run"
    patch, step = POINTS[point]
    arguments = command("ema", workdir, data_dir)
    script = ASKED.format(root=str(ROOT), number=int(number), point=patch)
    is_cached = "false" if point == "the first compilation" else "true"
    result = run(arguments, script=script, JAX_ENABLE_COMPILATION_CACHE=is_cached)
    assert result.returncode == 128 + number, result.stderr
    assert result.stderr == f"train.py: stopped by {number.name}; the same command resumes\n"
    assert latest_checkpoint(workdir).step == step
    resumed = run(arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert f"steps {step} to 40" in resumed.stdout
    assert_same_run(workdir, expected, 40)


def test_a_second_signal_leaves_at_once(tmp_path, whole):
    """In the middle of a compilation, when Python itself sees no signals."""
    point = f'before(loop, "train_steps", lambda *given: True, {LATER.format(seconds=[0.1, 0.8])})'
    script = ASKED.format(root=str(ROOT), number=int(signal.SIGTERM), point=point)
    arguments = command("ema", tmp_path / "run", whole[0])
    slowly = {"JAX_ENABLE_COMPILATION_CACHE": "false", "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    result = run(arguments, script=script, **slowly)
    assert result.returncode == 143
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert run(arguments).returncode == 0
    assert_same_run(tmp_path / "run", whole[1], 40)


def test_signals_at_random_change_nothing(tmp_path, whole):
    """Ten of them, in as many runs as it takes."""
    data_dir, expected = whole
    chance, asked, runs = random.Random(0), 0, 0
    while asked < 10:
        runs += 1
        workdir, status = tmp_path / str(runs), None
        while status != 0:
            process = start(command("ema", workdir, data_dir))
            number = chance.choice([signal.SIGTERM, signal.SIGINT])
            try:
                process.wait(chance.uniform(2, 8) if asked < 10 else None)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                asked += 1
            result = finish(process)
            status = result.returncode
            # Python itself dies of a signal that comes before train.py catches them, or after.
            assert status in (0, 128 + number, -number), result.stderr
        assert_same_run(workdir, expected, 40)
