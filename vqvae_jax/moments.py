"""What an optimizer remembers of parameters that were replaced, not moved."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array

OptState = TypeVar("OptState")


def reset_moments(
    optimizer: optax.GradientTransformation | optax.MultiSteps | nnx.Optimizer,
    opt_state: OptState,
    before: Any,
    after: Any,
) -> OptState:
    """Forgets what an optimizer knows of codes that were replaced, not moved.

    Wherever any number of a row (of what lies at one index of a parameter's first axis) differs,
    the row of the state becomes what `optimizer.init(after)` gives: moments 0, averaged iterates
    the parameter itself.

    Rows of a parameter [K, ...] are those of each leaf of the state whose path ends in the
    parameter's path, or in that and one index, and which has the parameter's shape; or fewer axes,
    the first of length K, where no other axis of the parameter is as long. (Factored moments of a
    square parameter do not tell by their shape to which axis they belong.) Other leaves, such as
    counts, or a memory of several steps, stay as they are.

    Args:
        optimizer: an optax transformation, or an `nnx.Optimizer` with one.
        opt_state: its state.
        before: parameters before the replacement, as a pytree of arrays or an `nnx.State`. (One
            that shares its variables with a model changes with it: take `nnx.as_pure` of that.)
        after: and after it.

    Returns:
        The optimizer's state.
    """
    old, new = _by_path(before), _by_path(after)
    init = optimizer.tx.init if isinstance(optimizer, nnx.Optimizer) else optimizer.init
    leaves, structure = jax.tree.flatten(opt_state)
    rows = []
    for path, leaf, initial in zip(
        _by_path(opt_state), leaves, jax.tree.leaves(init(after)), strict=True
    ):
        owner = _owner(path, leaf, new)
        if owner is not None:
            differs = jnp.any((old[owner] != new[owner]).reshape(len(leaf), -1), axis=1)
            differs = differs.reshape(-1, *(1,) * (leaf.ndim - 1))
            leaf = jnp.where(differs, initial.astype(leaf.dtype), leaf)
        rows.append(leaf)
    return jax.tree.unflatten(structure, rows)


def _by_path(tree: Any) -> dict[tuple[Any, ...], Array]:
    """The leaves by the keys that lead to them, without the step into an `nnx.Variable`."""
    step = jax.tree_util.GetAttrKey("value")
    return {
        tuple(jax.tree_util.keystr((key,), simple=True) for key in path if key != step): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _owner(
    path: tuple[Any, ...], leaf: Array, params: dict[tuple[Any, ...], Array]
) -> tuple[Any, ...] | None:
    """The path of the parameter whose rows a leaf's are; None where there is none."""
    for end in (path, path[:-1]):
        for start in range(len(end)):
            param = params.get(end[start:])
            if param is not None and _has_rows(leaf.shape, param.shape):
                return end[start:]
    return None


def _has_rows(shape: tuple[int, ...], of_param: tuple[int, ...]) -> bool:
    if shape == of_param:
        return len(shape) > 0
    return 0 < len(shape) < len(of_param) and shape[0] == of_param[0] not in of_param[1:]
