"""The optimizer of the settings against optax's own, and what steps make of its options."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.conftest import promoting, some_by_default
from vqvae_jax import VQVAE, EMAVectorQuantizer
from vqvae_jax.errors import ConfigError
from vqvae_jax.parallel import mesh_for
from vqvae_jax.tasks import TokenizerTask
from vqvae_jax.training.config import training_config
from vqvae_jax.training.optimizer import build_optimizer, decayed, schedule_of

IMAGES = np.random.RandomState(0).randint(0, 256, (12, 8, 8, 1)).astype(np.uint8)


def settings(**changes):
    return training_config(
        {"batch_size": 4, "learning_rate": 0.1, "num_epochs": 2, "seed": 0} | changes
    )


def model():
    return VQVAE(1, 4, 16, 0.08, rngs=nnx.Rngs(0))


DIMENSIONS = optax.contrib.MuonDimensionNumbers
EXPECTED = {
    "adam": lambda mask: optax.adam(0.1),
    "adamw": lambda mask: optax.adamw(0.1, weight_decay=0.5, mask=mask),
    "lion": lambda mask: optax.lion(0.1, weight_decay=0.5, mask=mask),
    "sgd": lambda mask: optax.sgd(0.1, momentum=0.9),
    "muon": lambda mask: optax.contrib.muon(
        0.1,
        weight_decay=0.5,
        weight_decay_mask=mask,
        muon_weight_dimension_numbers=lambda params: jax.tree.map(
            lambda leaf, is_matrix: (
                DIMENSIONS(tuple(range(leaf.ndim - 1)), (leaf.ndim - 1,)) if is_matrix else None
            ),
            params,
            mask(params),
        ),
    ),
}


def after(optimizer, params, gradients):
    """The parameters that an optimizer makes of gradients."""
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = promoting(optimizer).update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.slow
@pytest.mark.parametrize("name", some_by_default(EXPECTED, ["adamw", "muon"]))
def test_optimizers_are_optaxs(name):
    decay = 0.5 if name in ("adamw", "lion", "muon") else 0.0
    ours = build_optimizer(settings(optimizer=name, weight_decay=decay), 10)
    params = nnx.state(model(), nnx.Param)

    def mask(params):
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: jax.tree_util.keystr(path[-2:]).endswith("['kernel'].value"), params
        )

    theirs = EXPECTED[name](mask)
    random = np.random.RandomState(0)
    gradients = [
        jax.tree.map(lambda leaf: jnp.asarray(random.randn(*leaf.shape), leaf.dtype), params)
        for _ in range(3)
    ]
    got, wanted = (after(optimizer, params, gradients) for optimizer in (ours, theirs))
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_weight_decay_takes_kernels_alone():
    taken = {
        jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value"): is_decayed
        for path, is_decayed in jax.tree_util.tree_leaves_with_path(
            decayed(nnx.state(model(), nnx.Param))
        )
    }
    assert {name for name, is_decayed in taken.items() if is_decayed} == {
        f"{part}.convs.{index}.kernel" for part in ("encoder", "decoder") for index in range(3)
    }
    assert not taken["quantizer.embeddings"]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0, 0.05, 0.1, 0.1, 0.1]),
        ("linear", [0, 0.05, 0.1, 0.05, 0]),
        ("cosine", [0, 0.05, 0.1, 0.05, 0]),
    ],
)
def test_step_size_rises_and_falls(schedule, expected):
    rate = schedule_of(settings(schedule=schedule, warmup_steps=4), 6)
    np.testing.assert_allclose([rate(step) for step in (0, 2, 4, 8, 12)], expected, atol=1e-7)


def test_clipping_is_by_the_norm_of_all_together():
    optimizer = build_optimizer(settings(optimizer="sgd", clip_norm=2.0), 10)
    params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    gradients = {"a": jnp.asarray([30.0, 0.0]), "b": jnp.asarray([40.0])}
    updates, _ = promoting(optimizer).update(gradients, optimizer.init(params), params)
    np.testing.assert_allclose(updates["a"], [-0.1 * 1.2, 0], rtol=1e-6)
    np.testing.assert_allclose(updates["b"], [-0.1 * 1.6], rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_weight_decay_is_refused_where_it_has_no_effect():
    with pytest.raises(ConfigError, match=r"training.weight_decay is 0.1; with the optimizer adam"):
        settings(weight_decay=0.1)


def steps(task, count=3):
    mesh = mesh_for(jax.devices()[:2], len(IMAGES))
    batch = {"image": jnp.asarray(IMAGES)}
    state = task.init(jax.random.key(0), batch)
    step = jax.jit(functools.partial(task.train_step, mesh=mesh))
    states = [state]
    for index in range(count):
        states.append(step(states[-1], batch, jax.random.key(index))[0])
    return states


@pytest.mark.slow
def test_evaluations_take_the_average_of_the_weights():
    task = TokenizerTask(model(), optax.sgd(0.1), average_decay=0.15)
    states = steps(task)
    expected = jax.tree.map(np.asarray, states[0]["params"])
    for t, state in enumerate(states[1:]):
        kept = min(0.15, (1 + t) / (10 + t))
        expected = jax.tree.map(lambda a, p, d=kept: d * a + (1 - d) * p, expected, state["params"])
    params, _ = task.evaluated(states[-1])
    for one, other in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    newest = states[-1]["params"]["quantizer"]["embeddings"]
    assert np.any(params["quantizer"]["embeddings"][...] != newest[...])


@pytest.mark.slow
def test_accumulation_changes_nothing_but_the_memory(monkeypatch):
    """Neither the step nor what the quantizer averages, on accelerators, where parts matter."""
    from vqvae_jax import parallel

    monkeypatch.setattr(parallel, "are_accelerators", lambda devices: True)
    results = []
    for accumulate in (1, 3):
        rngs = nnx.Rngs(0)
        of_averages = VQVAE(
            1, 4, 16, 0.08, quantizer=EMAVectorQuantizer(4, 16, rngs=rngs), rngs=rngs
        )
        results.append(steps(TokenizerTask(of_averages, optax.sgd(0.1), accumulate=accumulate))[-1])
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_bfloat16_computes_near_float32_and_keeps_parameters_in_it():
    losses, types = [], []
    for dtype in (None, jnp.bfloat16):
        narrow = VQVAE(1, 4, 16, 0.08, dtype=dtype, rngs=nnx.Rngs(0))
        task = TokenizerTask(narrow, optax.adam(1e-2))
        state = steps(task)[-1]
        assert {leaf.dtype for leaf in jax.tree.leaves(state["params"])} == {jnp.dtype("float32")}
        output = task.merge(task.evaluated(state))(jnp.asarray(IMAGES / 255 - 0.5, jnp.float32))
        losses.append([output.loss, *output.losses.values()])
        types.append(output.latents.dtype)
    assert types == [jnp.float32, jnp.bfloat16]
    assert {loss.dtype for loss in losses[1]} == {jnp.dtype("float32")}
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05, atol=1e-3)
    assert float(losses[0][0]) != float(losses[1][0])
