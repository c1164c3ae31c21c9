"""Anything that is not finite is found, at its step and by its name."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vqvae_jax import VectorQuantizer
from vqvae_jax.errors import TrainingError
from vqvae_jax.evaluation import Totals
from vqvae_jax.training.watch import Watch, watched


@pytest.fixture(scope="module")
def totals():
    return Totals.zeros(VectorQuantizer(2, 3, rngs=nnx.Rngs(0)))


def step(totals, part=None, value=0.0):
    state = {"params": jnp.zeros((2, 3)), "variables": jnp.zeros(1), "opt_state": jnp.zeros(4)}
    if part in state:
        state[part] = state[part].at[..., -1].set(value)
    elif part is not None:
        totals = dataclasses.replace(totals, **{part: jnp.asarray(value)})
    counts = jnp.zeros((), jnp.int32)
    return jax.jit(watched)(
        totals, state["params"], (state["variables"], counts), state["opt_state"]
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("commitment_loss", "the commitment_loss of step 12 is {value}; a lower"),
        ("loss", "the loss of step 12 is {value}; a lower"),
        ("params", "the parameters after step 12 are not finite; a lower"),
        ("variables", "the variables after step 12 are not finite; a lower"),
        ("opt_state", "the optimiser's moments after step 12 are not finite; a lower"),
    ],
)
def test_what_is_not_finite_is_named(totals, part, message, value):
    watch = Watch(totals)
    watch.add(9, jnp.stack([step(totals)] * 2))
    watch.add(11, jnp.stack([step(totals), step(totals, part, value), step(totals, part, value)]))
    watch.wait(leave=1)
    with pytest.raises(TrainingError, match=message.format(value=value)):
        watch.wait(leave=0)


def test_the_largest_number_is_finite(totals):
    watch = Watch(totals)
    for part in ("loss", "params", "opt_state"):
        watch.add(1, step(totals, part, np.finfo(np.float32).max)[None])
    watch.wait(leave=0)


def test_a_term_is_named_before_the_loss_that_it_spoils(totals):
    watch = Watch(totals)
    spoilt = dataclasses.replace(totals, loss=jnp.asarray(jnp.nan))
    watch.add(1, step(spoilt, "codebook_loss", np.inf)[None])
    with pytest.raises(TrainingError, match="the codebook_loss of step 1 is inf"):
        watch.wait(leave=0)
