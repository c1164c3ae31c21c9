"""Runs that no model can be made of."""

import numpy as np
import pytest

from vqvae_jax.errors import CheckpointError
from vqvae_jax.training.checkpoint import save_checkpoint
from vqvae_jax.training.saved import load_model


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({}, r"3\.safetensors does not describe a run: KeyError"),
        ({"config": {}}, r"3\.safetensors cannot be used: data.name is missing; it is the data"),
    ],
)
def test_checkpoint_that_describes_no_run_is_named(tmp_path, run, message):
    save_checkpoint(tmp_path, 3, {"step": np.int32(3)}, run, is_logged=True, monitor=0.5)
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path)
