"""Large batches on CPUs: a few examples at a time, which stay in cache."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

# Positions, such as pixels, of the examples that are computed at a time: 50 images of 28 x 28.
_POSITIONS = 50 * 28 * 28


def few_at_a_time(
    function: Callable[..., Array], axes: tuple[int, ...], x: Array, *others: Array | None
) -> Array:
    """Returns function(x, *others); on CPUs, of a few examples at a time.

    So the memory is that of a few examples, and what one layer writes is in cache for the next.

    Args:
        function: maps arrays of examples [B, ...] to an array [B, ...], each example by itself.
        axes: the lengths of an example's axes, where it is largest.
        x: [B, ...].
        others: more arrays [B, ...]; or None, which are passed on.
    """
    count, most = x.shape[0], max(1, _POSITIONS // max(1, math.prod(axes)))
    given = [x, *(array for array in others if array is not None)]
    equal = all(array.shape[:1] == (count,) for array in given)  # if not, the function complains
    if not isinstance(count, int) or count <= most or not equal or _is_elsewhere(x):
        return function(x, *others)
    number = -(-count // most)
    size = -(-count // number)

    def call(*few: Array) -> Array:
        left = iter(few[1:])
        return function(few[0], *(None if array is None else next(left) for array in others))

    # Outside of jit, one call after the other. If that is traced regardless, the model is.
    if not any(isinstance(array, jax.core.Tracer) for array in given):
        first = call(*(array[:size] for array in given))
        if not isinstance(first, jax.core.Tracer):
            starts = range(size, count, size)
            rest = (call(*(array[start : start + size] for array in given)) for start in starts)
            return jnp.concatenate([first, *rest])
    return jax.lax.platform_dependent(
        *given, cpu=lambda *given: _scanned(call, size, number, given), default=call
    )


def _scanned(call: Callable[..., Array], size: int, number: int, given: tuple[Array, ...]) -> Array:
    """Returns call(*given) by a scan over so many chunks of a size."""
    count = given[0].shape[0]

    # An example's place in its chunk comes first: if devices share a batch, they share each chunk.
    def divided(array: Array) -> Array:
        padding = [(0, size * number - count)] + [(0, 0)] * (array.ndim - 1)
        return jnp.pad(array, padding).reshape(size, number, *array.shape[1:]).swapaxes(0, 1)

    _, parts = jax.lax.scan(
        lambda _, chunk: (None, call(*chunk)), None, tuple(divided(array) for array in given)
    )
    return parts.swapaxes(0, 1).reshape(size * number, *parts.shape[2:])[:count]


def _is_elsewhere(x: Array) -> bool:
    """Returns whether an array is on accelerators, or its axes are split explicitly."""
    if isinstance(x, jax.core.Tracer):
        return bool(jax.typeof(x).sharding.mesh.explicit_axes)
    if isinstance(x, jax.Array):
        return any(device.platform != "cpu" for device in x.devices())
    return jax.default_backend() != "cpu"  # a NumPy array
