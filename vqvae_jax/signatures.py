"""The arguments of a class or function, as its signature and docstring describe them."""

import collections.abc
import inspect
import re
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any


def settings_of(kind: Any, filled: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """Returns what may be set of a class or function, by name.

    Arguments that it hands to its parent class as `**options` are among them.

    Args:
        kind: the class or function.
        filled: names that are not set, but filled in from the data or from other components.
    """
    found: dict[str, inspect.Parameter] = {}
    for of in kind.__mro__ if inspect.isclass(kind) else (kind,):
        if inspect.isclass(of) and "__init__" not in vars(of):
            continue
        parameters = signature_of(of).values()
        found = {each.name: each for each in parameters} | found
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break
    not_set = {"self", "rngs", *filled, *getattr(kind, "fixed_options", ())}
    several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {
        name: parameter
        for name, parameter in found.items()
        if name not in not_set and parameter.kind not in several
    }


def meanings(kind: Any) -> dict[str, str]:
    """Returns the meaning of each argument by name, from the docstrings."""
    documented: dict[str, str] = {}
    for of in reversed(kind.__mro__) if inspect.isclass(kind) else (kind,):
        text = inspect.cleandoc(of.__doc__ or "")
        found = re.findall(r"^ {4}(\w+(?:, \w+)*): (.+(?:\n {8}.+)*)", text, re.MULTILINE)
        for names, meaning in found:
            first, *others = names.split(", ")
            if others:  # "as for" another class, which may be a base that says more
                for name in (first, *others):
                    documented.setdefault(name, " ".join(meaning.split()))
            else:
                documented[first] = " ".join(meaning.split())
    return documented


def types_of(annotation: Any) -> set[Any]:
    """Returns the types of a union, or of what is none, without their parameters."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return {kind for part in typing.get_args(annotation) for kind in types_of(part)}
    return {origin or annotation}


def class_in(annotation: Any) -> Any:
    """Returns the class of an annotation, or that of a sequence's items; object if it has none."""
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    if len(parts) == 1 and typing.get_origin(annotation) is not collections.abc.Callable:
        return class_in(parts[0])
    return annotation if inspect.isclass(annotation) and not parts else object


def signature_of(kind: Any) -> Mapping[str, inspect.Parameter]:
    """Returns the parameters of a constructor or function, by name."""
    # The metaclass of Flax modules has a signature of its own.
    called = kind.__init__ if inspect.isclass(kind) else kind
    try:
        return inspect.signature(called, eval_str=True).parameters
    except NameError:  # annotations that only type checkers can resolve
        return inspect.signature(called).parameters
