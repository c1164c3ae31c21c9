"""Training steps: a pure function of a run's progress and batches."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int

from vqvae_jax.parallel import replicated, split
from vqvae_jax.tasks.base import Batch, State, Sums, Task
from vqvae_jax.training.watch import watched

# Maps a state, a batch and a key to the state after a step and the sums over its examples.
Step = Callable[[State, Batch, jax.Array], tuple[State, Sums]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Progress:
    """All that a step reads and writes.

    Attributes:
        step: int32 scalar, how many steps were taken.
        state: the task's.
        sums: sums over the examples since the last line of the log.
        examples: int32 scalar, how many those are.
    """

    step: Int[Array, ""]
    state: State
    sums: Sums
    examples: Int[Array, ""]


def train_steps(
    step: Step, seed: int, progress: Progress, batches: Batch
) -> tuple[Progress, Float[Array, "steps terms"]]:
    """Takes one step of a task per batch; jit it with the first two arguments bound.

    Args:
        step: from `step_on`.
        seed: seed of the steps' random numbers; each step has its own.
        progress: the progress before the steps, replicated over the mesh; may be donated.
        batches: a pytree of arrays [S, B, ...], one batch of examples for each step.

    Returns:
        The progress after the steps, and the result of `watched` for each of them.
    """

    def take(progress: Progress, batch: Batch) -> tuple[Progress, Array]:
        key = jax.random.fold_in(jax.random.key(seed), progress.step)
        state, sums = step(progress.state, batch, key)
        after = Progress(
            step=progress.step + 1,
            state=state,
            sums=jax.tree.map(jnp.add, progress.sums, sums),
            examples=progress.examples + len(jax.tree.leaves(batch)[0]),
        )
        return after, watched(sums, state)

    return jax.lax.scan(take, progress, batches)


def step_on(task: Task, mesh: Mesh) -> Step:
    """Returns the task's step on the devices of a mesh, traced once for all its uses."""
    return jax.jit(lambda state, batch, key: task.train_step(state, batch, key, mesh), inline=True)


def no_sums(step: Step, mesh: Mesh, state: State, batch: Any) -> Sums:
    """Returns the sums before any example; each leaf has its own buffer, so all can be donated.

    Args:
        step: from `step_on`.
        mesh: the step's devices.
        state: the task's, or its shapes.
        batch: the examples of a step, or their shapes.
    """

    def placed(tree: Any, sharding: NamedSharding) -> Any:
        # As `train_steps` has them: so the step is traced once for both.
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
        )

    given = placed((state, jax.random.key(0)), replicated(mesh))
    shapes = jax.eval_shape(step, given[0], placed(batch, split(mesh)), given[1])[1]
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
