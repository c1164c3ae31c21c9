"""Quantizers at a lower rate, and quantizers side by side, against their definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax import (
    DirectionalVectorQuantizer,
    EMAVectorQuantizer,
    ParallelQuantizer,
    PooledQuantizer,
    ProjectedQuantizer,
    RandomProjectionQuantizer,
    ResidualVQ,
    VectorQuantizer,
)


def vectors(*shape):
    return jnp.asarray(np.random.RandomState(0).randn(*shape), jnp.float32)


def test_means_share_a_code():
    inner, z = VectorQuantizer(3, 8, rngs=nnx.Rngs(0)), vectors(2, 6, 3)
    quantizer = PooledQuantizer(inner, 3)
    means = np.asarray(z).reshape(2, 2, 3, 3).mean(axis=2)
    distances = ((means[:, :, None] - np.asarray(inner.codebook)) ** 2).sum(-1)
    expected = np.repeat(distances.argmin(-1), 3, axis=1)
    quantized = quantizer(z)
    np.testing.assert_array_equal(quantized.indices, expected)
    np.testing.assert_array_equal(quantizer.encode(z), expected)
    np.testing.assert_array_equal(quantizer.lookup(quantized.indices), quantized.values)
    np.testing.assert_allclose(quantized.commitment_loss, distances.min(-1).mean() / 3, rtol=1e-5)
    gradient = jax.grad(lambda z: jnp.sum(quantizer(z, key=jax.random.key(0)).values * z[:1]))(z)
    assert np.isfinite(gradient).all()


def test_positions_that_do_not_count_are_left_out_of_the_means():
    quantizer, z = PooledQuantizer(VectorQuantizer(3, 8, rngs=nnx.Rngs(0)), 2), vectors(1, 6, 3)
    mask = jnp.asarray([[True, True, True, False, False, False]])
    masked = quantizer(z, mask)
    alone = quantizer(z.at[:, 3].set(z[:, 2])[:, :4])
    np.testing.assert_array_equal(masked.indices[0, :3], alone.indices[0, :3])
    np.testing.assert_array_equal(masked.indices[0, 3:], -1)
    stages = [quantizer, PooledQuantizer(VectorQuantizer(3, 8, rngs=nnx.Rngs(1)), 1)]
    for same in (quantizer, ResidualVQ(stages)):
        np.testing.assert_array_equal(same.encode(z, mask), same(z, mask).indices)
    np.testing.assert_allclose(masked.loss, alone.loss, rtol=1e-6)
    with pytest.raises(ValueError, match=r"z has shape \(1, 5, 3\); .* a multiple of stride = 2"):
        quantizer(z[:, :5])


def test_values_have_the_size_of_the_inner_ones():
    assert PooledQuantizer(RandomProjectionQuantizer(3, 8, 2, rngs=nnx.Rngs(0)), 2).values_dim == 2


def test_updates_see_each_mean_once():
    z = vectors(2, 8, 3)
    pooled, plain = (EMAVectorQuantizer(3, 8, rngs=nnx.Rngs(0)) for _ in range(2))
    quantizer = PooledQuantizer(pooled, 2)
    quantizer.update(z, quantizer(z).indices)
    means = z.reshape(2, 4, 2, 3).mean(axis=2)
    plain.update(means, plain(means).indices)
    np.testing.assert_allclose(pooled.codebook, plain.codebook, rtol=1e-6)


def test_directions_are_compared_and_lengths_kept():
    quantizer, z = DirectionalVectorQuantizer(3, 8, rngs=nnx.Rngs(0)), vectors(5, 3)
    codes = np.asarray(quantizer.codebook)
    cosines = (np.asarray(z) @ codes.T) / np.linalg.norm(codes, axis=1)
    expected = cosines.argmax(-1)
    quantized = quantizer(z)
    np.testing.assert_array_equal(quantized.indices, expected)
    np.testing.assert_array_equal(quantizer.encode(z), expected)
    np.testing.assert_array_equal(quantized.values, codes[expected])


def test_quantizers_of_the_same_vector_add_up():
    def stages(depth, seed):
        return ResidualVQ([VectorQuantizer(3, 8, rngs=nnx.Rngs(seed + i)) for i in range(depth)])

    first = ProjectedQuantizer(stages(1, 0), 4, use_bias=False, rngs=nnx.Rngs(5))
    rest = ProjectedQuantizer(stages(2, 1), 4, use_bias=False, rngs=nnx.Rngs(6))
    quantizer, z = ParallelQuantizer([first, rest]), vectors(2, 5, 4)
    quantized = quantizer(z)
    assert quantizer.num_codebooks == 3
    assert quantizer.codebook_sizes == (8, 8, 8)
    np.testing.assert_array_equal(quantized.indices, quantizer.encode(z))
    expected = [first(z), rest(z)]
    np.testing.assert_allclose(quantized.values, expected[0].values + expected[1].values, rtol=1e-6)
    np.testing.assert_allclose(quantized.loss, expected[0].loss + expected[1].loss, rtol=1e-6)
    few = quantizer.lookup(quantized.indices[..., :2])
    codes = first.lookup(quantized.indices[..., :1]) + rest.lookup(quantized.indices[..., 1:2])
    np.testing.assert_allclose(few, codes, rtol=1e-6)
    with pytest.raises(ValueError, match="their last axis must be 1 to 3"):
        quantizer.lookup(jnp.zeros((2, 4), jnp.int32))


def test_quantizers_that_do_not_fit_side_by_side():
    one, two = (ResidualVQ([VectorQuantizer(dim, 8, rngs=nnx.Rngs(0))]) for dim in (3, 4))
    with pytest.raises(ValueError, match=r"embedding_dim are \[3, 4\]; they must be the same"):
        ParallelQuantizer([one, two])
    with pytest.raises(ValueError, match="has one codebook without an axis"):
        ParallelQuantizer([VectorQuantizer(3, 8, rngs=nnx.Rngs(0))])
    with pytest.raises(ValueError, match="has several codebooks"):
        PooledQuantizer(one, 2)
