"""What the transformer sees, and the sizes that it takes."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vqvae_jax.priors import TransformerPrior


def test_features_see_all_earlier_positions_and_no_other():
    prior = TransformerPrior(3, (5, 5), channels=8, num_layers=1, num_heads=2, rngs=nnx.Rngs(0))
    random = np.random.RandomState(0)
    x = jnp.asarray(random.randn(1, 5, 5, 8), jnp.float32)
    weights = jnp.asarray(random.randn(8), jnp.float32)
    classes = jnp.zeros(1, jnp.int32)
    gradients = jax.jit(jax.jacrev(lambda x: prior._features(x, classes, None)[0] @ weights))(x)
    found = np.any(np.asarray(gradients)[:, :, 0] != 0, axis=-1).reshape(25, 25)
    np.testing.assert_array_equal(found, np.tril(np.ones((25, 25), bool), -1))


def test_rows_and_columns_are_told_apart(run):
    prior = TransformerPrior(3, (4, 4), channels=8, num_layers=1, num_heads=2, rngs=nnx.Rngs(0))
    same = jnp.zeros((1, 2, 4), jnp.int32)
    wide = run(TransformerPrior.__call__, prior, same)[0].reshape(8, 3)
    high = run(TransformerPrior.__call__, prior, same.reshape(1, 4, 2))[0].reshape(8, 3)
    np.testing.assert_allclose(wide[:2], high[:2], rtol=1e-5, atol=1e-6)
    assert np.all(np.abs(wide[2:] - high[2:]).max(axis=-1) > 1e-3)
