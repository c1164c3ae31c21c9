"""The vector quantizer of the VQ-VAE, with a codebook learned by gradient descent."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Num

from vqvae_jax.checks import check_above_zero, check_at_least_zero, check_integer, check_share
from vqvae_jax.means import mean
from vqvae_jax.quantizers.base import Quantizer, QuantizerState
from vqvae_jax.quantizers.core import AxisName, Quantized, gathered, summed, unit
from vqvae_jax.quantizers.estimators import DETERMINISTIC, Estimator, straight_through
from vqvae_jax.quantizers.initialization import overwrite, warn_unless_initialized
from vqvae_jax.quantizers.kmeans import kmeans
from vqvae_jax.quantizers.revival import (
    ENOUGH,
    draw_replacements,
    fair_share,
    shares,
    updated_usage,
)
from vqvae_jax.quantizers.search import nearest_code, sample_code
from vqvae_jax.tables import lookup


class VectorQuantizer(Quantizer):
    """Replaces each vector by its nearest code (van den Oord et al. 2017, arXiv:1711.00937).

    Equation 3 without its reconstruction term:

        loss = alpha mean((sg(z) - e_k)^2) + beta mean((z - sg(e_k))^2),   k = argmin_j |z - e_j|^2

    with means over every element, alpha 1, and z + sg(e_k - z) for the decoder (straight-through).

    Args:
        embedding_dim: D, the size of a code, at least 1.
        num_embeddings: K, codes in the codebook, at least 1.
        commitment_cost: beta, finite and at least 0.
        codebook_cost: alpha, finite and at least 0; 0 with the estimators that move the codes
            themselves (`diveq`, `nsvq`).
        estimator: what carries the decoder's gradient past the argmin.
        revival_threshold: in [0, 1). A code used less than this fraction of its fair share (1 / K
            of the tokens, averaged over the last 1 / (1 - usage_decay) updates, or over all while
            there are fewer) is replaced by a vector of the batch, drawn with probability
            proportional to its squared distance from its code. 0: never.
        revival_tokens: finite and at least 0. The same threshold in tokens per update: a code that
            falls below either is replaced. 0: only revival_threshold counts.
        usage_decay: decay of that average, in [0, 1).
        kmeans_init: whether `initialize` sets the codes to k-means centers of the data. An `update`
            before `initialize` warns.
        rngs: `params` draws the codebook from N(0, 1).

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        commitment_cost: float = 0.25,
        *,
        codebook_cost: float = 1.0,
        estimator: Estimator = straight_through,
        revival_threshold: float = 0.0,
        revival_tokens: float = 0.0,
        usage_decay: float = 0.99,
        kmeans_init: bool = False,
        rngs: nnx.Rngs,
    ):
        self.embedding_dim = check_integer("embedding_dim", embedding_dim)
        self.num_embeddings = check_integer("num_embeddings", num_embeddings)
        self.commitment_cost = check_at_least_zero("commitment_cost", commitment_cost)
        self.codebook_cost = check_at_least_zero("codebook_cost", codebook_cost)
        self.revival_threshold = check_share("revival_threshold", revival_threshold)
        self.revival_tokens = check_at_least_zero("revival_tokens", revival_tokens)
        self.usage_decay = check_share("usage_decay", usage_decay)
        self.estimator = estimator
        self.per_token = estimator in DETERMINISTIC
        self.learns_from_values = estimator not in DETERMINISTIC  # those move the codes
        self.revives = revival_threshold > 0 or revival_tokens > 0
        self.has_updates = self.revives
        self.embeddings: nnx.Variable = nnx.Param(
            jax.random.normal(rngs.params(), (self.num_embeddings, self.embedding_dim))
        )
        if self.revives:
            self.usage = QuantizerState(jnp.ones(self.num_embeddings))
            self.usage_updates = QuantizerState(jnp.zeros((), jnp.int32))
            self.usage_vectors = QuantizerState(jnp.zeros(()))  # for each code, up to ENOUGH
        self.kmeans_init = self.has_initialization = kmeans_init
        if kmeans_init:
            self.initialized = QuantizerState(jnp.zeros((), jnp.bool_))

    @property
    def codebook(self) -> Float[Array, "k d"]:
        """The codes [K, D]."""
        return self.embeddings[...]

    def set_codebook(
        self,
        codes: Float[ArrayLike, "k d"],
        counts: Num[ArrayLike, " k"] | None = None,
    ) -> None:
        """Sets the codes, in place of random ones or those of `initialize`.

        The averages kept with the codes are set to match: one update of a moving average moves a
        code by 1 - decay of the way to the vectors that chose it, and revival knows how much each
        is used. Call it outside of `jax.jit`.

        Args:
            codes: [K, D], finite; a quantizer that compares directions normalizes them.
            counts: how often each was used [K], at least 0, not all 0; only their proportions
                matter. None: all equal.

        Raises:
            ValueError: an argument has the wrong shape, or is out of its range.
        """
        expected = (self.num_embeddings, self.embedding_dim)
        codes = np.asarray(codes, self.embeddings[...].dtype)
        if codes.shape != expected or not np.all(np.isfinite(codes)):
            raise ValueError(f"codes have shape {codes.shape}; they must be finite, {expected}")
        counts = np.asarray(np.ones(len(codes)) if counts is None else counts, np.float64)
        if counts.shape != expected[:1] or not np.all(counts >= 0) or not 0 < counts.sum() < np.inf:
            raise ValueError(
                f"counts have shape {counts.shape}; they must be {expected[:1]}, finite, "
                "at least 0, and not all 0"
            )
        proportions = jnp.asarray(counts / counts.sum(), jnp.float32)
        self._start_from(self._compared(jnp.asarray(codes)), proportions, jnp.asarray(True))
        self.resume_usage(proportions)

    def resume_usage(self, counts: Float[Array, " k"]) -> None:
        """Lets revival count on from the uses of a trained codebook, which needs no fast start.

        Args:
            counts: how often each code was used [K], at least 0; only their proportions matter.
        """
        if self.revives:
            self.usage[...] = shares(counts)
            self.usage_updates[...] = jnp.asarray(10**6, jnp.int32)
            self.usage_vectors[...] = jnp.asarray(ENOUGH, self.usage_vectors[...].dtype)

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        z = self._compared(z)
        search_key, value_key = (None, None) if key is None else jax.random.split(key)
        codebook = self.codebook.astype(z.dtype)
        indices = self._search(z, codebook, search_key)
        # `lookup` would cost one more pass over the vectors, to check for indices that are no
        # codes.
        codes = codebook.at[indices].get(mode="promise_in_bounds")
        # The same differences in both losses, so that XLA computes them once.
        codebook_loss = mean((jax.lax.stop_gradient(z) - codes) ** 2, mask)
        commitment_loss = mean((z - jax.lax.stop_gradient(codes)) ** 2, mask)
        return Quantized(
            values=self.estimator(z, codes, value_key),
            indices=indices,
            codebook_loss=codebook_loss,
            commitment_loss=commitment_loss,
            entropy_loss=jnp.zeros((), z.dtype),
            loss=self.codebook_cost * codebook_loss + self.commitment_cost * commitment_loss,
        )

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape"]:
        return nearest_code(self._compared(z), self.codebook)

    def _lookup(self, indices: Int[Array, "*shape"]) -> Float[Array, "*shape d"]:
        return lookup(self.codebook, indices)

    def _update(
        self,
        z: Float[Array, "*shape d"],
        indices: Int[Array, "*shape"],
        key: jax.Array | None,
        axis_name: AxisName | None,
    ) -> None:
        if self.revives and key is None:
            raise ValueError("key is None; with revival, update needs one")
        if self.has_initialization:
            warn_unless_initialized(self.initialized[...])
        z = self._compared(z)
        counts = summed(self.code_counts(indices), axis_name)
        self._learn(z, indices, counts, axis_name)
        if key is not None and self.revives:
            self._revive(z, indices, counts, key, axis_name)

    def _initialize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array,
        axis_name: AxisName | None,
    ) -> None:
        vectors = self._compared(z).reshape(-1, self.embedding_dim)
        counted = jnp.ones(len(vectors), jnp.bool_) if mask is None else mask.reshape(-1)
        vectors, counted = gathered(vectors, axis_name), gathered(counted, axis_name)
        due = ~self.initialized[...] & jnp.any(counted)
        codes, counts = jax.lax.cond(
            due,
            lambda: kmeans(key, vectors, counted, self.num_embeddings),
            lambda: (
                jnp.zeros_like(vectors, shape=(self.num_embeddings, self.embedding_dim)),
                jnp.zeros_like(vectors, jnp.int32, shape=(self.num_embeddings,)),
            ),
        )
        self._start_from(codes, counts.astype(jnp.float32), due)

    def _start_from(
        self, codes: Float[Array, "k d"], counts: Float[Array, " k"], due: Bool[Array, ""]
    ) -> None:
        """Sets the codes, and all averages, as if from one update with these counts."""
        overwrite(self.embeddings, codes, due)
        if self.revives:
            overwrite(self.usage, shares(counts), due)
            overwrite(self.usage_vectors, self._vectors_with(0.0, counts), due)
        if hasattr(self, "initialized"):
            self.initialized[...] = self.initialized[...] | due

    def _compared(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """Returns the vectors to compare with the codes: z itself."""
        return z

    def _search(
        self, z: Float[Array, "*shape d"], codebook: Float[Array, "k d"], key: jax.Array | None
    ) -> Int[Array, "*shape"]:
        """Returns the indices of the chosen codes: the nearest."""
        return nearest_code(z, codebook)

    def _learn(
        self,
        z: Float[Array, "*shape d"],
        indices: Int[Array, "*shape"],
        counts: Int[Array, " k"],
        axis_name: AxisName | None,
    ) -> None:
        """Learns from a step, before the revival; does nothing here."""

    def _revive(
        self,
        z: Float[Array, "*shape d"],
        indices: Int[Array, "*shape"],
        counts: Int[Array, " k"],
        key: jax.Array,
        axis_name: AxisName | None,
    ) -> None:
        updates, before = self.usage_updates[...], self.usage_vectors[...]
        usage = updated_usage(self.usage[...], updates, before, counts, self.usage_decay)
        self.usage_updates[...] += (jnp.sum(counts) > 0).astype(jnp.int32)
        self.usage_vectors[...] = self._vectors_with(before, counts)
        codebook = self.embeddings[...]
        dead = usage < self.revival_threshold
        if self.revival_tokens > 0:
            dead |= usage * fair_share(counts).astype(usage.dtype) < self.revival_tokens
        replaced, vectors = draw_replacements(key, dead, z, indices, self.codebook, axis_name)
        self.embeddings[...] = jnp.where(
            replaced[:, None], vectors.astype(codebook.dtype), codebook
        )
        self.usage[...] = jnp.where(replaced, 1.0, usage)
        self._forget(replaced)

    def _vectors_with(self, before: ArrayLike, counts: Num[Array, " k"]) -> Float[Array, ""]:
        """Returns the vectors per code that usage is known from, including those of a step."""
        dtype = self.usage_vectors[...].dtype
        return jnp.minimum(before + fair_share(counts).astype(dtype), ENOUGH)

    def _forget(self, replaced: Bool[Array, " k"]) -> None:
        """Drops the state of replaced codes other than their usage; there is none here."""


class CosineVectorQuantizer(VectorQuantizer):
    """Compares on the unit sphere (Yu et al. 2021, ViT-VQGAN, arXiv:2110.04627).

        k = argmin_j | z / |z|  -  e_j / |e_j| |,    the code with the highest cosine similarity

    Losses and values are those of `VectorQuantizer` for the normalized vectors, with the same
    arguments. The paper also searches in few dimensions:
    ProjectedQuantizer(CosineVectorQuantizer(32, ...), 768).
    """

    follows_scale = False

    @property
    def codebook(self) -> Float[Array, "k d"]:
        """The codes [K, D], each of norm 1."""
        return unit(self.embeddings[...])

    def _compared(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        return unit(z)


class SampledVectorQuantizer(VectorQuantizer):
    """Draws codes by distance in training (Roy et al. 2018, soft EM, arXiv:1805.11063, section 4).

        P(k | z) = softmax_k(-|z - e_k|^2 / temperature)

    At evaluation it chooses the nearest code, as `VectorQuantizer` does.

    Args:
        embedding_dim, num_embeddings: as for `VectorQuantizer`.
        temperature: finite and above 0; towards 0 the draw becomes the nearest code.
        rngs, options: as for `VectorQuantizer`.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_embeddings: int,
        *,
        temperature: float,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        self.temperature = check_above_zero("temperature", temperature)
        super().__init__(embedding_dim, num_embeddings, rngs=rngs, **options)
        self.per_token = False

    def _search(
        self, z: Float[Array, "*shape d"], codebook: Float[Array, "k d"], key: jax.Array | None
    ) -> Int[Array, "*shape"]:
        if key is None:
            return nearest_code(z, codebook)
        return sample_code(z, codebook, self.temperature, key)
