"""Quantizer methods over explicit mesh axes (`jax.make_mesh`'s default)."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array

Method = TypeVar("Method", bound=Callable[..., Any])


def left_to_xla(
    out: Callable[[NamedSharding, NamedSharding], Any], *, writes: bool = False
) -> Callable[[Method], Method]:
    """Decorates a quantizer's method: over explicit mesh axes, XLA decides how to split its work.

    Whether axes are explicit is read off the method's first argument, x: vectors or indices.

    Args:
        out: gives the result's shardings, from one that is split as x's tokens are and one that is
            not split.
        writes: whether the method writes to the quantizer.
    """

    def decorate(method: Method) -> Method:
        signature = inspect.signature(method)

        @functools.wraps(method)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            module, *given = signature.bind(*args, **kwargs).arguments.items()
            x = given[0][1] if given else None
            sharding = jax.typeof(x).sharding if isinstance(x, jax.Array) else None
            if sharding is None or not sharding.mesh.explicit_axes:
                return method(*args, **kwargs)
            return _automatic(method, module[1], dict(given), sharding, out, writes)

        return cast(Method, wrapped)

    return decorate


def _automatic(
    method: Callable[..., Any],
    module: Any,
    arguments: dict[str, Any],
    sharding: NamedSharding,
    out: Callable[[NamedSharding, NamedSharding], Any],
    writes: bool,
) -> Any:
    """Calls method(module, **arguments) with no array closed over, not even the module's."""
    x = next(iter(arguments.values()))
    whole = NamedSharding(sharding.mesh, PartitionSpec())
    is_token = jnp.issubdtype(x.dtype, jnp.integer) and module.num_codebooks is None
    axes = x.ndim if is_token else x.ndim - 1
    split = NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[:axes]))
    graphdef, state = nnx.split(module)
    static = {name: value for name, value in arguments.items() if name == "axis_name"}
    arrays = {name: value for name, value in arguments.items() if name not in static}

    def own(leaf: Array) -> NamedSharding:
        return NamedSharding(sharding.mesh, jax.typeof(leaf).sharding.spec)

    def run(state: nnx.State, arrays: dict[str, Any]) -> Any:
        merged = nnx.merge(graphdef, state)
        result = method(merged, **arrays, **static)
        return result, nnx.state(merged) if writes else None

    after = jax.tree.map(own, state) if writes else None
    automatic = jax.sharding.auto_axes(
        run, axes=sharding.mesh.explicit_axes, out_sharding=(out(split, whole), after)
    )
    result, after = automatic(state, arrays)
    if writes:
        nnx.update(module, after)
    return result
