"""Tasks with one network, one loss and one optimizer."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from vqvae_jax.checks import check_integer, check_share
from vqvae_jax.moments import reset_moments
from vqvae_jax.parallel import replicated
from vqvae_jax.tasks.base import Batch, State, Sums, Task

# The parameters, and the other variables.
Weights = tuple[nnx.State, nnx.State]


class ModelTask(Task, abc.ABC):
    """Trains a model's parameters by the gradient of a loss.

    Its state holds "params", "variables" and "opt_state", and "average" if there is one.

    Args:
        model: with its initial values.
        optimizer: an optax transformation.
        monitor: see `Task`.
        accumulate: how many parts a batch is computed in, one after the other, at least 1.
        average_decay: d in [0, 1) of the moving average of the parameters that evaluations use,

                a = d_t a + (1 - d_t) p,    d_t = min(d, (1 + t) / (10 + t)) after t steps;

            0: they use the parameters.
    """

    progress = "loss"
    has_initialization = False
    has_updates = False

    def __init__(
        self,
        model: nnx.Module,
        optimizer: optax.GradientTransformation,
        monitor: str,
        *,
        accumulate: int = 1,
        average_decay: float = 0.0,
    ):
        self.graphdef, params, variables = split_model(model)
        self.weights: Weights = (params, variables)
        self.optimizer, self.monitor = optimizer, monitor
        self.accumulate = check_integer("accumulate", accumulate)
        self.average_decay = check_share("average_decay", average_decay)

    def merge(self, weights: Weights) -> Any:
        """Returns the model with these parameters and other variables."""
        return nnx.merge(self.graphdef, *weights)

    def evaluated(self, state: State) -> Weights:
        """Returns the weights that evaluations use."""
        params = state["average"]["params"] if "average" in state else state["params"]
        return params, state["variables"]

    def init(self, key: jax.Array, batch: Batch) -> State:
        """See `Task.init`."""
        return jax.jit(self._initial)(self.weights, key, batch)  # one program

    def train_step(
        self, state: State, batch: Batch, key: jax.Array, mesh: Mesh
    ) -> tuple[State, Sums]:
        """See `Task.train_step`.

        Then the model is updated with what the step has seen, if it `has_updates`; parameters that
        this replaces get fresh optimizer states.
        """
        draws, updates_draw = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        params, variables = state["params"], state["variables"]
        gradients, sums, seen = self.gradients(mesh, (params, variables), batch, draws)
        with jax.numpy_dtype_promotion("standard"):  # optax relies on it
            updates, opt_state = self.optimizer.update(gradients, state["opt_state"], params)
        params = optax.apply_updates(params, updates)
        if self.has_updates:
            seen = jax.lax.with_sharding_constraint(seen, replicated(mesh))
            model = self.merge((params, variables))
            self.update(model, seen, updates_draw)
            before = params
            _, params, variables = split_model(model)
            opt_state = reset_moments(self.optimizer, opt_state, before, params)
        after = {"params": params, "variables": variables, "opt_state": opt_state}
        if "average" in state:
            after["average"] = self._averaged(state["average"], params)
        return after, sums

    @abc.abstractmethod
    def gradients(
        self, mesh: Mesh, weights: Weights, batch: Batch, key: jax.Array
    ) -> tuple[nnx.State, Sums, Any]:
        """Returns the gradient of a batch's loss, its sums, and the input of `update`.

        Args:
            mesh: the devices that the batch is split over.
            weights: the model's weights, replicated over them.
            batch: a batch of examples.
            key: draws what is random in training.
        """

    def initialize(self, model: Any, batch: Batch, key: jax.Array) -> None:
        """Initializes a model from the first batch, if it `has_initialization`."""
        raise NotImplementedError

    def update(self, model: Any, seen: Any, key: jax.Array) -> None:
        """Updates what no gradient trains, from what a step has seen, if it `has_updates`."""
        raise NotImplementedError

    def _averaged(self, average: Any, params: nnx.State) -> Any:
        steps = average["steps"].astype(jnp.float32)
        kept = jnp.minimum(self.average_decay, (1 + steps) / (10 + steps))
        moved = jax.tree.map(
            lambda before, now: before + (1 - kept).astype(now.dtype) * (now - before),
            average["params"],
            params,
        )
        return {"params": moved, "steps": average["steps"] + 1}

    def _initial(self, weights: Weights, key: jax.Array, batch: Batch) -> State:
        if self.has_initialization:
            model = self.merge(weights)
            self.initialize(model, batch, key)
            weights = split_model(model)[1:]
        # Copies: the state is donated, and the model stays as it is.
        params, variables = jax.tree.map(jnp.copy, weights)
        opt_state = self.optimizer.init(params)
        state = {"params": params, "variables": variables, "opt_state": opt_state}
        if self.average_decay > 0:
            copy = jax.tree.map(jnp.copy, params)
            state["average"] = {"params": copy, "steps": jnp.zeros((), jnp.int32)}
        return state


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """Returns the model's structure, its parameters, and its other variables."""
    graphdef, params, *rest = nnx.split(model, nnx.Param, ...)
    return graphdef, params, rest[0]
