"""The task of a tokenizer: what it counts for the log."""

import numpy as np
import optax
from flax import nnx

from vqvae_jax import VQVAE
from vqvae_jax.metrics import Totals
from vqvae_jax.tasks import HasHistograms, TokenizerTask


def test_histograms_are_the_uses_of_each_codebooks_codes():
    task = TokenizerTask(VQVAE(1, 2, 3, 0.1, rngs=nnx.Rngs(0)), optax.identity())
    assert isinstance(task, HasHistograms)
    counts = np.array([[5, 0, 2], [3, 4, 0]])
    for given, expected in (
        (counts[0], {"codes": counts[0]}),
        (counts, {"codes_1": counts[0], "codes_2": counts[1]}),
    ):
        found = task.histograms(Totals(images=np.int32(1), losses={}, code_counts=given))
        assert found.keys() == expected.keys()
        for name, of in expected.items():
            np.testing.assert_array_equal(found[name], of)
