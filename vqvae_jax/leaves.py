"""The type of the leaves in dataclasses that are pytrees."""

from typing import Any

# An array, or whatever a pytree transformation puts in its place.
Leaf = Any
