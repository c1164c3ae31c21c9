"""The base class of quantizers: the contract, the input checks, and defaults that fit most."""

import abc
import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Integer

from vqvae_jax.precision import wide
from vqvae_jax.quantizers.core import AxisName, Quantized, code_counts, perplexity
from vqvae_jax.quantizers.explicit import left_to_xla
from vqvae_jax.tables import as_int32


class QuantizerState(nnx.Variable):
    """State that a quantizer keeps and no gradient moves: averages, usage, flags, frozen codes."""


class Quantizer(nnx.Module):
    """The contract that all quantizers fulfill.

    A call is a pure function of z, the parameters and the key: it changes no state. A call with a
    key is training; a call without one is evaluation, in which nothing is random. Whatever a
    quantizer learns without gradients, it learns in `update`, which is called after the step.

    Attributes:
        embedding_dim: D, the size of a vector.
        num_embeddings: K, codes in each codebook; the largest size where codebooks differ.
        codebook_sizes: K of each codebook.
        num_codebooks: indices per vector, on a last axis of their own; None for a single one
            without an axis.
        per_token: whether the result for a vector depends on that vector alone, and each loss is a
            mean over vectors: no random numbers, no average over the batch inside a loss. Then a
            batch may be computed in parts and the gradients added up.
        has_updates: whether `update` does anything.
        has_initialization: whether `initialize` does anything.
        learns_from_values: whether the gradient at `values` moves parameters too, and not only the
            quantizer's own losses.
        follows_scale: whether the codes can become as small as the residual that earlier quantizers
            leave, so that a `ResidualVQ` may use it as a stage.
    """

    embedding_dim: int
    num_embeddings: int
    num_codebooks: int | None = None
    per_token: bool = True
    has_updates: bool = False
    has_initialization: bool = False
    learns_from_values: bool = False
    follows_scale: bool = True

    @left_to_xla(lambda split, whole: Quantized(split, split, *[whole] * 5))
    def __call__(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None = None,
        *,
        key: jax.Array | None = None,
    ) -> Quantized:
        """Quantizes z.

        Args:
            z: vectors [..., D], any floating type; all computation on them is in float32 or wider.
            mask: True [...] for the vectors that count; the others get index -1 and value 0, and
                have no effect. None: all count.
            key: draws the random numbers of training. None: evaluation.

        Returns:
            A `Quantized`; its values have z's type.

        Raises:
            ValueError: z or the mask has the wrong shape or type.
        """
        quantized = self._quantize(self._checked(z, mask), mask, key)
        values, indices = quantized.values.astype(z.dtype), quantized.indices
        if mask is not None:
            values = jnp.where(mask[..., None], values, 0)
            indices = self._masked(indices, mask)
        return dataclasses.replace(quantized, values=values, indices=indices)

    @left_to_xla(lambda split, whole: split)
    def encode(
        self, z: Float[Array, "*shape d"], mask: Bool[Array, "*shape"] | None = None
    ) -> Int[Array, "..."]:
        """Returns only the indices, as at evaluation; cheaper than a call.

        Args:
            z: vectors [..., D].
            mask: True [...] for the vectors that count; the others get -1. None: all count.

        Returns:
            int32 [...], or [..., num_codebooks].

        Raises:
            ValueError: z or the mask has the wrong shape or type.
        """
        if mask is not None and not self.per_token:
            return self(z, mask).indices  # what counts may decide the others' indices
        indices = self._encode(self._checked(z, mask))
        return indices if mask is None else self._masked(indices, mask)

    @left_to_xla(lambda split, whole: split)
    def lookup(self, indices: Integer[Array, "..."]) -> Float[Array, "..."]:
        """Returns the codes for given indices.

        Args:
            indices: as a call returns them, integers [...] or [..., num_codebooks].

        Returns:
            [..., D], equal to a call's values at evaluation; 0 for the index -1 (masked), NaN for
            indices of K and more.

        Raises:
            ValueError: the indices are not integers, or their last axis has the wrong length.
        """
        indices = as_int32("indices", indices)
        if self.num_codebooks is not None and indices.ndim == 0:
            raise ValueError("indices are a scalar; their last axis must be that of the codebooks")
        return self._lookup(indices)

    @left_to_xla(lambda split, whole: None, writes=True)
    def update(
        self,
        z: Float[Array, "*shape d"],
        indices: Integer[Array, "..."],
        *,
        key: jax.Array | None = None,
        axis_name: AxisName | None = None,
    ) -> None:
        """Updates what gradients do not train, after a step: averages, usage, revived codes.

        Call it once per step, with everything that was quantized in it: under gradient
        accumulation, with the concatenated vectors and indices. Without any vectors, nothing
        changes.

        Args:
            z: the quantizer's input [..., D].
            indices: its output for z; vectors with -1 are ignored.
            key: draws the random numbers, if codes are revived.
            axis_name: inside `jax.shard_map` or `jax.pmap`, the axis over which z is split, so that
                all devices learn from all of it and keep the same codes; the key must be the same
                on each. None: z is the whole batch, as under `jax.jit` over sharded arrays.

        Raises:
            ValueError: z or the indices have the wrong shape or type; or codes are to be revived
                and there is no key.
        """
        indices = as_int32("indices", indices)
        shape = z.shape[:-1] + (() if self.num_codebooks is None else (self.num_codebooks,))
        if indices.shape != shape:
            raise ValueError(f"indices have shape {indices.shape}; for this z it must be {shape}")
        if self.has_updates and z.size != 0:
            counted = indices >= 0
            if self.num_codebooks is not None:
                counted = jnp.any(counted, axis=-1)
            self._update(self._checked(z, counted), indices, key, axis_name)

    @left_to_xla(lambda split, whole: None, writes=True)
    def initialize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None = None,
        *,
        key: jax.Array,
        axis_name: AxisName | None = None,
    ) -> None:
        """Initializes the codes from data, on the first call, if the quantizer was made for that.

        Args:
            z: vectors [..., D]; the first batch of training.
            mask: True [...] for those that count; None: all.
            key: draws the codes.
            axis_name: as in `update`.

        Raises:
            ValueError: z or the mask has the wrong shape or type.
        """
        if self.has_initialization and z.size != 0:
            self._initialize(self._checked(z, mask), mask, key, axis_name)

    @abc.abstractmethod
    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        """Quantizes z in float32 or wider. Only the losses have to take the mask into account."""

    @abc.abstractmethod
    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "..."]:
        """Returns the indices of z in float32 or wider."""

    @abc.abstractmethod
    def _lookup(self, indices: Int[Array, "..."]) -> Float[Array, "..."]:
        """Returns the codes."""

    def _update(
        self,
        z: Float[Array, "*shape d"],
        indices: Int[Array, "..."],
        key: jax.Array | None,
        axis_name: AxisName | None,
    ) -> None:
        """Updates from z in float32 or wider, zero where no index counts."""

    def _initialize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array,
        axis_name: AxisName | None,
    ) -> None:
        """Initializes the codes from z in float32 or wider."""

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """K of each codebook."""
        return (self.num_embeddings,) * (self.num_codebooks or 1)

    @property
    def values_dim(self) -> int:
        """The size of a value: D, except for quantizers that are used for their indices alone."""
        return self.embedding_dim

    @property
    def num_codes(self) -> int:
        """The number of codes in all codebooks; a shared codebook counts once per use."""
        return sum(self.codebook_sizes)

    @property
    def bits(self) -> float:
        """The most information that a vector's indices can carry, in bits."""
        return sum(math.log2(size) for size in self.codebook_sizes)

    @left_to_xla(lambda split, whole: whole)
    def code_counts(self, indices: Integer[Array, "..."]) -> Int[Array, "..."]:
        """Counts each code's uses: int32 [K], or [num_codebooks, K]. Counts of batches add up.

        The row of a codebook smaller than the largest ends in zeros.

        Args:
            indices: as a call returns them; -1 is not counted.

        Raises:
            ValueError: the indices are not integers, or their last axis has the wrong length.
        """
        indices = as_int32("indices", indices)
        if self.num_codebooks is None:
            return code_counts(indices, self.num_embeddings)
        self._check_last_axis(indices)
        return jax.vmap(lambda column: code_counts(column, self.num_embeddings), in_axes=-1)(
            indices
        )

    def perplexity(self, counts: Int[Array, "..."]) -> Float[Array, "..."]:
        """The effective number of codes in use: scalar, or [num_codebooks], each in [1, K].

        Args:
            counts: as `code_counts` gives them.

        Raises:
            ValueError: the counts have another shape or type.
        """
        books = () if self.num_codebooks is None else (self.num_codebooks,)
        if counts.shape != (*books, self.num_embeddings):
            raise ValueError(
                f"counts have shape {counts.shape}; as code_counts gives them it is "
                f"{(*books, self.num_embeddings)}"
            )
        return perplexity(counts)

    def skip_initialization(self) -> None:
        """Declares that `initialize` was called or never will be: it does nothing from now on."""
        for _, node in nnx.iter_graph(self):
            if isinstance(node, Quantizer):
                node.has_initialization = False

    def freeze(self) -> None:
        """Stops all learning: parameters become `QuantizerState`, `update` does nothing.

        Call it before the parameters are split off for the optimizer.
        """
        for _, node in nnx.iter_graph(self):
            if not isinstance(node, nnx.Module):
                continue
            for name, variable in list(vars(node).items()):
                if isinstance(variable, nnx.Param):
                    setattr(node, name, QuantizerState(variable[...]))
            if isinstance(node, Quantizer):
                node.has_updates = False
        self.skip_initialization()

    def _check_last_axis(self, indices: Int[Array, "..."]) -> None:
        """Raises ValueError unless there is an index for each of several codebooks."""
        if indices.ndim == 0 or indices.shape[-1] != self.num_codebooks:
            raise ValueError(
                f"indices have shape {indices.shape}; their last axis must be "
                f"{self.num_codebooks}, the number of codebooks"
            )

    def _masked(self, indices: Int[Array, "..."], mask: Bool[Array, "*shape"]) -> Array:
        """Returns the indices, -1 where the mask drops a vector."""
        return jnp.where(mask if self.num_codebooks is None else mask[..., None], indices, -1)

    def _checked(
        self, z: Float[Array, "*shape d"], mask: Bool[Array, "*shape"] | None
    ) -> Float[Array, "*shape d"]:
        """Checks shapes and types; returns z in float32 or wider, zero where masked."""
        if not jnp.issubdtype(z.dtype, jnp.floating):
            raise ValueError(f"z has type {z.dtype}; it must be floating")
        if z.ndim == 0 or z.shape[-1] != self.embedding_dim:
            raise ValueError(
                f"z has shape {z.shape}; its last axis must be embedding_dim = {self.embedding_dim}"
            )
        widened = wide(z)
        if mask is None:
            return widened
        if mask.shape != z.shape[:-1]:
            raise ValueError(f"mask has shape {mask.shape}; it must be z's, {z.shape[:-1]}")
        if mask.dtype != jnp.bool_:
            raise ValueError(f"mask has type {mask.dtype}; it must be bool")
        return jnp.where(mask[..., None], widened, jnp.zeros((), widened.dtype))
