"""Training steps against the definition: gradient of the mean loss, then Adam."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.conftest import promoting
from vqvae_jax import (
    LFQ,
    VQVAE,
    EMAVectorQuantizer,
    GumbelQuantizer,
    ResidualVQ,
    VectorQuantizer,
)
from vqvae_jax.data import ArraySource
from vqvae_jax.metrics import Totals
from vqvae_jax.parallel import mesh_for, replicated, split
from vqvae_jax.pixels import to_floats
from vqvae_jax.tasks import TokenizerTask
from vqvae_jax.tasks.learning import split_model
from vqvae_jax.training import feed as feed_module
from vqvae_jax.training.feed import ArrayFeed
from vqvae_jax.training.step import Progress, no_sums, step_on, train_steps

IMAGES = np.random.RandomState(0).randint(0, 256, (60, 8, 8, 1)).astype(np.uint8)


def batch_of(indices):
    return {"image": jnp.asarray(IMAGES[indices])}


OPTIMIZER = optax.adam(1e-2, eps=1e-4)  # so that no rounding decides a sign
SEED = 5
ALIVE = {"revival_threshold": 0.98, "kmeans_init": True}
QUANTIZERS = {
    "plain": lambda rngs: VectorQuantizer(4, 16, rngs=rngs),
    "revived": lambda rngs: VectorQuantizer(4, 16, rngs=rngs, **ALIVE),
    "averaged": lambda rngs: EMAVectorQuantizer(4, 16, rngs=rngs, **ALIVE),
    "entropy_of_the_batch": lambda rngs: LFQ(4, entropy_cost=1.0),
    "random": lambda rngs: GumbelQuantizer(4, 16, hard=False, rngs=rngs),
    "two_codebooks": lambda rngs: ResidualVQ(
        [EMAVectorQuantizer(4, 16, rngs=rngs) for _ in range(2)]
    ),
}


def model_with(name):
    rngs = nnx.Rngs(0)
    return VQVAE(1, 4, 16, 0.08, quantizer=QUANTIZERS[name](rngs), rngs=rngs)


def task_with(name):
    return TokenizerTask(model_with(name), OPTIMIZER)


@functools.cache
def expected(name):
    """Three steps of 12 images, without devices, parts or several steps at once."""
    model = model_with(name)
    quantizer = model.quantizer
    quantizer.skip_initialization()
    graphdef, params, variables = split_model(model)

    @jax.jit
    def step(params, variables, opt_state, images, key):
        draws, updates_draw = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)

        def loss_of(params):
            output = nnx.merge(graphdef, params, variables)(to_floats(images), key=draws)
            return output.loss, output

        gradients, output = jax.grad(loss_of, has_aux=True)(params)
        updates, opt_state = promoting(OPTIMIZER).update(gradients, opt_state)
        stepped = nnx.merge(graphdef, optax.apply_updates(params, updates), variables)
        before = nnx.state(stepped.quantizer, nnx.Param)
        stepped.quantizer.update(output.latents, output.quantized.indices, key=updates_draw)
        after = nnx.state(stepped.quantizer, nnx.Param)
        if name == "revived":
            replaced = jnp.any(before["embeddings"][...] != after["embeddings"][...], axis=1)
            for moments in (opt_state[0].mu, opt_state[0].nu):
                codes = moments["quantizer"]["embeddings"]
                codes[...] = jnp.where(replaced[:, None], 0, codes[...])
        _, params, variables = split_model(stepped)
        return params, variables, opt_state, output

    opt_state, losses, totals = OPTIMIZER.init(params), [], []
    for index in range(3):
        images = jnp.asarray(IMAGES[12 * index : 12 * index + 12])
        key = jax.random.fold_in(jax.random.key(SEED), index)
        params, variables, opt_state, output = step(params, variables, opt_state, images, key)
        losses.append(output.loss)
        totals.append(Totals.of(output, quantizer))
    state = {"params": params, "variables": variables, "opt_state": opt_state}
    sums = jax.tree.map(lambda *each: sum(each), *totals)
    return Progress(jnp.asarray(3), state, sums, jnp.asarray(36)), np.array(losses)


@pytest.mark.parametrize(
    ("name", "devices", "steps_a_dispatch"),
    [
        ("plain", 4, 1),
        *[
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [("plain", 1, 1), ("plain", 2, 3), ("revived", 1, 3)]
            + [(name, 4, 1) for name in QUANTIZERS if name != "plain"]
        ],
    ],
)
def test_devices_and_dispatches_change_nothing(name, devices, steps_a_dispatch):
    task = task_with(name)
    mesh = mesh_for(jax.devices()[:devices], 12)
    step = step_on(task, mesh)
    steps = jax.jit(functools.partial(train_steps, step, SEED))
    task.has_initialization = False
    state = task.init(jax.random.key(SEED), batch_of(slice(12)))
    sums = no_sums(step, mesh, state, batch_of(slice(12)))
    progress = Progress(jnp.asarray(0), state, sums, jnp.asarray(0))
    progress, terms = jax.device_put(progress, replicated(mesh)), []
    for some in np.split(IMAGES[:36].reshape(3, 12, 8, 8, 1), 3 // steps_a_dispatch):
        progress, more = steps(progress, {"image": jax.device_put(some, split(mesh, axis=1))})
        terms += list(more)
    after, expected_losses = expected(name)
    *_, losses, params, variables, moments = np.array(terms).T
    np.testing.assert_allclose(losses / 12, expected_losses, rtol=1e-5)
    assert not np.any([params, variables, moments])  # 0: all is finite
    np.testing.assert_array_equal(progress.sums.code_counts, after.sums.code_counts)
    assert progress.sums.images == progress.examples == 36
    for got, wanted in zip(jax.tree.leaves(progress), jax.tree.leaves(after), strict=True):
        wanted = np.array(wanted)
        scale = np.abs(wanted).max() + 1e-12
        np.testing.assert_allclose(np.array(got) / scale, wanted / scale, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_initial_codes_come_from_the_first_batch():
    model, task = model_with("averaged"), task_with("averaged")
    once = task.init(jax.random.key(SEED), batch_of(slice(12)))
    task.weights = (once["params"], once["variables"])
    again = task.init(jax.random.key(SEED), batch_of(slice(12, 24)))
    latents = np.asarray(model.encoder(to_floats(jnp.asarray(IMAGES[:12])))).reshape(-1, 4)
    codes = np.asarray(once["variables"]["quantizer"]["embeddings"][...])
    assert np.all(codes >= latents.min(0) - 1e-6)
    assert np.all(codes <= latents.max(0) + 1e-6)
    assert once["variables"]["quantizer"]["initialized"][...]
    for ours, first in zip(jax.tree.leaves(again), jax.tree.leaves(once), strict=True):
        np.testing.assert_array_equal(ours, first)


@pytest.mark.parametrize("on_devices", [False, True])
def test_a_feed_gives_the_images_at_the_indices(monkeypatch, on_devices):
    monkeypatch.setattr(feed_module, "are_accelerators", lambda devices: on_devices)
    feed = ArrayFeed(ArraySource({"image": IMAGES}), jax.devices())
    random = np.random.RandomState(0)
    for steps, batch, devices in ((1, 8, 4), (3, 8, 4), (1, 6, 3), (1, 5, 1)):
        indices = random.randint(0, 60, (steps, batch))
        mesh = mesh_for(jax.devices(), batch)
        assert mesh.size == devices
        images = feed.take(indices, mesh)["image"]
        np.testing.assert_array_equal(images, IMAGES[indices])
        assert images.sharding == split(mesh, axis=1)
