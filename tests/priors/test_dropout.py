"""Dropout: what it leaves out, how often, and that an example's mask is its own."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax.priors import TransformerPrior, transformer
from vqvae_jax.priors.dropout import dropout as dropout_as_it_is

dropout = jax.jit(dropout_as_it_is, static_argnums=(1, 3))  # compiled as one: that is faster
make = functools.partial(TransformerPrior, 4, (3, 3), channels=8, num_layers=2, num_heads=2)


def keys_of(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def normal(*shape):
    return jnp.asarray(np.random.RandomState(0).randn(*shape), jnp.float32)


def codes_of(count):
    return jnp.asarray(np.random.RandomState(0).randint(0, 4, (count, 3, 3)), jnp.int32)


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


@pytest.fixture(scope="module")
def priors():
    """Without and with dropout, of the same weights: random ones."""
    found = []
    for rate in (0.0, 0.5):
        graphdef, state = nnx.split(
            nnx.eval_shape(lambda p=rate: make(dropout=p, rngs=nnx.Rngs(0)))
        )
        random = np.random.RandomState(0)
        values = jax.tree.map(lambda x, r=random: jnp.asarray(r.randn(*x.shape), x.dtype), state)
        found.append(nnx.merge(graphdef, values))
    return found


def call(prior, codes, keys=None):
    return prior(codes, keys=keys)


def step(prior, codes):
    cache = prior.start(len(codes), (3, 3))
    first, cache = prior.step(cache, 0, codes[:, 0, 0])
    return first, prior.step(cache, 1, codes[:, 0, 0])[0]


def test_evaluation_is_without_dropout(run, priors):
    """Calls and steps, to the bit; dropout draws no weights."""
    (plain, prior), codes = priors, codes_of(2)
    np.testing.assert_array_equal(run(call, prior, codes), run(call, plain, codes))
    for ours, expected in zip(run(step, prior, codes), run(step, plain, codes), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_training_is_with_dropout(run, priors):
    plain, prior = priors
    codes, keys = codes_of(3), keys_of(3)
    evaluated, trained = np.asarray(run(call, prior, codes)), run(call, prior, codes, keys)
    assert (np.abs(trained - evaluated).max(axis=-1) > 1e-3).all()  # at every code
    np.testing.assert_array_equal(run(call, prior, codes, keys), trained)
    others = run(call, prior, codes, keys_of(3, seed=1))
    assert (np.abs(np.asarray(others) - trained).max(axis=-1) > 1e-3).all()
    np.testing.assert_allclose(run(call, plain, codes, keys), evaluated, rtol=1e-6, atol=1e-6)


def test_training_of_a_map_does_not_depend_on_the_batch(run, priors):
    codes, keys = codes_of(3), keys_of(3)
    whole = run(call, priors[1], codes, keys)
    for i in range(3):
        alone = run(call, priors[1], codes[i : i + 1], keys[i : i + 1])
        np.testing.assert_allclose(alone[0], whole[i], rtol=1e-4, atol=1e-5)


def test_dropout_is_where_it_belongs(run, priors, monkeypatch):
    """Once on the tokens and twice in each block, each time with other draws."""

    def draws(prior, codes, keys):
        found = []

        def recorded(x, rate, keys, site):
            assert rate == 0.5
            found.append(jax.vmap(jax.random.fold_in, (0, None))(keys, site))
            return x

        monkeypatch.setattr(transformer, "dropout", recorded)
        prior(codes, keys=keys)
        return [jax.random.key_data(each) for each in found]

    found = run(draws, priors[1], codes_of(2), keys_of(2))
    assert len(found) == 1 + 2 * 2
    for first, second in itertools.combinations(np.concatenate(found), 2):
        assert (first != second).any()


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_wrong_rate_is_named(rate):
    with pytest.raises(ValueError, match=r"dropout is .*; it must be at least 0 and below 1"):
        make(dropout=rate, rngs=nnx.Rngs(0))


def test_largest_rate():
    """Of what `TransformerPrior` takes: finite, in the type that it came in."""
    found = np.asarray(dropout(jnp.ones((4, 4096)), 0.999, keys_of(4), 0))
    assert np.isfinite(found).all()
    assert (found == 0).mean() > 0.95
