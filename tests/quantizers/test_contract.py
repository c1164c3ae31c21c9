"""The contract that every quantizer keeps; each test runs over all of them."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import vqvae_jax
from tests.conftest import promoting, some_by_default
from vqvae_jax import (
    BSQ,
    FSQ,
    IBQ,
    LFQ,
    CategoricalQuantizer,
    CosineVectorQuantizer,
    DirectionalVectorQuantizer,
    EMACosineVectorQuantizer,
    EMASampledVectorQuantizer,
    EMAVectorQuantizer,
    EntropyCosineVectorQuantizer,
    EntropyVectorQuantizer,
    GroupedResidualVQ,
    GumbelQuantizer,
    LaplaceEMACosineVectorQuantizer,
    LaplaceEMAVectorQuantizer,
    OrthogonalVectorQuantizer,
    ParallelQuantizer,
    PooledQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantizer,
    RandomProjectionQuantizer,
    ResidualVQ,
    SampledVectorQuantizer,
    SimVQ,
    SymmetricFSQ,
    VectorQuantizer,
    diveq,
    nsvq,
    rotation_trick,
)

# Some tests update what was never initialized.
pytestmark = pytest.mark.filterwarnings("ignore:a quantizer with kmeans_init")

DIM, CODES = 4, 11
ALIVE = {"revival_threshold": 0.3, "kmeans_init": True}
MOVES_CODES = {"commitment_cost": 0.0, "codebook_cost": 0.0}


def several(make, count, dim=DIM, **options):
    return [make(dim, CODES, rngs=nnx.Rngs(seed), **options) for seed in range(count)]


def of(make, dim=DIM, **options):
    return lambda: make(dim, CODES, rngs=nnx.Rngs(0), **options)


QUANTIZERS = {
    "vector": of(VectorQuantizer),
    "vector_alive": of(VectorQuantizer, **ALIVE),
    "nsvq": of(VectorQuantizer, estimator=nsvq, **MOVES_CODES),
    "diveq": of(VectorQuantizer, estimator=diveq, **MOVES_CODES),
    "ema": of(EMAVectorQuantizer),
    "ema_alive": of(EMAVectorQuantizer, **ALIVE),
    "ema_cosine": of(EMACosineVectorQuantizer, **ALIVE),
    "ema_sampled": of(EMASampledVectorQuantizer, temperature=0.5),
    "laplace_alive": of(LaplaceEMAVectorQuantizer, **ALIVE),
    "laplace_cosine": of(LaplaceEMACosineVectorQuantizer, **ALIVE),
    "cosine": of(CosineVectorQuantizer, **ALIVE),
    "sampled": of(SampledVectorQuantizer, temperature=0.5),
    "entropy": of(EntropyVectorQuantizer),
    "entropy_cosine": of(EntropyCosineVectorQuantizer),
    "ibq": of(IBQ),
    "orthogonal": of(OrthogonalVectorQuantizer),
    "simvq": of(SimVQ),
    "fsq": lambda: FSQ((5, 4, 3, 2)),
    "symmetric_fsq": lambda: SymmetricFSQ((5, 4, 3, 2)),
    "lfq": lambda: LFQ(DIM),
    "lfq_big": lambda: LFQ(DIM, bit_order="big"),
    "bsq": lambda: BSQ(DIM),
    "gumbel": of(GumbelQuantizer),
    "categorical": lambda: CategoricalQuantizer(DIM),
    "projected": lambda: ProjectedQuantizer(
        of(CosineVectorQuantizer, dim=2)(), DIM, rngs=nnx.Rngs(1)
    ),
    "residual": lambda: ResidualVQ(several(VectorQuantizer, 3)),
    "residual_shared": lambda: ResidualVQ(several(EMAVectorQuantizer, 1), num_quantizers=3),
    "residual_dropout": lambda: ResidualVQ(several(VectorQuantizer, 3), quantize_dropout=True),
    "residual_fsq": lambda: ResidualVQ([FSQ((5, 4, 3, 3)) for _ in range(3)]),
    "residual_lfq": lambda: ResidualVQ([LFQ(DIM)], num_quantizers=3),
    "residual_sizes": lambda: ResidualVQ(
        [VectorQuantizer(DIM, size, rngs=nnx.Rngs(size)) for size in (7, CODES)]
    ),
    "residual_rotated": lambda: ResidualVQ(several(SimVQ, 2), estimator=rotation_trick),
    "residual_gumbel": lambda: ResidualVQ(several(GumbelQuantizer, 2)),
    "residual_diveq": lambda: ResidualVQ(
        several(VectorQuantizer, 2, estimator=diveq, **MOVES_CODES)
    ),
    "grouped_residual": lambda: GroupedResidualVQ(
        [ResidualVQ(several(VectorQuantizer, 2, dim=2)) for _ in range(2)]
    ),
    "product": lambda: ProductQuantizer(
        [*several(EMAVectorQuantizer, 1, dim=1), *several(VectorQuantizer, 1, dim=3)]
    ),
    "directional": of(DirectionalVectorQuantizer),
    "parallel": lambda: ParallelQuantizer(
        [
            ResidualVQ(several(VectorQuantizer, 2)),
            ProjectedQuantizer(
                ResidualVQ(several(VectorQuantizer, 1, dim=2)),
                DIM,
                use_bias=False,
                rngs=nnx.Rngs(1),
            ),
        ]
    ),
    "residual_pooled": lambda: ResidualVQ(
        [PooledQuantizer(quantizer, 1) for quantizer in several(VectorQuantizer, 2)]
    ),
    "random_projection": of(RandomProjectionQuantizer),
    "random_projections": of(
        RandomProjectionQuantizer, codebook_dim=2, num_codebooks=2, normalize=True
    ),
}
ABSTRACT = {name: nnx.eval_shape(make) for name, make in QUANTIZERS.items()}
# Whose training values are others by definition: noise, soft or drawn codes, dropped quantizers.
RANDOM = {name for name, quantizer in ABSTRACT.items() if not quantizer.per_token} - {
    "entropy", "entropy_cosine", "ibq", "lfq", "lfq_big", "bsq", "residual_lfq"
}  # fmt: skip
# To compile all of them takes many minutes. By default those run that most others are made of; of
# some tests, one with a codebook that is searched and learns, and one without.
PARTS = {"vector", "ema_alive", "cosine", "fsq", "lfq", "gumbel", "projected", "residual"}
WAYS = {"ema_alive", "fsq"}
every = pytest.mark.parametrize("name", some_by_default(QUANTIZERS, PARTS))
each_way = pytest.mark.parametrize("name", some_by_default(QUANTIZERS, WAYS))
seeds = st.integers(0, 2**16)
few = hypothesis.settings(max_examples=3)


class Pieces:
    """A quantizer taken apart, and its methods as compiled functions of the parts."""

    def __init__(self, name):
        self.quantizer = QUANTIZERS[name]()
        self.graphdef, self.params, self.rest = nnx.split(self.quantizer, nnx.Param, ...)
        self.state = (self.params, self.rest)
        # Of z, with respect to the parameters and z: ((objective, quantized), gradients).
        self.step = jax.jit(jax.value_and_grad(self._objective, (0, 1), has_aux=True))
        self.call = jax.jit(lambda state, *inputs: self._call(*state, *inputs))
        self.encode = jax.jit(lambda state, z, mask: self._merged(*state).encode(z, mask))
        self.lookup = jax.jit(lambda state, indices: self._merged(*state).lookup(indices))
        self.update = jax.jit(functools.partial(self._changed, "update"))
        self.initialize = jax.jit(functools.partial(self._changed, "initialize"))

    def _merged(self, params, rest):
        return nnx.merge(self.graphdef, params, rest)

    def _call(self, params, rest, z, mask, key):
        return self._merged(params, rest)(z, mask, key=key)

    def _objective(self, params, z, rest, mask, key):
        quantized = self._call(params, rest, z, mask, key)
        return quantized.loss + jnp.sum(quantized.values**3), quantized

    def _changed(self, method, state, *inputs, key):
        quantizer = self._merged(*state)
        getattr(quantizer, method)(*inputs, key=key)
        return tuple(nnx.split(quantizer, nnx.Param, ...)[1:])

    def trained(self):
        """The state after an initialisation and a few updates."""
        state = self.initialize(self.state, vectors(3, 5, seed=100), key=KEY)
        for seed in range(3):
            z = vectors(3, 5, seed=seed)
            indices = self.call(state, z, None, None).indices
            state = self.update(state, z, indices, key=jax.random.key(seed))
        return state


KEY = jax.random.key(0)
pieces = functools.cache(Pieces)


def vectors(*shape, seed=0):
    return jnp.asarray(np.random.RandomState(seed).randn(*shape, DIM).astype(np.float32))


def assert_same(left, right, **tolerance):
    for ours, theirs in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(ours, theirs, **tolerance)


def test_all_quantizers_are_here():
    """Every class of the library is in the table above, alone or inside another."""
    classes = {
        value
        for value in [*vars(vqvae_jax).values()]
        if isinstance(value, type) and issubclass(value, Quantizer) and value is not Quantizer
    }
    tried = {type(node) for one in ABSTRACT.values() for _, node in nnx.iter_graph(one)}
    assert classes <= tried


@every
@pytest.mark.parametrize(
    "shape", [(3, 5), *(pytest.param(shape, marks=pytest.mark.slow) for shape in ((), (2, 1, 4)))]
)
def test_values_are_the_codes(name, shape):
    its = pieces(name)
    quantizer, z = its.quantizer, vectors(*shape)
    quantized = its.call(its.state, z, None, None)
    books = () if quantizer.num_codebooks is None else (quantizer.num_codebooks,)
    assert quantized.values.shape == z.shape
    assert quantized.values.dtype == z.dtype
    assert quantized.indices.shape == (*shape, *books)
    assert quantized.indices.dtype == jnp.int32
    assert 0 <= quantized.indices.min() <= quantized.indices.max() < quantizer.num_embeddings
    np.testing.assert_array_equal(quantized.values, its.lookup(its.state, quantized.indices))
    np.testing.assert_array_equal(quantized.indices, its.encode(its.state, z, None))
    for scalar in ("codebook_loss", "commitment_loss", "entropy_loss", "loss"):
        assert getattr(quantized, scalar).shape == ()
        assert np.isfinite(getattr(quantized, scalar))
    assert quantized.codebook_loss >= 0
    assert quantized.commitment_loss >= 0


@each_way
def test_counts_and_bits(name):
    its = pieces(name)
    indices = its.call(its.state, vectors(3, 5), None, None).indices
    books = its.quantizer.num_codebooks
    rows = indices.reshape(15, -1)
    expected = [np.bincount(column, minlength=its.quantizer.num_embeddings) for column in rows.T]
    counts = its.quantizer.code_counts(indices)
    np.testing.assert_array_equal(counts, expected[0] if books is None else expected)
    assert its.quantizer.num_codes == sum(its.quantizer.codebook_sizes)
    np.testing.assert_allclose(its.quantizer.bits, np.sum(np.log2(its.quantizer.codebook_sizes)))
    used = np.asarray(its.quantizer.perplexity(counts))
    assert used.shape == (() if books is None else (books,))
    assert np.all((used >= 1) & (used <= np.array(its.quantizer.codebook_sizes)))


@pytest.mark.parametrize("name", ["vector", "ema", "cosine", "simvq", "lfq", "bsq", "product"])
def test_every_code_survives_the_round_trip(name):
    its = pieces(name)
    books = its.quantizer.num_codebooks or 1
    axes = np.meshgrid(*[np.arange(its.quantizer.num_embeddings)] * books)
    codes = jnp.asarray(np.stack([axis.ravel() for axis in axes], axis=-1), jnp.int32)
    codes = codes[:, 0] if its.quantizer.num_codebooks is None else codes
    again = its.encode(its.state, its.lookup(its.state, codes), None)
    np.testing.assert_array_equal(again, codes)


@each_way
@pytest.mark.usefixtures("unchecked")
def test_ranks_are_checked(name):
    quantizer = QUANTIZERS[name]()
    books = quantizer.num_codebooks
    shape = (quantizer.num_embeddings,) if books is None else (books, quantizer.num_embeddings)
    for wrong in [(3, *shape), (*shape[:-1], shape[-1] + 1)]:
        with pytest.raises(
            ValueError, match=r"counts have shape .*; as code_counts gives them it is"
        ):
            quantizer.perplexity(jnp.ones(wrong, jnp.int32))
    if books is not None:
        for wrong in [(), (5, books + 1)]:
            with pytest.raises(ValueError, match="last axis must be"):
                quantizer.code_counts(jnp.zeros(wrong, jnp.int32))
        with pytest.raises(ValueError, match="their last axis must be that of the codebooks"):
            quantizer.lookup(jnp.zeros((), jnp.int32))


@every
def test_lookup_knows_what_is_no_code(name):
    its = pieces(name)
    books = its.quantizer.num_codebooks
    shape = (2,) if books is None else (2, books)
    masked = its.lookup(its.state, jnp.full(shape, -1, jnp.int32))
    np.testing.assert_array_equal(masked, 0)
    beyond = its.lookup(its.state, jnp.full(shape, its.quantizer.num_embeddings, jnp.int32))
    assert np.isnan(beyond).all()


@every
def test_training_values_are_those_of_evaluation(name):
    its, z = pieces(name), vectors(3, 5)
    evaluated, in_training = (its.call(its.state, z, None, key) for key in (None, KEY))
    if name in RANDOM:
        assert np.any(evaluated.values != in_training.values)
    else:
        np.testing.assert_array_equal(in_training.indices, evaluated.indices)
        assert_same(in_training, evaluated, rtol=1e-6)


@every
def test_a_key_decides_all_that_is_random(name):
    its, z = pieces(name), vectors(3, 5)
    once, again, other = (its.call(its.state, z, None, jax.random.key(seed)) for seed in (3, 3, 4))
    assert_same(once, again, rtol=0)
    if name in RANDOM:
        assert np.any(other.values != once.values)


@each_way
def test_jit_changes_nothing(name):
    its, z = pieces(name), vectors(3, 5)
    key = KEY if name in RANDOM else None
    jitted, eager = its.call(its.state, z, None, key), its.quantizer(z, key=key)
    np.testing.assert_array_equal(jitted.indices, eager.indices)
    assert_same(jitted, eager, rtol=1e-5, atol=1e-6)


@each_way
def test_vmap_changes_nothing(name):
    its, z = pieces(name), vectors(3, 5)
    call = jax.jit(jax.vmap(lambda z: its.call(its.state, z, None, None)))
    mapped, whole = call(z), its.call(its.state, z, None, None)
    np.testing.assert_array_equal(mapped.indices, whole.indices)
    np.testing.assert_allclose(mapped.values, whole.values, rtol=1e-6)
    np.testing.assert_allclose(jnp.mean(mapped.commitment_loss), whole.commitment_loss, rtol=1e-5)
    if its.quantizer.per_token:
        np.testing.assert_allclose(jnp.mean(mapped.loss), whole.loss, rtol=1e-5)


@each_way
def test_four_devices_change_nothing(name):
    """Neither values, losses and gradients in training, nor what the update makes of them."""
    its, z = pieces(name), vectors(8, 3)
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    spread = jax.device_put(z, NamedSharding(mesh, PartitionSpec("data")))
    assert len(spread.sharding.device_set) == 4
    params, rest, key = jax.device_put((*its.state, KEY), NamedSharding(mesh, PartitionSpec()))
    (_, one), gradients = its.step(its.params, z, its.rest, None, KEY)
    (_, four), four_gradients = its.step(params, spread, rest, None, key)
    np.testing.assert_array_equal(one.indices, four.indices)
    assert_same(four, one, rtol=1e-5, atol=1e-6)
    assert_same(four_gradients, gradients, rtol=1e-4, atol=1e-5)
    if its.quantizer.has_updates:
        updated = its.update(its.state, z, one.indices, key=KEY)
        spread_updated = its.update((params, rest), spread, four.indices, key=key)
        assert_same(spread_updated, updated, rtol=1e-5, atol=1e-6)


@each_way
def test_evaluation_changes_no_state_and_only_updates_do(name):
    quantizer, z = QUANTIZERS[name](), vectors(3, 5)
    before = jax.tree.map(np.array, nnx.state(quantizer))

    @nnx.jit  # which hands on what a method writes to the module
    def evaluate(quantizer):
        quantizer(z)
        quantizer(z, key=KEY)
        return quantizer.encode(z)

    indices = evaluate(quantizer)
    assert_same(nnx.state(quantizer), before, rtol=0)
    nnx.jit(lambda quantizer: quantizer.update(z, indices, key=KEY))(quantizer)
    pairs = zip(jax.tree.leaves(nnx.state(quantizer)), jax.tree.leaves(before), strict=True)
    assert any(np.any(new != old) for new, old in pairs) == quantizer.has_updates


@every
def test_gradient_accumulation_gives_the_same_statistics(name):
    """Two half batches, quantized apart, make the update of the whole one."""
    its, z = pieces(name), vectors(6, 5)
    if not its.quantizer.has_updates:
        pytest.skip("has no statistics")
    halves = [its.encode(its.state, half, None) for half in (z[:3], z[3:])]
    one = its.update(its.state, z, its.encode(its.state, z, None), key=KEY)
    two = its.update(its.state, z, jnp.concatenate(halves), key=KEY)
    assert_same(two, one, rtol=0)


@each_way
def test_saved_and_restored_takes_the_same_next_step(name, tmp_path):
    its = pieces(name)
    state = its.trained()
    np.savez(tmp_path / "state.npz", *map(np.asarray, jax.tree.leaves(state)))
    with np.load(tmp_path / "state.npz") as saved:
        leaves = [jnp.asarray(saved[f"arr_{i}"]) for i in range(len(saved.files))]
    again = jax.tree.unflatten(jax.tree.structure(state), leaves)

    def next_step(state):
        z, key = vectors(3, 5, seed=9), jax.random.key(9)
        state = its.initialize(state, z, key=key)  # done already: must not happen again
        quantized = its.call(state, z, None, key)
        return quantized, its.update(state, z, quantized.indices, key=key)

    assert_same(its.initialize(again, vectors(3, 5, seed=8), key=KEY), state, rtol=0)
    assert_same(next_step(again), next_step(state), rtol=0)


@each_way
@few
@given(seed=seeds)
def test_masked_positions_are_as_if_cut_off(name, seed):
    random = np.random.RandomState(seed)
    mask = random.permutation(np.arange(15) < 9).reshape(3, 5)
    z = np.array(vectors(3, 5, seed=seed))
    z[~mask] = random.choice([np.nan, np.inf, 1e30])
    its = pieces(name)
    (total, masked), (to_params, to_z) = its.step(
        its.params, jnp.asarray(z), its.rest, jnp.asarray(mask), None
    )
    np.testing.assert_array_equal(masked.indices[~mask], -1)
    np.testing.assert_array_equal(masked.values[~mask], 0)
    np.testing.assert_array_equal(to_z[~mask], 0)
    np.testing.assert_array_equal(its.encode(its.state, z, mask), masked.indices)
    looked_up = its.lookup(its.state, masked.indices)
    np.testing.assert_allclose(masked.values, looked_up, rtol=1e-6, atol=1e-7)

    kept = jnp.asarray(z[mask])
    (cut_total, cut), (cut_to_params, cut_to_z) = its.step(its.params, kept, its.rest, None, None)
    np.testing.assert_array_equal(masked.indices[mask], cut.indices)
    np.testing.assert_allclose(masked.values[mask], cut.values, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(total, cut_total, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(to_z[mask], cut_to_z, rtol=1e-4, atol=1e-5)
    assert_same(to_params, cut_to_params, rtol=1e-4, atol=1e-5)
    if its.quantizer.has_updates:
        whole = its.update(its.state, jnp.asarray(z), masked.indices, key=KEY)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(whole))
        if "revival_threshold" not in vars(its.quantizer):
            expected = its.update(its.state, kept, cut.indices, key=KEY)
            assert_same(whole, expected, rtol=1e-5, atol=1e-6)


@every
def test_all_masked_gives_zeros(name):
    its = pieces(name)
    mask = jnp.zeros((3, 5), bool)
    (_, masked), gradients = its.step(its.params, vectors(3, 5), its.rest, mask, KEY)
    np.testing.assert_array_equal(masked.values, 0)
    assert np.all(masked.indices == -1)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradients))
    assert masked.loss == 0
    before = its.trained()
    assert_same(its.update(before, vectors(3, 5), masked.indices, key=KEY), before, rtol=0)


@each_way
def test_bfloat16_is_computed_in_float32(name):
    its, z = pieces(name), vectors(3, 5).astype(jnp.bfloat16)
    quantized, wide = (
        its.call(its.state, given, None, KEY) for given in (z, z.astype(jnp.float32))
    )
    assert quantized.values.dtype == jnp.bfloat16
    assert quantized.indices.dtype == jnp.int32
    assert quantized.loss.dtype == jnp.float32
    np.testing.assert_array_equal(quantized.indices, wide.indices)
    np.testing.assert_allclose(quantized.loss, wide.loss, rtol=1e-6)
    np.testing.assert_array_equal(quantized.values, wide.values.astype(jnp.bfloat16))
    after = jax.eval_shape(its.update, its.state, z, quantized.indices, key=KEY)
    for leaf, before in zip(jax.tree.leaves(after), jax.tree.leaves(its.state), strict=True):
        assert leaf.dtype == before.dtype


@every
def test_frozen_is_frozen(name):
    its, z = pieces(name), vectors(3, 5)
    quantizer = nnx.merge(its.graphdef, *its.trained())
    before = quantizer(z)
    quantizer.freeze()
    state = jax.tree.map(np.array, nnx.state(quantizer))
    assert not jax.tree.leaves(nnx.state(quantizer, nnx.Param))
    quantizer.initialize(z, key=KEY)
    quantizer.update(z, before.indices, key=KEY)
    assert_same(nnx.state(quantizer), state, rtol=0)
    assert_same(quantizer(z), before, rtol=0)


@pytest.mark.slow
@every
def test_an_optimiser_can_lower_the_objective(name):
    """The gradients are of use: a few steps of Adam fit targets better."""
    if name in ("random_projection", "random_projections"):
        pytest.skip("has no parameters and hands z no gradient, by definition")
    its = pieces(name)
    target, z = vectors(3, 5, seed=5) * 0.5, vectors(3, 5, seed=6)
    optimizer = promoting(optax.adam(3e-2))

    def loss(learnt):
        quantized = its.call((learnt[0], its.rest), learnt[1], None, KEY)
        return jnp.mean((quantized.values - target) ** 2) + quantized.loss

    @jax.jit
    def step(learnt, opt_state):
        value, gradients = jax.value_and_grad(loss)(learnt)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return optax.apply_updates(learnt, updates), opt_state, value

    learnt = (its.params, z)
    opt_state, losses = optimizer.init(learnt), []
    for _ in range(60):
        learnt, opt_state, value = step(learnt, opt_state)
        losses.append(value)
    assert min(losses[-10:]) < losses[0]


@every
@pytest.mark.usefixtures("unchecked")
def test_wrong_input_is_named(name):
    quantizer = QUANTIZERS[name]()
    with pytest.raises(ValueError, match=r"z has shape \(3, 5\); its last axis must be .* 4"):
        quantizer(jnp.zeros((3, 5)))
    with pytest.raises(ValueError, match=r"z has type int32; it must be floating"):
        quantizer(jnp.zeros((3, DIM), jnp.int32))
    with pytest.raises(ValueError, match=r"mask has shape \(2,\); it must be z's, \(3,\)"):
        quantizer(jnp.zeros((3, DIM)), jnp.ones(2, bool))
    with pytest.raises(ValueError, match=r"mask has type int32; it must be bool"):
        quantizer.encode(jnp.zeros((3, DIM)), jnp.ones(3, jnp.int32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 8), "embedding_dim is 0; it must be an integer of at least 1"),
        ((4, -1), "num_embeddings is -1"),
        ((4, 8, float("nan")), "commitment_cost is nan; it must be a finite number of at least 0"),
        ((4, 8, -0.1), "commitment_cost is -0.1"),
        ((4, True), "num_embeddings is True"),
        ((4, 8, True), "commitment_cost is True"),
        ((4, 8, "0.25"), "commitment_cost is '0.25'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        VectorQuantizer(*arguments, rngs=nnx.Rngs(0))


@each_way
def test_float64_is_allowed(name):
    def step(quantizer, z):
        quantized = quantizer(z, key=jax.random.key(0))
        quantizer.update(z, quantized.indices, key=jax.random.key(1))
        return quantized

    narrow = QUANTIZERS[name]()  # its parameters are float32
    with jax.enable_x64(True):
        for quantizer, dtype in ((narrow, jnp.float32), (QUANTIZERS[name](), jnp.float64)):
            z = jax.ShapeDtypeStruct((6, quantizer.embedding_dim), dtype)
            quantized = nnx.eval_shape(step, quantizer, z)
            assert quantized.values.dtype == dtype
            assert quantized.indices.dtype == jnp.int32


@each_way
def test_indices_of_any_integer_type_are_looked_up(name):
    quantizer = QUANTIZERS[name]()
    axes = () if quantizer.num_codebooks is None else (quantizer.num_codebooks,)
    indices = jnp.zeros((3, *axes), jnp.int32).at[0].set(quantizer.num_embeddings - 1)
    expected = quantizer.lookup(indices)
    for dtype in (jnp.uint8, jnp.int16, jnp.uint32):
        np.testing.assert_array_equal(quantizer.lookup(indices.astype(dtype)), expected)
