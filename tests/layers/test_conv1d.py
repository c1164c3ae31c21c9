"""1-D convolutions against sums in NumPy: values and gradients, whole and in pieces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from vqvae_jax.layers import (
    Conv1d,
    ConvTranspose1d,
    Padding,
    causal,
    centered,
    conv1d,
    conv_transpose1d,
)


def summed(x, kernel, *, stride=1, dilation=1, groups=1):
    """The definition, one output position after another."""
    k, c_in, c_out = kernel.shape
    length = (x.shape[1] - (k - 1) * dilation - 1) // stride + 1
    out = np.zeros((len(x), length, c_out))
    for group in range(groups):
        inputs = slice(group * c_in, (group + 1) * c_in)
        outputs = slice(group * c_out // groups, (group + 1) * c_out // groups)
        for n in range(length):
            for tap in range(k):
                seen = x[:, n * stride + tap * dilation, inputs]
                out[:, n, outputs] += seen @ kernel[tap, :, outputs]
    return out


def transposed(x, kernel, *, stride=1, groups=1):
    k, c_in, c_out = kernel.shape
    out = np.zeros((len(x), (x.shape[1] - 1) * stride + k, c_out * groups))
    for group in range(groups):
        inputs = slice(group * c_in // groups, (group + 1) * c_in // groups)
        outputs = slice(group * c_out, (group + 1) * c_out)
        for n in range(x.shape[1]):
            for tap in range(k):
                out[:, n * stride + tap, outputs] += x[:, n, inputs] @ kernel[tap, inputs]
    return out


@st.composite
def cases(draw):
    """Options, input and kernel, of the forms for few, many and grouped channels."""
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    options = {"stride": draw(st.integers(1, 5)), "groups": groups}
    k, dilation = draw(st.integers(1, 7)), draw(st.sampled_from([1, 1, 3]))
    c_in, c_out = (groups * draw(st.sampled_from([1, 3, 9])) for _ in range(2))
    length = (k - 1) * dilation + 1 + draw(st.integers(0, 11))
    random = np.random.RandomState(draw(st.integers(0, 2**16)))
    x = random.randn(2, length, c_in).astype(np.float32)
    return options, dilation, x, random.randn(k, c_in, c_out).astype(np.float32)


def with_gradients(function, x, kernel, weights):
    y, pull = jax.vjp(function, x, kernel)
    return y, *pull(jnp.asarray(weights(y.shape), y.dtype))


def check_adjoint(function, x, kernel):
    """The gradients of a function linear in both arguments: <w, f(x', k')> = <x', dx> = ..."""
    random = np.random.RandomState(1)
    y, dx, dk = with_gradients(function, x, kernel, lambda shape: random.randn(*shape))
    weights = np.random.RandomState(1).randn(*y.shape)
    other = random.randn(*x.shape).astype(np.float32)
    np.testing.assert_allclose(
        np.vdot(weights, function(other, kernel)), np.vdot(dx, other), rtol=1e-3, atol=1e-3
    )
    other = random.randn(*kernel.shape).astype(np.float32)
    np.testing.assert_allclose(
        np.vdot(weights, function(x, other)), np.vdot(dk, other), rtol=1e-3, atol=1e-3
    )


@given(cases())
def test_a_convolution_and_its_gradients(case):
    options, dilation, x, kernel = case
    kernel = kernel[:, : kernel.shape[1] // options["groups"]]
    function = functools.partial(conv1d, dilation=dilation, **options)
    expected = summed(x, kernel, dilation=dilation, **options)
    np.testing.assert_allclose(function(x, kernel), expected, rtol=1e-4, atol=1e-4)
    check_adjoint(function, x, kernel)


@pytest.mark.parametrize("length", [100, 40_000])
def test_short_and_long_signals_are_convolved_alike(length):
    random = np.random.RandomState(0)
    x = random.randn(1, length, 3).astype(np.float32)
    kernel = random.randn(3, 3, 2).astype(np.float32)
    expected = sum(x[:, 4 * tap : length - 8 + 4 * tap] @ kernel[tap] for tap in range(3))
    y, pull = jax.vjp(lambda x, kernel: conv1d(x, kernel, dilation=4), x, kernel)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    _, of_kernel = pull(jnp.ones_like(y))
    sums = [x[0, 4 * tap : length - 8 + 4 * tap].sum(axis=0) for tap in range(3)]
    np.testing.assert_allclose(of_kernel[..., 0], sums, atol=1e-3)


@given(cases())
def test_a_transposed_convolution_and_its_gradients(case):
    options, _, x, kernel = case
    kernel = kernel[..., : kernel.shape[2] // options["groups"]]
    function = functools.partial(conv_transpose1d, **options)
    np.testing.assert_allclose(
        function(x, kernel), transposed(x, kernel, **options), rtol=1e-4, atol=1e-4
    )
    check_adjoint(function, x, kernel)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_the_form_for_accelerators_is_the_same(groups):
    random = np.random.RandomState(0)
    x = jnp.asarray(random.randn(2, 20, 6), jnp.float32)
    for function, shape in (
        (functools.partial(conv1d, stride=3, groups=groups), (7, 6 // groups, 12)),
        (functools.partial(conv_transpose1d, stride=3, groups=groups), (7, 6, 6 // groups)),
    ):
        kernel = jnp.asarray(random.randn(*shape), jnp.float32)
        lowered = jax.jit(function).trace(x, kernel).lower(lowering_platforms=("cuda",))
        assert "stablehlo.convolution" in lowered.as_text()
    from vqvae_jax.layers.conv1d import _lax_transpose

    expected = transposed(np.asarray(x), np.asarray(kernel), stride=3, groups=groups)
    native = _lax_transpose(x, kernel, stride=3, groups=groups)
    np.testing.assert_allclose(native, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize("length", [3, 24, 25])
def test_padding_keeps_the_length_divided_by_the_stride(mode, length):
    numpy_mode = {"zeros": "constant", "reflect": "reflect", "replicate": "edge"}[mode]
    x = np.random.RandomState(0).randn(1, length, 1).astype(np.float32)
    for pad, left, right in ((causal, 6, 0), (centered, 3, 3)):
        more = -length % 4
        padded = pad(10, 4, mode)(jnp.asarray(x), 10, 4)
        assert padded.shape[1] == 10 - 4 + length + more
        if length > 6 or mode != "reflect":
            ends = ((0, 0), (left, right + more), (0, 0))
            np.testing.assert_array_equal(padded, np.pad(x, ends, numpy_mode))
        elif mode == "reflect":  # too short: just as many zeros come first, and are cut off again
            lacking = max(left, right + more) - length + 1
            longer = np.pad(x, ((0, 0), (0, lacking), (0, 0)))
            expected = np.pad(longer, ((0, 0), (left, right + more), (0, 0)), numpy_mode)
            np.testing.assert_array_equal(padded, expected[:, :-lacking])


@pytest.mark.parametrize("pad", [causal, centered])
def test_windows_that_leave_positions_out_are_refused(pad):
    with pytest.raises(ValueError, match="a window reaches over 2; it must be at least the stride"):
        pad(2, 4)


def pieces_of(layer, x, sizes):
    """The outputs of a layer for pieces of x, compiled once for each size of a piece."""
    graph, state = nnx.split(layer)
    step = jax.jit(lambda state, *given: nnx.merge(graph, state).step(*given))
    context, first, done, outputs = layer.start(len(x)), jnp.asarray(True), 0, []
    for size in sizes:
        y, context = step(state, x[:, done : done + size], context, first)
        outputs.append(y)
        first, done = jnp.asarray(False), done + size
    return jnp.concatenate(outputs, axis=1)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 3), (4, 1)])
def test_a_causal_convolution_in_pieces_is_that_of_the_whole(mode, stride, dilation):
    reach = 7 * dilation + 1
    layer = Conv1d(
        3,
        5,
        8,
        stride=stride,
        dilation=dilation,
        padding=causal(reach, stride, mode),
        rngs=nnx.Rngs(0),
    )
    x = jnp.asarray(np.random.RandomState(0).randn(2, 60, 3), jnp.float32)
    np.testing.assert_allclose(
        pieces_of(layer, x, (24, 24, 12)[: 3 if mode == "zeros" else 2]),
        layer(x)[:, : (60 if mode == "zeros" else 48) // stride],
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_causal_transposed_convolution_in_pieces_is_that_of_the_whole():
    layer = ConvTranspose1d(3, 5, 10, stride=4, cut=(0, 6), rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.RandomState(0).randn(2, 9, 3), jnp.float32)
    assert layer(x).shape == (2, 36, 5)
    np.testing.assert_allclose(pieces_of(layer, x, (1, 5, 3)), layer(x), rtol=1e-5, atol=1e-5)


def test_what_is_not_causal_is_not_streamed():
    padding = centered(3)
    with pytest.raises(ValueError, match="only a causal one"):
        Conv1d(1, 1, 3, padding=padding, rngs=nnx.Rngs(0)).start(1)
    with pytest.raises(ValueError, match="only one that cuts"):
        ConvTranspose1d(1, 1, 4, stride=2, cut=(1, 1), rngs=nnx.Rngs(0)).start(1)


def test_pieces_too_short_to_be_mirrored_are_refused():
    layer = Conv1d(1, 1, 7, padding=causal(7, 1, "reflect"), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="a piece has 6 positions"):
        layer.step(jnp.zeros((1, 6, 1)), layer.start(1), jnp.asarray(True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 2}, "groups is 2; it must divide"),
        ({"stride": 0}, "stride is 0"),
        ({"kernel_size": 0}, "kernel_size is 0"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Conv1d(3, 3, **{"kernel_size": 3, **options}, rngs=nnx.Rngs(0))


def test_an_unknown_padding_and_a_window_that_does_not_fit():
    with pytest.raises(ValueError, match="mode is 'wrap'; it must be one of zeros, reflect"):
        Padding(mode="wrap")
    with pytest.raises(ValueError, match="a window of 7 does not fit"):
        conv1d(jnp.zeros((1, 6, 1)), jnp.zeros((3, 1, 1)), dilation=3)
