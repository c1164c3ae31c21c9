"""Random projections: several at once, and of normalized vectors, against the paper's recipe."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.quantizers.compiled import run
from vqvae_jax.quantizers import RandomProjectionQuantizer


def make(num_codebooks=None, normalize=False, dim=16):
    return RandomProjectionQuantizer(
        dim, 32, 8, num_codebooks=num_codebooks, normalize=normalize, rngs=nnx.Rngs(0)
    )


def labels(z, projection, codes, normalize):
    """Indices and distances in float64."""
    z, projection = np.asarray(z, np.float64), np.asarray(projection, np.float64)
    if normalize:
        z = (z - z.mean(-1, keepdims=True)) / z.std(-1, keepdims=True)
    projected = z @ projection
    projected /= np.linalg.norm(projected, axis=-1, keepdims=True)
    distances = np.sum((projected[..., None, :] - np.asarray(codes, np.float64)) ** 2, axis=-1)
    return distances.argmin(-1)


@pytest.mark.slow
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("num_codebooks", [1, 3])
def test_several_codebooks_have_each_its_projection(num_codebooks, normalize):
    z = (3 + np.random.RandomState(0).randn(20, 5, 16)).astype(np.float32)
    quantizer = make(num_codebooks, normalize)
    books = list(zip(quantizer.projection[...], quantizer.embeddings[...], strict=True))
    expected = np.stack([labels(z, *book, normalize) for book in books], axis=-1)
    quantized = run(quantizer, jnp.asarray(z))
    np.testing.assert_array_equal(quantized.indices, expected)
    values = [np.asarray(codes)[expected[..., i]] for i, (_, codes) in enumerate(books)]
    np.testing.assert_array_equal(quantized.values, np.concatenate(values, axis=-1))
    assert quantizer.code_counts(quantized.indices).shape == (num_codebooks, 32)
    assert quantizer.bits == 5 * num_codebooks
    if num_codebooks > 1:
        assert np.mean(expected[..., 0] == expected[..., 1]) < 0.2


@pytest.mark.slow
def test_normalized_labels_do_not_depend_on_shift_and_scale():
    z = np.random.RandomState(0).randn(200, 16).astype(np.float32)
    shifted = jnp.asarray(5 + 3 * z)
    quantizer = make(normalize=True)
    expected = labels(z, quantizer.projection[...], quantizer.embeddings[...], True)
    np.testing.assert_array_equal(quantizer.encode(shifted), expected)
    np.testing.assert_array_equal(quantizer.encode(jnp.asarray(z)), expected)
    plain = np.asarray(make().encode(shifted))
    assert len(np.unique(plain)) < len(np.unique(expected))
    np.testing.assert_array_equal(make().projection[...], quantizer.projection[...])


def test_out_of_range():
    with pytest.raises(ValueError, match="num_codebooks is 0; it must be an integer of at least 1"):
        make(0)
    with pytest.raises(ValueError, match="embedding_dim is 1; with normalize it must be"):
        make(normalize=True, dim=1)
    with pytest.raises(
        ValueError, match="indices have shape \\(4, 2\\); their last axis must be 3"
    ):
        make(3).lookup(jnp.zeros((4, 2), jnp.int32))
