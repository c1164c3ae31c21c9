"""Settings that the command line replaces, wherever they are in a config."""

import ast
import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vqvae_jax.components import Settings, kind_of, unknown
from vqvae_jax.errors import ConfigError
from vqvae_jax.signatures import class_in, settings_of, types_of


def with_setting(
    component: Settings,
    parameters: Mapping[str, inspect.Parameter],
    names: Sequence[str],
    text: str,
    path: str,
) -> Settings:
    """Returns the settings of a component with one, of its own or of one inside it, replaced.

    With another `kind`, the settings that it does not take are dropped.

    Args:
        component: the settings.
        parameters: what may be set of it, by name.
        names: the names on the way to the setting; an item of a tuple goes by its number.
        text: the new value, as on the command line.
        path: where the component is in the config, for messages.

    Raises:
        ConfigError: there is no such setting.
    """
    name, *rest = names
    if name not in parameters:
        known = _paths(component, parameters, path)
        raise unknown(".".join([path, *names]), known)
    before, place, annotation = component.get(name), f"{path}.{name}", parameters[name].annotation
    if rest:
        return component | {name: _with_inner(before, rest, text, place, class_in(annotation))}
    value = read_value(text, types_of(annotation))
    if isinstance(before, Mapping) and isinstance(value, str):
        value = with_kind(before, value, place, class_in(annotation))
    return component | {name: value}


def with_kind(
    component: Mapping[str, Any], kind: str, path: str, expected: Any = object
) -> Settings:
    """Returns the settings of a component that another kind takes, with that kind.

    Raises:
        ConfigError: there is no such kind of the expected class.
    """
    takes = settings_of(kind_of({"kind": kind}, path, expected))
    return {"kind": kind} | {name: component[name] for name in takes if name in component}


def read_value(text: str, types: Collection[Any]) -> Any:
    """Returns the value that a text stands for; the constructor says whether it is allowed.

    Args:
        text: what was given.
        types: those that the setting may have.
    """
    if bool in types and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if str in types and not (text == "None" and type(None) in types):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {"nan": float("nan"), "inf": float("inf")}.get(text.lower(), text)


def _with_inner(before: Any, names: Sequence[str], text: str, path: str, expected: Any) -> Any:
    """Returns a value of a setting with something inside it replaced."""
    name, *rest = names
    if isinstance(before, list | tuple):
        if not name.isdecimal() or int(name) >= len(before):
            raise ConfigError(
                f"{path}.{name} is unknown; {path} has the items 0 to {len(before) - 1}"
            )
        place, item = int(name), before[int(name)]
        new = read_value(text, ())
        if rest:
            new = _with_inner(item, rest, text, f"{path}.{name}", expected)
        return (*before[:place], new, *before[place + 1 :])
    if not isinstance(before, Mapping):
        raise ConfigError(f"{path}.{name} is unknown; {path} is {before!r}")
    if names == ["kind"]:
        return with_kind(before, text, path, expected)
    return with_setting({**before}, settings_of(kind_of(before, path)), names, text, path)


def _paths(component: Settings, parameters: Collection[str], path: str) -> list[str]:
    """Returns the paths of all settings of a component and of those inside it."""
    paths = [f"{path}.{name}" for name in parameters]
    for name, value in component.items():
        items = {f"{path}.{name}": value}
        if isinstance(value, list | tuple):
            items = {f"{path}.{name}.{place}": item for place, item in enumerate(value)}
        for place, item in items.items():
            if isinstance(item, Mapping) and "kind" in item:
                paths += [f"{place}.kind"]
                paths += _paths({**item}, settings_of(kind_of(item, place)), place)
    return paths
