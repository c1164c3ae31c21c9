"""Categories against the formula of the Gumbel-softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quantizers.compiled import run
from vqvae_jax.quantizers import CategoricalQuantizer

CODES = 5
Z = np.random.RandomState(0).randn(6, CODES).astype(np.float32)


def softmax(x):
    p = np.exp(x - x.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def test_training_values_are_the_formula():
    quantizer, key = CategoricalQuantizer(CODES, temperature=0.7), jax.random.key(3)
    keys = jax.random.split(key, 6)
    noise = np.asarray(jax.vmap(lambda own: jax.random.gumbel(own, (CODES,)))(keys))
    quantized = run(quantizer, jnp.asarray(Z), key=key)
    np.testing.assert_allclose(quantized.values, softmax((Z + noise) / 0.7), rtol=1e-5)
    np.testing.assert_array_equal(quantized.indices, np.argmax(Z + noise, axis=1))


def test_values_at_evaluation_are_one_hot_with_the_gradient_of_the_softmax():
    quantizer = CategoricalQuantizer(CODES, temperature=0.7)
    values = run(quantizer, jnp.asarray(Z)).values
    np.testing.assert_array_equal(values, np.eye(CODES)[Z.argmax(1)])
    weights = jnp.asarray(np.random.RandomState(1).randn(*Z.shape), jnp.float32)
    ours = jax.jit(jax.grad(lambda z: jnp.sum(quantizer(z).values * weights)))(Z)
    theirs = jax.jit(jax.grad(lambda z: jnp.sum(jax.nn.softmax(z / 0.7) * weights)))(Z)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_the_loss_is_the_divergence_from_equal_probabilities():
    quantized = run(CategoricalQuantizer(CODES, kl_cost=0.5), jnp.asarray(Z))
    p = softmax(Z.astype(np.float64))
    expected = np.mean(np.sum(p * np.log(p * CODES), axis=-1))
    np.testing.assert_allclose(quantized.entropy_loss, expected, rtol=1e-5)
    np.testing.assert_allclose(quantized.loss, 0.5 * expected, rtol=1e-5)
    equal = run(CategoricalQuantizer(CODES), jnp.zeros((2, CODES)))
    np.testing.assert_allclose(equal.entropy_loss, 0, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_embeddings": 0}, "num_embeddings is 0; it must be an integer of at least 1"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be"),
        ({"kl_cost": -1.0}, "kl_cost is -1.0; it must be"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        CategoricalQuantizer(**({"num_embeddings": CODES} | options))
