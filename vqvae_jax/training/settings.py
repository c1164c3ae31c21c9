"""Rules for allowed values of settings, and the groups of settings that check them."""

import dataclasses
import difflib
import inspect
import math
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, ClassVar

import numpy as np

from vqvae_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Rule:
    """The allowed values of a setting, in words and as a check, and whether resuming may change it.

    Attributes:
        names: all allowed values, if these are names.
    """

    type: type
    allowed: str
    check: Callable[[Any], bool]
    changeable: bool = False
    names: tuple[str, ...] = ()

    def refusal(self, path: str, value: Any) -> ConfigError:
        """Returns the error that says what the setting at `path` is and what it must be."""
        message = f"{path} is {value!r}; it must be {self.allowed}"
        near = did_you_mean(difflib.get_close_matches(str(value).lower(), self.names))
        return ConfigError(f"{message}; {near}" if near else message)


def did_you_mean(names: Collection[str]) -> str:
    """Asks whether one of these was meant; empty if there are none."""
    return f"did you mean {' or '.join(names)}?" if names else ""


def setting(rule: Rule, default: Any = dataclasses.MISSING) -> Any:
    """Makes a field of a `Section`."""
    return dataclasses.field(default=default, metadata={"rule": rule})


def integer(low: int, high: int, *, optional: bool = False, changeable: bool = False) -> Rule:
    """Allows an integer in [low, high]; None too if `optional`."""

    def check(value: Any) -> bool:
        if value is None:
            return optional
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return Rule(
        int, f"an integer from {low} to {high}{', or not given' * optional}", check, changeable
    )


def number(allowed: str, check: Callable[[float], bool], *, optional: bool = False) -> Rule:
    """Allows a finite number that passes a check; None too if `optional`."""

    def in_range(value: Any) -> bool:
        if value is None:
            return optional
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and abs(value) < math.inf and check(value)

    return Rule(float, f"{allowed}{', or not given' * optional}", in_range)


def flag(*, changeable: bool = False) -> Rule:
    """Allows True or False."""
    return Rule(bool, "True or False", lambda value: isinstance(value, bool), changeable)


def choice(names: Iterable[str]) -> Rule:
    """Allows one of some names."""
    names = tuple(names)
    return Rule(str, f"one of {', '.join(names)}", lambda value: value in names, names=names)


def integers(low: int, example: tuple[int, ...]) -> Rule:
    """Allows a tuple of integers of at least `low`."""

    def check(value: Any) -> bool:
        return isinstance(value, tuple) and all(
            isinstance(item, int) and not isinstance(item, bool) and item >= low for item in value
        )

    return Rule(tuple, f"integers of at least {low}, such as {example}", check)


def folder(*, optional: bool = True) -> Rule:
    """Allows the path of a folder; None too if `optional`."""

    def check(value: Any) -> bool:
        if value is None:
            return optional
        return isinstance(value, str) and value != "" and "\0" not in value

    return Rule(str, f"the path of a folder{', or not given' * optional}", check, changeable=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A group of settings that checks each against its rule.

    Raises:
        ConfigError: a setting is out of its range.
    """

    section: ClassVar[str]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            rule, value = field.metadata["rule"], getattr(self, field.name)
            if isinstance(value, np.generic | np.ndarray):
                value = value.tolist()
            if rule.type is tuple and isinstance(value, list | tuple):  # lists, as in JSON
                value = tuple(x.item() if isinstance(x, np.generic) else x for x in value)
            object.__setattr__(self, field.name, value)
            if not rule.check(value):
                raise rule.refusal(f"{self.section}.{field.name}", value)

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """Returns the meaning of each setting by name, from the docstrings."""
        documented: dict[str, str] = {}
        for kind in reversed(cls.__mro__):
            text = inspect.cleandoc(kind.__doc__ or "")
            for name, meaning in re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", text, re.MULTILINE):
                documented[name] = " ".join(meaning.split())
        names = [field.name for field in dataclasses.fields(cls)]
        return {name: documented[name] for name in names if name in documented}

    def refuse_others(self, who: str, takes: Collection[str], names: Collection[str]) -> None:
        """Refuses settings that have no effect.

        Args:
            who: what would have to take them.
            takes: the names of those that it takes.
            names: the settings to check.

        Raises:
            ValueError: one that is not taken differs from its default.
        """
        for field in dataclasses.fields(self):
            given = getattr(self, field.name)
            if field.name in names and field.name not in takes and given != field.default:
                raise ValueError(
                    f"{self.section}.{field.name} is {given!r}; {who} does not take it: "
                    f"it must be {field.default!r}"
                )
