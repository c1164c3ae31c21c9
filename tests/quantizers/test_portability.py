"""Every quantizer under strict types, of no vectors, in forward mode, exported, over meshes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.conftest import some_by_default
from tests.quantizers.test_contract import (
    DIM,
    KEY,
    QUANTIZERS,
    assert_same,
    each_way,
    pieces,
    vectors,
)
from vqvae_jax import (
    BSQ,
    LFQ,
    CosineVectorQuantizer,
    EMAVectorQuantizer,
    EntropyVectorQuantizer,
    GumbelQuantizer,
    ProductQuantizer,
    RandomProjectionQuantizer,
    VectorQuantizer,
)
from vqvae_jax.quantizers import perplexity


@each_way
@pytest.mark.parametrize("wide_parameters", some_by_default([False, True], [True]))
def test_types_are_never_promoted(name, wide_parameters):
    """Under strict promotion, which the tests run with, no types are mixed."""

    def everything(quantizer, z, mask, key):
        def loss(z):
            quantized = quantizer(z, mask, key=key)
            return quantized.loss + jnp.sum(quantized.values.astype(quantized.loss.dtype))

        jax.grad(loss)(z)
        quantizer.initialize(z, mask, key=KEY)
        quantized = quantizer(z, mask, key=key)
        quantizer.update(z, quantized.indices, key=KEY)
        quantizer.lookup(quantizer.encode(z, mask))
        return quantized.values

    narrow = QUANTIZERS[name]()
    with jax.enable_x64(True):
        quantizer = QUANTIZERS[name]() if wide_parameters else narrow
        before = nnx.state(quantizer)
        for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):
            z = jax.ShapeDtypeStruct((6, DIM), dtype)
            for mask in (None, jax.ShapeDtypeStruct((6,), jnp.bool_)):
                for key in (None, KEY):
                    assert nnx.eval_shape(everything, quantizer, z, mask, key).dtype == dtype
        for old, new in zip(
            jax.tree.leaves(before), jax.tree.leaves(nnx.state(quantizer)), strict=True
        ):
            assert old.dtype == new.dtype


@each_way
@pytest.mark.parametrize("shape", some_by_default([(0,), (2, 0)], [(2, 0)]))
def test_of_no_vectors_nothing_is_learnt(name, shape):
    its, z = pieces(name), vectors(*shape)
    for key in (None, KEY):
        (_, quantized), gradients = its.step(its.params, z, its.rest, None, key)
        assert quantized.values.shape == z.shape
        assert quantized.loss == 0
        assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradients))
        for loss in (quantized.codebook_loss, quantized.commitment_loss, quantized.entropy_loss):
            assert loss == 0
    assert its.encode(its.state, z, None).shape == quantized.indices.shape
    assert its.lookup(its.state, quantized.indices).shape[:-1] == z.shape[:-1]
    counts = its.quantizer.code_counts(quantized.indices)
    assert not counts.any()
    if counts.ndim == 1:
        assert perplexity(counts) == 1
    assert_same(its.update(its.state, z, quantized.indices, key=KEY), its.state, rtol=0)
    assert_same(its.initialize(its.state, z, key=KEY), its.state, rtol=0)


@each_way
@pytest.mark.parametrize("mode", some_by_default(["evaluation", "training"], ["training"]))
def test_forward_mode_is_reverse_mode(name, mode):
    """The derivatives of the objective and of its gradient: products of the Hessian."""
    its, z, key = pieces(name), vectors(6), KEY if mode == "training" else None
    at = (its.params, z)
    direction = jax.tree.map(jnp.cos, at)

    def objective(at):
        quantized = its.call((at[0], its.rest), at[1], None, key)
        return quantized.loss + jnp.sum(quantized.values**3)

    def slope(at):
        return jax.jvp(objective, (at,), (direction,))[1]

    @jax.jit
    def both_ways(at):
        gradient, forward_over_reverse = jax.jvp(jax.grad(objective), (at,), (direction,))
        along = sum(map(jnp.vdot, jax.tree.leaves(gradient), jax.tree.leaves(direction)))
        return (slope(at), forward_over_reverse), (along, jax.grad(slope)(at))

    forward, reverse = both_ways(at)
    for ours, theirs in zip(jax.tree.leaves(forward), jax.tree.leaves(reverse), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LFQ(9, temperature=0.01),
        lambda: BSQ(9, temperature=0.01, bits_together=None),
        lambda: EntropyVectorQuantizer(9, 64, temperature=0.1, rngs=nnx.Rngs(0)),
    ],
    ids=["lfq", "bsq", "entropy"],
)
def test_entropies_of_sharp_assignments_have_second_derivatives(make):
    quantizer, z = make(), jnp.asarray(np.random.RandomState(0).randn(64, 9), jnp.float32)
    gradient = jax.grad(lambda z: quantizer(z).loss)
    product = jax.jit(lambda z: jax.jvp(gradient, (z,), (jnp.ones_like(z),))[1])(z)
    assert np.all(np.isfinite(product))


@pytest.mark.usefixtures("unchecked")
def test_arguments_of_numpys_types_are_pythons():
    eight = np.int8(8)
    assert LFQ(eight).num_embeddings == 256
    long = np.int8(100)
    both = ProductQuantizer([VectorQuantizer(long, eight, rngs=nnx.Rngs(0)) for _ in range(2)])
    assert both.embedding_dim == 200
    labels = RandomProjectionQuantizer(long, eight, long, rngs=nnx.Rngs(0))
    assert np.all(np.isfinite(labels.projection[...]))
    half = np.float64(0.5)
    quantizers = [
        EntropyVectorQuantizer(4, 8, temperature=half, entropy_cost=half, rngs=nnx.Rngs(0)),
        LFQ(4, half, temperature=half, entropy_cost=half, diversity=half),
        GumbelQuantizer(4, 8, temperature=half, kl_cost=half, rngs=nnx.Rngs(0)),
        EMAVectorQuantizer(4, 8, half, decay=half, epsilon=half, rngs=nnx.Rngs(0)),
    ]
    with jax.enable_x64(True):
        z = jax.ShapeDtypeStruct((6, 4), jnp.float32)
        for quantizer in quantizers:
            quantized = nnx.eval_shape(lambda q, z: q(z, key=KEY), quantizer, z)
            assert quantized.loss.dtype == jnp.float32


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_directions_of_vectors_of_any_length(size):
    z = vectors(50)
    for make in (lambda: BSQ(DIM), lambda: CosineVectorQuantizer(DIM, 8, rngs=nnx.Rngs(0))):
        quantizer = make()
        np.testing.assert_array_equal(quantizer.encode(size * z), quantizer.encode(z))
        np.testing.assert_array_equal(quantizer(size * z).indices, quantizer.encode(z))


def exported(function, *structs):
    """A function as it comes out of an export for all platforms, compiled."""
    export_it = export.export(jax.jit(function), platforms=("cpu", "cuda", "tpu"))
    return jax.jit(export_it(*structs).call)


def indices_struct(quantizer, shape):
    books = () if quantizer.num_codebooks is None else (quantizer.num_codebooks,)
    return jax.ShapeDtypeStruct((*shape, *books), jnp.int32)


@pytest.mark.slow
@each_way
def test_exported_for_any_batch_gives_the_same(name):
    its = pieces(name)
    *shape, _ = export.symbolic_shape(f"b, 7, {DIM}")
    z = jax.ShapeDtypeStruct((*shape, DIM), jnp.float32)

    def call(z):
        quantized = its.call(its.state, z, None, None)
        return quantized.values, quantized.indices, quantized.loss

    def encode(z):
        return its.encode(its.state, z, None)

    def lookup(indices):
        return its.lookup(its.state, indices)

    calls = [
        (exported(function, struct), function)
        for function, struct in (
            (call, z), (encode, z), (lookup, indices_struct(its.quantizer, shape))
        )
    ]  # fmt: skip
    for size in (1, 3):
        given = vectors(size, 7, seed=size)
        for inputs, (ours, theirs) in zip((given, given, encode(given)), calls, strict=True):
            assert_same(ours(inputs), theirs(inputs), rtol=1e-5, atol=1e-6)


@each_way
@pytest.mark.parametrize(
    "axis_type", some_by_default([AxisType.Auto, AxisType.Explicit], [AxisType.Explicit])
)
def test_over_a_mesh_nothing_changes(name, axis_type):
    its, z = pieces(name), vectors(8, 3)
    mesh = jax.make_mesh((4,), ("data",), (axis_type,), devices=jax.devices()[:4])
    state = its.initialize(its.state, z, key=KEY)
    (_, one), gradients = its.step(state[0], z, state[1], None, KEY)
    updated = its.update(state, z, one.indices, key=KEY)
    with jax.set_mesh(mesh):
        whole = NamedSharding(mesh, PartitionSpec())
        spread = jax.device_put(z, NamedSharding(mesh, PartitionSpec("data")))
        before, key = jax.device_put((its.state, KEY), whole)
        params, rest = its.initialize(before, spread, key=key)
        assert_same((params, rest), state, rtol=1e-5, atol=1e-6)
        (_, four), four_gradients = its.step(params, spread, rest, None, key)
        four_updated = its.update((params, rest), spread, four.indices, key=key)
        encoded = its.encode((params, rest), spread, None)
        looked_up = its.lookup((params, rest), encoded)
        counts = jax.jit(its.quantizer.code_counts)(encoded)
        assert len(four.values.sharding.device_set) == 4
    np.testing.assert_array_equal(four.indices, one.indices)
    assert_same(four, one, rtol=1e-5, atol=1e-6)
    assert_same(four_gradients, gradients, rtol=1e-4, atol=1e-5)
    assert_same(four_updated, updated, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(encoded, its.encode(state, z, None))
    np.testing.assert_allclose(looked_up, its.lookup(state, encoded), rtol=1e-6)
    np.testing.assert_array_equal(counts, its.quantizer.code_counts(jnp.array(np.array(encoded))))
