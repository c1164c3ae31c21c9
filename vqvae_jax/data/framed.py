"""The source of examples that are framed as they are read."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from vqvae_jax.data.framing import Framing
from vqvae_jax.data.source import ArraySource, DataSource, Examples
from vqvae_jax.data.stores import FlatStore, Store


class FramedSource:
    """Examples of a framing, [*spatial, C], and "label" if there are labels, int32 [].

    Args:
        store: what the files hold.
        framing: how that becomes examples.
        spatial: the size of an example along its axes but the last.
        labels: int32 [N]; None: there are none.
        count: N.
        fingerprint: see `DataSource`.
    """

    is_thread_safe = True

    def __init__(
        self,
        store: Store,
        framing: Framing,
        spatial: tuple[int, ...],
        labels: np.ndarray | None,
        count: int,
        fingerprint: str,
    ):
        self._store, self._framing = store, framing
        self.labels, self._count, self.fingerprint = labels, count, fingerprint
        self.is_decoded = store.are_decoded
        shape = (*spatial, framing.channels)
        self.spec = {framing.entry: jax.ShapeDtypeStruct(shape, framing.dtype)}
        if labels is not None:
            self.spec["label"] = jax.ShapeDtypeStruct((), np.dtype(np.int32))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> Examples:
        """Returns an example, of random crops the center.

        Raises:
            DataError: its file cannot be used.
        """
        return self._example(index, self._framing.center(self._store[index]))

    def draw(self, index: int, random: np.random.RandomState) -> Examples:
        """Returns an example for training, with what is random in it drawn.

        Raises:
            DataError: its file cannot be used.
        """
        return self._example(index, self._framing.draw(self._store[index], random))

    def _example(self, index: int, array: np.ndarray) -> Examples:
        example: dict[str, Any] = {self._framing.entry: array}
        return example if self.labels is None else example | {"label": self.labels[index]}


def framed_source(
    store: Store,
    framing: Framing,
    spatial: tuple[int, ...],
    labels: np.ndarray | None,
    count: int,
    fingerprint: str,
) -> DataSource:
    """Returns a `FramedSource`; or, if the store holds examples as they are, an `ArraySource`."""
    if not (framing.reads_examples and isinstance(store, FlatStore)):
        return FramedSource(store, framing, spatial, labels, count, fingerprint)
    arrays = {framing.entry: store.flat.reshape(count, *spatial, framing.channels)}
    if labels is not None:
        arrays["label"] = labels
    return ArraySource(arrays, fingerprint)


def labels_of(sources: Sequence[DataSource]) -> list[np.ndarray] | None:
    """Returns the labels of sources' examples; None: they have none."""
    if any("label" not in source.spec for source in sources):
        return None
    return [_labels_of(source) for source in sources]


def _labels_of(source: DataSource) -> np.ndarray:
    if isinstance(source, ArraySource):
        return source.all_of("label")
    if hasattr(source, "labels"):
        return source.labels
    return np.array([source[index]["label"] for index in range(len(source))])
