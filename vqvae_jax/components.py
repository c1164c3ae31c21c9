"""Components: objects that nested settings describe, as `kind` and its constructor's arguments.

    {"kind": "ResidualVQ", "quantizers": [{"kind": "EMAVectorQuantizer", "embedding_dim": 16, ...}]}

A kind is a public name of vqvae_jax or the import path of a class, `my_module:MyEncoder`. What may
be set is what the signature says; whether a value is allowed, the constructor checks.
"""

import collections.abc
import difflib
import importlib
import inspect
import weakref
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from flax import nnx

import vqvae_jax
from vqvae_jax.checks import did_you_mean
from vqvae_jax.errors import ConfigError
from vqvae_jax.signatures import (
    class_in,
    meanings,
    settings_of,
    signature_of,
    types_of,
)

Settings = dict[str, Any]

# Settings may come with weights from elsewhere, and must not call whatever they like: only the
# classes of components, and the functions of optax, such as exponential_decay.
_COMPONENTS = ("DataConfig", "LogWriter", "Metric")  # and the modules
_CALLED = "optax"
_REFERRED = ("jax", "optax")

_DEEPEST = 20  # components inside components

# The settings of functions that were built, such as schedules: they do not keep them themselves.
_sources: "weakref.WeakKeyDictionary[Any, Settings]" = weakref.WeakKeyDictionary()


def kind_of(component: Any, path: str, expected: Any = object) -> Any:
    """Returns the class or function that a component's `kind` names.

    Args:
        component: its settings.
        path: where they are in the config, for messages.
        expected: the class that the component must be of.

    Raises:
        ConfigError: there is no kind, or none of that class.
    """
    if not isinstance(component, Mapping):
        raise ConfigError(f"{path} is {component!r}; it must be a component, with a kind")
    given = component.get("kind")
    kind = _found(given, f"{path}.kind")
    if not _is_kind(kind, expected):
        known = known_kinds(expected)
        named = "the name of a class of vqvae_jax"
        if expected not in (object, nnx.Module):
            named = f"one of {', '.join(known)}"
        what = f"is {given!r}" if "kind" in component else "is missing"
        raise ConfigError(
            f"{path}.kind {what}; it must be {named}, or an import path such as "
            f"my_module:MyClass{did_you_mean(given, known)}"
        )
    return kind


def known_kinds(expected: Any) -> list[str]:
    """Returns the public names of the modules that are of the expected class."""
    return [
        name
        for name in vqvae_jax.__all__
        if inspect.isclass(value := getattr(vqvae_jax, name)) and _is_kind(value, expected)
    ]


def completed(
    component: Any, path: str, expected: Any = object, filled: Collection[str] = ()
) -> Settings:
    """Returns a component's settings as JSON holds them, with the defaults of those not given.

    Args:
        component: its settings.
        path: where they are in the config, for messages.
        expected: the class that it must be of.
        filled: as for `settings_of`.

    Raises:
        ConfigError: a setting is unknown or missing.
    """
    kind = kind_of(component, path, expected)
    given = {name: value for name, value in component.items() if name != "kind"}
    return {"kind": component["kind"], **completed_for(kind, given, path, filled)}


def completed_for(
    kind: Any, given: Mapping[str, Any], path: str, filled: Collection[str] = ()
) -> Settings:
    """Does the same for the arguments of a class or function, without `kind`."""
    parameters = settings_of(kind, filled)
    for name in given:
        if name not in parameters:
            raise unknown(f"{path}.{name}", [f"{path}.{known}" for known in parameters])
    settings = {}
    for name, parameter in parameters.items():
        default, place = parameter.default, f"{path}.{name}"
        if name in given:
            settings[name] = _plain(given[name], place, parameter)
        elif default is parameter.empty:
            meaning = meanings(kind).get(name)
            raise ConfigError(f"{place} is missing" + (f"; it is {meaning}" if meaning else ""))
        elif default is None or isinstance(default, bool | int | float | str | tuple):
            settings[name] = _plain(default, place, parameter)
        elif (of := getattr(default, "__name__", "")) in vqvae_jax.__all__:
            settings[name] = of
    return settings


def build_component(component: Mapping[str, Any], path: str, **filled: Any) -> Any:
    """Builds what a component's completed settings describe; arguments as for `build`."""
    return build(kind_of(component, path), component, path, **filled)


def build(kind: Any, settings: Mapping[str, Any], path: str, **filled: Any) -> Any:
    """Calls a class or function with completed settings, whose components are built first.

    Args:
        kind: the class or function.
        settings: its settings; a `kind` among them is ignored.
        path: where they are in the config, for messages.
        filled: arguments that are not set, of which it gets those that it takes; and `rngs`, which
            the components among its arguments get too.

    Raises:
        ConfigError: the constructor refuses a setting.
    """
    parameters = settings_of(kind)
    rngs = {name: value for name, value in filled.items() if name == "rngs"}
    arguments = {
        name: _built(value, f"{path}.{name}", parameters[name], rngs)
        for name, value in settings.items()
        if name != "kind"
    }
    arguments |= {name: value for name, value in filled.items() if name in signature_of(kind)}
    try:
        built = kind(**arguments)
    except (TypeError, ValueError, OverflowError) as error:
        is_placed = str(error).partition(" ")[0] in parameters
        raise ConfigError(f"{path}{'.' if is_placed else ': '}{error}") from error
    if inspect.isfunction(built):
        _sources[built] = {**settings}
    return built


def source_of(function: Callable[..., Any]) -> Settings | None:
    """Returns the settings that a function was built from; None if it was not built by `build`."""
    return _sources.get(function) if inspect.isfunction(function) else None


def unknown(path: str, known: Collection[str]) -> ConfigError:
    """Returns the error for an unknown setting, which names the nearest of the known ones."""
    section, _, name = path.rpartition(".")
    names = {given: given.rpartition(".")[2] for given in known}
    near = difflib.get_close_matches(name.lower(), {*names.values()})
    if name in near:
        near = [name]
    paths = [given for given, name in names.items() if name in near]
    nearest = difflib.get_close_matches(path.lower(), paths, cutoff=0)
    beside = [name for given, name in names.items() if given.rpartition(".")[0] == section]
    hint = f"{section} has {', '.join(beside) or 'none'}"
    if nearest:
        hint = f"did you mean {' or '.join(nearest)}?"
    return ConfigError(f"{path if path.isprintable() else repr(path)} is unknown; {hint}")


def _is_kind(kind: Any, expected: Any) -> bool:
    if inspect.isclass(kind):
        components = (nnx.Module, *(getattr(vqvae_jax, name) for name in _COMPONENTS))
        is_component = issubclass(kind, components) and issubclass(kind, expected)
        return is_component and not inspect.isabstract(kind)
    return expected is object and callable(kind) and _home(kind) == _CALLED


def _found(given: Any, path: str) -> Any:
    """Returns the object of a public name or an import path; None: there is no such name."""
    if not isinstance(given, str) or ":" not in given:
        return getattr(vqvae_jax, given) if given in vqvae_jax.__all__ else None
    module, _, name = given.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # the user's module may raise anything
        raise ConfigError(f"{path} is {given!r}, which cannot be imported: {error}") from error


def _home(function: Any) -> str:
    """Returns the name of the package of a function."""
    return (getattr(function, "__module__", None) or "").partition(".")[0]


def _plain(value: Any, path: str, parameter: inspect.Parameter) -> Any:
    """Returns a setting as JSON holds it, but with tuples; its components are completed."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if path.count(".") > _DEEPEST:
        raise ConfigError(f"{path} is too deep; there are at most {_DEEPEST} levels")
    if isinstance(value, list | tuple):
        places = enumerate(value)
        return tuple(_plain(item, f"{path}.{place}", parameter) for place, item in places)
    if isinstance(value, Mapping):
        return completed(value, path, class_in(parameter.annotation))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(f"{path} is {value!r}; it must be a number, a string or a component")


def _built(value: Any, path: str, parameter: inspect.Parameter, rngs: Mapping[str, Any]) -> Any:
    """Returns the argument that a setting describes."""
    if isinstance(value, Mapping):
        return build_component(value, path, **rngs)
    if isinstance(value, tuple):
        places = enumerate(value)
        return tuple(_built(item, f"{path}.{place}", parameter, rngs) for place, item in places)
    takes = types_of(parameter.annotation)
    if collections.abc.Callable in takes and isinstance(value, str):
        return _function(value, path)
    if takes == {bool} and not isinstance(value, bool):
        raise ConfigError(f"{path} is {value!r}; it must be True or False")
    return value


def _function(given: str, path: str) -> Callable[..., Any]:
    known = [name for name in vqvae_jax.__all__ if inspect.isfunction(getattr(vqvae_jax, name))]
    function = _found(given, path)
    if not inspect.isfunction(function) and _home(function) not in _REFERRED:
        raise ConfigError(
            f"{path} is {given!r}; it must be a function: its name, such as straight_through, or "
            f"an import path such as my_module:my_function{did_you_mean(given, known)}"
        )
    return function
