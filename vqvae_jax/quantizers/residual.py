"""Quantizers in a row: each quantizes the residual of the ones before it."""

from collections.abc import Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Integer

from vqvae_jax.checks import check_integer
from vqvae_jax.quantizers.base import Quantizer
from vqvae_jax.quantizers.composition import check_composable, check_stages
from vqvae_jax.quantizers.core import AxisName, Quantized, stage_losses
from vqvae_jax.quantizers.estimators import DETERMINISTIC, Estimator, sg, straight_through
from vqvae_jax.quantizers.grid import GridQuantizer
from vqvae_jax.tables import as_int32

# Runs of k-means before the last one, for a codebook that all stages share: each uses the residuals
# that the previous run's codes leave. More runs change little.
_SHARED_ROUNDS = 2


class ResidualVQ(Quantizer):
    """Residual vector quantization (Zeghidour et al. 2021, SoundStream, arXiv:2107.03312, alg. 1).

        r_1 = z,    r_{i+1} = r_i - sg(e_i),    e_i the code of Q_i for r_i,    values = sum_i e_i

    The losses are the sums of the quantizers' losses for their residuals. The estimator is applied
    once, to the sum: adding up the quantizers' own would give z the gradient n times. Quantizers
    that learn from the gradient at their values contribute those values to the sum in training, and
    receive that gradient. `lookup(indices[..., :m])` decodes from the first m codes.

    Codebooks that learn find the scale of their residual themselves. A grid (`FSQ`, `LFQ`, `BSQ`)
    is scaled to it: r_1 is z bounded once to the range of the grid, and stage i quantizes r_i /
    s_i, s_i the product of the earlier stages' remainders (see `GridQuantizer.remainder`); e_i is
    s_i times its code, and its losses are those for r_i / s_i. The error of a number falls to the
    range of the last stage; for a grid without a code at 0 (even levels, signs), that error remains
    even for a number that an earlier stage has hit exactly.

    Args:
        quantizers: Q_i, at least one, all with the same embedding_dim, and either none of them a
            grid or all grids of one class; or a single one, if `num_quantizers` is given.
        num_quantizers: n, how often the single quantizer is applied: all stages share its codebook.
            None: the number of quantizers given.
        estimator: what carries the decoder's gradient to z.
        quantize_dropout: whether in training, for each entry of z's first axis, only the first m
            quantizers are applied, m drawn from `least_depth` to n (section 3.4). The indices of
            the others are -1. The first codes alone then decode to something useful.
        least_depth: the smallest m that is drawn, from 1 to n.
        depth_multiple: m is drawn from the multiples of this; n must be one.

    Raises:
        ValueError: the quantizers do not fit together, or one of them cannot be a stage: its codes
            do not become small with the residual.

    Attributes:
        drawn_depths: the values that m is drawn from; empty without quantize_dropout.
    """

    num_codebooks: int

    def __init__(
        self,
        quantizers: Sequence[Quantizer],
        *,
        num_quantizers: int | None = None,
        estimator: Estimator = straight_through,
        quantize_dropout: bool = False,
        least_depth: int = 1,
        depth_multiple: int = 1,
    ):
        check_composable(quantizers)
        if len({quantizer.embedding_dim for quantizer in quantizers}) > 1:
            dims = [quantizer.embedding_dim for quantizer in quantizers]
            raise ValueError(f"the quantizers' embedding_dim are {dims}; they must be the same")
        if num_quantizers is not None:
            num_quantizers = check_integer("num_quantizers", num_quantizers)
            if len(quantizers) != 1:
                raise ValueError(
                    f"num_quantizers is {num_quantizers} and there are {len(quantizers)} "
                    "quantizers; there must be one, for all to share"
                )
        check_stages(quantizers)
        self.num_quantizers = num_quantizers
        self.shared = num_quantizers is not None
        self.num_codebooks = num_quantizers or len(quantizers)
        self.has_grids = isinstance(quantizers[0], GridQuantizer)
        self.quantizers = nnx.List(
            quantizer.unbounded() if isinstance(quantizer, GridQuantizer) else quantizer
            for quantizer in quantizers
        )
        self.embedding_dim = quantizers[0].embedding_dim
        self.num_embeddings = max(quantizer.num_embeddings for quantizer in quantizers)
        self.estimator = estimator
        self.quantize_dropout = quantize_dropout
        self.least_depth, self.depth_multiple = least_depth, depth_multiple
        self.drawn_depths = _drawn_depths(
            quantize_dropout, least_depth, depth_multiple, self.num_codebooks
        )
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

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """K of each stage."""
        return tuple(stage.num_embeddings for stage in self._stages())

    def lookup_stages(self, indices: Integer[Array, "*shape m"]) -> Float[Array, "*shape m d"]:
        """Returns the codes of each stage, on the scale of z: `lookup` is their sum.

        Args:
            indices: those of the first m stages, as for `lookup`.

        Raises:
            ValueError: the last axis of the indices has the wrong length.
        """
        return jnp.stack(self._codes(as_int32("indices", indices)), axis=-2)

    def draw_depth(self, shape: tuple[int, ...], key: jax.Array) -> Int[Array, "..."] | None:
        """Draws how many quantizers training applies to each vector of a shape; None: all."""
        if not self.drawn_depths:
            return None
        rows = shape[:1]
        drawn = jax.random.randint(key, rows, 0, len(self.drawn_depths))
        depths = jnp.asarray(self.drawn_depths, jnp.int32)[drawn]
        return jnp.broadcast_to(depths.reshape(rows + (1,) * (len(shape) - len(rows))), shape)

    def quantize_to(
        self,
        depth: Int[Array, "*shape"] | None,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        """Quantizes in float32 or wider with the first `depth` quantizers; None: all."""
        keys: list[jax.Array | None] = [None] * (self.num_codebooks + 1)
        if key is not None:
            keys = list(jax.random.split(key, self.num_codebooks + 1))
        z = self._bounded(z)
        left, total, learning = z, jnp.zeros_like(z), jnp.zeros_like(z)
        outputs = []
        for i, quantizer in enumerate(self._stages()):
            taken = mask
            if depth is not None:
                taken = depth > i if mask is None else mask & (depth > i)
            residual = self._on_own_scale(i, left)
            quantized = quantizer(residual, taken, key=keys[i])
            outputs.append(quantized)
            chosen = self._code(i, quantized.indices).astype(z.dtype)
            left = left - sg(chosen)
            if quantizer.learns_from_values:
                values = quantizer(sg(residual), taken, key=keys[i]).values
                learning += values - sg(values)
                total += sg(values)
            else:
                total += chosen
        return Quantized(
            values=self.estimator(z, total, keys[-1]) + learning,
            indices=jnp.stack([output.indices for output in outputs], axis=-1),
            codebook_loss=sum(output.codebook_loss for output in outputs),
            commitment_loss=sum(output.commitment_loss for output in outputs),
            entropy_loss=sum(output.entropy_loss for output in outputs),
            loss=sum(output.loss for output in outputs),
            stage_losses=stage_losses(outputs),
        )

    def _quantize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array | None,
    ) -> Quantized:
        if key is None:
            return self.quantize_to(None, z, mask, None)
        depth_key, stages_key = jax.random.split(key)
        return self.quantize_to(self.draw_depth(z.shape[:-1], depth_key), z, mask, stages_key)

    def _encode(self, z: Float[Array, "*shape d"]) -> Int[Array, "*shape n"]:
        residual, indices = self._bounded(z), []
        for i, quantizer in enumerate(self._stages()):
            indices.append(quantizer.encode(self._on_own_scale(i, residual)))
            residual = residual - self._code(i, indices[-1]).astype(z.dtype)
        return jnp.stack(indices, axis=-1)

    def _lookup(self, indices: Int[Array, "*shape m"]) -> Float[Array, "*shape d"]:
        codes = self._codes(indices)
        return sum(codes[1:], start=codes[0])

    def _update(
        self,
        z: Float[Array, "*shape d"],
        indices: Int[Array, "*shape n"],
        key: jax.Array | None,
        axis_name: AxisName | None,
    ) -> None:
        residuals = self._residuals(z, indices)
        if self.shared:
            stacked = jnp.stack(residuals, axis=-2)
            self.quantizers[0].update(stacked, indices, key=key, axis_name=axis_name)
            return
        for i, (quantizer, residual) in enumerate(zip(self.quantizers, residuals, strict=True)):
            own = None if key is None else jax.random.fold_in(key, i)
            quantizer.update(residual, indices[..., i], key=own, axis_name=axis_name)

    def _initialize(
        self,
        z: Float[Array, "*shape d"],
        mask: Bool[Array, "*shape"] | None,
        key: jax.Array,
        axis_name: AxisName | None,
    ) -> None:
        if self.shared:  # by all stages, whose residuals depend on its codes
            residuals = [z]
            for i in range(_SHARED_ROUNDS):
                draft = nnx.clone(self)
                draft._initialize_with(residuals, mask, jax.random.fold_in(key, i), axis_name)
                residuals = draft._residuals(z, draft._encode(z))
            own = jax.random.fold_in(key, _SHARED_ROUNDS)
            self._initialize_with(residuals, mask, own, axis_name)
            return
        residual = z
        for i, quantizer in enumerate(self.quantizers):
            own = jax.random.fold_in(key, i)
            quantizer.initialize(residual, mask, key=own, axis_name=axis_name)
            residual = residual - quantizer.lookup(quantizer.encode(residual)).astype(z.dtype)

    def _initialize_with(
        self, residuals: list[Array], mask: Array | None, key: jax.Array, axis_name: AxisName | None
    ) -> None:
        """Initializes the shared codebook from the stages' residuals."""
        stacked = jnp.stack(residuals, axis=-2)
        if mask is not None:
            mask = jnp.broadcast_to(mask[..., None], stacked.shape[:-1])
        self.quantizers[0].initialize(stacked, mask, key=key, axis_name=axis_name)

    def _stages(self) -> list[Quantizer]:
        """Returns the quantizer of each codebook."""
        quantizers = list(self.quantizers)
        return quantizers * self.num_codebooks if self.shared else quantizers

    def _scale(self, i: int, like: Array) -> Array:
        """Returns s_i, for numbers [..., D]."""
        grids = cast(list[GridQuantizer], self._stages()[:i])
        remainders = [np.broadcast_to(grid.remainder, self.embedding_dim) for grid in grids]
        scale = np.prod([np.ones(self.embedding_dim), *remainders], axis=0)
        return jnp.asarray(scale, like.dtype).reshape((1,) * (like.ndim - 1) + (-1,))

    def _on_own_scale(self, i: int, residual: Array) -> Array:
        """Returns the input of stage i for a residual."""
        return residual / self._scale(i, residual) if self.has_grids else residual

    def _bounded(self, z: Array) -> Array:
        """Returns z as the first stage quantizes it."""
        first = self.quantizers[0]
        return first.bounded(z) if isinstance(first, GridQuantizer) else z

    def _code(self, i: int, indices: Array) -> Array:
        """Returns the codes of stage i, on the scale of z."""
        codes = self._stages()[i].lookup(indices)
        return codes * self._scale(i, codes) if self.has_grids else codes

    def _codes(self, indices: Array) -> list[Array]:
        """Returns the codes of the first stages, as many as there are indices."""
        if indices.ndim == 0 or not 1 <= indices.shape[-1] <= self.num_codebooks:
            raise ValueError(
                f"indices have shape {indices.shape}; their last axis must be 1 to "
                f"{self.num_codebooks}, the number of codebooks"
            )
        return [self._code(i, indices[..., i]) for i in range(indices.shape[-1])]

    def _residuals(self, z: Array, indices: Array) -> list[Array]:
        """Returns each quantizer's residual; without grids, which learn nothing."""
        residuals = [z]
        for i in range(self.num_codebooks - 1):
            residuals.append(residuals[-1] - self._code(i, indices[..., i]).astype(z.dtype))
        return residuals


def _drawn_depths(
    quantize_dropout: bool, least_depth: int, depth_multiple: int, num_codebooks: int
) -> tuple[int, ...]:
    for name, given in (("least_depth", least_depth), ("depth_multiple", depth_multiple)):
        number = check_integer(name, given)
        if number > num_codebooks or (number != 1 and not quantize_dropout):
            allowed = f"1 to {num_codebooks}" if quantize_dropout else "1 without quantize_dropout"
            raise ValueError(f"{name} is {number}; it must be {allowed}")
    if num_codebooks % depth_multiple:
        raise ValueError(
            f"depth_multiple is {depth_multiple}; it must divide {num_codebooks}, the number of "
            "codebooks"
        )
    if not quantize_dropout:
        return ()
    multiples = range(depth_multiple, num_codebooks + 1, depth_multiple)
    return tuple(depth for depth in multiples if depth >= least_depth)
