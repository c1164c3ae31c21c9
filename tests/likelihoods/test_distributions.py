"""Probabilities of a pixel's values: proper, stable, and those of an oracle in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vqvae_jax.likelihoods import (
    CATEGORICAL,
    logistic_mixture,
    logistic_mixture_log_prob,
    logistic_mixture_log_probs,
    sample_values,
)

EXTREMES = [-15.0, -7.0, 0.0, 7.0, 15.0]
MEANS = [-1e6, -30.0, -1.0, -0.5, 0.0, 1 / 255, 1.0, 1e6]
DISTRIBUTIONS = pytest.mark.parametrize(
    "distribution", [CATEGORICAL, logistic_mixture(1), logistic_mixture(3)], ids=["cat", "1", "3"]
)


def oracle(parameters):
    """The table of a logistic mixture in float64, by differences of the distribution function."""
    logits, means, log_scales = np.split(np.asarray(parameters, np.float64), 3, axis=-1)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    edges = (2 * np.arange(1, 256) - 256) / 255
    z = (edges - means[..., None]) / np.exp(log_scales)[..., None]
    lower = np.exp(-np.logaddexp(0, -z))  # sigma(z)
    upper = np.exp(-np.logaddexp(0, z))  # sigma(-z)
    ends = np.zeros((*z.shape[:-1], 1)), np.ones((*z.shape[:-1], 1))
    below = np.diff(np.concatenate([ends[0], lower, ends[1]], axis=-1), axis=-1)
    above = -np.diff(np.concatenate([ends[1], upper, ends[0]], axis=-1), axis=-1)
    middle = np.concatenate([z, z[..., -1:]], axis=-1)
    bins = np.where(middle < 0, below, above)  # of the two the one without cancellation
    return np.einsum("...m,...mv->...v", weights, bins)


def draw(distribution, seed, spread=1.0, shape=(5,)):
    values = np.random.RandomState(seed).randn(*shape, distribution.num_parameters)
    return jnp.asarray(spread * values, jnp.float32)


@DISTRIBUTIONS
@given(seed=st.integers(0, 2**16), spread=st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0]))
def test_probabilities_add_up_to_1(distribution, seed, spread):
    log_probs = jax.jit(distribution.log_probs)(draw(distribution, seed, spread))
    assert log_probs.shape == (5, 256)
    assert np.isfinite(log_probs).all()
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, rtol=0, atol=1e-5)


@DISTRIBUTIONS
@given(seed=st.integers(0, 2**16), spread=st.sampled_from([0.0, 1.0, 10.0]))
def test_one_value_is_an_entry_of_the_table(distribution, seed, spread):
    parameters = jnp.broadcast_to(
        draw(distribution, seed, spread, (3, 1)), (3, 256, distribution.num_parameters)
    )
    x = jnp.broadcast_to(jnp.arange(256, dtype=jnp.uint8), (3, 256))
    log_prob = jax.jit(distribution.log_prob)
    table = jax.jit(distribution.log_probs)(parameters[:, 0])
    np.testing.assert_allclose(log_prob(parameters, x), table, rtol=1e-5, atol=1e-5)
    wider = log_prob(parameters, x.astype(jnp.int32))
    np.testing.assert_array_equal(wider, log_prob(parameters, x))


def test_extreme_mixtures():
    """Proper, with finite values and gradients for every value of the pixel."""
    means, log_scales = (grid.ravel() for grid in np.meshgrid(MEANS, EXTREMES))
    others = np.zeros_like(means)
    columns = [others, others + 50, means, others + 0.1, log_scales, -log_scales]
    parameters = jnp.asarray(np.stack(columns, axis=-1), jnp.float32)
    log_probs = jax.jit(logistic_mixture_log_probs)(parameters)
    assert np.isfinite(log_probs).all()
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, rtol=0, atol=1e-5)
    jacobians = jax.jit(jax.vmap(jax.jacobian(logistic_mixture_log_probs)))(parameters)
    assert jacobians.shape == (40, 256, 6)
    assert np.isfinite(jacobians).all()


def test_scales_beyond_the_extremes_are_clipped():
    log_scales = jnp.asarray([-1e30, -16.0, 3.0, 1e30])
    clipped = jnp.asarray([-15.0, -15.0, 2.0, 2.0])

    def parameters(log_scales):
        return jnp.stack([jnp.zeros(4), jnp.full(4, 0.3), log_scales], axis=-1)

    np.testing.assert_array_equal(
        jax.jit(logistic_mixture_log_probs)(parameters(log_scales)),
        jax.jit(logistic_mixture_log_probs)(parameters(clipped)),
    )
    jacobians = jax.jit(jax.vmap(jax.jacobian(logistic_mixture_log_probs)))(parameters(log_scales))
    assert np.isfinite(jacobians).all()


def test_the_widest_mixture_can_still_be_moved():
    """The log-probability of an edge has a gradient by the mean, however large log(s) became."""
    gradient = jax.jit(jax.grad(logistic_mixture_log_prob))(
        jnp.asarray([0.0, 0.0, 40.0]), jnp.uint8(255)
    )
    np.testing.assert_allclose(gradient[1], 0.0722, rtol=0.01)


@given(
    seed=st.integers(0, 2**16),
    log_scale=st.floats(-8.0, 2.0, width=32),
    mean=st.floats(-3.0, 3.0, width=32),
)
@example(seed=0, log_scale=-15.0, mean=0.3)
@example(seed=0, log_scale=2.0, mean=100.0)
def test_mixtures_are_the_oracles(seed, log_scale, mean):
    """Within 1e-4, or 1e-4 of the exponent: a scale of e^-8 has exponents rounded to 1e-3."""
    random = np.random.RandomState(seed)
    logits, means, log_scales = random.randn(3, 4).astype(np.float32)
    log_scales = np.clip(log_scales + np.float32(log_scale), -15, 2)
    parameters = np.concatenate([logits, means + np.float32(mean), log_scales])
    expected = oracle(parameters)
    log_probs = np.asarray(jax.jit(logistic_mixture_log_probs)(jnp.asarray(parameters)), np.float64)
    seen = expected > 1e-30
    actual, expected = log_probs[seen], np.log(expected[seen])
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_mixtures_of_common_scales_are_the_oracles():
    """Probabilities, not only their logarithms, within 1e-4."""
    random = np.random.RandomState(0)
    parameters = random.randn(50, 30).astype(np.float32)
    parameters[:, 20:] = np.minimum(parameters[:, 20:] - 1.5, 2)
    actual = np.exp(jax.jit(logistic_mixture_log_probs)(jnp.asarray(parameters)))
    np.testing.assert_allclose(actual, oracle(parameters), rtol=1e-4)


def test_categorical_is_a_softmax():
    logits = np.random.RandomState(0).randn(4, 256) * 5
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    actual = np.exp(CATEGORICAL.log_probs(jnp.asarray(logits, jnp.float32)))
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_categorical_gradient_at_extremes():
    logits = jnp.zeros(256).at[3].set(1e30).at[4].set(-1e30)
    gradient = jax.grad(lambda logits: CATEGORICAL.log_prob(logits, jnp.uint8(4)))(logits)
    expected = np.zeros(256)
    expected[3], expected[4] = -1, 1
    np.testing.assert_array_equal(gradient, expected)


def test_mixture_gradient_is_the_oracles():
    """By central differences in float64."""
    parameters = np.random.RandomState(1).randn(9) - np.repeat([0, 0, 1], 3)
    x = jnp.asarray([0, 1, 100, 254, 255], jnp.uint8)
    gradients = jax.jit(
        jax.jacobian(lambda p: logistic_mixture_log_prob(jnp.broadcast_to(p, (5, 9)), x))
    )(jnp.asarray(parameters, jnp.float32))
    for index, step in enumerate(1e-5 * np.eye(9)):
        change = np.log(oracle(parameters + step)) - np.log(oracle(parameters - step))
        np.testing.assert_allclose(
            gradients[:, index], change[np.asarray(x)] / 2e-5, rtol=1e-3, atol=1e-5
        )


@pytest.mark.slow
@DISTRIBUTIONS
def test_bfloat16_parameters_are_computed_in_float32(distribution):
    narrow = draw(distribution, 0).astype(jnp.bfloat16)
    actual = distribution.log_probs(narrow)
    assert actual.dtype == jnp.float32
    np.testing.assert_array_equal(actual, distribution.log_probs(narrow.astype(jnp.float32)))


def test_samples_follow_the_table():
    """Each count within 5 standard deviations of its binomial, where 10 and more are expected."""
    n = 20_000
    log_probs = jax.jit(logistic_mixture_log_probs)(jnp.asarray([0.0, 1.0, -0.8, 0.9, -2.0, -4.0]))
    samples = sample_values(jnp.broadcast_to(log_probs, (n, 256)), jax.random.key(0))
    assert samples.dtype == jnp.uint8
    probs = np.exp(np.asarray(log_probs, np.float64))
    counts = np.bincount(samples, minlength=256)
    often = n * probs >= 10
    assert often.sum() > 50
    deviations = (counts - n * probs) / np.sqrt(n * probs * (1 - probs))
    assert np.abs(deviations[often]).max() < 5
    assert abs(counts[~often].sum() - n * probs[~often].sum()) < 5 * np.sqrt(
        n * probs[~often].sum()
    )


@pytest.mark.parametrize("num_mixtures", [0, -1, 1.5, True])
@pytest.mark.usefixtures("unchecked")
def test_wrong_number_of_mixtures_is_named(num_mixtures):
    with pytest.raises(ValueError, match=f"num_mixtures is {num_mixtures}; it must be an integer"):
        logistic_mixture(num_mixtures)
