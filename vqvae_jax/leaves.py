"""The type of what dataclasses that are pytrees hold."""

from typing import Any

# An array, or whatever a transformation of pytrees puts in its place.
Leaf = Any
