"""Reads examples ahead of their use, in threads or in worker processes, by Grain."""

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from vqvae_jax.data.batches import InOrder, TrainingOrder
from vqvae_jax.data.source import ArraySource, DataSource, Examples, take
from vqvae_jax.errors import DataError
from vqvae_jax.extras import extra

# Items that each thread, and each worker, has ready.
_AHEAD = 2

_NEVER = 2**62  # bytes


@runtime_checkable
class Items(Protocol):
    """Random access to what is read; for workers, it can be pickled."""

    def __len__(self) -> int:
        """Returns how many there are."""

    def __getitem__(self, index: int, /) -> Any:
        """Returns the item at an index."""


@contextlib.contextmanager
def reading(
    items: Items, first: int = 0, *, workers: int = 0, threads: int | None = None
) -> Iterator[Iterator[Any]]:
    """Yields an iterator over items, in their order; what is ahead is read in the meantime.

    Args:
        items: what is read.
        first: the index that it begins with.
        workers: processes that read; 0: threads of this process.
        threads: how many; None: one for each core.

    Raises:
        DataError: a worker died. What reading an item raises is raised here too.
    """
    with extra("train"):
        import grain
        from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain reads some, which programs without absl never parse
    dataset = grain.MapDataset.source(items)[first:]
    threads = 1 if workers else threads or _cores()
    ahead = dataset.to_iter_dataset(grain.ReadOptions(threads, _AHEAD * threads))
    if workers:
        processes = grain.MultiprocessingOptions(workers, per_worker_buffer_size=_AHEAD)
        # Through pipes: shared memory may be small, as in containers, where writing to it kills the
        # process, and what is left in it at the end is reported as leaked.
        options = grain.experimental.DatasetOptions(min_shm_size=_NEVER)
        ahead = grain.experimental.WithOptionsIterDataset(ahead, options)
        ahead = ahead.mp_prefetch(processes, _begin_worker)
    iterator = iter(ahead)
    try:
        yield _named(iterator, workers)
    finally:
        iterator.close()


@contextlib.contextmanager
def read_batches(
    source: DataSource,
    order: TrainingOrder | InOrder,
    first: int = 0,
    *,
    workers: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Iterator[Examples]]:
    """Yields an iterator over batches: of n equal parts of each, one, with arrays [B / n, ...].

    Args:
        source: the examples; arrays are indexed, others are read ahead.
        order: which of them are in which batch.
        first: the batch to begin with.
        workers: processes that read ahead, if that pays.
        share: the number of the part, from 0, and n.

    Raises:
        DataError: an example cannot be read.
    """
    batches = _Batches(source, order, *share)
    if isinstance(source, ArraySource):
        yield (batches[number] for number in range(first, len(order)))
        return
    if getattr(source, "is_decoded", False):
        workers = 0
    threads = None if getattr(source, "is_thread_safe", False) else 1
    with reading(batches, first, workers=workers, threads=threads) as ahead:
        yield ahead


@dataclasses.dataclass(frozen=True)
class _Batches:
    """Random access to batches: one of several equal parts of each."""

    source: DataSource
    order: TrainingOrder | InOrder
    part: int
    num_parts: int

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, number: int, /) -> Examples:
        indices = self.order[number]
        size = len(indices) // self.num_parts
        own = indices[self.part * size : (self.part + 1) * size]
        return take(self.source, own, self.order.drawing(number))


def _named(iterator: Iterator[Any], workers: int) -> Iterator[Any]:
    """Iterates; an error has one line, without those that Grain adds."""
    try:
        yield from iterator
    except DataError as error:
        raise DataError(_first_line(error)) from error
    except RuntimeError as error:
        if workers == 0:
            raise
        raise DataError(f"a process that reads examples ended: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin_worker(index: int, count: int) -> None:
    """Leaves signals to the parent process, and ends this one when that is gone."""
    del index, count
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
