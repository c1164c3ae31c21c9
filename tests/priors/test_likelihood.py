"""The likelihood against its formula, what it teaches, and dropped labels."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.conftest import promoting
from vqvae_jax.priors import drop_labels, nll


def test_nll_is_the_mean_over_codes(prior, run, draw_codes):
    codes, labels = draw_codes(prior, 2, 2, 3)
    logits = run(type(prior).__call__, prior, codes, labels)
    logits = np.asarray(logits, np.float64).reshape(-1, 4)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(p[np.arange(len(p)), np.asarray(codes).ravel()]).mean()
    np.testing.assert_allclose(run(nll, prior, codes, labels), expected, rtol=1e-5)


@pytest.mark.parametrize("code", [-1, 4])
def test_codes_out_of_range_have_no_likelihood(conditional, run, draw_codes, code):
    codes, _ = draw_codes(conditional, 2, 1, 2)
    assert np.isnan(run(nll, conditional, codes.at[0, 0, 1].set(code), None))


@pytest.mark.slow
def test_training_comes_down_to_the_entropy(kind, num_codebooks):
    """Two maps, equally frequent; the class, where it is given, says which."""
    prior = kind(3, num_codebooks=num_codebooks, num_classes=2, rngs=nnx.Rngs(0))
    shape = (2, 3) if num_codebooks is None else (1, 3, 2)
    maps = jnp.asarray(np.random.RandomState(2).randint(0, 3, (2, *shape)), jnp.int32)
    codes, labels = jnp.concatenate([maps, maps]), jnp.array([0, 1, -1, -1])
    graph, state = nnx.split(prior)
    optimizer = promoting(optax.adam(1e-2))

    def loss(state, codes, labels):
        return nll(nnx.merge(graph, state), codes, labels)

    def step(carry, _):
        state, moments = carry
        updates, moments = optimizer.update(jax.grad(loss)(state, codes, labels), moments)
        return (optax.apply_updates(state, updates), moments), None

    @jax.jit
    def train(state):
        (state, _), _ = jax.lax.scan(step, (state, optimizer.init(state)), length=300)
        return loss(state, maps, labels[:2]), loss(state, maps, labels[2:])

    of_class, of_none = train(state)
    assert of_class < 0.01
    np.testing.assert_allclose(of_none, np.log(2) / 6, atol=0.01)


def test_labels_are_dropped_at_their_rate():
    labels, key = jnp.arange(10_000) % 10, jax.random.key(0)
    dropped = np.asarray(drop_labels(labels, 0.1, key))
    gone = dropped == -1
    np.testing.assert_array_equal(dropped[~gone], np.asarray(labels)[~gone])
    np.testing.assert_allclose(gone.mean(), 0.1, atol=0.012)  # four standard deviations
    np.testing.assert_array_equal(drop_labels(labels, 0.0, key), labels)
    np.testing.assert_array_equal(drop_labels(labels, 1.0, key), -1)
    with pytest.raises(ValueError, match=r"rate is 1.5; it must be in \[0, 1\]"):
        drop_labels(labels, 1.5, key)
