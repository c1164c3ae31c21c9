"""Resets optimizer state of parameters that were replaced, not moved."""

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
    """Resets an optimizer's state for codes that were replaced, not moved.

    Wherever any number of a row (the slice at one index of a parameter's first axis) differs, the
    state's row becomes that of `optimizer.init(after)`: moments become 0, averaged iterates the
    parameter itself.

    The rows of a parameter [K, ...] are in each leaf of the state whose path ends in the
    parameter's path, or in that and one index, and which has the parameter's shape; or fewer axes,
    the first of length K, if no other axis of the parameter is as long. (The shape of factored
    moments of a square parameter does not tell which axis they belong to.) Other leaves, such as
    counts or a history of several steps, stay unchanged.

    Args:
        optimizer: an optax transformation, or an `nnx.Optimizer` with one.
        opt_state: the optimizer's state.
        before: parameters before the replacement, as a pytree of arrays or an `nnx.State`. (One
            that shares its variables with a model changes with it: use `nnx.as_pure` of that.)
        after: the parameters after it.

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
    """Returns the leaves by their key paths, without the step into an `nnx.Variable`."""
    step = jax.tree_util.GetAttrKey("value")
    return {
        tuple(jax.tree_util.keystr((key,), simple=True) for key in path if key != step): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _owner(
    path: tuple[Any, ...], leaf: Array, params: dict[tuple[Any, ...], Array]
) -> tuple[Any, ...] | None:
    """Returns the path of the parameter that a leaf's rows belong to; None if there is none."""
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
