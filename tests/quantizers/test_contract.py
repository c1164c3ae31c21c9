"""The contract that every quantizer keeps; each test runs over all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vqvae_jax.quantizers import VectorQuantizer

DIM = 4
QUANTIZERS = {
    "vector": lambda: VectorQuantizer(DIM, 11, rngs=nnx.Rngs(0)),
    "vector_one_code": lambda: VectorQuantizer(DIM, 1, rngs=nnx.Rngs(0)),
}


@pytest.fixture(params=QUANTIZERS)
def quantizer(request):
    return QUANTIZERS[request.param]()


def vectors(*shape, seed=0):
    return jnp.asarray(np.random.RandomState(seed).randn(*shape, DIM).astype(np.float32))


def assert_same(left, right, **tolerance):
    for ours, theirs in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(ours, theirs, **tolerance)


@pytest.mark.parametrize("name", QUANTIZERS)
@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=3).map(tuple),
    seed=st.integers(0, 2**16),
)
def test_values_are_the_codes(name, shape, seed):
    quantizer = QUANTIZERS[name]()
    quantized = quantizer(vectors(*shape, seed=seed))
    assert quantized.values.shape == (*shape, DIM)
    assert quantized.indices.shape == shape
    assert quantized.indices.dtype == jnp.int32
    assert 0 <= quantized.indices.min() <= quantized.indices.max() < quantizer.num_embeddings
    np.testing.assert_array_equal(quantized.values, quantizer.lookup(quantized.indices))
    for scalar in (quantized.codebook_loss, quantized.commitment_loss, quantized.loss):
        assert scalar.shape == ()
        assert scalar >= 0


def test_every_code_survives_the_round_trip(quantizer):
    codes = jnp.arange(quantizer.num_embeddings)
    np.testing.assert_array_equal(quantizer(quantizer.lookup(codes)).indices, codes)


def test_jit_changes_nothing(quantizer):
    z = vectors(3, 5)
    graphdef, state = nnx.split(quantizer)
    jitted = jax.jit(lambda state, z: nnx.merge(graphdef, state)(z))(state, z)
    assert_same(jitted, quantizer(z), rtol=1e-6)


def test_vmap_changes_nothing(quantizer):
    z = vectors(3, 5)
    mapped = jax.vmap(quantizer)(z)
    whole = quantizer(z)
    np.testing.assert_array_equal(mapped.indices, whole.indices)
    np.testing.assert_array_equal(mapped.values, whole.values)
    np.testing.assert_allclose(jnp.mean(mapped.loss), whole.loss, rtol=1e-6)


def test_four_devices_change_nothing(quantizer):
    z = vectors(8, 3)
    graphdef, state = nnx.split(quantizer)

    def loss(state, z):
        quantized = nnx.merge(graphdef, state)(z)
        return quantized.loss + jnp.sum(quantized.values**3), quantized

    step = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    spread = jax.device_put(z, NamedSharding(mesh, PartitionSpec("data")))
    assert len(spread.sharding.device_set) == 4
    replicated = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    assert_same(step(replicated, spread), step(state, z), rtol=1e-5, atol=1e-7)


def test_evaluation_changes_no_state(quantizer):
    before = jax.tree.map(np.array, nnx.state(quantizer))
    quantizer(vectors(6))
    assert_same(nnx.state(quantizer), before, rtol=0)


@given(seed=st.integers(0, 2**16))
@pytest.mark.parametrize("name", QUANTIZERS)
def test_masked_positions_are_as_if_cut_off(name, seed):
    random = np.random.RandomState(seed)
    mask = random.rand(3, 5) < 0.6
    z = np.array(vectors(3, 5, seed=seed))
    z[~mask] = random.choice([np.nan, np.inf, 1e30])
    graphdef, state = nnx.split(QUANTIZERS[name]())

    def run(state, z, mask):
        quantized = nnx.merge(graphdef, state)(z, mask)
        return quantized.loss + jnp.sum(quantized.values**2), quantized

    step = jax.value_and_grad(run, (0, 1), has_aux=True)
    (total, masked), (to_state, to_z) = step(state, jnp.asarray(z), jnp.asarray(mask))
    np.testing.assert_array_equal(masked.indices[~mask], -1)
    np.testing.assert_array_equal(masked.values[~mask], 0)
    np.testing.assert_array_equal(to_z[~mask], 0)
    np.testing.assert_array_equal(masked.values, nnx.merge(graphdef, state).lookup(masked.indices))
    if mask.any():
        kept = jnp.asarray(z[mask])
        (cut_total, cut), (cut_to_state, cut_to_z) = step(state, kept, None)
        np.testing.assert_array_equal(masked.indices[mask], cut.indices)
        np.testing.assert_array_equal(masked.values[mask], cut.values)
        np.testing.assert_allclose(total, cut_total, rtol=1e-5)
        np.testing.assert_allclose(to_z[mask], cut_to_z, rtol=1e-5)
        assert_same(to_state, cut_to_state, rtol=1e-5, atol=1e-6)
    else:
        assert masked.loss == 0


def test_bfloat16_is_searched_in_float32(quantizer):
    z = vectors(50).astype(jnp.bfloat16)
    quantized, wide = quantizer(z), quantizer(z.astype(jnp.float32))
    assert quantized.values.dtype == jnp.bfloat16
    assert quantized.loss.dtype == jnp.float32
    np.testing.assert_array_equal(quantized.indices, wide.indices)
    np.testing.assert_array_equal(quantized.loss, wide.loss)
    np.testing.assert_array_equal(quantized.values, wide.values.astype(jnp.bfloat16))


@pytest.mark.usefixtures("unchecked")
def test_wrong_input_is_named(quantizer):
    with pytest.raises(ValueError, match=r"z has shape \(3, 5\); its last axis must be .* 4"):
        quantizer(jnp.zeros((3, 5)))
    with pytest.raises(ValueError, match=r"z has type int32; it must be floating"):
        quantizer(jnp.zeros((3, DIM), jnp.int32))
    with pytest.raises(ValueError, match=r"mask has shape \(2,\); it must be z's, \(3,\)"):
        quantizer(jnp.zeros((3, DIM)), jnp.ones(2, bool))
    with pytest.raises(ValueError, match=r"mask has type int32; it must be bool"):
        quantizer(jnp.zeros((3, DIM)), jnp.ones(3, jnp.int32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 8), "embedding_dim is 0; it must be an integer of at least 1"),
        ((4, -1), "num_embeddings is -1"),
        ((4, 8, float("nan")), "commitment_cost is nan; it must be a finite number of at least 0"),
        ((4, 8, -0.1), "commitment_cost is -0.1"),
    ],
)
def test_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        VectorQuantizer(*arguments, rngs=nnx.Rngs(0))
