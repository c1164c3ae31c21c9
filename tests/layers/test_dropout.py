"""Dropout: what it leaves out, how often, and that an example's mask is its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqvae_jax.layers.dropout import dropout as dropout_as_it_is

dropout = jax.jit(dropout_as_it_is, static_argnums=(1, 3))  # compiled as one: that is faster


def keys_of(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def normal(*shape):
    return jnp.asarray(np.random.RandomState(0).randn(*shape), jnp.float32)


@pytest.mark.parametrize(("rate", "with_keys"), [(0.0, True), (0.001, True), (0.5, False)])
def test_changes_nothing(rate, with_keys):
    """At rate 0, where the rate is rounded to it, and without keys."""
    x = normal(3, 5)
    np.testing.assert_array_equal(dropout(x, rate, keys_of(3) if with_keys else None, 0), x)


@pytest.mark.parametrize(("rate", "share"), [(0.5, 0.5), (0.1, 26 / 256), (0.98, 251 / 256)])
def test_kept_numbers_are_scaled(rate, share):
    x = normal(4, 7, 50)
    found = np.asarray(dropout(x, rate, keys_of(4), 0))
    kept = found != 0
    assert kept.any()
    assert not kept.all()
    np.testing.assert_allclose(found[kept], np.asarray(x)[kept] / (1 - share), rtol=1e-6)


def test_gradient_flows_through_what_is_kept():
    x, apply = normal(3, 9), lambda x: dropout(x, 0.25, keys_of(3), 0)
    gradient = jax.grad(lambda x: jnp.sum(apply(x)))(x)
    np.testing.assert_allclose(gradient, np.where(apply(x) != 0, 1 / 0.75, 0), rtol=1e-6)


@pytest.mark.parametrize("rate", [1 / 256, 0.1, 0.5, 0.9])
def test_share_and_mean(rate):
    """Within 5 standard deviations; of every fourth number too, as a word gives four."""
    p, shape = round(256 * rate) / 256, (64, 4096)
    found = np.asarray(dropout(jnp.ones(shape), rate, keys_of(64), 0), np.float64)
    for part in (found, *(found[:, start::4] for start in range(4))):
        deviation = (p * (1 - p) / part.size) ** 0.5
        assert abs((part == 0).mean() - p) < 5 * deviation
        assert abs(part.mean() - 1) < 5 * deviation / (1 - p)


def test_numbers_are_independent():
    """Neighbours, examples and sites: correlations within 5 standard deviations of 0."""
    found = [np.asarray(dropout(jnp.ones((64, 4096)), 0.5, keys_of(64), s)) - 1 for s in (0, 1)]
    pairs = [(found[0][:, lag:], found[0][:, :-lag]) for lag in range(1, 9)]
    pairs += [(found[0][1:], found[0][:-1]), (found[0], found[1])]
    for first, second in pairs:
        assert abs((first * second).mean()) < 5 / first.size**0.5


@pytest.mark.parametrize("shape", [(), (3, 1, 2), (5, 3)])
def test_an_example_has_its_own_mask(shape):
    """Whatever is in the batch with it; sizes need not be multiples of 4."""
    x, keys = normal(4, *shape) + 10, keys_of(4)
    whole = np.asarray(dropout(x, 0.5, keys, 2))
    assert whole.shape == x.shape
    for part in (slice(0, 1), slice(2, 4)):
        np.testing.assert_array_equal(dropout(x[part], 0.5, keys[part], 2), whole[part])
    np.testing.assert_array_equal(dropout(x[::-1], 0.5, keys[::-1], 2), whole[::-1])


def test_keys_and_sites_differ():
    x, keys = jnp.ones((2, 64)), keys_of(2)
    first = np.asarray(dropout(x, 0.5, keys, 0))
    np.testing.assert_array_equal(first, dropout(x, 0.5, keys, 0))
    assert (first[0] != first[1]).any()
    for other in (dropout(x, 0.5, keys, 1), dropout(x, 0.5, keys_of(2, seed=1), 0)):
        assert (first != np.asarray(other)).any(axis=1).all()


def test_type_is_kept():
    assert dropout(jnp.ones((2, 8), jnp.bfloat16), 0.5, keys_of(2), 0).dtype == jnp.bfloat16


def test_largest_rate():
    """Beyond the largest multiple of 1 / 256: still finite."""
    found = np.asarray(dropout(jnp.ones((4, 4096)), 0.999, keys_of(4), 0))
    assert np.isfinite(found).all()
    assert (found == 0).mean() > 0.95
