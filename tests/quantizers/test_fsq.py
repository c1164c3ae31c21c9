"""Finite scalar quantization against its closed form in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quantizers.compiled import run
from vqvae_jax.quantizers import FSQ, SymmetricFSQ, clamp

LEVELS = [[2], [3], [8, 5, 5, 5], [8, 8, 8, 6, 5]]


def halves(levels):
    return (np.array(levels) - 1) * 1.001 / 2, np.where(np.array(levels) % 2 == 0, 0.5, 0.0)


def shift(levels):
    half, offset = halves(levels)
    return np.where(np.array(levels) == 2, 0, np.arctanh(offset / half))


def bounded(z, levels):
    """The f of the paper, float64, but without the shift for 2 levels."""
    half, offset = halves(levels)
    return half * np.tanh(np.asarray(z, np.float64) + shift(levels)) - offset


def unbounded(digits, levels):
    """The z of which f makes the digits; what f cannot reach is moved within its reach."""
    half, offset = halves(levels)
    ratio = np.clip((digits + offset) / half, -1 + 1e-6, 1 - 1e-6)
    return np.arctanh(ratio) - shift(levels)


def grid(levels, count=401):
    """z with the same number in all places [count, D]: each level sees the whole line."""
    line = np.concatenate([np.linspace(-7, 7, count - 2), [-50.0, 50.0]])
    return np.tile(line[:, None], (1, len(levels))).astype(np.float32)


@pytest.mark.parametrize("levels", LEVELS)
def test_codes_and_indices_are_the_closed_form(levels):
    z = grid(levels)
    f = bounded(z, levels)
    kept = np.all(np.abs(f - np.floor(f) - 0.5) > 1e-4, axis=1)
    assert kept.sum() > 300
    digits = np.round(f)[kept]
    half = np.array(levels) // 2
    quantized = run(FSQ(levels), z)
    np.testing.assert_array_equal(quantized.values[kept], (digits / half).astype(np.float32))
    places = np.cumprod([1, *levels[:-1]])
    np.testing.assert_array_equal(quantized.indices[kept], ((digits + half) @ places).astype(int))
    np.testing.assert_array_equal(FSQ(levels).encode(jnp.asarray(z)), quantized.indices)
    assert float(quantized.loss) == 0


@pytest.mark.parametrize("levels", LEVELS)
def test_every_level_of_every_number_is_reached(levels):
    values = np.asarray(run(FSQ(levels), grid(levels, 2001)).values)
    for column, level in zip(values.T, levels, strict=True):
        expected = (np.arange(level) - level // 2) / (level // 2)
        np.testing.assert_allclose(np.unique(column), expected, rtol=1e-6)


@pytest.mark.parametrize("levels", [[1023], [1024], [4096, 3]])
def test_many_levels_stay_in_range(levels):
    quantizer = FSQ(levels)
    quantized = run(quantizer, grid(levels))
    assert np.all((quantized.indices >= 0) & (quantized.indices < quantizer.num_embeddings))
    np.testing.assert_array_equal(quantizer.lookup(quantized.indices), quantized.values)


def test_zero_stays_zero_before_the_rounding():
    for level in range(3, 17):
        assert abs(bounded(np.zeros(1), [level])[0]) < 1e-12
        np.testing.assert_allclose(FSQ([level])._bounded(jnp.zeros((1, 1))), [[0.0]], atol=1e-5)
        np.testing.assert_array_equal(FSQ([level])(jnp.zeros((1, 1))).values, [[0.0]])


@pytest.mark.parametrize(
    "make", [FSQ, SymmetricFSQ, lambda levels: SymmetricFSQ(levels, bound=clamp)]
)
def test_two_levels_split_a_centred_input_in_half(make):
    z = np.random.RandomState(0).randn(10_000, 2).astype(np.float32)
    counts = np.bincount(make([2, 2]).encode(jnp.asarray(z)), minlength=4)
    np.testing.assert_allclose(counts, 2500, atol=4 * (10_000 * 3 / 16) ** 0.5)  # 4 deviations
    np.testing.assert_array_equal(make([2, 2]).encode(jnp.asarray(z)), (z > 0) @ [1, 2])


@pytest.mark.parametrize("bound", [jnp.tanh, clamp])
@pytest.mark.parametrize("levels", [[2], [3], [4, 3], [5, 2, 3, 4], [8, 6, 5]])
def test_symmetric_codes_are_the_closed_form(levels, bound):
    quantizer = SymmetricFSQ(levels, bound=bound)
    z = 1.5 * np.random.RandomState(0).randn(3000, len(levels)).astype(np.float32)
    wide = np.asarray(z, np.float64)
    wide = np.tanh(wide) if bound is jnp.tanh else np.clip(wide, -1, 1)
    scaled = (np.array(levels) - 1) * (wide + 1) / 2 + 0.5
    kept = np.all(np.abs(scaled - np.round(scaled)) > 1e-4, axis=1)
    assert kept.sum() > 2000
    digits = np.floor(np.minimum(scaled, np.array(levels) - 0.5))
    quantized = run(quantizer, z)
    codes = 2 * digits / (np.array(levels) - 1) - 1
    np.testing.assert_allclose(quantized.values[kept], codes[kept], atol=1e-6)
    places = np.cumprod([1, *levels[:-1]])
    np.testing.assert_array_equal(quantized.indices[kept], (digits @ places)[kept])
    # And of -z the same with the other sign.
    np.testing.assert_array_equal(run(quantizer, -z).values[kept], -quantized.values[kept])


@pytest.mark.parametrize("levels", [[2], [3], [4, 3], [5, 2, 3, 4], [64]])
def test_every_symmetric_index_comes_back(levels):
    quantizer = SymmetricFSQ(levels, bound=clamp)
    indices = jnp.arange(quantizer.num_embeddings)
    codes = quantizer.lookup(indices)
    np.testing.assert_array_equal(quantizer.encode(codes), indices)
    np.testing.assert_array_equal(codes, -codes[::-1])
    np.testing.assert_allclose([codes.min(), codes.max()], [-1, 1], rtol=1e-6)
    first = np.asarray(codes)[: levels[0], 0]
    np.testing.assert_allclose(np.diff(first), 2 / (levels[0] - 1), rtol=1e-5)


@pytest.mark.parametrize("bound", [jnp.tanh, clamp])
def test_gradient_of_symmetric_codes_is_that_of_the_bound(bound):
    z = jnp.asarray(1.5 * np.random.RandomState(0).randn(7, 2), jnp.float32)
    gradient = jax.jit(jax.grad(lambda z: jnp.sum(SymmetricFSQ([4, 5], bound=bound)(z).values)))(z)
    wide = np.asarray(z, np.float64)
    expected = 1 - np.tanh(wide) ** 2 if bound is jnp.tanh else np.abs(wide) < 1
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_first_level_is_the_fastest():
    quantizer = FSQ([3, 2, 2])
    table = [
        [-1, -1, -1],
        [0, -1, -1],
        [1, -1, -1],
        [-1, 0, -1],
        [0, 0, -1],
        [1, 0, -1],
        [-1, -1, 0],
        [0, -1, 0],
        [1, -1, 0],
        [-1, 0, 0],
        [0, 0, 0],
        [1, 0, 0],
    ]
    np.testing.assert_array_equal(quantizer.lookup(jnp.arange(12)), table)
    assert (quantizer.num_embeddings, quantizer.embedding_dim) == (12, 3)


@pytest.mark.parametrize("levels", [[2], [3], [4, 3], [5, 2, 3, 4], [8, 6, 5]])
def test_every_index_comes_back(levels):
    quantizer = FSQ(levels)
    assert quantizer.num_embeddings == np.prod(levels)
    indices = np.arange(quantizer.num_embeddings)
    codes = np.asarray(quantizer.lookup(jnp.asarray(indices)), np.float64)
    assert len(np.unique(codes, axis=0)) == np.prod(levels)
    z = unbounded(codes * (np.array(levels) // 2), levels).astype(np.float32)
    quantized = run(quantizer, z)
    np.testing.assert_array_equal(quantized.indices, indices)
    np.testing.assert_array_equal(quantized.values, codes.astype(np.float32))


@pytest.mark.parametrize("levels", LEVELS)
def test_gradient_is_that_of_the_bound(levels):
    z = np.random.RandomState(0).randn(7, len(levels)).astype(np.float32) * 1.5
    weights = np.random.RandomState(1).randn(*z.shape)
    gradient = jax.jit(
        jax.grad(lambda z: jnp.sum(jnp.asarray(weights, jnp.float32) * FSQ(levels)(z).values))
    )(jnp.asarray(z))
    wide = z.astype(np.float64)
    slope = (bounded(wide + 1e-5, levels) - bounded(wide - 1e-5, levels)) / 2e-5
    expected = weights * slope / (np.array(levels) // 2)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


def test_lookup_says_what_is_out_of_range():
    codes = np.asarray(FSQ([3, 2]).lookup(jnp.array([-1, 6, 5, 2**30])))
    np.testing.assert_array_equal(codes, [[0, 0], [np.nan] * 2, [1, 0], [np.nan] * 2])


def test_most_codes_there_can_be():
    quantizer = FSQ([2] * 30)
    assert quantizer.num_embeddings == 2**30
    z = jnp.where(jnp.arange(30) % 2 == 0, 0.0, -9.0)[None]
    index = sum(2**i for i in range(0, 30, 2))
    np.testing.assert_array_equal(quantizer.encode(z), [index])
    np.testing.assert_array_equal(quantizer.lookup(jnp.array([index])), quantizer(z).values)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([], "levels is empty; it must hold at least one level"),
        ([4, 1], "a level is 1; it must be an integer of at least 2"),
        ([4, -3], "a level is -3; it must be an integer of at least 2"),
        ([2] * 31, "they must make at most 2\\^30 codes"),
        ([2**24 + 1], "a level is 16777217; it must be at most 2\\^24"),
    ],
)
def test_levels_out_of_range(levels, message):
    with pytest.raises(ValueError, match=message):
        FSQ(levels)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("level", [2.5, True])
def test_levels_that_are_no_integers(level):
    with pytest.raises(ValueError, match=f"a level is {level}; it must be an integer"):
        FSQ([4, level])
