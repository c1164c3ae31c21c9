"""The contract of metrics that compare data with their reconstructions."""

import abc
from collections.abc import Sequence

from jaxtyping import Array, Float


class Metric(abc.ABC):
    """A number per example that says how well another example reconstructs it.

    Attributes:
        name: its name in metrics.jsonl.
    """

    name: str

    @abc.abstractmethod
    def __call__(
        self, x: Float[Array, "b *spatial c"], others: Float[Array, "b *spatial c"]
    ) -> Float[Array, " b"]:
        """Compares examples on the metric's scale: [B]; a pure function under jit."""

    @abc.abstractmethod
    def takes(self, shape: Sequence[int]) -> bool:
        """Returns whether it can compare examples of this shape, [*spatial, C]."""

    @abc.abstractmethod
    def scaled(
        self, values: Float[Array, "b *spatial c"], value_range: tuple[float, float]
    ) -> Float[Array, "b *spatial c"]:
        """Converts examples on a model's scale to the metric's.

        Args:
            values: the examples.
            value_range: that of the model.
        """
