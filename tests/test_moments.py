"""Moments of replaced codes, in every kind of optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from optax import contrib

from tests.conftest import promoting
from vqvae_jax import VectorQuantizer, reset_moments

K, D = 6, 3


def labels(params):
    return {name: "adam" if name == "codes" else "lion" for name in params}


# With the leaves that have rows of the codes, by what their paths hold.
OPTIMIZERS = {
    "adam": (optax.adam(1e-2), ["mu", "nu"]),
    "adamw": (optax.adamw(1e-2), ["mu", "nu"]),
    "lion": (optax.lion(1e-2), ["mu"]),
    "adagrad": (optax.adagrad(1e-2), ["sum_of_squares"]),
    "adafactor": (
        optax.adafactor(1e-2, momentum=0.9, min_dim_size_to_factor=2),
        [".v_col", ".ema"],
    ),
    "whole adafactor": (optax.adafactor(1e-2), [".v['codes']"]),
    "muon": (contrib.muon(1e-2), ["mu"]),
    "sm3": (optax.sm3(1e-2), ["['codes'][0]", "nu"]),
    "lbfgs": (optax.lbfgs(1e-2, memory_size=K, linesearch=None), [".params", ".updates"]),
    "schedule-free": (contrib.schedule_free_adamw(1e-2), [".nu", ".z"]),
    "chain": (optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1e-2, 0.9)), ["trace"]),
    "masked": (optax.masked(optax.adam(1e-2), {"codes": True, "bias": False}), ["mu", "nu"]),
    "multi_transform": (
        optax.multi_transform({"adam": optax.adam(1e-2), "lion": optax.lion(1e-2)}, labels),
        ["mu", "nu"],
    ),
    "MultiSteps": (optax.MultiSteps(optax.adam(1e-2), 2), ["mu", "nu", "acc_grads"]),
    "hyperparameters": (optax.inject_hyperparams(optax.adam)(1e-2), ["mu", "nu"]),
}


@pytest.fixture
def params():
    random = np.random.RandomState(0)
    return {"codes": jnp.asarray(random.randn(K, D), jnp.float32), "bias": jnp.ones(D)}


def stepped(optimizer, params, steps=3):
    """The state after a few steps, and the parameters."""
    opt_state = optimizer.init(params)
    step = jax.jit(promoting(optimizer).update)
    for _ in range(steps):
        updates, opt_state = step(params, opt_state, params)
        params = optax.apply_updates(params, updates)
    return opt_state, params


@pytest.mark.parametrize(("optimizer", "with_rows"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_rows_of_replaced_codes_begin_again_and_all_else_stays(optimizer, with_rows, params):
    opt_state, before = stepped(optimizer, params)
    after = before | {"codes": before["codes"].at[2, 1].add(1.0)}
    got = jax.jit(lambda *trees: reset_moments(optimizer, *trees))(opt_state, before, after)
    assert jax.tree.structure(got) == jax.tree.structure(opt_state)
    fresh, seen = jax.tree.leaves(optimizer.init(after)), set()
    for (path, old), initial, new in zip(
        jax.tree_util.tree_leaves_with_path(opt_state), fresh, jax.tree.leaves(got), strict=True
    ):
        expected, name = np.array(old), jax.tree_util.keystr(path)
        if "codes" in name:
            found = [part for part in with_rows if part in name]
            if found and np.shape(old)[0] == K:
                expected[2] = initial[2]
                assert not np.array_equal(expected, old), name
                seen.update(found)
        np.testing.assert_array_equal(new, expected, err_msg=name)
        assert new.dtype == old.dtype
    assert seen == set(with_rows)


def test_iterates_that_are_averaged_become_the_new_code(params):
    optimizer = contrib.schedule_free_adamw(1e-2)
    opt_state, before = stepped(optimizer, params)
    after = before | {"codes": before["codes"].at[2].set(7.0)}
    opt_state = reset_moments(optimizer, opt_state, before, after)
    with jax.numpy_dtype_promotion("standard"):
        averaged = contrib.schedule_free_eval_params(opt_state, after)["codes"]
    np.testing.assert_allclose(averaged[2], 7.0, rtol=1e-6)


def test_factored_moments_of_a_square_parameter_stay():
    """Their shape does not say whether they are of rows or of columns."""
    optimizer = optax.adafactor(1e-2, min_dim_size_to_factor=2)
    opt_state, before = stepped(optimizer, {"codes": jnp.arange(16.0).reshape(4, 4)})
    got = reset_moments(optimizer, opt_state, before, {"codes": before["codes"].at[0].set(9.0)})
    for new, old in zip(jax.tree.leaves(got), jax.tree.leaves(opt_state), strict=True):
        np.testing.assert_array_equal(new, old)


def test_two_parameters_of_the_same_last_name_are_told_apart(params):
    """By the longest path: one of them lies at the root."""
    params = {"codes": params["codes"], "inner": {"codes": params["codes"] + 1}}
    opt_state, before = stepped(optax.sgd(1e-2, 0.9), params)
    after = before | {"codes": before["codes"].at[0].set(9.0)}
    trace = reset_moments(optax.sgd(1e-2, 0.9), opt_state, before, after)[0].trace
    assert not trace["codes"][0].any()
    np.testing.assert_array_equal(trace["inner"]["codes"], opt_state[0].trace["inner"]["codes"])


@pytest.mark.parametrize("graph", [True, False])
def test_of_an_nnx_optimizer(graph):
    with nnx.set_graph_mode(graph):
        quantizer = VectorQuantizer(D, K, rngs=nnx.Rngs(0))
        optimizer = nnx.Optimizer(quantizer, promoting(optax.adamw(1e-2)), wrt=nnx.Param)
        optimizer.update(quantizer, nnx.state(quantizer, nnx.Param))
        before = nnx.as_pure(nnx.state(quantizer, nnx.Param))
        quantizer.embeddings[...] = quantizer.embeddings[...].at[2].set(9.0)
        after = nnx.state(quantizer, nnx.Param)
        old = np.array(optimizer.opt_state[0].mu["embeddings"][...])
        optimizer.opt_state = reset_moments(optimizer, optimizer.opt_state, before, after)
        for moments in (optimizer.opt_state[0].mu, optimizer.opt_state[0].nu):
            assert not moments["embeddings"][2].any()
        expected = np.delete(old, 2, axis=0)
        got = np.delete(optimizer.opt_state[0].mu["embeddings"][...], 2, axis=0)
        np.testing.assert_array_equal(got, expected)
        optimizer.update(quantizer, nnx.state(quantizer, nnx.Param))  # the state is still one
        assert optimizer.opt_state[0].count[...] == 2
