"""Training steps against the definition: gradient of the mean loss, then Adam."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from vqvae_jax import VQVAE
from vqvae_jax.data import to_floats
from vqvae_jax.evaluation import Totals
from vqvae_jax.parallel import mesh_for, replicated, split
from vqvae_jax.training import feed as feed_module
from vqvae_jax.training.feed import Feed
from vqvae_jax.training.step import TrainState, train_steps

IMAGES = np.random.RandomState(0).randint(0, 256, (60, 8, 8, 1)).astype(np.uint8)
OPTIMIZER = optax.adam(1e-2)


@pytest.fixture(scope="module")
def start():
    model = VQVAE(1, 4, 16, 0.08, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(model)
    return graphdef, TrainState(params, OPTIMIZER.init(params), Totals.zeros(16))


@pytest.fixture(scope="module")
def expected(start):
    """Three steps of 12 images, without devices, parts or several steps at once."""
    graphdef, state = start

    @jax.jit
    def step(params, opt_state, images):
        def loss_of(params):
            output = nnx.merge(graphdef, params)(to_floats(images))
            return output.loss, output

        gradients, output = jax.grad(loss_of, has_aux=True)(params)
        updates, opt_state = OPTIMIZER.update(gradients, opt_state)
        return optax.apply_updates(params, updates), opt_state, output

    params, opt_state, losses, totals = state.params, state.opt_state, [], state.totals
    for first in range(0, 36, 12):
        params, opt_state, output = step(params, opt_state, jnp.asarray(IMAGES[first : first + 12]))
        losses.append(output.loss)
        totals += Totals.of(output, 16)
    return TrainState(params, opt_state, totals), np.array(losses)


@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("steps_a_dispatch", [1, 3])
def test_devices_and_dispatches_change_nothing(start, expected, devices, steps_a_dispatch):
    graphdef, state = start
    mesh = mesh_for(jax.devices()[:devices], 12)
    step = jax.jit(functools.partial(train_steps, graphdef, OPTIMIZER, mesh))
    state = jax.device_put(state, replicated(mesh))
    losses = []
    for some in np.split(IMAGES[:36].reshape(3, 12, 8, 8, 1), 3 // steps_a_dispatch):
        state, more = step(state, jax.device_put(some, split(mesh, axis=1)))
        losses += list(more)
    expected_state, expected_losses = expected
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    np.testing.assert_array_equal(state.totals.code_counts, expected_state.totals.code_counts)
    assert state.totals.images == 36
    for got, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(expected_state), strict=True):
        scale = np.abs(wanted).max() + 1e-12
        np.testing.assert_allclose(got / scale, wanted / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("on_devices", [False, True])
def test_a_feed_gives_the_images_at_the_indices(monkeypatch, on_devices):
    monkeypatch.setattr(feed_module, "are_accelerators", lambda devices: on_devices)
    feed = Feed(IMAGES, jax.devices())
    random = np.random.RandomState(0)
    for steps, batch, devices in ((1, 8, 4), (3, 8, 4), (1, 6, 3), (1, 5, 1)):
        indices = random.randint(0, 60, (steps, batch))
        mesh = mesh_for(jax.devices(), batch)
        assert mesh.size == devices
        images = feed.take(indices, mesh)
        np.testing.assert_array_equal(images, IMAGES[indices])
        assert images.sharding == split(mesh, axis=1)
