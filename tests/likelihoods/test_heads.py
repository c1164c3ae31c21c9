"""Every head: proper, causal, consistent, trainable, and plain about mistakes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.conftest import drawn, promoting, run_compiled, some_by_default
from vqvae_jax import (
    AutoregressiveColorHead,
    AutoregressiveHead,
    CategoricalHead,
    ColorMixtureHead,
    LogisticMixtureHead,
)
from vqvae_jax.likelihoods import logistic_mixture

SMALL = {"hidden_dim": 16, "num_layers": 1, "size": 3}
HEADS = {
    "categorical": CategoricalHead,
    "mixture": functools.partial(LogisticMixtureHead, num_mixtures=3),
    "autoregressive": functools.partial(AutoregressiveHead, **SMALL),
    "autoregressive-mixture": functools.partial(
        AutoregressiveHead, **SMALL, distribution=logistic_mixture(4)
    ),
    "color": functools.partial(ColorMixtureHead, num_mixtures=3),
    "autoregressive-color": functools.partial(AutoregressiveColorHead, **SMALL, num_mixtures=3),
}


@pytest.fixture(params=some_by_default(HEADS, ["categorical", "autoregressive", "color"]))
def head(request):
    return drawn(lambda: HEADS[request.param](5, 3, rngs=nnx.Rngs(0)))


@pytest.fixture
def features():
    return jnp.asarray(np.random.RandomState(0).randn(2, 3, 4, 5), jnp.float32)


@pytest.fixture
def x():
    return jnp.asarray(np.random.RandomState(1).randint(0, 256, (2, 3, 4, 3)), jnp.uint8)


def test_call_table_and_nll_agree(head, features, x):
    table = run_compiled(type(head).log_probs, head, features, x)
    log_prob = run_compiled(type(head).__call__, head, features, x)
    assert table.shape == (2, 3, 4, 3, 256)
    np.testing.assert_allclose(np.exp(table).sum(-1), 1, rtol=0, atol=1e-5)
    expected = np.take_along_axis(np.asarray(table), np.asarray(x, int)[..., None], -1)[..., 0]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-5)
    nll = run_compiled(type(head).nll, head, features, x)
    np.testing.assert_allclose(nll, -expected.sum((1, 2, 3)), rtol=1e-5, atol=1e-4)


def test_reconstruction_is_the_mean_or_a_draw_and_says_so(head, features):
    key = jax.random.key(0)
    found = run_compiled(type(head).reconstruct, head, features, key)
    if head.autoregressive:
        expected = run_compiled(type(head).sample, head, features, key)
        np.testing.assert_allclose(found, expected / 255 - 0.5, atol=1e-6)
        assert head.reconstruction == "a draw from p(x | z)"
    else:
        given = ()
        if head.distribution.sequential:  # of each channel given the means of those before
            given = (jnp.round((found + 0.5) * 255).astype(jnp.uint8),)
        table = run_compiled(type(head).log_probs, head, features, *given)
        expected = np.exp(np.asarray(table, np.float64)) @ np.arange(256)
        rounded = 0.501 / 255 if given else 0
        np.testing.assert_allclose(found, expected / 255 - 0.5, atol=1e-4 + rounded)
        assert head.reconstruction == "the mean of p(x | z)"


def test_own_features_matter(head, features, x):
    """At each pixel and, of the independent heads, no others'."""

    def summed(features):
        return jnp.sum(head(features, x), axis=(0, 3))

    jacobian = np.abs(jax.jit(jax.jacobian(summed))(features)).sum((2, 5))  # [H, W, H, W]
    own = np.einsum("ijij->ij", jacobian)
    assert (own > 0).all()
    if not head.autoregressive:
        np.testing.assert_array_equal(jacobian.sum((2, 3)), own)


def test_jit_is_eager(head, features, x):
    jitted = run_compiled(type(head).__call__, head, features, x)
    np.testing.assert_allclose(jitted, head(features, x), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_works_without_a_graph(features, x):
    """Flax's tree mode: no shared variables, nothing mutated."""
    for name in ("mixture", "autoregressive"):
        with nnx.set_graph_mode(False):
            head = HEADS[name](5, 3, rngs=nnx.Rngs(0))
            gradients = nnx.jit(nnx.grad(lambda head: jnp.mean(head(features, x))))(head)
            samples = head.sample(features, jax.random.key(0))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
        assert samples.shape == x.shape


def test_sample_is_a_function_of_the_key(head, features):
    first, second = (head.sample(features, jax.random.key(0)) for _ in range(2))
    assert first.dtype == jnp.uint8
    np.testing.assert_array_equal(first, second)
    assert (first != head.sample(features, jax.random.key(1))).any()


@pytest.mark.slow
def test_training_goes_to_the_entropy():
    """Two patterns, chosen by a coin; the features show the position, and nothing of the coin.

    Independent pixels can reach log(2) at each of the 6 pixels where the two differ; given the
    first of them the others are certain, so the autoregressive heads can reach log(2) in all.
    """
    patterns = np.zeros((2, 3, 3, 1), np.uint8)
    patterns[1, :, ::2] = 255
    x = jnp.asarray(patterns)
    features = jnp.asarray(
        np.broadcast_to(3 * np.eye(9), (2, 9, 9)).reshape(2, 3, 3, 9), jnp.float32
    )
    for name, make in HEADS.items():
        graphdef, state = nnx.split(make(9, 1, rngs=nnx.Rngs(0)))
        optimizer = promoting(optax.adam(0.01))

        def step(carry, _, graphdef=graphdef, optimizer=optimizer):
            def loss(state):
                return jnp.mean(nnx.merge(graphdef, state).nll(features, x))

            state, moments = carry
            value, gradient = jax.value_and_grad(loss)(state)
            updates, moments = optimizer.update(gradient, moments)
            return (optax.apply_updates(state, updates), moments), value

        train = jax.jit(functools.partial(jax.lax.scan, step, length=800))
        _, losses = train((state, optimizer.init(state)))
        entropy = np.log(2) * (1 if "autoregressive" in name else 6)
        assert losses[0] > 10, name
        assert entropy - 1e-3 < losses[-1] < entropy + 0.3, name


@pytest.mark.parametrize("name", ["in_dim", "out_dim"])
@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_wrong_sizes_are_named(make, name):
    with pytest.raises(ValueError, match=f"{name} is 0; it must be an integer of at least 1"):
        make(**{"in_dim": 5, "out_dim": 3} | {name: 0}, rngs=nnx.Rngs(0))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 3, 4, 6), jnp.float32, r"features have shape .*; it must be \[B, H, W, 5\]"),
        ((3, 4, 5), jnp.float32, r"features have shape .*; it must be \[B, H, W, 5\]"),
        ((2, 3, 4, 5), jnp.int32, "features have type int32; it must be floating"),
    ],
)
def test_wrong_features_are_named(head, x, shape, dtype, message):
    features = jnp.zeros(shape, dtype)
    for call in (head, head.nll, head.log_probs):
        with pytest.raises(ValueError, match=message):
            call(features, x)
    with pytest.raises(ValueError, match=message):
        head.sample(features, jax.random.key(0))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 3, 4, 1), jnp.uint8), ((2, 3, 4), jnp.uint8), ((2, 3, 4, 3), jnp.int32)],
)
def test_wrong_images_are_named(head, features, shape, dtype):
    for call in (head, head.nll, head.log_probs):
        with pytest.raises(ValueError, match=r"x has shape .*; it must be \(2, 3, 4, 3\), uint8"):
            call(features, jnp.zeros(shape, dtype))
