"""Masks over latent positions: what does not count is in no loss and no gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn, run_compiled, some_by_default
from vqvae_jax import FSQ, VQVAE, AutoregressiveHead, CategoricalHead, ResidualVQ, VectorQuantizer

QUANTIZERS = {
    "VectorQuantizer": lambda rngs: VectorQuantizer(3, 8, rngs=rngs),
    "FSQ": lambda rngs: FSQ((2, 2, 2)),
    "ResidualVQ": lambda rngs: ResidualVQ([VectorQuantizer(3, 8, rngs=rngs) for _ in range(2)]),
}
HEADS = {
    "none": lambda rngs: None,
    "categorical": lambda rngs: CategoricalHead(5, 2, rngs=rngs),
    "autoregressive": lambda rngs: AutoregressiveHead(
        5, 2, hidden_dim=4, num_layers=1, size=3, rngs=rngs
    ),
}


def build(quantizer="VectorQuantizer", head="none"):
    def make():
        rngs = nnx.Rngs(0)
        parts = {"quantizer": QUANTIZERS[quantizer](rngs), "head": HEADS[head](rngs)}
        return VQVAE(2, 3, 8, 0.1, **parts, rngs=rngs)

    return drawn(make)


@pytest.fixture(scope="module")
def integers():
    return np.random.RandomState(0).randint(0, 256, (2, 16, 24, 2)).astype(np.uint8)


@pytest.fixture(scope="module")
def images(integers):
    return jnp.asarray(integers / 255 - 0.5, jnp.float32)


@pytest.fixture(scope="module")
def mask():
    """A mask for images of 16 x 12 and 8 x 24 in one batch."""
    mask = np.zeros((2, 4, 6), bool)
    mask[0, :, :3] = mask[1, :2] = True
    return jnp.asarray(mask)


def kept_pixels(mask):
    return np.kron(mask, np.ones((1, 4, 4), bool))


@pytest.mark.parametrize(
    ("quantizer", "head"), [*[(q, "none") for q in QUANTIZERS], ("FSQ", "categorical")]
)
def test_losses_are_means_over_what_counts(quantizer, head, integers, images, mask):
    model = build(quantizer, head)
    output = run_compiled(VQVAE.__call__, model, images, mask)
    x, kept = np.asarray(images, np.float64), kept_pixels(np.asarray(mask))
    decoded = run_compiled(lambda model, z: model.decoder(z), model, output.quantized.values)
    if head == "none":
        expected = np.mean((np.asarray(decoded, np.float64) - x)[kept] ** 2) / 0.1
    else:
        log_p = run_compiled(
            lambda model, *given: model.likelihood(*given), model, decoded, jnp.asarray(integers)
        )
        expected = -np.mean(np.asarray(log_p, np.float64)[kept])
    np.testing.assert_allclose(output.reconstruction_loss, expected, rtol=1e-5)
    z = output.latents[mask]
    alone = run_compiled(lambda model, z: model.quantizer(z), model, z)
    np.testing.assert_allclose(output.quantized.loss, alone.loss, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(output.loss, expected + alone.loss, rtol=1e-5)
    np.testing.assert_array_equal(output.quantized.indices[mask], alone.indices)
    assert (np.asarray(output.quantized.indices)[~np.asarray(mask)] == -1).all()


def gradients(model, images, mask):
    def loss_of(params, rest, x):
        return nnx.merge(graphdef, params, rest)(x, mask).loss

    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    return jax.jit(jax.value_and_grad(loss_of, (0, 2)))(params, rest, images)


@pytest.mark.slow
@pytest.mark.parametrize("head", some_by_default(HEADS, ["none"]))
def test_pixels_out_of_reach_of_what_counts_change_nothing(head, images, mask):
    """The encoder's windows reach 3 pixels up and left of a patch, and none beyond it."""
    model = build(head=head)
    reached = kept_pixels(np.asarray(mask))
    for axis in (1, 2):
        size = reached.shape[axis]
        shifts = [np.take(reached, np.arange(d, size), axis) for d in range(4)]
        widths = [[(0, d if a == axis else 0) for a in range(3)] for d in range(4)]
        reached = np.any([np.pad(s, w) for s, w in zip(shifts, widths, strict=True)], axis=0)
    assert 0 < (~reached).sum() < reached.size
    other = jnp.where(reached[..., None], images, -images)
    result = gradients(model, images, mask)
    for got, expected in zip(
        jax.tree.leaves(gradients(model, other, mask)), jax.tree.leaves(result), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    _, (of_params, of_images) = result
    assert not np.asarray(of_images)[~reached].any()
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(of_params))


def reconstruction_loss(model, *arrays):
    """The loss and its gradient in the reconstruction."""
    return run_compiled(
        lambda model, features, *given: jax.value_and_grad(model.reconstruction_loss)(
            features, *given
        ),
        model,
        *arrays,
    )


@pytest.mark.parametrize("head", ["none", "categorical"])
def test_the_loss_of_padded_images_is_that_of_the_images(head, images):
    """With the same reconstructions, where pixels are independent; so are its gradients."""
    model = build(head=head)
    features = jnp.asarray(
        np.random.RandomState(1).randn(2, 16, 24, model.decoder.out_dim) / 4, jnp.float32
    )
    mask = jnp.zeros((2, 4, 6), bool).at[:, :2, :3].set(True)
    value, pulled = reconstruction_loss(model, features, images, mask)
    expected, of_image = reconstruction_loss(model, features[:, :8, :12], images[:, :8, :12], None)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(pulled[:, :8, :12], of_image, rtol=1e-4, atol=1e-9)
    assert not pulled[:, 8:].any()
    assert not pulled[:, :, 12:].any()


@pytest.mark.slow
@pytest.mark.parametrize("head", ["none", "categorical"])
def test_where_nothing_counts_the_loss_is_0(head, images, mask):
    value, pulled = gradients(build(head=head), images, jnp.zeros_like(mask))
    assert value == 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(pulled))


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_codes_of_a_mask_decode_to_the_reconstruction(quantizer, images, mask):
    model = build(quantizer)
    output = run_compiled(VQVAE.__call__, model, images, mask)
    codes = run_compiled(VQVAE.encode, model, images, mask)
    np.testing.assert_array_equal(codes, output.quantized.indices)
    decoded = run_compiled(VQVAE.decode, model, codes)
    np.testing.assert_allclose(decoded, output.reconstruction, rtol=1e-5, atol=1e-6)


def test_a_mask_that_keeps_all_is_none(images, mask):
    model = build()
    with_mask, without = (
        run_compiled(functools.partial(VQVAE.__call__, mask=m), model, images)
        for m in (jnp.ones_like(mask), None)
    )
    for ours, expected in zip(jax.tree.leaves(with_mask), jax.tree.leaves(without), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("method", ["__call__", "encode"])
@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 16, 24), jnp.bool_, r"mask has shape \(2, 16, 24\); it must be z's, \(2, 4, 6\)"),
        ((2, 4, 6), jnp.int32, "mask has type int32; it must be bool"),
    ],
)
def test_a_wrong_mask_is_named(method, images, shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        getattr(build(), method)(images, jnp.ones(shape, dtype))
