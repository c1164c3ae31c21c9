"""The contract of every data source, and the source of arrays in memory."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from vqvae_jax.errors import DataError
from vqvae_jax.weights import tree_digest

# Arrays by name, with the examples on the first axis of each.
Examples = dict[str, np.ndarray]

# Gives, for an example's index, the generator of what is random in it.
Drawing = Callable[[int], np.random.RandomState]

# "train" and "test": of both "image", uint8 [N, H, W, C], and "label", uint8 [N], or int32 [N] if
# some are negative or above 255.
Splits = dict[str, Examples]


@runtime_checkable
class DataSource(Protocol):
    """Random access to examples, each a mapping of arrays by name.

    Any class with these members is a data source, such as one that reads files:

        class Photos:
            fingerprint = "photos, 2026-11-28"
            spec = {"image": jax.ShapeDtypeStruct((64, 64, 3), np.uint8)}

            def __len__(self):
                return len(FILES)

            def __getitem__(self, index):
                return {"image": np.asarray(Image.open(FILES[index]))}

    It may have more members. `draw(index, random)` returns an example for training, such as a
    random crop, with the numbers of `random`, a `numpy.random.RandomState`: they depend on the
    run's seed, the epoch and the index alone. `is_thread_safe = True` says that several threads may
    read at once; else one does. `is_decoded = True` says that reading is no more than a copy. With
    `training.workers` the source is pickled, unless it is decoded, and each worker process reads
    with its own copy; a program must then have its `if __name__ == "__main__":`.

    Attributes:
        spec: the shape and type of each array of an example, by name.
        fingerprint: a string that changes when any example does; a run resumes only on a source
            with the fingerprint that it began with.
    """

    @property
    def spec(self) -> Mapping[str, jax.ShapeDtypeStruct]: ...  # noqa: D102

    @property
    def fingerprint(self) -> str: ...  # noqa: D102

    def __len__(self) -> int:
        """Returns the number of examples."""

    def __getitem__(self, index: int, /) -> Mapping[str, np.ndarray]:
        """Returns the example at an index from 0 to the length minus 1, the same at every call."""


class ArraySource:
    """Examples in memory, or memory-mapped.

        source = ArraySource({"image": images, "label": labels})

    Args:
        arrays: NumPy arrays by name, with the examples on the first axis of each.
        fingerprint: see `DataSource`; None: the SHA-256 of the arrays.
        rows: integers [N], where the examples are in the arrays; None: all of them, in their order.

    Attributes:
        arrays: the arrays.

    Raises:
        DataError: something else is given, or the arrays differ in length.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        fingerprint: str | None = None,
        rows: np.ndarray | None = None,
    ):
        for name, array in arrays.items():
            if not _is_array(array):
                raise DataError(f"{name!r} has type {type(array).__name__}; it must be an array")
            if not any(jax.dtypes.issubdtype(array.dtype, of) for of in (np.number, np.bool_)):
                raise DataError(f"{name!r} is an array of {array.dtype}; it must be of numbers")
            if array.ndim == 0:
                raise DataError(f"{name!r} is a scalar; the examples must be on its first axis")
        lengths = {name: len(array) for name, array in arrays.items()}
        if len({*lengths.values()}) != 1:
            given = f"arrays of the lengths {lengths}" if lengths else "no arrays"
            raise DataError(f"a source of {given}; it must have arrays of one length")
        self.arrays = {name: np.asanyarray(array) for name, array in arrays.items()}
        self._fingerprint, self._rows = fingerprint, rows

    @property
    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """See `DataSource`."""
        return {
            name: jax.ShapeDtypeStruct(array.shape[1:], array.dtype)
            for name, array in self.arrays.items()
        }

    @property
    def fingerprint(self) -> str:
        """See `DataSource`."""
        if self._fingerprint is None:
            self._fingerprint = tree_digest(self[:])
        return self._fingerprint

    @property
    def num_bytes(self) -> int:
        """The size of all examples."""
        of_all = sum(array.nbytes for array in self.arrays.values())
        return of_all if self._rows is None else of_all * len(self._rows) // self._length

    def all_of(self, name: str) -> np.ndarray:
        """Returns one of the arrays, with the examples in their order on the first axis."""
        array = self.arrays[name]
        return array if self._rows is None else array[self._rows]

    @property
    def _length(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __len__(self) -> int:
        return self._length if self._rows is None else len(self._rows)

    def __getitem__(self, index: Any, /) -> Examples:
        """Returns the example at an index; for an array of indices, or a slice, all of those."""
        place = index if self._rows is None else self._rows[index]
        return {name: array[place] for name, array in self.arrays.items()}


def as_source(given: Any, argument: str) -> DataSource:
    """Returns a source as it is, or the one of an array or of several by name.

    Args:
        given: a `DataSource`, a mapping of arrays, or a single array, which gets the name "data".
        argument: its name in messages.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(given, Mapping) or _is_array(given):
        try:
            return ArraySource(given if isinstance(given, Mapping) else {"data": given})
        except DataError as error:
            raise DataError(f"{argument}: {error}") from error
    members = ("spec", "fingerprint", "__len__", "__getitem__")
    missing = [name for name in members if inspect.getattr_static(given, name, None) is None]
    if missing:
        raise DataError(
            f"{argument} has type {type(given).__name__}; it must be an array, a mapping of arrays "
            f"by name, or a DataSource, which has {', '.join(missing)} too"
        )
    return given


def shapes_of(source: DataSource, count: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes [count, ...] and types of so many examples, by name."""
    return {
        name: jax.ShapeDtypeStruct((count, *of.shape), of.dtype) for name, of in source.spec.items()
    }


def take(source: DataSource, indices: np.ndarray, drawing: Drawing | None = None) -> Examples:
    """Returns the examples at some indices.

    Args:
        source: the source.
        indices: integers [...].
        drawing: for training: gives the numbers that a source with `draw` draws; None: it draws
            nothing.

    Returns:
        Arrays [..., *shape] by name, with the shapes and types of the source's spec.

    Raises:
        DataError: an example does not have them.
    """
    if isinstance(source, ArraySource):
        return source[indices]
    shape, spec = indices.shape, source.spec
    draw = None if drawing is None else getattr(source, "draw", None)
    taken = {name: np.empty((indices.size, *of.shape), of.dtype) for name, of in spec.items()}
    for place, index in enumerate(indices.flat):
        if draw is None or drawing is None:
            example = source[int(index)]
        else:
            example = draw(int(index), drawing(int(index)))
        for name, of in spec.items():
            value = np.asarray(example[name]) if name in example else None
            if value is None or (value.shape, value.dtype) != (of.shape, of.dtype):
                held = "is missing" if value is None else f"is {value.dtype} {value.shape}"
                raise DataError(
                    f"{name!r} of example {index} {held}; the spec of {type(source).__name__} "
                    f"says {np.dtype(of.dtype)} {of.shape}"
                )
            taken[name][place] = value
    return {name: array.reshape(*shape, *array.shape[1:]) for name, array in taken.items()}


def _is_array(given: Any) -> bool:
    return isinstance(given, np.ndarray | jax.Array)
