"""What is kept, and what is refused on restore."""

import jax.numpy as jnp
import numpy as np
import pytest

from vqvae_jax.errors import CheckpointError
from vqvae_jax.training.checkpoint import Checkpoints


def state(value=0.0, shape=(2, 3), dtype=jnp.float32):
    return {"params": {"kernel": jnp.full(shape, value, dtype)}, "count": jnp.asarray(3, jnp.int32)}


def test_latest_two_and_the_best_are_kept(tmp_path):
    history = [(5, None), (10, 0.5), (15, None), (20, 0.3), (25, None), (30, 0.4), (35, None)]
    for step, nmse in history:  # a process each, as it were
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(
                step, state(step), {"note": step}, None if nmse is None else {"nmse": nmse}
            )
    with Checkpoints(tmp_path) as checkpoints:
        assert (checkpoints.latest, checkpoints.best) == (35, 20)
        for step in (20, 30, 35):
            assert checkpoints.run(step) == {"note": step}
            restored = checkpoints.restore(step, like=state())
            np.testing.assert_array_equal(restored["params"]["kernel"], np.full((2, 3), step))
            assert restored["count"] == 3
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert kept == {"20", "30", "35"}


def test_nothing_there(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert (checkpoints.latest, checkpoints.best) == (None, None)


def test_reading_leaves_a_running_save_alone(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(), {}, {"nll": 0.5})
    unfinished = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp-7"
    unfinished.mkdir()
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.best == 1
    assert unfinished.is_dir()


def test_damaged_checkpoint_is_named(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(), {"note": 1}, None)
    for path in (tmp_path / "checkpoints" / "1").rglob("*"):
        if path.is_file() and path.name in ("metadata", "_METADATA", "manifest.ocdbt"):
            path.write_bytes(path.read_bytes()[:3])
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(CheckpointError, match=r"checkpoint 1 in .* cannot be read"):
            checkpoints.run(1)
        with pytest.raises(CheckpointError, match=r"checkpoint 1 in .* cannot be read"):
            checkpoints.restore(1, like=state())


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (state(shape=(3, 2)), r"params\.kernel as float32 \(2, 3\), not float32 \(3, 2\)"),
        (state(dtype=jnp.bfloat16), r"params\.kernel as float32 \(2, 3\), not bfloat16"),
        (state() | {"other": jnp.zeros(1)}, "checkpoint 1 has no other"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, like, message):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(), {}, None)
        with pytest.raises(CheckpointError, match=message):
            checkpoints.restore(1, like=like)
