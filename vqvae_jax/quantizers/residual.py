"""Quantizers in a row: each quantizes what the ones before it left over."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vqvae_jax.quantizers.base import Quantizer, check_integer
from vqvae_jax.quantizers.core import Quantized
from vqvae_jax.quantizers.estimators import DETERMINISTIC, Estimator, sg, straight_through


class ResidualVQ(Quantizer):
    """Residual vector quantization (Zeghidour et al. 2021, SoundStream, arXiv:2107.03312, alg. 1).

        r_1 = z,    r_{i+1} = r_i - sg(e_i),    e_i the code of Q_i for r_i,    values = sum_i e_i

    The losses are the sums of the quantizers' losses of their residuals. The estimator is applied
    once, to the sum: adding up the quantizers' own would hand z the gradient n times. Quantizers
    that learn from the gradient at their values give in training these values to the sum, and are
    handed that gradient. `lookup(indices[..., :m])` decodes from the first m codes.

    Args:
        quantizers: Q_i, at least one, all with the same embedding_dim and num_embeddings; or a
            single one, if `num_quantizers` is given.
        num_quantizers: n, how often the single quantizer is applied: all share its codebook. None:
            as many as there are.
        estimator: what carries the decoder's gradient to z.
        quantize_dropout: whether in training, for each entry of z's first axis, only the first m
            quantizers are applied, m drawn from 1 to n (section 3.4). The indices of the others are
            -1. What is decoded from the first codes alone is then of use.

    Raises:
        ValueError: the quantizers do not fit together.
    """

    num_codebooks: int

    def __init__(
        self,
        quantizers: Sequence[Quantizer],
        *,
        num_quantizers: int | None = None,
        estimator: Estimator = straight_through,
        quantize_dropout: bool = False,
    ):
        check_composable(quantizers)
        if len({quantizer.embedding_dim for quantizer in quantizers}) > 1:
            dims = [quantizer.embedding_dim for quantizer in quantizers]
            raise ValueError(f"the quantizers' embedding_dim are {dims}; they must be the same")
        if num_quantizers is not None:
            check_integer("num_quantizers", num_quantizers)
            if len(quantizers) != 1:
                raise ValueError(
                    f"num_quantizers is {num_quantizers} and there are {len(quantizers)} "
                    "quantizers; there must be one, for all to share"
                )
        if any(quantizer.num_codebooks is not None for quantizer in quantizers):
            raise ValueError("a quantizer has several codebooks; each must have one")
        for quantizer in quantizers:
            own = getattr(quantizer, "estimator", straight_through)
            if own in DETERMINISTIC and own is not straight_through:
                raise ValueError(
                    f"a quantizer's estimator is {own.__name__}, which would have no effect; "
                    "give it to the ResidualVQ"
                )
        self.quantizers = nnx.List(quantizers)
        self.embedding_dim = quantizers[0].embedding_dim
        self.num_embeddings = quantizers[0].num_embeddings
        self.num_codebooks = num_quantizers or len(quantizers)
        self.estimator = estimator
        self.quantize_dropout = quantize_dropout
        self.per_token = (
            all(quantizer.per_token for quantizer in quantizers)
            and estimator in DETERMINISTIC
            and not quantize_dropout
        )
        self.has_updates = any(quantizer.has_updates for quantizer in quantizers)
        self.has_initialization = any(quantizer.has_initialization for quantizer in quantizers)
        self.learns_from_values = estimator not in DETERMINISTIC or any(
            quantizer.learns_from_values for quantizer in quantizers
        )
        self.shared = num_quantizers is not None

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        keys: list[jax.Array | None] = [None] * (self.num_codebooks + 2)
        if key is not None:
            keys = list(jax.random.split(key, self.num_codebooks + 2))
        depth = self._depth(z, keys[-1])
        codes, total, learning = jnp.zeros_like(z), jnp.zeros_like(z), jnp.zeros_like(z)
        outputs = []
        for i, quantizer in enumerate(self._stages()):
            taken = mask
            if depth is not None:
                taken = depth > i if mask is None else mask & (depth > i)
            residual = z - sg(codes)
            quantized = quantizer(residual, taken, key=keys[i])
            outputs.append(quantized)
            chosen = quantizer.lookup(quantized.indices).astype(z.dtype)
            codes += chosen
            if quantizer.learns_from_values:
                values = quantizer(sg(residual), taken, key=keys[i]).values
                learning += values - sg(values)
                total += sg(values)
            else:
                total += chosen
        return Quantized(
            values=self.estimator(z, total, keys[-2]) + learning,
            indices=jnp.stack([output.indices for output in outputs], axis=-1),
            codebook_loss=sum(output.codebook_loss for output in outputs),
            commitment_loss=sum(output.commitment_loss for output in outputs),
            entropy_loss=sum(output.entropy_loss for output in outputs),
            loss=sum(output.loss for output in outputs),
        )

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape n"]:
        total, indices = jnp.zeros_like(z), []
        for quantizer in self._stages():
            indices.append(quantizer.encode(z - total))
            total += quantizer.lookup(indices[-1]).astype(z.dtype)
        return jnp.stack(indices, axis=-1)

    def _lookup(self, indices: Int[Array, "*shape m"]) -> Float[Array, "*shape d"]:
        if not 1 <= indices.shape[-1] <= self.num_codebooks:
            raise ValueError(
                f"indices have shape {indices.shape}; their last axis must be 1 to "
                f"{self.num_codebooks}, the number of codebooks"
            )
        stages = self._stages()[: indices.shape[-1]]
        codes = [stage.lookup(indices[..., i]) for i, stage in enumerate(stages)]
        return sum(codes[1:], start=codes[0])

    def _update(
        self,
        z: Float[Array, "*shape d"],
        indices: Int[Array, "*shape n"],
        key: jax.Array | None,
    ) -> None:
        residuals = self._residuals(z, indices)
        if self.shared:
            self.quantizers[0].update(jnp.stack(residuals, axis=-2), indices, key=key)
            return
        for i, (quantizer, residual) in enumerate(zip(self.quantizers, residuals, strict=True)):
            own = None if key is None else jax.random.fold_in(key, i)
            quantizer.update(residual, indices[..., i], key=own)

    def _initialize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array,
    ) -> None:
        residual = z
        for i, quantizer in enumerate(self.quantizers):
            quantizer.initialize(residual, mask, key=jax.random.fold_in(key, i))
            residual = residual - quantizer.lookup(quantizer.encode(residual)).astype(z.dtype)

    def _stages(self) -> list[Quantizer]:
        """The quantizer of each codebook."""
        quantizers = list(self.quantizers)
        return quantizers * self.num_codebooks if self.shared else quantizers

    def _depth(self, z: Array, key: jax.Array | None) -> Int[Array, "..."] | None:
        """How many quantizers are applied to each vector [...]; None: all."""
        if key is None or not self.quantize_dropout:
            return None
        rows = z.shape[:1] if z.ndim > 1 else ()
        drawn = jax.random.randint(key, rows, 1, self.num_codebooks + 1)
        return jnp.broadcast_to(drawn.reshape(rows + (1,) * (z.ndim - 1 - len(rows))), z.shape[:-1])

    def _residuals(self, z: Array, indices: Array) -> list[Array]:
        """What each quantizer was given."""
        codes, residuals = jnp.zeros_like(z), []
        for i, quantizer in enumerate(self._stages()):
            residuals.append(z - codes)
            codes += quantizer.lookup(indices[..., i]).astype(z.dtype)
        return residuals


def check_composable(quantizers: Sequence[Quantizer]) -> None:
    """Raises ValueError for no quantizers, one twice, or different numbers of codes."""
    if not quantizers:
        raise ValueError("quantizers is empty; there must be at least one")
    if len(set(map(id, quantizers))) < len(quantizers):
        raise ValueError(
            "a quantizer is given more than once; make one for each codebook, or let a ResidualVQ "
            "share a single one with num_quantizers"
        )
    sizes = [quantizer.num_embeddings for quantizer in quantizers]
    if len(set(sizes)) > 1:
        raise ValueError(f"the quantizers' num_embeddings are {sizes}; they must be the same")
