"""Quantizers as stages of a residual one: the error falls with each, or they are refused."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

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
    RandomProjectionQuantizer,
    ResidualVQ,
    SampledVectorQuantizer,
    SimVQ,
    SymmetricFSQ,
    VectorQuantizer,
)

DIM = 3
GRIDS = {
    "fsq": lambda: FSQ((5, 5, 5)),
    "fsq_even": lambda: FSQ((3, 4, 8)),
    "symmetric_fsq": lambda: SymmetricFSQ((2, 4, 5)),
    "lfq": lambda: LFQ(DIM),
    "bsq": lambda: BSQ(DIM),
}


def learning(make, **options):
    return lambda seed: make(DIM, 16, rngs=nnx.Rngs(seed), **options)


# With codes from k-means, or trained by Adam where they come from nowhere else.
FROM_DATA = {
    "vector": learning(VectorQuantizer, kmeans_init=True),
    "ema": learning(EMAVectorQuantizer, kmeans_init=True),
    "laplace": learning(LaplaceEMAVectorQuantizer, kmeans_init=True),
    "sampled": learning(SampledVectorQuantizer, temperature=0.1, kmeans_init=True),
    "ema_sampled": learning(EMASampledVectorQuantizer, temperature=0.1, kmeans_init=True),
    "entropy": learning(EntropyVectorQuantizer, kmeans_init=True),
    "orthogonal": learning(OrthogonalVectorQuantizer, kmeans_init=True),
    "pooled": lambda seed: PooledQuantizer(
        VectorQuantizer(DIM, 16, kmeans_init=True, rngs=nnx.Rngs(seed)), 2
    ),
}
BY_GRADIENT = {
    "simvq": learning(SimVQ),
    "directional": learning(DirectionalVectorQuantizer),
    "gumbel": learning(GumbelQuantizer, kl_cost=0.0),
    "projected": lambda seed: ProjectedQuantizer(
        VectorQuantizer(2, 16, rngs=nnx.Rngs(seed)), DIM, rngs=nnx.Rngs(seed)
    ),
}
REFUSED = {
    "cosine": lambda: CosineVectorQuantizer(DIM, 4, rngs=nnx.Rngs(0)),
    "ema_cosine": lambda: EMACosineVectorQuantizer(DIM, 4, rngs=nnx.Rngs(0)),
    "laplace_cosine": lambda: LaplaceEMACosineVectorQuantizer(DIM, 4, rngs=nnx.Rngs(0)),
    "entropy_cosine": lambda: EntropyCosineVectorQuantizer(DIM, 4, rngs=nnx.Rngs(0)),
    "ibq": lambda: IBQ(DIM, 4, rngs=nnx.Rngs(0)),
    "categorical": lambda: CategoricalQuantizer(DIM),
    "random_projection": lambda: RandomProjectionQuantizer(DIM, 4, rngs=nnx.Rngs(0)),
    "fsq_two": lambda: FSQ((2, 3, 3)),
    "residual": lambda: ResidualVQ([LFQ(DIM)]),
    "product": lambda: ProductQuantizer([LFQ(DIM)]),
    "parallel": lambda: ParallelQuantizer([ResidualVQ([LFQ(DIM)])]),
    "grouped": lambda: GroupedResidualVQ([ResidualVQ([LFQ(DIM)])]),
}


def uniform(count=512):
    return jax.random.uniform(jax.random.key(0), (count, DIM), minval=-1, maxval=1)


def assert_falls(errors):
    assert all(after < before for before, after in itertools.pairwise(errors)), errors


def test_every_quantizer_is_tried():
    made = [make() for make in (*GRIDS.values(), *REFUSED.values())]
    made += [make(0) for make in (*FROM_DATA.values(), *BY_GRADIENT.values())]
    classes = {
        value
        for value in [*vars(vqvae_jax).values()]
        if isinstance(value, type) and issubclass(value, vqvae_jax.Quantizer)
    }
    assert classes - {vqvae_jax.Quantizer} <= set(map(type, made))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", GRIDS)
def test_the_error_falls_with_every_grid(name, shared):
    z, errors = uniform(), []
    for n in range(1, 5):
        quantizer = (
            ResidualVQ([GRIDS[name]()], num_quantizers=n)
            if shared
            else ResidualVQ([GRIDS[name]() for _ in range(n)])
        )
        quantized = quantizer(z)
        errors.append(float(jnp.mean((quantized.values - z) ** 2)))
        assert len(np.unique(quantized.indices[:, -1])) > 1
        np.testing.assert_array_equal(quantizer.lookup(quantized.indices), quantized.values)
    assert_falls(errors)


def test_stages_of_fsq_are_its_grid_at_smaller_scales():
    z = uniform()
    quantizer = ResidualVQ([FSQ((5, 3, 5)) for _ in range(3)])
    indices = quantizer.encode(z)
    bounded = FSQ((5, 3, 5)).bounded(z)
    by_stage = quantizer.lookup_stages(indices)
    for i in range(3):
        scale = np.array([[4.0, 2.0, 4.0]], np.float32) ** -i
        np.testing.assert_allclose(by_stage[:, i], FSQ((5, 3, 5)).lookup(indices[:, i]) * scale)
        left = bounded - jnp.sum(by_stage[:, : i + 1], axis=1)
        assert np.all(np.abs(left) <= 1.01 * scale / np.array([[4.0, 2.0, 4.0]]))
    # The gradient passes through the bound, once.
    gradient = jax.grad(lambda z: jnp.sum(quantizer(z).values))(z)
    expected = jax.grad(lambda z: jnp.sum(FSQ((5, 3, 5)).bounded(z)))(z)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", some_by_default(FROM_DATA, ["vector", "ema"]))
def test_the_error_falls_with_every_codebook_from_data(name):
    z = uniform()
    quantizer = ResidualVQ([FROM_DATA[name](seed) for seed in range(4)])
    quantizer.initialize(z, key=jax.random.key(0))
    indices = quantizer.encode(z)
    assert_falls(
        [float(jnp.mean((z - quantizer.lookup(indices[:, :n])) ** 2)) for n in range(1, 5)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 64])
def test_the_error_falls_with_every_use_of_a_shared_codebook_from_data(size):
    z = jax.random.normal(jax.random.key(0), (1024, DIM))
    codebook = EMAVectorQuantizer(DIM, size, kmeans_init=True, rngs=nnx.Rngs(0))
    quantizer = ResidualVQ([codebook], num_quantizers=4)
    quantizer.initialize(z, key=jax.random.key(1))
    indices = quantizer.encode(z)
    errors = [float(jnp.mean((z - quantizer.lookup(indices[:, :n])) ** 2)) for n in range(1, 5)]
    assert_falls(errors)
    assert errors[-1] < 0.25 * errors[0]  # 0.5 with the codes of z alone
    state = jax.tree.map(np.array, nnx.state(quantizer))
    quantizer.initialize(2 * z, key=jax.random.key(2))  # it is done once
    for after, before in zip(
        jax.tree.leaves(nnx.state(quantizer)), jax.tree.leaves(state), strict=True
    ):
        np.testing.assert_array_equal(after, before)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_GRADIENT)
def test_the_error_falls_with_every_trained_stage(name):
    z = uniform()
    optimizer = promoting(optax.adam(1e-2))

    def trained_error(n):
        quantizer = ResidualVQ([BY_GRADIENT[name](seed) for seed in range(n)])
        graph, params, rest = nnx.split(quantizer, nnx.Param, ...)

        @jax.jit
        def step(params, opt_state, key):
            def loss(params):
                quantized = nnx.merge(graph, params, rest)(z, key=key)
                return quantized.loss + jnp.mean((quantized.values - z) ** 2)

            updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        opt_state = optimizer.init(params)
        for t in range(1000):
            params, opt_state = step(params, opt_state, jax.random.key(t))
        return float(jnp.mean((nnx.merge(graph, params, rest)(z).values - z) ** 2))

    assert_falls([trained_error(n) for n in range(1, 5)])


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_stage_is_refused(name):
    message = "whose codes cannot become small|several codebooks"
    with pytest.raises(ValueError, match=message):
        ResidualVQ([REFUSED[name]()])


def test_losses_by_stage_add_up():
    z = uniform()
    quantizer = ResidualVQ([FROM_DATA["vector"](seed) for seed in range(3)])
    quantized = quantizer(z)
    for name, by_stage in quantized.stage_losses.items():
        assert by_stage.shape == (3,)
        np.testing.assert_allclose(jnp.sum(by_stage), getattr(quantized, name), rtol=1e-6)
    assert VectorQuantizer(DIM, 4, rngs=nnx.Rngs(0))(z).stage_losses is None


@pytest.mark.slow
def test_stages_of_different_sizes():
    z = uniform()
    sizes = (16, 4, 8)
    quantizer = ResidualVQ(
        [VectorQuantizer(DIM, size, kmeans_init=True, rngs=nnx.Rngs(size)) for size in sizes]
    )
    quantizer.initialize(z, key=jax.random.key(0))
    indices = quantizer.encode(z)
    assert quantizer.codebook_sizes == sizes
    assert (quantizer.num_embeddings, quantizer.num_codes, quantizer.bits) == (16, 28, 9.0)
    counts = quantizer.code_counts(indices)
    assert counts.shape == (3, 16)
    for row, column, size in zip(counts, indices.T, sizes, strict=True):
        np.testing.assert_array_equal(row, np.bincount(column, minlength=16))
        assert not np.any(row[size:])
    assert np.all(np.isnan(quantizer.lookup(indices.at[:, 1].set(4))))
    heads = ProductQuantizer(
        [VectorQuantizer(2, 4, rngs=nnx.Rngs(0)), VectorQuantizer(1, 9, rngs=nnx.Rngs(1))]
    )
    assert heads.codebook_sizes == (4, 9)
    assert heads.code_counts(heads.encode(z)).shape == (2, 9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "depths"),
    [({}, {1, 2, 3, 4}), ({"least_depth": 3}, {3, 4}), ({"depth_multiple": 2}, {2, 4})],
)
def test_depths_of_dropout(options, depths):
    def group(seed):
        return ResidualVQ(
            [VectorQuantizer(DIM, 4, rngs=nnx.Rngs(seed + i)) for i in range(4)],
            quantize_dropout=True,
            **options,
        )

    quantizer = GroupedResidualVQ([group(0), group(9)])
    z = jax.random.normal(jax.random.key(0), (200, 2 * DIM))
    taken = np.asarray(quantizer(z, key=jax.random.key(1)).indices) >= 0
    first, second = taken[:, :4].sum(1), taken[:, 4:].sum(1)
    np.testing.assert_array_equal(first, second)  # one draw for all groups
    assert set(first) == depths


@pytest.mark.slow
def test_a_call_and_encode_see_the_same_residuals_far_from_the_origin():
    z = 1000 + jax.random.normal(jax.random.key(0), (4096, DIM))
    quantizer = ResidualVQ(
        [EMAVectorQuantizer(DIM, 16, kmeans_init=True, rngs=nnx.Rngs(seed)) for seed in range(6)]
    )
    quantizer.initialize(z, key=jax.random.key(0))
    np.testing.assert_array_equal(quantizer(z).indices, quantizer.encode(z))


def test_a_quantizer_inside_of_two_others_is_refused():
    shared = LFQ(2)
    twice = [ProjectedQuantizer(shared, DIM, rngs=nnx.Rngs(seed)) for seed in range(2)]
    for compose in (ProductQuantizer, ResidualVQ):
        with pytest.raises(ValueError, match="a quantizer is given more than once"):
            compose(twice)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="groups are LFQ; each must be a ResidualVQ"):
        GroupedResidualVQ([LFQ(DIM)])
    with pytest.raises(ValueError, match="the quantizers' bound differ"):
        ResidualVQ([SymmetricFSQ((3, 4)), SymmetricFSQ((3, 4), bound=vqvae_jax.clamp)])


@pytest.mark.slow
def test_values_of_another_length_are_projected():
    labels = RandomProjectionQuantizer(4, 16, codebook_dim=3, num_codebooks=2, rngs=nnx.Rngs(0))
    both = ProductQuantizer([labels, LFQ(2)])
    quantizer = ProjectedQuantizer(both, 8, rngs=nnx.Rngs(1))
    assert (labels.values_dim, both.values_dim, quantizer.values_dim) == (6, 8, 8)
    quantized = quantizer(jnp.ones((5, 8)))
    assert quantized.values.shape == (5, 8)
    np.testing.assert_allclose(quantizer.lookup(quantized.indices), quantized.values, rtol=1e-6)
