"""The convolutions against XLA's own: values, derivatives of both modes, second derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.conftest import some_by_default
from vqvae_jax.layers import Conv, ConvTranspose, conv, conv_transpose, products, winograd
from vqvae_jax.layers.products import Windows

CHANNELS = st.sampled_from([1, 2, 7, 8, 16])  # matrix products change form from 8 on


def xla_conv(x, kernel, *, stride, padding):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


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


def by_form(form, x, kernel, *, stride, padding, output_padding=None):
    """A convolution, or a transposed one if there is an output_padding, by one form."""
    k, sizes = kernel.shape[0], x.shape[1:3]
    if output_padding is None:
        grid = tuple((size + 2 * padding - k) // stride + 1 for size in sizes)
        return form.gather(Windows(k, stride, padding, grid, sizes), x, kernel)
    image = tuple((size - 1) * stride + k + output_padding - 2 * padding for size in sizes)
    return form.scatter(Windows(k, stride, padding, sizes, image), x, kernel.swapaxes(2, 3))


filtered = functools.partial(by_form, winograd)


@st.composite
def cases(draw, transpose, taps=None):
    """Options, input and kernel of a convolution that has an output."""
    stride = draw(st.integers(1, 3))
    k = draw(st.integers(1, 5) if taps is None else taps) * (1 if taps is None else stride)
    options = {"stride": stride, "padding": draw(st.integers(0, k - 1))}
    if transpose:
        options["output_padding"] = draw(st.integers(0, stride - 1))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    smallest = min(height, width)
    if transpose:
        assume((smallest - 1) * stride + k + options["output_padding"] > 2 * options["padding"])
    else:
        assume(smallest + 2 * options["padding"] >= k)
    c_in, c_out = draw(CHANNELS), draw(CHANNELS)
    random = np.random.RandomState(draw(st.integers(0, 2**16)))
    x = jnp.asarray(random.randn(2, height, width, c_in), jnp.float32)
    kernel = jnp.asarray(random.randn(k, k, c_in, c_out), jnp.float32)
    return options, x, kernel


@functools.partial(jax.jit, static_argnums=0)
def gradients(function, x, kernel, weights):
    """The value, both gradients of its weighted sum, and the derivative in a direction."""
    y, pull = jax.vjp(function, x, kernel)
    return y, *pull(weights), jax.jvp(function, (x, kernel), (x[::-1], kernel[::-1]))[1]


@functools.partial(jax.jit, static_argnums=0)
def second_derivatives(function, x, kernel, weights):
    """Gradients of a function of both gradients."""

    def of_gradients(x, kernel):
        first = jax.grad(lambda x, w: jnp.vdot(weights, function(x, w) ** 2), (0, 1))(x, kernel)
        return sum(jnp.vdot(gradient, gradient) for gradient in first)

    return jax.grad(of_gradients, (0, 1))(x, kernel)


def assert_close(got, expected, rtol):
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * (np.abs(b).max() + 1e-30))


def assert_same_derivatives(ours, theirs, options, x, kernel):
    """In float32 to 1e-5; the second, whose conditioning is poor, in float64 to 1e-9."""
    ours, theirs = (functools.partial(function, **options) for function in (ours, theirs))
    shape = jax.eval_shape(theirs, x, kernel).shape
    weights = np.random.RandomState(0).randn(*shape)
    arguments = x, kernel, jnp.asarray(weights, jnp.float32)
    assert_close(gradients(ours, *arguments), gradients(theirs, *arguments), 1e-5)
    with jax.enable_x64(True):
        wide = [jnp.asarray(argument, jnp.float64) for argument in (x, kernel, weights)]
        assert_close(second_derivatives(ours, *wide), second_derivatives(theirs, *wide), 1e-9)


@given(case=cases(transpose=False))
def test_conv_is_xlas(case):
    assert_same_derivatives(conv, xla_conv, *case)


@given(case=cases(transpose=True))
def test_conv_transpose_is_xlas(case):
    assert_same_derivatives(conv_transpose, xla_conv_transpose, *case)


@pytest.mark.parametrize("transpose", some_by_default([False, True], [True]))
@given(data=st.data())
def test_filtering_is_the_product_form(transpose, data):
    """XLA's own convolutions crash in some second derivatives of these."""
    case = data.draw(cases(transpose, taps=st.integers(2, 3)))
    assert_same_derivatives(filtered, functools.partial(by_form, products), *case)


@pytest.mark.parametrize(
    ("size", "stride", "channels", "grid", "dtype", "pays"),
    [
        (3, 1, (16, 16), (8, 8), jnp.float32, True),
        (4, 2, (16, 64), (8, 8), jnp.float32, True),
        (3, 1, (16, 64), (7, 7), jnp.float64, True),
        (3, 2, (64, 64), (8, 8), jnp.float32, False),  # no whole taps
        (1, 1, (64, 64), (8, 8), jnp.float32, False),  # one tap
        (4, 1, (64, 64), (8, 8), jnp.float32, False),  # four taps
        (3, 1, (3, 64), (8, 8), jnp.float32, False),  # few channels
        (3, 1, (64, 3), (8, 8), jnp.float32, False),
        (3, 1, (64, 64), (1, 8), jnp.float32, False),  # half of each tile is lost
        (3, 1, (64, 64), (8, 8), jnp.bfloat16, False),  # sums round
        (3, 1, (64, 64), (8, 8), jnp.float16, False),
    ],
)
def test_filtering_where_it_pays(size, stride, channels, grid, dtype, pays):
    with jax.enable_x64(True):
        kernel = jnp.zeros((size, size, *channels), dtype)
    assert winograd.pays(Windows(size, stride, 1, grid, grid), kernel) is pays


@given(case=cases(transpose=False), data=st.data())
def test_conv_and_conv_transpose_are_adjoint(case, data):
    options, x, kernel = case
    rows, columns = (
        (size + 2 * options["padding"] - kernel.shape[0]) % options["stride"]
        for size in x.shape[1:3]
    )
    assume(rows == columns)

    @jax.jit
    def there_and_back(x, kernel):
        y, pull = jax.vjp(lambda x: conv(x, kernel, **options), x)
        back = conv_transpose(y, kernel.swapaxes(2, 3), **options, output_padding=rows)
        return back, pull(y)[0]

    back, expected = there_and_back(x, kernel)
    assert_close([back], [expected], 1e-5)


@pytest.mark.parametrize(
    "function",
    [
        functools.partial(conv, stride=2, padding=1),
        functools.partial(conv_transpose, stride=2, padding=1, output_padding=1),
    ],
)
class TestPlatforms:
    x, kernel = jnp.ones((1, 5, 5, 3)), jnp.ones((3, 3, 3, 9))

    @pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
    def test_convolutions_are_products_on_cpus_alone(self, function, platform):
        gradients = jax.jit(jax.grad(lambda x, w: jnp.sum(function(x, w) ** 2), (0, 1)))
        traced = gradients.trace(self.x, self.kernel)
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.convolution" in program) == (platform != "cpu")
        assert ("stablehlo.dot_general" in program) == (platform == "cpu")

    def test_the_form_of_other_platforms_is_the_same_function(
        self, function, monkeypatch, forget_compiled
    ):
        random = np.random.RandomState(0)
        x = jnp.asarray(random.randn(2, 5, 6, 3), jnp.float32)
        kernel = jnp.asarray(random.randn(3, 3, 3, 9), jnp.float32)
        weights = jnp.ones(function(x, kernel).shape)
        expected = gradients(function, x, kernel, weights)
        monkeypatch.setattr(jax.lax, "platform_dependent", lambda *x, cpu, default: default(*x))
        jax.clear_caches()
        program = gradients.lower(function, x, kernel, weights).as_text()
        assert "stablehlo.convolution" in program
        assert_close(gradients(function, x, kernel, weights), expected, 1e-5)


FORMS = {
    "conv": (
        functools.partial(conv, stride=2, padding=1),
        functools.partial(xla_conv, stride=2, padding=1),
    ),
    "conv_transpose": (
        functools.partial(conv_transpose, stride=2, padding=1, output_padding=1),
        functools.partial(xla_conv_transpose, stride=2, padding=1, output_padding=1),
    ),
    "filtered": (
        functools.partial(filtered, stride=1, padding=1),
        functools.partial(xla_conv, stride=1, padding=1),
    ),
    "filtered_transpose": (
        functools.partial(filtered, stride=1, padding=1, output_padding=0),
        functools.partial(xla_conv_transpose, stride=1, padding=1, output_padding=0),
    ),
}


def hessians(loss, x, kernel):
    """Products of the Hessian and a vector, forward over reverse and the other way, and all."""
    vector = jnp.cos(kernel)

    def slope(kernel):
        return jax.jvp(lambda kernel: loss(x, kernel), (kernel,), (vector,))[1]

    return (
        jax.jvp(jax.grad(loss, 1), (x, kernel), (x[::-1], vector))[1],
        jax.grad(slope)(kernel),
        jax.hessian(loss, 1)(x, kernel),
    )


def jacobians(loss, x, kernel):
    return jax.jacfwd(loss, (0, 1))(x, kernel), jax.linearize(loss, x, kernel)[1](x, kernel)


def mapped(loss, x, kernel):
    kernels = jnp.stack([kernel, kernel**2])
    each = jax.vmap(jax.value_and_grad(loss, (0, 1)), (None, 0))(x, kernels)
    return each, jax.vmap(jax.grad(loss, (0, 1)), (0, None))(x[:, None], kernel)


def scanned(loss, x, kernel):
    def step(kernel, x):
        value, gradient = jax.value_and_grad(loss, 1)(x, kernel)
        return kernel - 0.1 * gradient, value

    return jax.lax.scan(step, kernel, x[:, None])


def rematerialized(loss, x, kernel):
    again = jax.checkpoint(loss)
    return jax.grad(again, (0, 1))(x, kernel), jax.jvp(again, (x, kernel), (x, kernel))


def sharded(loss, x, kernel, *, check_vma):
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    whole, parts = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("batch")

    def on_one_device(x, kernel):
        if check_vma:
            kernel = jax.lax.pcast(kernel, "batch", to="varying")
        of_kernel = jax.grad(loss, 1)(x, kernel)
        along = jax.jvp(loss, (x, kernel), (x, kernel))[1]
        return jax.lax.psum((of_kernel, along), "batch")

    return jax.shard_map(
        on_one_device, mesh=mesh, in_specs=(parts, whole), out_specs=whole, check_vma=check_vma
    )(x, kernel)


@pytest.mark.slow
@pytest.mark.parametrize(
    "transformed",
    [
        hessians,
        jacobians,
        mapped,
        scanned,
        rematerialized,
        functools.partial(sharded, check_vma=True),
        functools.partial(sharded, check_vma=False),
    ],
    ids=["hessians", "jacobians", "vmap", "scan", "checkpoint", "shard_map", "shard_map unchecked"],
)
@pytest.mark.parametrize("form", FORMS)
def test_every_transformation_gives_what_xlas_form_gives(form, transformed):
    random = np.random.RandomState(0)
    x = jnp.asarray(random.randn(2, 3, 4, 2), jnp.float32)
    kernel = jnp.asarray(random.randn(3, 3, 2, 2), jnp.float32)
    results = [
        jax.jit(functools.partial(transformed, lambda x, w, f=f: jnp.sum(jnp.sin(f(x, w)))))(
            x, kernel
        )
        for f in FORMS[form]
    ]
    assert_close(*map(jax.tree.leaves, results), 1e-4)


@pytest.mark.parametrize("channels", [1, 8, 16])
def test_an_empty_batch_stays_empty(channels):
    x, kernel = jnp.ones((0, 5, 5, 16)), jnp.ones((3, 3, 16, channels))
    assert conv(x, kernel, padding=1).shape == (0, 5, 5, channels)
    y, pull = jax.vjp(lambda x, w: conv_transpose(x, w, padding=1), x, kernel)
    assert y.shape == (0, 5, 5, channels)
    assert not pull(y)[1].any()


def test_sizes_without_an_output_are_refused():
    with pytest.raises(ValueError, match="a window of 5 does not fit"):
        conv(jnp.ones((1, 4, 9, 1)), jnp.ones((5, 5, 1, 1)))
    with pytest.raises(ValueError, match="a kernel of 2 leaves no output"):
        conv_transpose(jnp.ones((1, 1, 9, 1)), jnp.ones((2, 2, 1, 1)), padding=1)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda rngs: Conv(0, 5, 3, rngs=rngs), "in_features is 0; it must be an integer of at"),
        (lambda rngs: Conv(2, -1, 3, rngs=rngs), "out_features is -1"),
        (lambda rngs: Conv(2, 5, 0, rngs=rngs), "kernel_size is 0"),
        (lambda rngs: Conv(2, 5, 3, stride=0, rngs=rngs), "stride is 0"),
        (lambda rngs: Conv(2, 5, 3, stride=True, rngs=rngs), "stride is True"),
        (lambda rngs: Conv(2, 5, 1.5, rngs=rngs), "kernel_size is 1.5"),
        (lambda rngs: ConvTranspose(2, 5, 3, padding=-1, rngs=rngs), "padding is -1"),
        (
            lambda rngs: ConvTranspose(2, 5, 3, stride=2, output_padding=2, rngs=rngs),
            "output_padding is 2; it must be below stride=2",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_named(layer, message):
    with pytest.raises(ValueError, match=message):
        layer(nnx.Rngs(0))


@pytest.mark.usefixtures("unchecked")
def test_integers_of_numpy_are_integers():
    layer = Conv(np.int64(2), np.uint8(5), np.int32(3), stride=np.int64(2), rngs=nnx.Rngs(0))
    assert layer(jnp.ones((1, 7, 9, 2))).shape == (1, 3, 4, 5)


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
