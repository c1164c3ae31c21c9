"""Leaves to XLA what JAX cannot split over explicit mesh axes (`jax.make_mesh`'s default)."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array


def split_by_batch(function: Callable[..., Array], x: Array, *others: Any) -> Array:
    """Calls function(x, *others); over explicit mesh axes, XLA decides how to split the work.

    Args:
        function: takes arrays; its result has x's first axis.
        x: [B, ...].
        others: more arguments, pytrees of arrays.

    Returns:
        [B, ...], over explicit axes split along B as x is, and in no other way.
    """
    sharding = jax.typeof(x).sharding
    if not sharding.mesh.explicit_axes or x.ndim == 0:
        return function(x, *others)
    split = NamedSharding(sharding.mesh, PartitionSpec(sharding.spec[0]))
    automatic = jax.sharding.auto_axes(
        function, axes=sharding.mesh.explicit_axes, out_sharding=split
    )
    return automatic(x, *others)
