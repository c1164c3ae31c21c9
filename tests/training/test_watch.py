"""Anything that is not finite is found, at its step and by its name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqvae_jax.errors import TrainingError
from vqvae_jax.training.watch import Watch, watched

SUMS = {"images": jnp.asarray(3), "losses": {"commitment_loss": 0.5, "loss": 2.0}}
STATE = {
    "params": jnp.zeros((2, 3)),
    "variables": (jnp.zeros(1), jnp.zeros((), jnp.int32)),
    "opt_state": jnp.zeros(4),
}


def step(part=None, value=0.0):
    sums = jax.tree.map(jnp.asarray, SUMS)
    if part in sums["losses"]:
        sums["losses"][part] = jnp.asarray(value)
    state = dict(STATE)
    if part in state:
        first, *others = jax.tree.leaves(state[part])
        state[part] = (first.at[..., -1].set(value), *others)
    return jax.jit(watched)(sums, state)


def watch():
    return Watch(jax.tree.map(jnp.asarray, SUMS), STATE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("commitment_loss", "the commitment_loss of step 12 is {value}; a lower"),
        ("loss", "the loss of step 12 is {value}; a lower"),
        ("params", "params holds NaN or infinity after step 12; a lower"),
        ("variables", "variables holds NaN or infinity after step 12; a lower"),
        ("opt_state", "opt_state holds NaN or infinity after step 12; a lower"),
    ],
)
def test_what_is_not_finite_is_named(part, message, value):
    seen = watch()
    seen.add(9, jnp.stack([step()] * 2))
    seen.add(11, jnp.stack([step(), step(part, value), step(part, value)]))
    seen.wait(leave=1)
    with pytest.raises(TrainingError, match=message.format(value=value)):
        seen.wait(leave=0)


def test_the_largest_number_is_finite():
    seen = watch()
    for part in ("loss", "params", "opt_state"):
        seen.add(1, step(part, np.finfo(np.float32).max)[None])
    seen.wait(leave=0)


def test_a_term_is_named_before_the_loss_that_it_spoils():
    spoilt = {"images": jnp.asarray(3), "losses": {"codebook_loss": jnp.inf, "loss": jnp.nan}}
    spoilt = jax.tree.map(jnp.asarray, spoilt)
    seen = Watch(spoilt, STATE)
    seen.add(1, watched(spoilt, STATE)[None])
    with pytest.raises(TrainingError, match="the codebook_loss of step 1 is inf"):
        seen.wait(leave=0)
