"""Large batches on CPUs: a few examples at a time, so that memory is bounded and caches suffice."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

# Positions, such as pixels, of the examples that are computed at a time: 50 images of 28 x 28.
_POSITIONS = 50 * 28 * 28


def in_chunks(
    function: Callable[..., Array], axes: Sequence[Any], x: Array, *others: Array | None
) -> Array:
    """Returns function(x, *others); on CPUs, computed a few examples at a time.

    The batch stays whole on accelerators, where arrays are split explicitly, and where only what
    the function closes over is traced.

    Args:
        function: maps arrays of examples [B, ...] to an array [B, ...], each example by itself, and
            changes nothing else.
        axes: the lengths of an example's axes, where it is largest; perhaps symbolic.
        x: [B, ...].
        others: more arrays [B, ...]; or None, which are passed on.
    """
    given = [x, *(array for array in others if array is not None)]
    if not _can_be_divided(given, axes):
        return function(x, *others)
    count, most = len(x), max(1, _POSITIONS // max(1, math.prod(axes)))
    if count <= most:
        return function(x, *others)

    def call(*few: Array) -> Array:
        left = iter(few[1:])
        return function(few[0], *(None if array is None else next(left) for array in others))

    if any(isinstance(array, jax.core.Tracer) for array in given):
        number = _number_of_chunks(count, most)
        if number == 1:
            return function(x, *others)
        return jax.lax.platform_dependent(
            *given, cpu=lambda *given: _scanned(call, number, given), default=call
        )
    parts = []
    for start in range(0, count, most):
        parts.append(call(*(array[start : start + most] for array in given)))
        if isinstance(parts[0], jax.core.Tracer):
            return function(x, *others)
    return jnp.concatenate(parts)


def _can_be_divided(given: list[Array], axes: Sequence[Any]) -> bool:
    """Returns whether arrays are equally many examples, of known sizes, that CPUs hold whole."""
    count = given[0].shape[0]
    if not all(isinstance(size, int) for size in (count, *axes)):
        return False
    if any(array.shape[:1] != (count,) for array in given):
        return False  # the function complains
    for array in given:
        if not isinstance(array, jax.Array):  # NumPy's
            if jax.default_backend() != "cpu":
                return False
        elif jax.typeof(array).sharding.mesh.explicit_axes:
            return False
        elif not isinstance(array, jax.core.Tracer):
            first, *more = array.devices()
            if more or first.platform != "cpu":
                return False
    return True


def _number_of_chunks(count: int, most: int) -> int:
    """Returns into how many chunks of about `most` examples a batch is divided.

    Several devices may share the batch, which does not show. Then each has its share of every
    chunk, so that nothing moves between them; if that cannot be, the batch is one chunk.
    """
    devices = jax.local_device_count("cpu")
    if devices == 1:
        return max(1, -(-count // most))
    share, left = divmod(count, devices)
    fewest = max(1, -(-count // max(most, devices)))
    even = (n for n in range(fewest, min(share, 8 * fewest) + 1) if share % n == 0)
    return next(even, 1) if left == 0 else 1


def _scanned(call: Callable[..., Array], number: int, given: tuple[Array, ...]) -> Array:
    """Returns call(*given) by a scan over so many chunks, the last filled up with zeros."""
    count = given[0].shape[0]
    size = -(-count // number)

    # An example's place in its chunk comes first, so that devices share each chunk.
    def divided(array: Array) -> Array:
        padding = [(0, size * number - count)] + [(0, 0)] * (array.ndim - 1)
        return jnp.pad(array, padding).reshape(size, number, *array.shape[1:]).swapaxes(0, 1)

    chunks = tuple(divided(array) for array in given)
    _, parts = jax.lax.scan(lambda _, chunk: (None, call(*chunk)), None, chunks)
    return parts.swapaxes(0, 1).reshape(size * number, *parts.shape[2:])[:count]
