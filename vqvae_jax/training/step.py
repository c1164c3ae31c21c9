"""Training steps: a pure function of the state and batches."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from vqvae_jax.moments import reset_moments
from vqvae_jax.parallel import replicated
from vqvae_jax.quantizers import Leaf
from vqvae_jax.training.tasks import Task, split_model
from vqvae_jax.training.tasks.base import Examples, Totals
from vqvae_jax.training.watch import watched


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a step reads and writes.

    Attributes:
        step: int32 scalar, how many steps are done.
        params: the model's parameters.
        variables: what the model keeps beside them: the quantizer's averages and flags.
        opt_state: the optimiser's state.
        totals: metrics since the last line of the log.
    """

    step: Leaf
    params: nnx.State
    variables: nnx.State
    opt_state: optax.OptState
    totals: Totals

    @classmethod
    def of(cls, task: Task, optimizer: optax.GradientTransformation) -> "TrainState":
        """The state before the first step."""
        params, variables = task.weights
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            variables=variables,
            opt_state=optimizer.init(params),
            totals=task.zeros(),
        )


def train_steps(
    task: Task,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    seed: int,
    state: TrainState,
    batches: Examples,
) -> tuple[TrainState, Float[Array, "steps terms"]]:
    """Moves the parameters, once a batch, by one step down the gradient of the loss.

    Then the model is updated with what the step has seen, if the task has that; parameters that
    this replaces get new optimiser states. To be jitted with `task`, `optimizer`, `mesh` and `seed`
    bound, `state` donated.

    Args:
        task: what is learnt.
        optimizer: the optax transformation that `state.opt_state` belongs to.
        mesh: the devices that each batch is split over.
        seed: of the random numbers that a step draws; each has its own.
        state: before the steps, replicated over the mesh.
        batches: a pytree of arrays [S, B, ...], one batch of examples for each step.

    Returns:
        The state after the steps, and of each of them what `watched` gives.
    """

    def step(state: TrainState, batch: Examples) -> tuple[TrainState, Array]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        draws, updates_draw = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        weights = (state.params, state.variables)
        gradients, totals, seen = task.gradients(mesh, weights, batch, draws)
        with jax.numpy_dtype_promotion("standard"):  # optax relies on it
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        after = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            variables=state.variables,
            opt_state=opt_state,
            totals=state.totals + totals,
        )
        if task.has_updates:
            seen = jax.lax.with_sharding_constraint(seen, replicated(mesh))
            after = _updated(task, optimizer, after, seen, updates_draw)
        return after, watched(totals, after.params, after.variables, after.opt_state)

    return jax.lax.scan(step, state, batches)


def _updated(
    task: Task,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    seen: Any,
    key: jax.Array,
) -> TrainState:
    model = task.merge((state.params, state.variables))
    task.update(model, seen, key)
    _, params, variables = split_model(model)
    opt_state = reset_moments(optimizer, state.opt_state, state.params, params)
    return dataclasses.replace(state, params=params, variables=variables, opt_state=opt_state)


def initialized(task: Task, seed: int, state: TrainState, batch: Examples) -> TrainState:
    """The state with what the model takes from the first batch, such as initial codes.

    Args:
        task: what is learnt.
        seed: of the random numbers.
        state: before the first step.
        batch: the first batch of examples.
    """
    model = task.merge((state.params, state.variables))
    task.initialize(model, batch, jax.random.key(seed))
    _, params, variables = split_model(model)
    return dataclasses.replace(state, params=params, variables=variables)
