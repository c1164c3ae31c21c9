"""The contract between the training loop and what it trains."""

import abc
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

Weights = tuple[nnx.State, nnx.State]

# A pytree of arrays with the examples on the first axis of each.
Examples = Any

# Sums over examples, of which batches of any size add up: a dataclass of arrays, with at least
# `images` and `loss`.
Totals = Any


class Task(abc.ABC):
    """What a run learns: a model, examples, the gradient of a loss, metrics and pictures.

    The methods that take a mesh are pure, and called under jit.

    Args:
        model: with its initial values.
        train_examples: a pytree of NumPy arrays with an image's part at each index.
        test_examples: likewise, the held-out ones.
        goal: the metric of held-out examples that is the lower the better.
        description: JSON values, for run.json and the checkpoints: what the run was made from. A
            run goes on only with the same "digest" in each part of it that has one.
    """

    has_initialization = False
    has_updates = False

    def __init__(
        self,
        model: nnx.Module,
        train_examples: Examples,
        test_examples: Examples,
        goal: str,
        description: dict[str, Any],
    ):
        self.graphdef, params, variables = split_model(model)
        self.weights: Weights = (params, variables)
        self.train_examples, self.test_examples = train_examples, test_examples
        self.goal, self.description = goal, description

    @property
    def num_images(self) -> int:
        """How many images an epoch visits."""
        return len(jax.tree.leaves(self.train_examples)[0])

    def merge(self, weights: Weights) -> Any:
        """The model with these parameters and other variables."""
        return nnx.merge(self.graphdef, *weights)

    @abc.abstractmethod
    def zeros(self) -> Totals:
        """The sums before anything was counted; every leaf a buffer of its own."""

    @abc.abstractmethod
    def gradients(
        self, mesh: Mesh, weights: Weights, batch: Examples, key: jax.Array
    ) -> tuple[nnx.State, Totals, Any]:
        """The gradient of a batch's loss, its sums, and what `update` wants to see of it.

        Args:
            mesh: the devices that the batch is split over.
            weights: the model's parameters and its other variables, replicated over them.
            batch: some of the examples.
            key: draws what is random in training.
        """

    @abc.abstractmethod
    def totals(self, mesh: Mesh, weights: Weights, batch: Examples) -> Totals:
        """The sums of a batch at evaluation."""

    @abc.abstractmethod
    def metrics(self, totals: Totals) -> dict[str, Any]:
        """The averages of sums: JSON numbers, with at least "images" and "loss"."""

    @abc.abstractmethod
    def summary(self, metrics: dict[str, Any]) -> str:
        """The most telling of an evaluation's metrics, in a line."""

    @abc.abstractmethod
    def draw(
        self, workdir: Path, model: Any, totals: Totals, records: list[dict[str, Any]], when: str
    ) -> None:
        """Writes the pictures of an evaluation.

        Args:
            workdir: the run's folder.
            model: as it is now.
            totals: of the evaluation.
            records: the run's log.
            when: the step and the epoch, in words.
        """

    def initialize(self, model: Any, batch: Examples, key: jax.Array) -> None:
        """Sets what a model takes from the first batch; where `has_initialization`."""
        raise NotImplementedError

    def update(self, model: Any, seen: Any, key: jax.Array) -> None:
        """Changes what no gradient changes, from what a step has seen; where `has_updates`."""
        raise NotImplementedError


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """The model's structure, its parameters, and its other variables."""
    graphdef, params, *rest = nnx.split(model, nnx.Param, ...)
    return graphdef, params, rest[0]
