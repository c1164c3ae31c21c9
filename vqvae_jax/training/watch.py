"""Checks after every step that losses and state stay finite.

The device reduces them to a few numbers per step; the host checks these once they are available, so
that it never waits for the step that it has just dispatched.
"""

import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vqvae_jax.errors import TrainingError
from vqvae_jax.tasks.base import State, Sums


def watched(sums: Sums, state: State) -> Float[Array, " terms"]:
    """Returns the numbers of one step; call it under jit.

    Args:
        sums: the sums over the step's batch alone.
        state: the state after the step.

    Returns:
        Each floating-point sum; then 0 for each part of the state, or NaN where it holds anything
        not finite.
    """
    losses = list(_losses(sums).values())
    parts = [jnp.where(_is_finite(part), 0, jnp.nan) for _, part in sorted(state.items())]
    return jnp.stack([term.astype(jnp.float32) for term in (*losses, *parts)])


class Watch:
    """The steps whose numbers were not checked yet.

    Args:
        sums: like those given to `watched`.
        state: likewise.
    """

    def __init__(self, sums: Sums, state: State):
        self._losses, self._parts = list(_losses(sums)), sorted(state)
        self._pending: collections.deque[tuple[int, Array]] = collections.deque()

    def add(self, first: int, terms: Float[Array, "steps terms"]) -> None:
        """Adds a dispatch: its first step, counted from 1, and the result of `watched` for each."""
        self._pending.append((first, terms))

    def wait(self, leave: int) -> None:
        """Waits for all dispatches except the last `leave`, and checks their numbers.

        Raises:
            TrainingError: something in one of their steps is not finite.
        """
        while len(self._pending) > leave:
            first, given = self._pending.popleft()
            terms = np.asarray(given)
            wrong = np.argwhere(~np.isfinite(terms))
            if len(wrong) > 0:
                step, term = first + int(wrong[0][0]), int(wrong[0][1])
                raise TrainingError(self._described(step, term, float(terms[tuple(wrong[0])])))

    def _described(self, step: int, term: int, value: float) -> str:
        if term < len(self._losses):
            what = f"the {self._losses[term]} of step {step} is {value}"
        else:
            part = self._parts[term - len(self._losses)]
            what = f"{part} holds NaN or infinity after step {step}"
        return f"{what}; a lower training.learning_rate may help"


def _losses(sums: Sums) -> dict[str, Array]:
    """Returns the sums that are floating-point numbers by name, the total loss last."""
    leaves = {
        jax.tree_util.keystr(path[-1:], simple=True): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(sums)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    return dict(sorted(leaves.items(), key=lambda item: item[0] == "loss"))


def _is_finite(tree: Any) -> Array:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves], bool))
