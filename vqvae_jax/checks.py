"""Checks of arguments: each raises a ValueError that names the argument and what is allowed.

Each returns the argument as a Python number: a NumPy number of a small type would wrap around, and
would promote arrays to its type.
"""

import operator
from typing import Any, SupportsIndex

import numpy as np

_SMALL, _LARGE = 1e-30, 1e30


def check_integer(name: str, number: SupportsIndex, low: int = 1) -> int:
    """Returns the number as an int: it may be an integer of any type, but not a bool.

    Raises:
        ValueError: it is not an integer of at least `low`.
    """
    try:
        integer = operator.index(number)
    except TypeError:
        integer = None
    if integer is None or isinstance(number, bool) or integer < low:
        raise ValueError(f"{name} is {number!r}; it must be an integer of at least {low}")
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


def is_finite(number: Any) -> bool:
    """Returns whether this is a finite number of any type; a bool is not."""
    try:
        array = np.asarray(number)
    except (TypeError, ValueError):
        return False
    return array.ndim == 0 and array.dtype.kind in "iuf" and bool(np.isfinite(array))
