"""Checks of arguments: each raises a ValueError that names the argument and what is allowed."""

import operator
from typing import Any, SupportsIndex

import numpy as np


def check_integer(name: str, number: SupportsIndex, low: int = 1) -> int:
    """The number as an int: it may be an integer of any type, but no bool.

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


def check_at_least_zero(name: str, number: float) -> None:
    """Raises ValueError where `number` is not a finite number of at least 0."""
    if not (is_finite(number) and number >= 0):
        raise ValueError(f"{name} is {number!r}; it must be a finite number of at least 0")


def check_share(name: str, number: float) -> None:
    """Raises ValueError where `number` is not in [0, 1)."""
    if not (is_finite(number) and 0 <= number < 1):
        raise ValueError(f"{name} is {number!r}; it must be at least 0 and below 1")


def check_above_zero(name: str, number: float) -> None:
    """Raises ValueError where `number` is not a finite number above 0.

    Nor may it be so small or large that float32 has no room for what is divided by it.
    """
    low, high = 1e-30, 1e30
    if not (is_finite(number) and low <= number <= high):
        raise ValueError(
            f"{name} is {number!r}; it must be a finite number above 0, from {low} to {high}"
        )


def is_finite(number: Any) -> bool:
    """Whether this is a finite number, of any type; a bool is none."""
    try:
        array = np.asarray(number)
    except (TypeError, ValueError):
        return False
    return array.ndim == 0 and array.dtype.kind in "iuf" and bool(np.isfinite(array))
