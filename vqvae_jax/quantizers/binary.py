"""Lookup-free quantization: one bit per number; the codebook is all combinations of signs."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.checks import check_above_zero, check_at_least_zero, check_choice, check_integer
from vqvae_jax.means import mean
from vqvae_jax.quantizers.core import Quantized, computed_codes, unit
from vqvae_jax.quantizers.estimators import straight_through
from vqvae_jax.quantizers.grid import GridQuantizer
from vqvae_jax.quantizers.regularized import entropy

# This many bits have 2^24 probabilities in their mean, and 2^12 per vector in each half.
_MAX_TOGETHER = 24


def binary_entropies(
    logits: Float[Array, "n d"], weights: Float[Array, " n"], bits_together: int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns entropies of vectors of independent bits, P(bit i is 1) = sigmoid(logit i), in nats.

    Neither needs 2^D probabilities per vector: the entropy of independent bits is the sum of
    theirs, and the mean distribution over the 2^g codes of g bits is one product of two matrices,
    of the probabilities of the first g/2 bits and of the rest.

    Args:
        logits: [N, D].
        weights: the vectors' weights in the means [N], at least 0, with sum 1.
        bits_together: g. The entropy of the mean is summed over groups of g bits: exact for g >= D,
            an upper bound otherwise, since it ignores the information that groups share.

    Returns:
        E[H(p)], the mean of the vectors' entropies; H(E[p]), the entropy of their mean.
    """
    each = jax.nn.softplus(logits) - logits * jax.nn.sigmoid(logits)
    of_vectors = jnp.sum(weights * jnp.sum(each, axis=1))
    of_mean = jnp.zeros((), logits.dtype)
    for start in range(0, logits.shape[1], bits_together):
        group = jax.nn.sigmoid(logits[:, start : start + bits_together])
        half = group.shape[1] // 2
        low, high = _code_probabilities(group[:, :half]), _code_probabilities(group[:, half:])
        mean = jnp.matmul((weights[:, None] * low).T, high, precision=jax.lax.Precision.HIGHEST)
        of_mean += entropy(mean)
    return of_vectors, of_mean


def _code_probabilities(ones: Float[Array, "n g"]) -> Float[Array, "n codes"]:
    """Returns the probabilities [N, 2^g] of all codes of g independent bits, first bit fastest."""
    p = jnp.ones((ones.shape[0], 1), ones.dtype)
    for bit in range(ones.shape[1]):
        one = ones[:, bit : bit + 1]
        p = jnp.concatenate([p * (1 - one), p * one], axis=1)
    return p


class LFQ(GridQuantizer):
    """Lookup-free quantization (Yu et al. 2023, MAGVIT-v2, arXiv:2310.05737, equations 3 to 5).

        code = sign(z) in {-1, 1}^D,    index = sum_i 2^i [z_i > 0],    K = 2^D
        entropy loss = E[H(p(c | z))] - gamma H(E[p(c | z)]),   p(c | z) ~ exp(-|z - c|^2 / tau)
        loss = lambda entropy loss + beta mean((z - sg(code))^2)

    The second mean of the entropy loss runs over the batch (inside `jax.shard_map`, over a device's
    part). Its entropy is exact only up to D = bits_together: above that, by default above 9 bits,
    it is an upper bound, and the entropy loss returned is below the equation's. bits_together=None
    makes it exact. 0 counts as negative.

    Args:
        embedding_dim: D, the bits of a code, 1 to 30.
        commitment_cost: beta, finite and at least 0.
        entropy_cost: lambda, finite and at least 0.
        diversity: gamma, finite and at least 0.
        temperature: tau, finite and above 0.
        bits_together: see `binary_entropies`; at least 1, and at most 24 if D is more. None: all D,
            the exact entropy, for D up to 24. Memory grows as 2^(bits_together / 2) per vector, and
            2^bits_together per batch.
        bit_order: which bit of the index the first number of a vector sets: the lowest ("little",
            as in the equation) or the highest ("big").

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        embedding_dim: int,
        commitment_cost: float = 0.25,
        *,
        entropy_cost: float = 0.1,
        diversity: float = 1.0,
        temperature: float = 1.0,
        bits_together: int | None = 9,
        bit_order: str = "little",
    ):
        embedding_dim = check_integer("embedding_dim", embedding_dim)
        if embedding_dim > 30:
            raise ValueError(f"embedding_dim is {embedding_dim}; it must be at most 30")
        self.commitment_cost = check_at_least_zero("commitment_cost", commitment_cost)
        self.entropy_cost = check_at_least_zero("entropy_cost", entropy_cost)
        self.diversity = check_at_least_zero("diversity", diversity)
        self.temperature = check_above_zero("temperature", temperature)
        if bits_together is not None:
            bits_together = check_integer("bits_together", bits_together)
        together = min(bits_together or embedding_dim, embedding_dim)
        if together > _MAX_TOGETHER:
            raise ValueError(
                f"bits_together is {bits_together}; with {embedding_dim} bits it must be at most "
                f"{_MAX_TOGETHER} (an upper bound on the entropy)"
            )
        self.embedding_dim = embedding_dim
        self.num_embeddings = 2**embedding_dim
        self.bits_together = together
        self.bit_order = check_choice("bit_order", bit_order, ("little", "big"))
        self.magnitude = 1.0
        self.remainder = 0.5
        self.per_token = False

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        z = self.bounded(z) if self.bounds else z
        codes = self._signs(z)
        commitment_loss = mean((z - codes) ** 2, mask)
        weights = jnp.ones(z.shape[:-1], z.dtype) if mask is None else mask.astype(z.dtype)
        weights = weights / jnp.maximum(jnp.sum(weights), 1)
        # -|z - c|^2 differs by 4 m z_i between the two signs of c_i = +-m.
        logits = (4 * self.magnitude / self.temperature) * z
        of_vectors, of_mean = binary_entropies(
            logits.reshape(-1, self.embedding_dim), weights.reshape(-1), self.bits_together
        )
        entropy_loss = of_vectors - self.diversity * of_mean
        return Quantized(
            values=straight_through(z, codes),
            indices=self._index(z),
            codebook_loss=jnp.zeros((), z.dtype),
            commitment_loss=commitment_loss,
            entropy_loss=entropy_loss,
            loss=self.entropy_cost * entropy_loss + self.commitment_cost * commitment_loss,
        )

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape"]:
        return self._index(z)

    def _lookup(self, indices: Int[Array, "*shape"]) -> Float[Array, "*shape d"]:
        bits = jnp.asarray(self._bits(), jnp.int32).reshape((1,) * indices.ndim + (-1,))
        ones = (indices[..., None] >> bits) & 1
        codes = jnp.where(ones == 1, self.magnitude, -self.magnitude)
        return computed_codes(codes, indices, self.num_embeddings)

    def bounded(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """See `GridQuantizer.bounded`: z itself, since a stage takes the signs at any scale."""
        return z

    def _signs(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        return jnp.where(z > 0, self.magnitude, -self.magnitude).astype(z.dtype)

    def _index(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape"]:
        places = jnp.asarray(2 ** self._bits(), jnp.int32).reshape((1,) * (z.ndim - 1) + (-1,))
        return jnp.sum(jnp.where(z > 0, places, 0), axis=-1, dtype=jnp.int32)

    def _bits(self) -> np.ndarray:
        """Returns which bit of the index each number of a vector sets."""
        bits = np.arange(self.embedding_dim)
        return bits if self.bit_order == "little" else bits[::-1]


class BSQ(LFQ):
    """Binary spherical quantization (Zhao et al. 2024, arXiv:2406.07548, equations 4 to 9).

        u = z / |z|,    code = sign(u) / sqrt(D) in {-1, 1}^D / sqrt(D),    K = 2^D
        entropy loss = E[H(p(c | u))] - gamma H(E[p(c | u)]),   p(c | u) ~ exp(-|u - c|^2 / tau)
        loss = lambda entropy loss + beta mean((u - sg(code))^2)

    On the sphere the error is bounded, so beta may be 0, as it is in the paper. The entropy of the
    mean is taken bit by bit (the paper's approximation, an upper bound: the entropy loss returned
    is below the equation's; bits_together=None makes it exact).

    Args: as for `LFQ`.
    """

    def __init__(
        self,
        embedding_dim: int,
        commitment_cost: float = 0.0,
        *,
        entropy_cost: float = 0.1,
        diversity: float = 1.0,
        temperature: float = 1.0,
        bits_together: int | None = 1,
        bit_order: str = "little",
    ):
        super().__init__(
            embedding_dim,
            commitment_cost,
            entropy_cost=entropy_cost,
            diversity=diversity,
            temperature=temperature,
            bits_together=bits_together,
            bit_order=bit_order,
        )
        self.magnitude = self.embedding_dim**-0.5

    def bounded(self, z: Float[Array, "*shape d"]) -> Float[Array, "*shape d"]:
        """See `GridQuantizer.bounded`: z projected onto the unit sphere."""
        return unit(z)
