"""Checks of arguments: each raises a ValueError that names the argument and what is allowed.

Each returns the argument as a Python number: a NumPy number of a small type would wrap around, and
would promote arrays to its type.
"""

import difflib
import operator
from collections.abc import Collection
from typing import Any, SupportsIndex

import numpy as np

_SMALL, _LARGE = 1e-30, 1e30


def check_integer(name: str, number: SupportsIndex, low: int = 1, high: int = 2**31 - 1) -> int:
    """Returns the number as an int: it may be an integer of any type, but not a bool.

    Raises:
        ValueError: it is not an integer from `low` to `high`; sizes and indices are int32.
    """
    try:
        integer = operator.index(number)
    except TypeError:
        integer = None
    if integer is None or isinstance(number, bool) or integer < low:
        raise ValueError(f"{name} is {number!r}; it must be an integer of at least {low}")
    if integer > high:
        raise ValueError(f"{name} is {number!r}; it must be an integer of at most {high}")
    return integer


def check_at_least_zero(name: str, number: float) -> float:
    """Returns the number as a float, whatever its type.

    Raises:
        ValueError: it is not a finite number of at least 0.
    """
    if not (is_finite(number) and number >= 0):
        raise ValueError(f"{name} is {number!r}; it must be a finite number of at least 0")
    return float(number)


def check_share(name: str, number: float) -> float:
    """Returns the number as a float, whatever its type.

    Raises:
        ValueError: it is not in [0, 1).
    """
    if not (is_finite(number) and 0 <= number < 1):
        raise ValueError(f"{name} is {number!r}; it must be at least 0 and below 1")
    return float(number)


def check_above_zero(name: str, number: float) -> float:
    """Returns the number as a float, whatever its type.

    Raises:
        ValueError: it is not a finite number above 0, or so small or large that float32 cannot hold
            quotients by it.
    """
    if not (is_finite(number) and _SMALL <= number <= _LARGE):
        raise ValueError(
            f"{name} is {number!r}; it must be a finite number above 0, from {_SMALL} to {_LARGE}"
        )
    return float(number)


def check_flag(name: str, value: Any) -> bool:
    """Returns the value.

    Raises:
        ValueError: it is not True or False.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; it must be True or False")
    return value


def check_choice(name: str, value: Any, choices: Collection[str]) -> str:
    """Returns the value.

    Raises:
        ValueError: it is not one of the choices.
    """
    if value not in choices:
        near = did_you_mean(value, choices)
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}{near}")
    return value


def check_path(name: str, value: Any) -> str:
    """Returns the value.

    Raises:
        ValueError: it is not the path of a file or folder.
    """
    if not isinstance(value, str) or value == "" or "\0" in value:
        raise ValueError(f"{name} is {value!r}; it must be the path of a file or folder")
    return value


def check_items(name: str, value: Any, kind: type) -> None:
    """Raises ValueError if it is not a list or tuple of instances of a class."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, kind) for item in value):
        raise ValueError(f"{name} is {value!r}; it must be a list of {kind.__name__} components")


def did_you_mean(given: Any, known: Collection[str]) -> str:
    """Returns "; did you mean ...?" with the names most similar to a given one, if any are."""
    near = difflib.get_close_matches(str(given), known)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def is_finite(number: Any) -> bool:
    """Returns whether this is a finite number of any type; a bool is not."""
    try:
        array = np.asarray(number)
    except (TypeError, ValueError):
        return False
    return array.ndim == 0 and array.dtype.kind in "iuf" and bool(np.isfinite(array))
