"""Layers that compute signals piece by piece."""

from collections.abc import Iterable
from typing import Any

from flax import nnx
from jaxtyping import Array, Bool, Float

# What a layer has to know of the pieces before: a pytree of arrays.
Context = Any


class Layer(nnx.Module):
    """A layer of signals [B, T, C], by default one that treats each position by itself.

    A causal one also computes them piece by piece: `start` gives the context, with which `step`
    computes the first piece and returns that for the next one.
    """

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t_out d"]:
        """Maps whole signals [B, T, C]."""
        raise NotImplementedError

    def start(self, batch_size: int) -> Context:
        """Returns the context before the first piece.

        Raises:
            ValueError: the layer is not causal.
        """
        return ()

    def step(
        self, x: Float[Array, "b t c"], context: Context, first: Bool[Array, ""]
    ) -> tuple[Float[Array, "b t_out d"], Context]:
        """Maps the next piece.

        Args:
            x: [B, T, C], T a multiple of the layer's stride.
            context: that of `start`, or of the last step.
            first: whether this is the first piece.

        Returns:
            What the piece adds to the output, and the context for the next one.

        Raises:
            ValueError: the piece is too short.
        """
        return self(x), context


class Chain(Layer):
    """Layers in a row.

    Args:
        layers: at least one.
    """

    def __init__(self, layers: Iterable[Layer]):
        self.layers = nnx.List(list(layers))

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t_out d"]:
        """Applies the layers in turn."""
        for layer in self.layers:
            x = layer(x)
        return x

    def start(self, batch_size: int) -> Context:
        """See `Layer.start`."""
        return tuple(layer.start(batch_size) for layer in self.layers)

    def step(
        self, x: Float[Array, "b t c"], context: Context, first: Bool[Array, ""]
    ) -> tuple[Float[Array, "b t_out d"], Context]:
        """See `Layer.step`."""
        contexts = []
        for layer, own in zip(self.layers, context, strict=True):
            x, own = layer.step(x, own, first)
            contexts.append(own)
        return x, tuple(contexts)


class Residual(Layer):
    """shortcut(x) + body(x).

    Args:
        body: changes neither the length nor, without a shortcut, the channels.
        shortcut: of stride 1; None: x itself.
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None):
        self.body, self.shortcut = body, shortcut

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t d"]:
        """Maps [B, T, C] to [B, T, D]."""
        return (x if self.shortcut is None else self.shortcut(x)) + self.body(x)

    def start(self, batch_size: int) -> Context:
        """See `Layer.start`."""
        shortcut = () if self.shortcut is None else self.shortcut.start(batch_size)
        return self.body.start(batch_size), shortcut

    def step(
        self, x: Float[Array, "b t c"], context: Context, first: Bool[Array, ""]
    ) -> tuple[Float[Array, "b t d"], Context]:
        """See `Layer.step`."""
        body, shortcut = context
        change, body = self.body.step(x, body, first)
        if self.shortcut is not None:
            x, shortcut = self.shortcut.step(x, shortcut, first)
        return x + change, (body, shortcut)
