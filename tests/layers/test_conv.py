"""The convolutions against XLA's own, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from vqvae_jax.layers import Conv, ConvTranspose, conv, conv_transpose


def xla_conv_transpose(x, kernel, *, stride, padding, output_padding):
    k = kernel.shape[0]
    edge = (k - 1 - padding, k - 1 - padding + output_padding)
    return jax.lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        (edge, edge),
        lhs_dilation=(stride, stride),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def assert_close(ours, expected):
    scale = np.abs(expected).max() + 1e-30
    np.testing.assert_allclose(np.asarray(ours) / scale, expected / scale, rtol=1e-5, atol=2e-6)


@given(data=st.data())
def test_conv_transpose_is_xlas(data):
    draw = data.draw
    k, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, k - 1))
    options = {
        "stride": stride,
        "padding": padding,
        "output_padding": draw(st.integers(0, stride - 1)),
    }
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    if min((size - 1) * stride - 2 * padding + k for size in (height, width)) < 1:
        return
    c_in, c_out = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    random = np.random.RandomState(draw(st.integers(0, 2**16)))
    x = jnp.asarray(random.randn(2, height, width, c_in).astype(np.float32))
    kernel = jnp.asarray(random.randn(k, k, c_in, c_out).astype(np.float32))

    ours, pull_ours = jax.vjp(lambda x, w: conv_transpose(x, w, **options), x, kernel)
    theirs, pull_theirs = jax.vjp(lambda x, w: xla_conv_transpose(x, w, **options), x, kernel)
    assert ours.shape == theirs.shape
    assert_close(ours, theirs)
    gradient = jnp.asarray(random.randn(*ours.shape).astype(np.float32))
    for got, expected in zip(pull_ours(gradient), pull_theirs(gradient), strict=True):
        assert_close(got, expected)


@given(data=st.data())
def test_conv_and_conv_transpose_are_adjoint(data):
    draw = data.draw
    k, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, k - 1))
    output_padding = draw(st.integers(0, stride - 1))
    height, width = (
        (draw(st.integers(1, 5)) - 1) * stride - 2 * padding + k + output_padding for _ in range(2)
    )
    if min(height, width) < 1:
        return
    random = np.random.RandomState(draw(st.integers(0, 2**16)))
    x = jnp.asarray(random.randn(1, height, width, 2).astype(np.float32))
    kernel = jnp.asarray(random.randn(k, k, 2, 3).astype(np.float32))
    y, pull = jax.vjp(lambda x: conv(x, kernel, stride=stride, padding=padding), x)
    g = jnp.asarray(random.randn(*y.shape).astype(np.float32))
    back = conv_transpose(
        g,
        kernel.swapaxes(2, 3),
        stride=stride,
        padding=padding,
        output_padding=output_padding,
    )
    assert_close(back, pull(g)[0])


def test_second_derivatives():
    random = np.random.RandomState(0)
    x = jnp.asarray(random.randn(1, 3, 2, 2))
    kernel = jnp.asarray(random.randn(3, 3, 2, 2))
    options = {"stride": 2, "padding": 1, "output_padding": 1}

    def second(transpose):
        def first(x, kernel):
            return jnp.sum(jnp.sin(transpose(x, kernel, **options)))

        return jax.grad(lambda x: jnp.sum(jax.grad(first, 1)(x, kernel) ** 2))(x)

    np.testing.assert_allclose(second(conv_transpose), second(xla_conv_transpose), rtol=1e-3)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda rngs: Conv(0, 5, 3, rngs=rngs), "in_features is 0; it must be an integer of at"),
        (lambda rngs: Conv(2, -1, 3, rngs=rngs), "out_features is -1"),
        (lambda rngs: Conv(2, 5, 0, rngs=rngs), "kernel_size is 0"),
        (lambda rngs: Conv(2, 5, 3, stride=0, rngs=rngs), "stride is 0"),
        (lambda rngs: ConvTranspose(2, 5, 3, padding=-1, rngs=rngs), "padding is -1"),
        (
            lambda rngs: ConvTranspose(2, 5, 3, stride=2, output_padding=2, rngs=rngs),
            "output_padding is 2; it must be below stride=2",
        ),
    ],
)
def test_wrong_arguments_are_named(layer, message):
    with pytest.raises(ValueError, match=message):
        layer(nnx.Rngs(0))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda rngs: Conv(2, 5, 3, stride=2, padding=1, rngs=rngs), (1, 4, 5, 5)),
        (
            lambda rngs: ConvTranspose(2, 5, 3, stride=2, padding=1, output_padding=1, rngs=rngs),
            (1, 14, 18, 5),
        ),
    ],
)
def test_layers_add_their_bias(layer, shape):
    module = layer(nnx.Rngs(0))
    x = jnp.asarray(np.random.RandomState(0).randn(1, 7, 9, 2).astype(np.float32))
    before = module(x)
    assert before.shape == shape
    module.bias[...] = module.bias[...] + jnp.arange(5.0)
    np.testing.assert_allclose(
        module(x) - before, np.broadcast_to(np.arange(5.0), shape), atol=1e-5
    )
