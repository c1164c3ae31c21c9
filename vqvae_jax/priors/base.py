"""The base class of priors over code maps: the contract, the embedding, the output layers."""

import abc
import functools
from collections.abc import Sequence
from typing import Any, SupportsIndex

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Integer, Key

from vqvae_jax.checks import check_integer
from vqvae_jax.layers.initial import normal
from vqvae_jax.layers.linear import Linear
from vqvae_jax.tables import as_int32, lookup

# The names of the spatial axes, and how many sizes a shape has, by the spatial rank.
_AXES = {1: ("T",), 2: ("h", "w"), 3: ("t", "h", "w")}
_SIZES = {None: "1 to 3 integers", 1: "one integer", 2: "two integers", 3: "three integers"}

Labels = Integer[Array, " b"] | Integer[np.ndarray, " b"] | Sequence[int]


class Prior(nnx.Module):
    """A distribution of code maps: the product over codes of p(code | all earlier codes).

    Code maps have 1 to 3 spatial axes: those of signals T, those of images h and w. Codes are
    ordered by position, in images row by row and from left to right, and within a position by
    codebook. A network maps the embedded codes to features f for each position, which depend on
    earlier positions only. The earlier codes at the position itself are added after it: codebook j
    has

        k_j ~ softmax(W_j ELU(f + sum_{i < j} E_i[k_i]) + b_j)

    The same distribution is available all at once, for training, and position by position, for
    sampling or entropy coding: `start` makes a cache; `step` consumes the codes of the previous
    position and returns f; `logits` turns f into distributions, codebook by codebook. These calls
    do the same arithmetic every time: a compiled step returns the same numbers again.

        cache = prior.start(batch_size, (h, w), labels)
        features, cache = prior.step(cache, 0, anything)
        first = prior.logits(features)
        second = prior.logits(features, codes_of_the_first_codebook)
        features, cache = prior.step(cache, 1, codes_at_0)

    Codes lie in [0, K); if one is K or more, all that depends on it is NaN. Labels lie in [0,
    num_classes), or are -1 for no class, which is learned like another class; for other labels, all
    is NaN. Without `num_classes` there are no labels.

    Args:
        num_embeddings: K, codes in each codebook, at least 1.
        channels: C, the size of a feature vector, at least 1.
        num_codebooks: n, codes per position, on a last axis of their own; None for a single one
            without an axis. The same as the quantizer's.
        num_classes: how many classes, at least 1; None for an unconditional distribution.
        rngs: `params` draws the initial values: embeddings from N(0, 1), output layers as in
            `Linear`.

    Attributes:
        spatial_rank: how many spatial axes code maps have; 2 unless a subclass says otherwise.

    Raises:
        ValueError: an argument out of its range.
    """

    spatial_rank: int = 2

    def __init__(
        self,
        num_embeddings: int,
        channels: int,
        *,
        num_codebooks: int | None = None,
        num_classes: int | None = None,
        rngs: nnx.Rngs,
    ):
        num_embeddings = check_integer("num_embeddings", num_embeddings)
        channels = check_integer("channels", channels)
        if num_codebooks is not None:
            num_codebooks = check_integer("num_codebooks", num_codebooks)
        if num_classes is not None:
            num_classes = check_integer("num_classes", num_classes)
        self.num_embeddings, self.channels = num_embeddings, channels
        self.num_codebooks, self.num_classes = num_codebooks, num_classes
        n, table = num_codebooks or 1, (num_embeddings, channels)
        self.inputs = nnx.List([normal(table, rngs=rngs) for _ in range(n)])
        self.earlier = nnx.List([normal(table, rngs=rngs) for _ in range(n - 1)])
        self.outputs = nnx.List([Linear(channels, num_embeddings, rngs=rngs) for _ in range(n)])

    def __call__(
        self,
        codes: Integer[Array, " b *codes"] | Integer[np.ndarray, " b *codes"],
        labels: Labels | None = None,
        *,
        keys: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b *codes k"]:
        """Returns the logits of every code, given the earlier ones.

        Args:
            codes: [B, *spatial], or [B, *spatial, n] with n codebooks; integers in [0, K).
            labels: integers [B] in [0, num_classes), -1 for no class; None: all -1.
            keys: a key per map, for what is random in training, such as dropout. None: evaluation.

        Returns:
            [B, *spatial, K], or [B, *spatial, n, K].

        Raises:
            ValueError: codes or labels have the wrong shape or type.
        """
        rank, axis = self.spatial_rank, () if self.num_codebooks is None else (self.num_codebooks,)
        codes = as_int32("codes", codes)
        if codes.ndim < 1 + rank or codes.shape[1 + rank :] != axis:
            axes = ", ".join(["B", *_AXES[rank], *map(str, axis)])
            raise ValueError(f"codes have shape {codes.shape}; it must be [{axes}]")
        self._check_shape(codes.shape[1 : 1 + rank])
        columns = self._columns(codes)
        classes = self._classes(labels, columns[0][:, *(0,) * rank])
        features = self._features(self.embed(codes), classes, keys)
        logits = [self.logits(features, *columns[:j]) for j in range(len(columns))]
        return logits[0] if self.num_codebooks is None else jnp.stack(logits, axis=-2)

    def start(
        self,
        batch_size: SupportsIndex,
        shape: Sequence[SupportsIndex],
        labels: Labels | None = None,
    ) -> Any:
        """Returns the cache before the first position, for `step`.

        Args:
            batch_size: B, code maps at a time, at least 1.
            shape: the spatial shape of the maps, such as [h, w]; each size at least 1.
            labels: integers [B] as for a call.

        Returns:
            A pytree of arrays.

        Raises:
            ValueError: an argument has the wrong shape, type or range.
        """
        batch_size = check_integer("batch_size", batch_size)
        sizes = self._check_shape(shape)
        like = jnp.zeros(batch_size, jnp.int32)
        return self._start(batch_size, sizes, self._classes(labels, like))

    @abc.abstractmethod
    def step(
        self, cache: Any, position: int | Int[Array, ""], previous: Int[Array, "b ..."]
    ) -> tuple[Float[Array, "b c"], Any]:
        """Returns the features of a position, from the codes of the previous one.

        Args:
            cache: from `start` or the previous step.
            position: its index in the order of positions, in images row * w + column; must be
                visited in order, from 0.
            previous: the codes at position - 1, [B] or [B, n]; ignored at position 0.

        Returns:
            The features [B, C], for `logits`, and the new cache.
        """

    def logits(
        self, features: Float[Array, "*shape c"], *earlier: Int[Array, "*shape"]
    ) -> Float[Array, "*shape k"]:
        """Returns the logits of a position's next code.

        Args:
            features: [..., C].
            *earlier: the codes of the position's earlier codebooks, each [...]. Without any, the
                logits are those of the first codebook.

        Returns:
            [..., K].

        Raises:
            ValueError: there are codes of more codebooks than can precede one.
        """
        if len(earlier) >= len(self.outputs):
            raise ValueError(
                f"earlier are the codes of {len(earlier)} codebooks; "
                f"it must be fewer than {len(self.outputs)}, of all codebooks"
            )
        for j, codes in enumerate(earlier):
            features = features + lookup(self.earlier[j][...], codes)
        return self.outputs[len(earlier)](nnx.elu(features))

    def embed(self, codes: Int[Array, "..."]) -> Float[Array, "..."]:
        """Embeds codes: [...], or [..., n] summed over codebooks, to [..., C]."""
        columns = zip(self.inputs, self._columns(codes), strict=True)
        return functools.reduce(jnp.add, [lookup(table[...], column) for table, column in columns])

    @abc.abstractmethod
    def _features(
        self,
        x: Float[Array, "b *spatial c"],
        classes: Int[Array, " b"],
        keys: Key[Array, " b"] | None,
    ) -> Float[Array, "b *spatial c"]:
        """Returns every position's features, from embedded codes x and rows of the class table."""

    @abc.abstractmethod
    def _start(self, batch_size: int, shape: tuple[int, ...], classes: Int[Array, " b"]) -> Any:
        """Returns the cache of `start`."""

    def _check_shape(self, shape: Sequence[SupportsIndex]) -> tuple[int, ...]:
        """Returns the shape as ints; raises ValueError if no map can have it."""
        return check_shape("shape", shape, self.spatial_rank)

    def _columns(self, codes: Int[Array, "..."]) -> list[Array]:
        """Returns the codes of each codebook."""
        if self.num_codebooks is None:
            return [codes]
        return [codes[..., j] for j in range(self.num_codebooks)]

    @property
    def _class_rows(self) -> int:
        """Rows of the class table; the last is for no class."""
        return (self.num_classes or 0) + 1

    def _classes(self, labels: Labels | None, like: Int[Array, " b"]) -> Int[Array, " b"]:
        """Returns the rows for labels, with one beyond the table where a label is out of range."""
        none = self._class_rows - 1
        if labels is None:
            return jnp.full_like(like, none)
        if self.num_classes is None:
            raise ValueError("labels are given; there must be none if num_classes is None")
        labels = as_int32("labels", labels)
        if labels.shape != like.shape:
            raise ValueError(f"labels have shape {labels.shape}; it must be [B], {like.shape}")
        classes = jnp.where(labels == -1, none, none + 1)
        return jnp.where((labels >= 0) & (labels < none), labels, classes)


def check_shape(
    name: str, shape: Sequence[SupportsIndex], rank: int | None = None
) -> tuple[int, ...]:
    """Returns a spatial shape as ints.

    Args:
        name: the argument's name.
        shape: what was given.
        rank: how many sizes it must have; None: from 1 to 3.

    Raises:
        ValueError: it is not so many integers of at least 1.
    """
    try:
        sizes = tuple(check_integer(name, size) for size in shape)
    except (TypeError, ValueError):
        sizes = ()
    if len(sizes) not in (_AXES if rank is None else (rank,)):
        raise ValueError(f"{name} is {shape}; it must be {_SIZES[rank]} of at least 1")
    return sizes
