"""Checkpoints: which are kept, how damage is found, and what a restore refuses."""

import json
import logging

import jax.numpy as jnp
import numpy as np
import pytest

from vqvae_jax.arrays import read_arrays, write_arrays
from vqvae_jax.errors import CheckpointError
from vqvae_jax.training.checkpoint import (
    best_checkpoint,
    described_run,
    latest_checkpoint,
    save_checkpoint,
    set_damaged_aside,
)


def state(value=0.0, shape=(2, 3), dtype=jnp.float32):
    return {"params": {"kernel": jnp.full(shape, value, dtype)}, "count": jnp.asarray(3, jnp.int32)}


def save(workdir, step, monitor=None):
    save_checkpoint(workdir, step, state(step), {"note": step}, is_logged=True, monitor=monitor)


def file(workdir, step):
    return workdir / "checkpoints" / f"{step}.safetensors"


def kept(workdir):
    return {path.name.partition(".")[0] for path in (workdir / "checkpoints").iterdir()}


def test_latest_two_and_the_best_are_kept(tmp_path):
    for step, monitor in [(5, None), (10, 0.5), (15, None), (20, 0.3), (25, None), (30, 0.4)]:
        save(tmp_path, step, monitor)
    save(tmp_path, 35)
    assert kept(tmp_path) == {"20", "30", "35"}
    latest, best = latest_checkpoint(tmp_path), best_checkpoint(tmp_path)
    assert (latest.step, latest.monitor, latest.is_logged) == (35, None, True)
    assert (best.step, best.monitor, best.run) == (20, 0.3, {"note": 20})
    restored = best.restore(like=state())
    np.testing.assert_array_equal(restored["params"]["kernel"], np.full((2, 3), 20))
    assert restored["count"] == 3


def test_nothing_there(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert best_checkpoint(tmp_path) is None
    save(tmp_path, 1)
    assert best_checkpoint(tmp_path) is None


def test_a_step_saved_again_replaces_itself(tmp_path):
    save_checkpoint(tmp_path, 1, state(7), {}, is_logged=False, monitor=None)
    assert not latest_checkpoint(tmp_path).is_logged
    save(tmp_path, 1, 0.5)
    assert latest_checkpoint(tmp_path).is_logged
    assert latest_checkpoint(tmp_path).monitor == 0.5


def test_every_flipped_bit_and_every_cut_is_found(tmp_path, caplog):
    save(tmp_path, 1, 0.5)
    save(tmp_path, 2, 0.4)
    path = file(tmp_path, 2)
    whole = path.read_bytes()
    flips = [
        whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        for place in range(len(whole))
    ]
    cuts = [whole[:size] for size in range(len(whole))]
    with caplog.at_level(logging.CRITICAL):
        for damaged in (*flips, *cuts, whole + b"\0"):
            path.write_bytes(damaged)
            assert latest_checkpoint(tmp_path).step == 1
            assert best_checkpoint(tmp_path).step == 1
    path.write_bytes(whole)
    assert latest_checkpoint(tmp_path).step == 2


def test_damage_is_named_and_set_aside(tmp_path, caplog):
    for step in (1, 2):
        save(tmp_path, step, 1 / step)
    content = file(tmp_path, 2).read_bytes()
    file(tmp_path, 2).write_bytes(content[:-1] + bytes([content[-1] ^ 16]))
    assert latest_checkpoint(tmp_path).step == 1
    (message,) = caplog.messages
    assert "2.safetensors is damaged: count has another digest" in message
    set_damaged_aside(tmp_path)
    assert caplog.messages[-1].endswith("it is now 2.safetensors.damaged")
    assert not file(tmp_path, 2).exists()
    save(tmp_path, 2)
    save(tmp_path, 3)
    assert latest_checkpoint(tmp_path).step == 3
    assert (tmp_path / "checkpoints" / "2.safetensors.damaged").exists()


def test_none_left_is_an_error(tmp_path):
    save(tmp_path, 1, 0.5)
    file(tmp_path, 1).write_bytes(b"")
    for read in (latest_checkpoint, best_checkpoint):
        with pytest.raises(CheckpointError, match=r"no checkpoint in .* is left.*1\.safe"):
            read(tmp_path)


def test_another_file_of_ours_is_not_a_checkpoint(tmp_path):
    save(tmp_path, 1)
    write_arrays(file(tmp_path, 2), {}, {"digest": "a"})
    assert latest_checkpoint(tmp_path).step == 1


def test_a_checkpoint_is_a_safetensors_file(tmp_path):
    import safetensors

    save(tmp_path, 1)
    with safetensors.safe_open(file(tmp_path, 1), framework="numpy") as opened:
        np.testing.assert_array_equal(opened.get_tensor("params.kernel"), np.ones((2, 3)))
        assert json.loads(opened.metadata()["description"])["run"] == {"note": 1}


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (state(shape=(3, 2)), r"params\.kernel as float32 \(2, 3\), not float32 \(3, 2\)"),
        (state(dtype=jnp.bfloat16), r"params\.kernel as float32 \(2, 3\), not bfloat16"),
        (state() | {"other": jnp.zeros(1)}, r"1\.safetensors has no other"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, like, message):
    save(tmp_path, 1)
    with pytest.raises(CheckpointError, match=message):
        latest_checkpoint(tmp_path).restore(like=like)


def test_bfloat16_comes_back(tmp_path):
    saved = state(1.5, dtype=jnp.bfloat16)
    save_checkpoint(tmp_path, 1, saved, {}, is_logged=True, monitor=None)
    restored = latest_checkpoint(tmp_path).restore(like=saved)
    assert restored["params"]["kernel"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(restored["params"]["kernel"], saved["params"]["kernel"])


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    save(tmp_path, 1, 0.5)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2, 0.4)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1.safetensors"]
    assert latest_checkpoint(tmp_path).step == 1


def test_a_file_that_cannot_be_opened_is_no_damage(tmp_path):
    """A disk that gives errors, a missing permission: the file may be whole."""
    save(tmp_path, 1)
    file(tmp_path, 2).mkdir()
    for read in (latest_checkpoint, set_damaged_aside):
        with pytest.raises(OSError, match=r"2\.safetensors"):
            read(tmp_path)
    assert kept(tmp_path) == {"1", "2"}


def test_damaged_files_of_one_step_are_all_kept(tmp_path):
    save(tmp_path, 1)
    for content in (b"first", b"second"):
        file(tmp_path, 2).write_bytes(content)
        set_damaged_aside(tmp_path)
    aside = sorted((tmp_path / "checkpoints").glob("2.*"))
    assert [path.read_bytes() for path in aside] == [b"first", b"second"]


def test_checkpoints_of_an_earlier_version_are_not_written_over(tmp_path):
    (tmp_path / "checkpoints" / "40").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"40 has format 0; this .* reads format 2: use"):
        latest_checkpoint(tmp_path)


@pytest.fixture
def rewritten(tmp_path):
    """Rewrites a checkpoint's description with changes."""

    def rewritten(step, change):
        arrays, description = read_arrays(file(tmp_path, step))
        change(description)
        write_arrays(file(tmp_path, step), arrays, description)
        return file(tmp_path, step).read_bytes()

    return rewritten


@pytest.mark.parametrize(
    ("change", "version"),
    [
        (lambda description: description.pop("format"), 1),
        (lambda description: description.update(format=3, more="fields"), 3),
    ],
)
def test_another_format_is_refused_with_both_versions_and_left_alone(
    tmp_path, rewritten, change, version
):
    save(tmp_path, 1, 0.5)
    save(tmp_path, 2, 0.4)
    other = rewritten(2, change)
    message = rf"2\.safetensors has format {version}; .* format 2:"
    for read in (latest_checkpoint, best_checkpoint, described_run, set_damaged_aside):
        with pytest.raises(CheckpointError, match=message):
            read(tmp_path)
    assert kept(tmp_path) == {"1", "2"}
    assert file(tmp_path, 2).read_bytes() == other
