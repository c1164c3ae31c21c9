"""Every layer, model, head and prior under JAX's transformations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.conftest import drawn, some_by_default
from tests.priors.conftest import KINDS
from vqvae_jax import (
    FSQ,
    VQVAE,
    ArraySource,
    AutoregressiveHead,
    CategoricalHead,
    ColorMixtureHead,
    LogisticMixtureHead,
    VectorQuantizer,
    nll,
    sample_codes,
)
from vqvae_jax.layers import Conv, ConvTranspose
from vqvae_jax.metrics import Totals
from vqvae_jax.metrics.bits import bits_per_dim
from vqvae_jax.models import ResNetEncoder

BATCH = 4
random = np.random.RandomState(0)
IMAGES = (random.rand(BATCH, 8, 12, 3) - 0.5).astype(np.float32)
MAPS = random.randint(0, 4, (BATCH, 2, 3)).astype(np.int32)
PAIRS = random.randint(0, 4, (BATCH, 2, 3, 2)).astype(np.int32)
LABELS = np.array([0, 2, -1, 1], np.int32)
FEATURES = random.randn(BATCH, 3, 4, 5).astype(np.float32)
PIXELS = random.randint(0, 256, (BATCH, 3, 4, 3)).astype(np.uint8)

AUTOREGRESSIVE = functools.partial(AutoregressiveHead, hidden_dim=4, num_layers=1, size=3)
HEADS = {
    "categorical": CategoricalHead,
    "logistic mixture": functools.partial(LogisticMixtureHead, num_mixtures=2),
    "autoregressive": AUTOREGRESSIVE,
    "color mixture": functools.partial(ColorMixtureHead, num_mixtures=2),
}


def model(quantizer, head=None):
    def build():
        rngs = nnx.Rngs(0)
        made = None if head is None else head(5, 3, rngs=rngs)
        return VQVAE(3, 2, 9, 0.1, quantizer=quantizer(rngs), head=made, rngs=rngs)

    return drawn(build)


def fsq(rngs):
    return FSQ((3, 3))


def vector_quantizer(rngs):
    return VectorQuantizer(2, 9, rngs=rngs)


MODELS = {
    "FSQ": functools.partial(model, fsq),
    "VectorQuantizer": functools.partial(model, vector_quantizer),
    "FSQ, categorical": functools.partial(model, fsq, CategoricalHead),
    "FSQ, autoregressive": functools.partial(model, fsq, AUTOREGRESSIVE),
}


def prior(kind, **options):
    return drawn(lambda: KINDS[kind](4, **options, rngs=nnx.Rngs(0)))


# Of each: what builds a module, a loss of it and a batch, and the batch.
LOSSES = {
    "Conv": (
        lambda: Conv(3, 9, 3, stride=2, padding=1, rngs=nnx.Rngs(0)),
        lambda module, x: jnp.sum(jnp.sin(module(x))),
        (IMAGES,),
    ),
    "ConvTranspose": (
        lambda: ConvTranspose(3, 9, 3, stride=2, padding=1, rngs=nnx.Rngs(0)),
        lambda module, x: jnp.sum(jnp.sin(module(x))),
        (IMAGES,),
    ),
    **{
        name: (build, lambda module, x: module(x).loss, (IMAGES,)) for name, build in MODELS.items()
    },
    **{
        f"ResNetEncoder, {name}": (
            lambda normalize=normalize: ResNetEncoder(
                3, 4, width=6, num_blocks=1, downsampling=2, normalize=normalize, rngs=nnx.Rngs(0)
            ),
            lambda module, x: jnp.sum(jnp.sin(module(x))),
            (IMAGES,),
        )
        for name, normalize in (("ReLU", False), ("GroupNorm and swish", True))
    },
    "FSQ, masked": (
        MODELS["FSQ"],
        lambda module, x, codes: module(x, codes > 0).loss,
        (IMAGES, MAPS),
    ),
    **{
        name: (
            lambda head=head: drawn(lambda: head(5, 3, rngs=nnx.Rngs(0))),
            lambda module, *batch: jnp.sum(module.nll(*batch)),
            (FEATURES, PIXELS),
        )
        for name, head in HEADS.items()
    },
    **{
        f"{kind}, {case}": (functools.partial(prior, kind, **options), nll, batch)
        for kind in KINDS
        for case, options, batch in (
            ("classes", {"num_classes": 3}, (MAPS, LABELS)),
            ("two codebooks", {"num_codebooks": 2}, (PAIRS,)),
        )
    },
}

# Likewise, with a function in place of a loss.
FUNCTIONS = {
    **{
        f"{name}, call": (build, lambda module, x: module(x).reconstruction, (IMAGES,))
        for name, build in MODELS.items()
    },
    **{
        f"{name}, encode": (build, lambda module, x: module.encode(x), (IMAGES,))
        for name, build in list(MODELS.items())[:2]
    },
    "FSQ, decode": (MODELS["FSQ"], lambda module, codes: module.decode(codes), (MAPS,)),
    "FSQ, autoregressive, decode": (
        MODELS["FSQ, autoregressive"],
        lambda module, codes: module.decode(codes, key=jax.random.key(0)),
        (MAPS,),
    ),
    **{
        f"{name}, log_probs": (LOSSES[name][0], lambda module, *x: module.log_probs(*x), batch)
        for name, (_, _, batch) in list(LOSSES.items())
        if name in HEADS
    },
    **{
        f"{kind}, logits": (
            functools.partial(prior, kind, num_classes=3),
            lambda module, codes, labels: module(codes, labels),
            (MAPS, LABELS),
        )
        for kind in KINDS
    },
}


CASES = LOSSES | FUNCTIONS
SOME = ["VectorQuantizer", "transformer, two codebooks"]
of_some_losses = pytest.mark.parametrize("name", some_by_default(LOSSES, SOME))
of_some_cases = pytest.mark.parametrize("name", some_by_default(CASES, SOME))


def prepared(name):
    """The parameters, a function of them and of a batch, and the batch."""
    build, function, batch = CASES[name]
    graphdef, params, rest = nnx.split(build(), nnx.Param, ...)
    return params, lambda params, *x: function(nnx.merge(graphdef, params, rest), *x), batch


def dot(first, second):
    return sum(map(jnp.vdot, jax.tree.leaves(first), jax.tree.leaves(second)))


def along(function, params, *batch):
    """The value and its derivative in a direction, by forward mode; and the direction."""
    direction = jax.lax.stop_gradient(jax.tree.map(jnp.cos, params))
    return *jax.jvp(lambda params: function(params, *batch), (params,), (direction,)), direction


@pytest.mark.slow
@of_some_losses
def test_forward_mode_is_reverse_mode(name):
    params, loss, batch = prepared(name)

    @jax.jit
    def both(*given):
        _, slope, direction = along(loss, *given)
        return slope, dot(jax.grad(loss)(*given), direction)

    forward, reverse = both(params, *batch)
    assert forward != 0
    np.testing.assert_allclose(forward, reverse, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_products_of_the_hessian_are_the_same_both_ways(name):
    params, loss, batch = prepared(name)

    @jax.jit
    def both(*given):
        forward_over_reverse = along(jax.grad(loss), *given)[1]
        return forward_over_reverse, jax.grad(lambda *given: along(loss, *given)[1])(*given)

    first, second = both(params, *batch)
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(first))
    assert scale > 0
    for ours, theirs in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * scale)


def assert_close(got, expected):
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@of_some_cases
def test_exports_with_a_symbolic_batch(name):
    params, function, batch = prepared(name)
    (size,) = jax.export.symbolic_shape("b")
    types = [jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype) for x in batch]
    jitted = jax.jit(function)
    exported = jax.export.export(jitted, platforms=["cpu", "cuda", "tpu"])(params, *types)
    for length in (BATCH, 3):
        some = [x[:length] for x in batch]
        assert_close(exported.call(params, *some), jitted(params, *some))


@pytest.mark.slow
@pytest.mark.parametrize(
    "axis_type",
    [
        pytest.param(AxisType.Auto, marks=pytest.mark.slow, id="auto"),
        pytest.param(AxisType.Explicit, id="explicit"),
    ],
)
@of_some_cases
def test_a_batch_split_over_a_mesh_gives_the_same(name, axis_type):
    params, function, batch = prepared(name)
    if name in LOSSES:
        function = jax.value_and_grad(function)
    expected = jax.jit(function)(params, *batch)
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(axis_type,))
    whole, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ([], ["batch"]))
    got = jax.jit(function)(jax.device_put(params, whole), *jax.device_put(batch, split))
    assert_close(got, expected)
    if name not in LOSSES and axis_type == AxisType.Explicit:
        assert got.sharding.spec[0] == "batch"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_drawn_for_labels_on_an_explicit_mesh(kind):
    mesh = jax.make_mesh((2,), ("batch",))
    labels = jax.device_put(LABELS, NamedSharding(mesh, PartitionSpec("batch")))
    of_class = prior(kind, num_classes=3)
    expected, got = (
        sample_codes(of_class, BATCH, (2, 3), labels=given, key=jax.random.key(0), guidance=2.0)
        for given in (jnp.asarray(LABELS), labels)
    )
    np.testing.assert_array_equal(got, expected)


@of_some_losses
def test_of_an_empty_batch_the_loss_and_its_gradients_are_0(name):
    params, loss, batch = prepared(name)
    value, gradients = jax.jit(jax.value_and_grad(loss))(params, *[x[:0] for x in batch])
    assert value == 0
    for gradient in jax.tree.leaves(gradients):
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.slow
def test_of_an_empty_batch_the_functions_are_empty():
    for build, function, batch in FUNCTIONS.values():
        assert function(build(), *[jnp.asarray(x[:0]) for x in batch]).shape[0] == 0


def test_metrics_of_an_empty_batch_are_0():
    module = MODELS["FSQ"]()
    totals = Totals.of(module(jnp.asarray(IMAGES[:0])), module.quantizer)
    metrics = totals.averages()
    assert metrics.pop("perplexity") == 1
    assert set(metrics.values()) == {0}


def test_no_images_take_no_bits():
    pixels = np.zeros((0, 8, 12, 3), np.uint8)
    of_codes = drawn(lambda: KINDS["pixelcnn"](9, rngs=nnx.Rngs(0)))
    bits = bits_per_dim(
        MODELS["FSQ, categorical"](), of_codes, ArraySource({"image": pixels}), jax.devices()
    )
    assert (bits.total, bits.images) == (0, 0)
