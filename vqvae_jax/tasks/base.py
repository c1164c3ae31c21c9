"""The contract between the training loop and what it trains."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from vqvae_jax.data import DataSource

# Pytrees of arrays by name: parameters, variables, optimizer states. The loop saves them, checks
# that they are finite, and passes them on; the names appear in its messages and files.
State = dict[str, Any]

# Arrays by name, as in the spec of the data source, with the examples on the first axis of each.
Batch = dict[str, Array]

# A pytree of arrays that add up over examples, whatever the batches.
Sums = Any


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """An evaluation on the held-out examples, for drawing figures.

    Attributes:
        held_out: the source of all of them.
        sums: over all of them, as NumPy arrays.
        metrics: their averages, from `Task.metrics`.
        records: the run's log so far, as in metrics.jsonl.
        when: the step and the epoch, in words.
    """

    held_out: DataSource
    sums: Sums
    metrics: dict[str, Any]
    records: list[dict[str, Any]]
    when: str


@runtime_checkable
class Task(Protocol):
    """The task that a run trains: its networks, losses, optimizers, metrics and figures.

    Any class with these members is a task. The loop jits `train_step` and `eval_step`, which must
    be pure; it gives each step its own key, and adds up the sums. It may be a `HasHistograms` too.

    Attributes:
        monitor: the metric of held-out examples whose lowest value is best; it selects the best
            checkpoint, and `training.patience` depends on it.
        progress: the metric of training examples that is shown during training.
    """

    monitor: str
    progress: str

    def init(self, key: jax.Array, batch: Batch) -> State:
        """Returns the state before the first step.

        Args:
            key: draws what is random in it.
            batch: the examples of the first step.
        """

    def train_step(
        self, state: State, batch: Batch, key: jax.Array, mesh: Mesh
    ) -> tuple[State, Sums]:
        """Returns the state after a step, and the sums over its examples.

        Args:
            state: the state before it, replicated over the mesh.
            batch: the step's examples, split over the mesh.
            key: draws what is random in the step.
            mesh: the devices, for `parallel.sum_over_examples`.
        """

    def eval_step(self, state: State, batch: Batch, mesh: Mesh) -> Sums:
        """Returns the sums over held-out examples; arguments as for `train_step`."""

    def metrics(self, sums: Sums) -> dict[str, Any]:
        """Returns averages from sums, by name; `monitor` and `progress` are among them."""

    def summary(self, metrics: dict[str, Any]) -> str:
        """Returns one line with the most telling metrics of an evaluation."""

    def figures(self, state: State, evaluation: Evaluation) -> dict[str, bytes]:
        """Returns PNG files to write into the run's folder, by name."""


@runtime_checkable
class HasHistograms(Protocol):
    """A task whose evaluations count something, such as codes, for the histograms of the log."""

    def histograms(self, sums: Sums) -> dict[str, np.ndarray]:
        """Returns counts int [K] of the values 0 to K - 1, by name, from an evaluation's sums."""
