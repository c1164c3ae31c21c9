"""Runs that no model can be made of."""

import numpy as np
import pytest

from vqvae_jax.errors import CheckpointError
from vqvae_jax.training.checkpoint import save_checkpoint
from vqvae_jax.training.saved import load_model


@pytest.mark.parametrize("run", [{}, {"config": {}}, {"config": {"model": {"sead": 1}}}])
def test_checkpoint_that_describes_no_run_is_named(tmp_path, run):
    save_checkpoint(tmp_path, 3, {"step": np.int32(3)}, run, is_logged=True, monitor=0.5)
    with pytest.raises(CheckpointError, match=r"3\.safetensors does not describe a run: "):
        load_model(tmp_path)
