"""The errors between the decoder's output and the data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqvae_jax import AbsoluteError, SpectralError, SquaredError

SPECTRAL = functools.partial(SpectralError, sample_rate=8000, windows=(16, 32), num_mels=(3, 5))
X = jnp.asarray(np.random.RandomState(0).randn(2, 3, 4, 2), jnp.float32)
DECODED = X + jnp.asarray(np.random.RandomState(1).randn(2, 3, 4, 2), jnp.float32)


def test_the_absolute_error_is_in_units_of_the_datas_deviation():
    likelihood = AbsoluteError(2, 0.25)
    error = np.abs(DECODED - X).mean()
    loss = likelihood.loss(DECODED, X)
    np.testing.assert_allclose(loss, error / 0.5, rtol=1e-6)
    np.testing.assert_allclose(likelihood.metrics(float(loss))["mae"], error, rtol=1e-6)
    mask = jnp.zeros((2, 3, 4), bool).at[0].set(True)
    masked = likelihood.loss(DECODED, X, mask)
    np.testing.assert_allclose(masked, np.abs(DECODED - X)[0].mean() / 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "axes"), [(AbsoluteError, (3, 4)), (SquaredError, (3, 4)), (SPECTRAL, (12,))]
)
def test_the_output_is_the_data(kind, axes):
    likelihood = kind(2, 0.25)
    x, decoded = (of.reshape(2, *axes, 2) for of in (X, DECODED))
    np.testing.assert_array_equal(likelihood.decode(decoded, None), decoded)
    np.testing.assert_array_equal(likelihood.reconstruct(decoded, jax.random.key(0)), decoded)
    loss = jax.jit(likelihood.loss)
    assert loss(x, x) == 0
    assert loss(decoded[:0], x[:0]) == 0
    assert likelihood.monitor in likelihood.metrics(1.0)
    whole, nothing = jnp.ones((2, *axes), bool), jnp.zeros((2, *axes), bool)
    np.testing.assert_allclose(loss(decoded, x, whole), loss(decoded, x), rtol=1e-6)
    assert loss(decoded, x, nothing) == 0


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 1.0), "out_dim is 0; it must be"), ((1, 0.0), "data_variance is 0.0; it must be")],
)
@pytest.mark.parametrize("kind", [AbsoluteError, SquaredError, SPECTRAL])
def test_wrong_arguments_are_named(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(*arguments)
