"""Damaged files: found, named, never used."""

import random
import shutil

import pytest

from tests.end_to_end.programs import ROOT, assert_same_run, run
from tests.faults.commands import command, prepare
from vqvae_jax.training.checkpoint import best_checkpoint

pytestmark = pytest.mark.faults

DAMAGE = {
    "flipped": lambda content, place: (
        content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
    ),
    "cut": lambda content, place: content[:place],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    data_dir = prepare(root)
    result = run(command("seed", root / "run", data_dir))
    assert result.returncode == 0, result.stderr
    return data_dir, root / "run"


def checkpoints(workdir):
    return sorted((workdir / "checkpoints").iterdir(), key=lambda path: int(path.stem))


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_checkpoint_before_a_damaged_one_is_used(tmp_path, whole, damage):
    data_dir, expected = whole
    workdir = tmp_path / "run"
    shutil.copytree(expected, workdir)
    *_, before, latest = checkpoints(workdir)
    assert (before.name, latest.name) == ("36.safetensors", "40.safetensors")
    content = latest.read_bytes()
    latest.write_bytes(DAMAGE[damage](content, len(content) * 2 // 3))
    result = run(command("seed", workdir, data_dir))
    assert result.returncode == 0, result.stderr
    passed_over, set_aside = result.stderr.splitlines()
    assert passed_over.startswith(f"WARNING: {latest} ")
    assert set_aside.endswith("it is now 40.safetensors.damaged")
    assert "steps 36 to 40" in result.stdout
    assert_same_run(workdir, expected, 40)
    again = run(command("seed", workdir, data_dir))
    assert again.stderr == ""
    assert "this run is finished" in again.stdout


def test_the_checkpoint_before_a_deleted_one_is_used(tmp_path, whole):
    data_dir, expected = whole
    workdir = tmp_path / "run"
    shutil.copytree(expected, workdir)
    checkpoints(workdir)[-1].unlink()
    result = run(command("seed", workdir, data_dir))
    assert result.returncode == 0, result.stderr
    assert "steps 36 to 40" in result.stdout
    assert_same_run(workdir, expected, 40)


def test_none_left_is_an_error(tmp_path, whole):
    data_dir, expected = whole
    workdir = tmp_path / "run"
    shutil.copytree(expected, workdir)
    for path in checkpoints(workdir):
        path.write_bytes(path.read_bytes()[:-1])
    files = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    result = run(command("seed", workdir, data_dir))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("train.py: no checkpoint in ")
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert {path: path.read_bytes() for path in files if path.name != "lock"} == {
        path: content for path, content in files.items() if path.name != "lock"
    }


def test_the_next_best_is_loaded_loudly(tmp_path, whole, caplog):
    workdir = tmp_path / "run"
    shutil.copytree(whole[1], workdir)
    best = best_checkpoint(workdir)
    best.path.write_bytes(best.path.read_bytes()[:-1])
    assert best_checkpoint(workdir).step != best.step
    assert f"{best.path} cannot be read" in caplog.text


def test_a_run_survives_whatever_happens_to_its_other_files(tmp_path, whole):
    """Compiled programs, decoded data, pictures, codes: all rebuilt."""
    data_dir, expected = tmp_path / "data", whole[1]
    prepare(tmp_path)
    compiled = tmp_path / "compiled"
    arguments = command("seed", tmp_path / "first", data_dir)
    assert run(arguments, JAX_COMPILATION_CACHE_DIR=str(compiled)).returncode == 0
    places = random.Random(0)
    damaged = [path for path in compiled.iterdir() if path.is_file() and path.stat().st_size]
    damaged += [path for path in (data_dir / "vqvae_jax").rglob("*") if path.is_file()]
    assert len(damaged) > 20
    for path in damaged:
        content = path.read_bytes()
        path.write_bytes(DAMAGE["flipped"](content, places.randrange(len(content))))
    arguments = command("seed", tmp_path / "second", data_dir)
    result = run(arguments, JAX_COMPILATION_CACHE_DIR=str(compiled))
    assert result.returncode == 0, result.stderr
    assert_same_run(tmp_path / "second", expected, 40)


# Spoils one number of the parameters before a step.
SPOILT = """
import sys, dataclasses
sys.path.insert(0, {root!r})
import jax
from vqvae_jax.training import loop
dispatch = loop.Run._dispatch
def spoilt(run):
    if run.step == 30:
        state = run.progress.state
        leaves, tree = jax.tree.flatten(state["params"])
        leaves[0] = leaves[0].at[(0,) * leaves[0].ndim].set({value})
        state = dict(state, params=jax.tree.unflatten(tree, leaves))
        run.progress = dataclasses.replace(run.progress, state=state)
    return dispatch(run)
loop.Run._dispatch = spoilt
import train
sys.exit(train.main())
"""


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')"])
def test_a_nan_spoils_no_checkpoint(tmp_path, whole, value):
    data_dir, expected = whole
    workdir = tmp_path / "run"
    arguments = command("seed", workdir, data_dir, training__checkpoint_every=1)
    result = run(arguments, script=SPOILT.format(root=str(ROOT), value=value))
    assert result.returncode == 1
    assert result.stderr.startswith("train.py: the ")
    assert " of step 31 is " in result.stderr
    assert result.stderr.count("\n") == 1
    assert checkpoints(workdir)[-1].name == "30.safetensors"
    assert best_checkpoint(workdir).step in (12, 24)
    resumed = run(arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert "steps 30 to 40" in resumed.stdout
    assert_same_run(workdir, expected, 40)


def test_a_learning_rate_of_1e20_leaves_nothing_behind(tmp_path, whole):
    arguments = command("seed", tmp_path / "run", whole[0], training__learning_rate=1e20)
    result = run(arguments)
    assert result.returncode == 1
    assert result.stderr.startswith("train.py: the codebook_loss of step 2 is ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run" / "checkpoints").exists()
    log = tmp_path / "run" / "metrics.jsonl"
    assert log.read_text() == ""
