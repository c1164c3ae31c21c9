"""Which examples are in which batch, in training and in evaluations."""

import dataclasses
import functools
import math

import numpy as np

from vqvae_jax.data.source import Drawing


def epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    """Returns the order in which an epoch visits the images, a function of its arguments alone.

    Args:
        seed: the run's seed, in [0, 2^64).
        epoch: counted from 0.
        num_images: N.

    Returns:
        A permutation int64 [N]. The same on every platform and NumPy version.
    """
    return _random(seed, epoch, 0).permutation(num_images)


def _random(seed: int, epoch: int, stream: int) -> np.random.RandomState:
    """Returns a generator whose numbers are the same on every platform and NumPy version.

    Args:
        seed: in [0, 2^64).
        epoch: likewise.
        stream: likewise; no two streams overlap.
    """
    counter = np.array([0, 0, stream, 0], np.uint64)
    generator = np.random.Philox(key=np.array([seed, epoch], np.uint64), counter=counter)
    return np.random.RandomState(generator)


_remembered_order = functools.lru_cache(maxsize=2)(epoch_order)


@dataclasses.dataclass(frozen=True)
class TrainingOrder:
    """The batches of a run, by the number of steps before: each epoch in an order of its own.

    Attributes:
        seed: the run's seed.
        num_examples: N.
        batch_size: examples per batch; the last batch of an epoch may be smaller.
        num_batches: how many batches there are.
    """

    seed: int
    num_examples: int
    batch_size: int
    num_batches: int

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, step: int, /) -> np.ndarray:
        """Returns the indices of a batch's examples: int64 [B]."""
        epoch, place = divmod(step, self._per_epoch)
        order = _remembered_order(self.seed, epoch, self.num_examples)
        return order[place * self.batch_size : (place + 1) * self.batch_size]

    def drawing(self, step: int) -> Drawing | None:
        """Returns what draws the random part of the batch's examples."""
        epoch = step // self._per_epoch
        return lambda index: _random(self.seed, epoch, 1 + index)

    @property
    def _per_epoch(self) -> int:
        return math.ceil(self.num_examples / self.batch_size)


@dataclasses.dataclass(frozen=True)
class InOrder:
    """All examples, one after the other, with nothing random: `TrainingOrder` for evaluations."""

    num_examples: int
    batch_size: int

    def __len__(self) -> int:
        return math.ceil(self.num_examples / self.batch_size)

    def __getitem__(self, number: int, /) -> np.ndarray:
        """Returns the indices of a batch's examples: int64 [B]."""
        start = number * self.batch_size
        return np.arange(start, min(start + self.batch_size, self.num_examples))

    def drawing(self, number: int) -> Drawing | None:
        """Returns None: nothing is drawn."""
        del number
        return None
