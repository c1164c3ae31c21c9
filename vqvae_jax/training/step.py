"""Training steps: a pure function of the state and batches."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from vqvae_jax.data.batches import to_floats
from vqvae_jax.evaluation.totals import Totals
from vqvae_jax.models import VQVAE
from vqvae_jax.parallel import replicated
from vqvae_jax.quantizers import Leaf
from vqvae_jax.training.gradients import Seen, batch_gradients


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
    def of(cls, model: VQVAE, optimizer: optax.GradientTransformation) -> "TrainState":
        """The state before the first step."""
        _, params, variables = split_model(model)
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            variables=variables,
            opt_state=optimizer.init(params),
            totals=Totals.zeros(model.quantizer),
        )


def split_model(model: VQVAE) -> tuple[nnx.GraphDef[VQVAE], nnx.State, nnx.State]:
    """The model's structure, its parameters, and its other variables."""
    graphdef, params, *rest = nnx.split(model, nnx.Param, ...)
    return graphdef, params, rest[0]


def train_steps(
    graphdef: nnx.GraphDef[VQVAE],
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    seed: int,
    state: TrainState,
    images: UInt8[Array, "steps b h w c"],
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Moves the parameters, once a batch, by one step down the gradient of the loss.

    Then the quantizer is updated with what the step quantized; parameters that this replaces get
    new optimiser states. To be jitted with `graphdef`, `optimizer`, `mesh` and `seed` bound,
    `state` donated.

    Args:
        graphdef: the model's structure, from `split_model`.
        optimizer: the optax transformation that `state.opt_state` belongs to.
        mesh: the devices that each batch is split over.
        seed: of the random numbers that the quantizer draws; each step has its own.
        state: before the steps, replicated over the mesh.
        images: uint8 [S, B, H, W, C], one batch for each step.

    Returns:
        The state after the steps, and the loss before each of them.
    """

    def step(state: TrainState, images: Array) -> tuple[TrainState, Array]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        draws, updates_draw = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        weights = (state.params, state.variables)
        gradients, totals, seen = batch_gradients(graphdef, mesh, weights, images, draws)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        after = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            variables=state.variables,
            opt_state=opt_state,
            totals=state.totals + totals,
        )
        if nnx.merge(graphdef, *weights).quantizer.has_updates:
            seen = jax.lax.with_sharding_constraint(seen, replicated(mesh))
            after = _with_updated_quantizer(graphdef, optimizer, after, seen, updates_draw)
        return after, totals.loss / len(images)

    return jax.lax.scan(step, state, images)


def _with_updated_quantizer(
    graphdef: nnx.GraphDef[VQVAE],
    optimizer: optax.GradientTransformation,
    state: TrainState,
    seen: Seen,
    key: jax.Array,
) -> TrainState:
    model = nnx.merge(graphdef, state.params, state.variables)
    model.quantizer.update(*seen, key=key)
    _, params, variables = split_model(model)
    opt_state = reset_moments(optimizer, state.opt_state, state.params, params)
    return dataclasses.replace(state, params=params, variables=variables, opt_state=opt_state)


def reset_moments(
    optimizer: optax.GradientTransformation,
    opt_state: optax.OptState,
    before: Any,
    after: Any,
) -> optax.OptState:
    """Forgets what the optimiser knows of codes that were replaced, not moved.

    Args:
        optimizer: an optax transformation.
        opt_state: its state.
        before: parameters before the replacement, as a pytree.
        after: and after it. Wherever any number of a row (of what lies at one index of a
            parameter's first axis) differs, the row's moments become 0.

    Returns:
        The optimiser's state.
    """

    def reset(moment: Array, before: Array, after: Array) -> Array:
        differs = before != after
        if moment.ndim > 1:
            differs = jnp.any(differs, axis=tuple(range(1, moment.ndim)), keepdims=True)
        return jnp.where(differs, jnp.zeros((), moment.dtype), moment)

    return optax.tree_utils.tree_map_params(optimizer, reset, opt_state, before, after)


def initialize_codes(
    graphdef: nnx.GraphDef[VQVAE],
    seed: int,
    state: TrainState,
    images: UInt8[Array, "b h w c"],
) -> TrainState:
    """Lets the quantizer take its initial codes from images, if it was made for that.

    Args:
        graphdef: the model's structure, from `split_model`.
        seed: of the random numbers.
        state: before the first step.
        images: uint8 [B, H, W, C], the first batch.

    Returns:
        The state, with the codes set.
    """
    model = nnx.merge(graphdef, state.params, state.variables)
    model.quantizer.initialize(model.encoder(to_floats(images)), key=jax.random.key(seed))
    _, params, variables = split_model(model)
    return dataclasses.replace(state, params=params, variables=variables)
