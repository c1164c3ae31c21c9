"""The gradient estimators against their papers' formulas, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqvae_jax.quantizers import diveq, nsvq, rotation_trick, straight_through

ESTIMATORS = [straight_through, rotation_trick, nsvq, diveq]


def vectors(seed=0, shape=(6, 3)):
    random = np.random.RandomState(seed)
    return random.randn(*shape).astype(np.float32), random.randn(*shape).astype(np.float32)


def length(x):
    return np.sqrt(np.sum(np.square(x), axis=-1, keepdims=True))


def finite_differences(function, x, step=1e-5):
    """The gradient of a NumPy function of a float64 array to one number."""
    gradient = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        ahead, behind = x.copy(), x.copy()
        ahead[place] += step
        behind[place] -= step
        gradient[place] = (function(ahead) - function(behind)) / (2 * step)
    return gradient


def rotation_matrix(z, q):
    """Fifty et al. 2024, section 4.2: |q| / |z| (I - 2 r r^T + 2 q^ z^^T), in float64."""
    z, q = np.asarray(z, np.float64), np.asarray(q, np.float64)
    u, v = z / np.linalg.norm(z), q / np.linalg.norm(q)
    r = (u + v) / np.linalg.norm(u + v)
    matrix = np.eye(len(z)) - 2 * np.outer(r, r) + 2 * np.outer(v, u)
    return np.linalg.norm(q) / np.linalg.norm(z) * matrix


def jacobian(estimator, z, code):
    return np.asarray(jax.jit(jax.jacobian(estimator))(jnp.asarray(z), jnp.asarray(code)))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_value_without_a_key_is_the_code_to_the_bit(estimator):
    z, codes = vectors()
    z[0], codes[1], z[2] = 0.0, 0.0, -2 * codes[2]
    z[3], codes[3], z[4] = 1e8, 1e-8, codes[4]
    np.testing.assert_array_equal(estimator(jnp.asarray(z), jnp.asarray(codes)), codes)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_first_axes_do_not_matter(estimator):
    z, codes = vectors()
    flat = estimator(jnp.asarray(z), jnp.asarray(codes))
    shaped = estimator(jnp.asarray(z.reshape(2, 3, 3)), jnp.asarray(codes.reshape(2, 3, 3)))
    np.testing.assert_array_equal(shaped.reshape(6, 3), flat)


def test_straight_through_is_the_code_and_passes_the_gradient():
    z, codes = jnp.array([0.1, 1e8, -3.0]), jnp.array([0.3, 0.7, 1e-8])
    weights = jnp.array([1.0, -2.0, 3.0])
    to_z, to_codes = jax.grad(
        lambda z, codes: jnp.sum(weights * straight_through(z, codes)), (0, 1)
    )(z, codes)
    np.testing.assert_array_equal(to_z, weights)
    np.testing.assert_array_equal(to_codes, jnp.zeros(3))


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_rotation_is_the_formula_of_the_paper(dim):
    z, codes = vectors(1, (4, dim))
    z = np.copysign(z, codes) if dim == 1 else z
    for one, code in zip(z, codes, strict=True):
        found = jacobian(rotation_trick, one, code)
        np.testing.assert_allclose(found, rotation_matrix(one, code), rtol=1e-4, atol=1e-5)


def test_rotation_takes_z_to_the_code_and_keeps_angles():
    for one, code in zip(*vectors(2), strict=True):
        found = jacobian(rotation_trick, one, code)
        np.testing.assert_allclose(found @ one, code, rtol=1e-4, atol=1e-5)
        scale = np.sum(code**2) / np.sum(one**2)
        np.testing.assert_allclose(found.T @ found, scale * np.eye(3), atol=1e-5 * max(scale, 1))


def test_rotation_turns_each_vector_of_a_batch_on_its_own_and_leaves_the_codes_alone():
    z, codes = vectors(3)
    weights = np.random.RandomState(4).randn(*z.shape).astype(np.float32)
    to_z, to_codes = jax.grad(
        lambda z, codes: jnp.sum(jnp.asarray(weights) * rotation_trick(z, codes)), (0, 1)
    )(jnp.asarray(z), jnp.asarray(codes))
    expected = [
        rotation_matrix(one, code).T @ weight
        for one, code, weight in zip(z, codes, weights, strict=True)
    ]
    np.testing.assert_allclose(to_z, np.stack(expected), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(to_codes, np.zeros_like(codes))


def test_rotation_of_zero_is_the_identity():
    code = np.array([3.0, -1.0, 0.5], np.float32)
    np.testing.assert_array_equal(
        jacobian(rotation_trick, np.zeros(3, np.float32), code), np.eye(3)
    )


def test_rotation_to_the_opposite_is_the_reflection():
    code = np.array([3.0, -4.0, 0.0], np.float32)
    found = jacobian(rotation_trick, -2 * code, code)
    u = -code / 5
    np.testing.assert_allclose(found, 0.5 * (np.eye(3) - 2 * np.outer(u, u)), atol=1e-6)
    np.testing.assert_allclose(found @ (-2 * code), code, rtol=1e-6)


def test_rotation_to_the_opposite_but_for_rounding_takes_z_to_the_code():
    for code in vectors(5)[0]:
        z = np.float32(-1.7) * code  # u + v is what rounding left, of any direction
        found = jacobian(rotation_trick, z, code)
        np.testing.assert_allclose(found @ z, code, rtol=1e-2, atol=1e-2)
        np.testing.assert_allclose(found.T @ found, np.eye(3) / 1.7**2, atol=1e-2)


def test_rotation_to_a_zero_code_is_zero():
    z = np.array([3.0, -1.0, 0.5], np.float32)
    zero = np.zeros(3, np.float32)
    np.testing.assert_array_equal(jacobian(rotation_trick, z, zero), np.zeros((3, 3)))
    assert np.all(np.isfinite(jacobian(rotation_trick, zero, zero)))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("estimator", [nsvq, diveq])
def test_noise_keeps_the_length_of_the_error(estimator, seed):
    z, codes = vectors(seed)
    values = estimator(jnp.asarray(z), jnp.asarray(codes), jax.random.key(seed))
    np.testing.assert_allclose(length(values - z), length(codes - z), rtol=1e-5)
    assert not np.allclose(values, codes, atol=1e-4)


@pytest.mark.parametrize("estimator", [nsvq, diveq])
def test_noise_is_that_of_the_key(estimator):
    z, codes = map(jnp.asarray, vectors())
    once, again, other = (estimator(z, codes, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(once, again)
    assert np.all(np.any(once != other, axis=-1))


def test_noise_of_nsvq_has_every_direction():
    z = jnp.zeros((4000, 2))
    values = np.asarray(nsvq(z, jnp.ones((4000, 2)), jax.random.key(0)), np.float64) / np.sqrt(2)
    # The mean of 4000 unit vectors, and of their products: 5 standard deviations.
    np.testing.assert_allclose(values.mean(0), [0, 0], atol=5 * np.sqrt(0.5 / 4000))
    np.testing.assert_allclose(values.T @ values / 4000, np.eye(2) / 2, atol=5 * 0.36 / 4000**0.5)


def test_direction_of_nsvq_is_that_of_the_key_alone():
    z, codes = vectors()
    key = jax.random.key(0)
    here = np.asarray(nsvq(jnp.asarray(z), jnp.asarray(codes), key)) - z
    there = np.asarray(nsvq(jnp.asarray(codes), jnp.asarray(3 * z), key)) - codes
    np.testing.assert_allclose(here / length(here), there / length(there), atol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_noise_of_diveq_has_its_standard_deviation(sigma):
    # Far from z the error is turned by an angle of n / |e - z|, in each direction across it.
    z, codes = jnp.zeros((4000, 3)), jnp.tile(jnp.array([[100.0, 0.0, 0.0]]), (4000, 1))
    values = diveq(z, codes, jax.random.key(0), sigma=sigma)
    np.testing.assert_allclose(np.std(values[:, 1:], axis=0), [sigma] * 2, rtol=0.06)


@pytest.mark.parametrize(
    ("estimator", "key"), [(nsvq, 0), (diveq, 0), (diveq, None)], ids=["nsvq", "diveq", "no_key"]
)
def test_gradients_are_those_of_the_definition(estimator, key):
    with jax.enable_x64(True):
        z, codes = (x[:3].astype(np.float64) for x in vectors(7))
        weights = np.random.RandomState(8).randn(3, 3)
        key = None if key is None else jax.random.key(key)
        value = np.asarray(estimator(jnp.asarray(z), jnp.asarray(codes), key))
        assert value.dtype == np.float64
        direction = (value - z) / length(codes - z)  # held fixed

        def definition(z, codes):
            return np.sum(weights * (z + length(codes - z) * direction))

        to_z, to_codes = jax.grad(
            lambda z, codes: jnp.sum(jnp.asarray(weights) * estimator(z, codes, key)), (0, 1)
        )(jnp.asarray(z), jnp.asarray(codes))
        by_z = finite_differences(lambda z: definition(z, codes), z)
        by_codes = finite_differences(lambda codes: definition(z, codes), codes)
        np.testing.assert_allclose(to_z, by_z, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(to_codes, by_codes, rtol=1e-6, atol=1e-8)
        assert np.all(np.abs(by_codes).sum(-1) > 1e-3)


@pytest.mark.parametrize("key", [None, 0])
@pytest.mark.parametrize(
    "estimator",
    [*ESTIMATORS, functools.partial(diveq, sigma=0.0)],
    ids=["straight_through", "rotation_trick", "nsvq", "diveq", "diveq_without_noise"],
)
@pytest.mark.parametrize("code", [[0.0, 0.0], [2.0, -1.0]])
def test_gradient_is_finite_where_z_is_the_code(estimator, code, key):
    z = codes = jnp.array([code])
    key = None if key is None else jax.random.key(key)
    np.testing.assert_array_equal(estimator(z, codes, key), codes)
    gradients = jax.grad(lambda z, codes: jnp.sum(estimator(z, codes, key)), (0, 1))(z, codes)
    assert np.all(np.isfinite(gradients))
    # The error's length has gradient 0 there; the rest passes, but for rounding in the rotation.
    np.testing.assert_allclose(gradients[0], jnp.ones((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(gradients[1], jnp.zeros((1, 2)))
