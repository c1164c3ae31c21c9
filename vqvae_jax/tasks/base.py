"""The contract between the training loop and what it trains."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
from jax.sharding import Mesh

# By name, pytrees of arrays: parameters, variables, optimizer states. The loop saves them, looks
# whether they are finite, and hands them back; the names are those of its messages and files.
State = dict[str, Any]

# A pytree of arrays with the examples on the first axis of each.
Examples = Any

# A pytree of arrays that add up over examples, whatever the batches.
Sums = Any


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """An evaluation of the held-out examples, as figures are drawn of it.

    Attributes:
        examples: all of them, as NumPy arrays.
        sums: over all of them, likewise.
        records: the run's log so far, as in metrics.jsonl.
        when: the step and the epoch, in words.
    """

    examples: Examples
    sums: Sums
    records: list[dict[str, Any]]
    when: str


@runtime_checkable
class Task(Protocol):
    """What a run learns: its networks, losses, optimizers, metrics and figures.

    Any class with these members is one. The loop jits `train_step` and `eval_step`, which must be
    pure; it gives each step a key of its own, and adds up the sums.

    Attributes:
        monitor: the metric of held-out examples whose lowest value is the best; it chooses the
            best checkpoint, and `training.patience` counts by it.
        progress: the metric of training examples that is shown while they are trained on.
    """

    monitor: str
    progress: str

    def init(self, key: jax.Array, batch: Examples) -> State:
        """The state before the first step.

        Args:
            key: draws what is random in it.
            batch: the examples of the first step.
        """

    def train_step(
        self, state: State, batch: Examples, key: jax.Array, mesh: Mesh
    ) -> tuple[State, Sums]:
        """The state after a step, and the sums of its examples.

        Args:
            state: before it, replicated over the mesh.
            batch: the step's examples, split over the mesh.
            key: draws what is random in the step.
            mesh: the devices, for `parallel.sum_over_examples`.
        """

    def eval_step(self, state: State, batch: Examples, mesh: Mesh) -> Sums:
        """The sums of held-out examples; the arguments as for `train_step`."""

    def metrics(self, sums: Sums) -> dict[str, Any]:
        """The averages of sums, by name: numbers, with the monitor's and the progress's."""

    def summary(self, metrics: dict[str, Any]) -> str:
        """The most telling of an evaluation's metrics, in a line."""

    def figures(self, state: State, evaluation: Evaluation) -> dict[str, bytes]:
        """PNG files to be written into the run's folder, by name."""
