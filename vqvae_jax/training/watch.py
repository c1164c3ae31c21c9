"""What must stay finite in a run, looked at after every step.

The device reduces it to a few numbers a step; the host looks at them once they are there, so that
it never waits for the step that it has just dispatched.
"""

import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vqvae_jax.errors import TrainingError
from vqvae_jax.training.tasks.base import Totals

_PARTS = ("parameters", "variables", "optimiser's moments")


def watched(totals: Totals, params: Any, variables: Any, opt_state: Any) -> Float[Array, " terms"]:
    """The numbers of one step; to be called under jit.

    Args:
        totals: the sums of the step's batch, alone.
        params: after the step, like the others.
        variables: the model's.
        opt_state: the optimiser's.

    Returns:
        Each loss; then 0 for each part of the state, or NaN where it holds anything not finite.
    """
    losses = [getattr(totals, name) for name in _losses(totals)]
    parts = [jnp.where(_is_finite(part), 0, jnp.nan) for part in (params, variables, opt_state)]
    return jnp.stack([term.astype(jnp.float32) for term in (*losses, *parts)])


class Watch:
    """The steps whose numbers were not looked at yet.

    Args:
        totals: sums like those given to `watched`.
    """

    def __init__(self, totals: Totals):
        self._losses = _losses(totals)
        self._pending: collections.deque[tuple[int, Array]] = collections.deque()

    def add(self, first: int, terms: Float[Array, "steps terms"]) -> None:
        """Notes a dispatch: its first step, counted from 1, and what `watched` gave for each."""
        self._pending.append((first, terms))

    def wait(self, leave: int) -> None:
        """Waits for all dispatches but the last `leave`.

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
            part = _PARTS[term - len(self._losses)]
            what = f"the {part} after step {step} are not finite"
        return f"{what}; a lower training.learning_rate may help"


def _losses(totals: Totals) -> list[str]:
    """The names of the sums that are floating-point numbers, the whole loss last."""
    names = [
        name for name, leaf in vars(totals).items() if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return sorted(names, key=lambda name: name == "loss")


def _is_finite(tree: Any) -> Array:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves], bool))
