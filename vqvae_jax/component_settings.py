"""The settings of components that exist: the inverse of `components.build_component`."""

import sys
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

import vqvae_jax
from vqvae_jax.components import Settings, source_of
from vqvae_jax.errors import ConfigError
from vqvae_jax.signatures import settings_of

# Where JAX's functions are public: some say that they are of a private module.
_OF_JAX = ("jax.nn", "jax.numpy", "jax.lax")


def settings_from(component: nnx.Module, path: str = "model") -> Settings:
    """Returns the settings from which `build_component` builds a component again.

    The component keeps each argument of its constructor as an attribute of the same name, other
    components among them, apart from `rngs`. Of arguments that it hands to its parent class as
    `**options`, the parent does. A class whose instances are saved as those of another one names it
    as `saved_as`.

    Args:
        component: the component.
        path: where it is in the settings, for messages.

    Raises:
        ConfigError: it does not keep an argument, or one that settings cannot hold; or its class
            has no name of its own in a module.
    """
    kind = type(component)
    if saved_as := vars(kind).get("saved_as"):
        kind = getattr(vqvae_jax, saved_as)
    settings: Settings = {"kind": _name_of(kind, path)}
    for name, parameter in settings_of(kind).items():
        if not hasattr(component, name):
            raise ConfigError(
                f"{path}: {kind.__name__} has no attribute {name}; what is saved keeps each "
                "argument of its constructor as an attribute of the same name"
            )
        value = getattr(component, name)
        try:
            settings[name] = _setting(value, f"{path}.{name}")
        except ConfigError:
            if value is not parameter.default:
                raise
    return settings


def _setting(value: Any, path: str) -> Any:
    """Returns an argument as settings hold it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, nnx.Module) and not isinstance(value, Sequence):
        return settings_from(value, path)
    if isinstance(value, Sequence):
        return tuple(_setting(item, f"{path}.{place}") for place, item in enumerate(value))
    if isinstance(value, np.dtype) or (isinstance(value, type) and hasattr(value, "dtype")):
        return jnp.dtype(value).name
    if callable(value):
        return source_of(value) or _name_of(value, path)
    raise ConfigError(f"{path} is a {type(value).__name__}, which settings cannot hold")


def _name_of(value: Any, path: str) -> str:
    """Returns the public name or the import path of a class or function."""
    name, home = getattr(value, "__name__", ""), getattr(value, "__module__", "")
    if name in vqvae_jax.__all__ and getattr(vqvae_jax, name) is value:
        return name
    for module in (*_OF_JAX, home):
        if getattr(sys.modules.get(module), name, None) is value:
            return f"{module}:{name}"
    raise ConfigError(
        f"{path} is {getattr(value, '__qualname__', value)} of {home}, which cannot be imported "
        "from there by its name"
    )
