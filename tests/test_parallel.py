"""A batch over several devices and in parts gives what it gives in one piece."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqvae_jax.errors import ConfigError
from vqvae_jax.parallel import (
    all_devices,
    examples_at_a_time,
    mesh_for,
    replicated,
    split,
    sum_over_examples,
)


def sums(weights, images):
    scores = images.astype(jnp.float32).reshape(len(images), -1) @ weights
    totals = {
        "scores": scores.sum(0),
        "images": jnp.asarray(len(images)),
        "positive": (scores > 0).sum(),
    }
    return totals, scores


@pytest.mark.parametrize("batch", [1, 2, 7, 12, 32])
@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize(("at_a_time", "accumulate"), [(4, 1), (4, 3), (None, 1)])
def test_sums_are_those_of_the_whole_batch(batch, devices, at_a_time, accumulate):
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (batch, 2, 2, 1)).astype(np.uint8)
    weights = random.randn(4, 3).astype(np.float32)
    mesh = mesh_for(jax.devices()[:devices], batch)
    summed = functools.partial(
        sum_over_examples, sums, mesh, at_a_time=at_a_time, accumulate=accumulate
    )
    got, each = jax.jit(summed)(
        jax.device_put(weights, replicated(mesh)), jax.device_put(images, split(mesh))
    )
    expected, expected_each = sums(jnp.asarray(weights), jnp.asarray(images))
    np.testing.assert_allclose(each, expected_each, rtol=1e-5, atol=1e-3)
    assert got["images"] == batch
    assert got["positive"] == expected["positive"]
    np.testing.assert_allclose(got["scores"], expected["scores"], rtol=1e-5, atol=1e-3)
    if at_a_time is not None:
        assert got["scores"].sharding == replicated(mesh)


@pytest.mark.parametrize(
    ("size", "weights", "part"),
    [(8, 0, 12), (28, 1, 4), (40, 0, 1), (100, 0, 1), (28, 512 * 6 * 28 * 28, 6), (14, 10**8, 12)],
)
def test_cpus_work_on_few_pixels_at_a_time(size, weights, part):
    mesh = mesh_for(jax.devices()[:2], 24)
    seen = []

    def record(_, images):
        seen.append(images.shape[0])
        return jnp.zeros(()), None

    at_a_time = examples_at_a_time((size, size), {"kernel": jnp.zeros(weights)})
    jax.jit(functools.partial(sum_over_examples, record, mesh, at_a_time=at_a_time)).lower(
        0.0, jax.ShapeDtypeStruct((24, size, size, 1), np.uint8)
    )
    assert set(seen) == {part}


@given(devices=st.integers(1, 4), batch=st.integers(1, 40))
def test_a_mesh_is_the_most_devices_that_divide_the_batch(devices, batch):
    count = mesh_for(jax.devices()[:devices], batch).size
    assert batch % count == 0
    assert all(batch % more for more in range(count + 1, devices + 1))


def test_devices_are_all_or_as_many_as_asked_for():
    assert all_devices() == jax.devices()
    assert all_devices(3) == jax.devices()[:3]
    with pytest.raises(ConfigError, match="devices is 5; it must be at most 4, the"):
        all_devices(5)
