"""The transformer: its receptive field, the sizes that it accepts, and its dropout."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax.priors import TransformerPrior, transformer

make = functools.partial(TransformerPrior, 4, (3, 3), channels=8, num_layers=2, num_heads=2)


@pytest.mark.parametrize("shape", [(24,), (6, 4), (2, 3, 4)])
def test_features_see_all_earlier_positions_and_no_other(shape):
    prior = TransformerPrior(3, shape, channels=8, num_layers=1, num_heads=2, rngs=nnx.Rngs(0))
    random = np.random.RandomState(0)
    x = jnp.asarray(random.randn(1, *shape, 8), jnp.float32)
    weights = jnp.asarray(random.randn(8), jnp.float32)
    classes = jnp.zeros(1, jnp.int32)
    gradients = jax.jit(jax.jacrev(lambda x: prior._features(x, classes, None)[0] @ weights))(x)
    found = np.any(np.asarray(gradients).reshape(24, 24, 8) != 0, axis=-1)
    np.testing.assert_array_equal(found, np.tril(np.ones((24, 24), bool), -1))


def test_a_signal_is_an_image_of_one_row_and_an_image_a_video_of_one_frame(run):
    signals, images, videos = (
        TransformerPrior(4, shape, channels=8, num_layers=2, num_heads=2, rngs=nnx.Rngs(0))
        for shape in ((5,), (1, 5), (1, 1, 5))
    )
    shared = {
        name: part for name, part in nnx.state(images).items() if name not in ("rows", "columns")
    }
    for other in (signals, videos):
        nnx.update(other, nnx.State(shared))
    images.rows[...] = videos.times[...] = videos.rows[...] = jnp.zeros((1, 8))
    signals.times[...] = videos.columns[...] = images.columns[...]
    codes = jnp.asarray(np.random.RandomState(0).randint(0, 4, (2, 5)), jnp.int32)
    expected = run(call, images, codes[:, None])[:, 0]
    np.testing.assert_array_equal(run(call, signals, codes), expected)
    np.testing.assert_array_equal(run(call, videos, codes[:, None, None])[:, 0, 0], expected)


def test_rows_and_columns_are_told_apart(run):
    prior = TransformerPrior(3, (4, 4), channels=8, num_layers=1, num_heads=2, rngs=nnx.Rngs(0))
    same = jnp.zeros((1, 2, 4), jnp.int32)
    wide = run(TransformerPrior.__call__, prior, same)[0].reshape(8, 3)
    high = run(TransformerPrior.__call__, prior, same.reshape(1, 4, 2))[0].reshape(8, 3)
    np.testing.assert_allclose(wide[:2], high[:2], rtol=1e-5, atol=1e-6)
    assert np.all(np.abs(wide[2:] - high[2:]).max(axis=-1) > 1e-3)


def keys_of(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def codes_of(count):
    return jnp.asarray(np.random.RandomState(0).randint(0, 4, (count, 3, 3)), jnp.int32)


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
    """Calls and steps are bit-exact; dropout draws no weights."""
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
