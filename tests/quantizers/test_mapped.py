"""Updates and initial codes inside shard_map, where every device holds a part of the data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from tests.conftest import some_by_default
from vqvae_jax import (
    EMAVectorQuantizer,
    EntropyVectorQuantizer,
    ProjectedQuantizer,
    ResidualVQ,
    VectorQuantizer,
)

ALIVE = {"revival_threshold": 0.5, "kmeans_init": True}
MAKERS = {
    "ema": lambda: EMAVectorQuantizer(3, 8, rngs=nnx.Rngs(0)),
    "ema_alive": lambda: EMAVectorQuantizer(3, 8, **ALIVE, rngs=nnx.Rngs(0)),
    "vector_alive": lambda: VectorQuantizer(3, 8, **ALIVE, rngs=nnx.Rngs(0)),
    "residual": lambda: ResidualVQ(
        [EMAVectorQuantizer(3, 8, **ALIVE, rngs=nnx.Rngs(seed)) for seed in range(2)]
    ),
    "residual_shared": lambda: ResidualVQ(
        [EMAVectorQuantizer(3, 8, **ALIVE, rngs=nnx.Rngs(0))], num_quantizers=2
    ),
    "projected": lambda: ProjectedQuantizer(
        EMAVectorQuantizer(2, 8, **ALIVE, rngs=nnx.Rngs(0)), 3, rngs=nnx.Rngs(1)
    ),
}
KEY = jax.random.key(0)


def batches():
    random = np.random.RandomState(0)
    return jnp.asarray(random.randn(3, 40, 3), jnp.float32)


def learn(graph, state, batches, axis_name=None):
    """The state after initial codes from the first batch and an update with each."""
    quantizer = nnx.merge(graph, state)
    quantizer.initialize(batches[0], key=KEY, axis_name=axis_name)
    quantizer.skip_initialization()
    for t, z in enumerate(batches):
        key = jax.random.fold_in(KEY, t)
        quantizer.update(z, quantizer.encode(z), key=key, axis_name=axis_name)
    return nnx.state(quantizer)


def mesh():
    return Mesh(np.array(jax.devices()[:4]), ("data",))


@pytest.mark.slow
@pytest.mark.parametrize("name", some_by_default(MAKERS, ["ema_alive"]))
def test_devices_learn_what_one_learns(name):
    """With shard_map's own check that the result is the same on all of them."""
    graph, state = nnx.split(MAKERS[name]())
    spread = jax.jit(
        jax.shard_map(
            lambda state, batches: learn(graph, state, batches, "data"),
            mesh=mesh(),
            in_specs=(PartitionSpec(), PartitionSpec(None, "data")),
            out_specs=PartitionSpec(),
        )
    )
    found = jax.tree.leaves(spread(state, batches()))
    expected = jax.tree.leaves(jax.jit(lambda *given: learn(graph, *given))(state, batches()))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_pmap_too():
    graph, state = nnx.split(MAKERS["ema_alive"]())
    parts = batches().reshape(3, 4, 10, 3).swapaxes(0, 1)
    mapped = jax.pmap(
        lambda state, batches: learn(graph, state, batches, "data"),
        axis_name="data",
        in_axes=(None, 0),
    )(state, parts)
    expected = jax.tree.leaves(learn(graph, state, batches()))
    for ours, theirs in zip(jax.tree.leaves(mapped), expected, strict=True):
        for own in ours:
            np.testing.assert_allclose(own, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("make", [EntropyVectorQuantizer, VectorQuantizer])
def test_calls_pass_the_check_of_shard_map(make):
    quantizer = make(3, 8, kmeans_init=True, rngs=nnx.Rngs(0))
    graph, state = nnx.split(quantizer)

    def call(state, z):
        own = nnx.merge(graph, state)
        own.initialize(z, key=KEY)  # codes of its own on every device
        quantized = own(z, key=KEY)
        return quantized.values, jax.lax.pmean(quantized.loss, "data")

    split = PartitionSpec("data")
    spread = jax.jit(
        jax.shard_map(
            call, mesh=mesh(), in_specs=(PartitionSpec(), split), out_specs=(split, PartitionSpec())
        )
    )
    z = batches()[0]
    values, loss = spread(state, z)
    alone = jax.jit(lambda state, part: call_alone(graph, state, part))
    pairs = [alone(state, part) for part in jnp.split(z, 4)]
    np.testing.assert_allclose(values, jnp.concatenate([p[0] for p in pairs]), rtol=1e-5)
    np.testing.assert_allclose(loss, np.mean([p[1] for p in pairs]), rtol=1e-5)


def call_alone(graph, state, z):
    quantizer = nnx.merge(graph, state)
    quantizer.initialize(z, key=KEY)
    quantized = quantizer(z, key=KEY)
    return quantized.values, quantized.loss
