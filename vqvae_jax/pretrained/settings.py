"""Configs in the terms of the code that they were written for."""

import types
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vqvae_jax.checks import did_you_mean


def read(
    config: Mapping[str, Any],
    required: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
    *,
    only: Mapping[str, Any] | None = None,
    ignored: Collection[str] = (),
    path: str = "config",
) -> types.SimpleNamespace:
    """Returns the settings of a config as attributes.

    Args:
        config: names and values. Names that start with _ are ignored.
        required: names that must be given.
        defaults: values of names that may be left out.
        only: names that may be left out, and the one value that each may have.
        ignored: names whose value makes no difference to the tokenizer.
        path: where the config is, for messages.

    Raises:
        ValueError: it is no mapping; a name is missing or unknown; a value is not supported.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"{path} is {config!r}; it must be a mapping of settings")
    defaults, only = dict(defaults or {}), dict(only or {})
    for name in required:
        if name not in config:
            raise ValueError(f"{path}.{name} is missing")
    known = (*required, *defaults, *only)
    for name, value in config.items():
        if name.startswith("_") or name in ignored:
            continue
        if name not in known:
            raise ValueError(f"{path}.{name} is unknown{did_you_mean(name, known)}")
        if name in only and value != only[name]:
            raise ValueError(f"{path}.{name} is {value!r}; only {only[name]!r} is supported")
    given = {name: config[name] for name in known if name in config}
    return types.SimpleNamespace(**(defaults | only | given))


def check_integers(path: str, value: Any, *, least: int = 1) -> tuple[int, ...]:
    """Returns a list of integers as a tuple.

    Raises:
        ValueError: it is none, or is empty, or one is below `least`.
    """
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if not is_list or not value or not all(isinstance(n, int) and n >= least for n in value):
        raise ValueError(f"{path} is {value!r}; it must be a list of integers of at least {least}")
    return tuple(value)
