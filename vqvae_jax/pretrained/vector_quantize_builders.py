"""The equals of vector-quantize-pytorch's classes, built from their constructors' arguments.

Each function has the arguments, and the defaults, of the class that it is named after.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from flax import nnx

from vqvae_jax.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    Estimator,
    GroupedResidualVQ,
    LaplaceEMACosineVectorQuantizer,
    LaplaceEMAVectorQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantizer,
    RandomProjectionQuantizer,
    ResidualVQ,
    SimVQ,
    SymmetricFSQ,
    VectorQuantizer,
    clamp,
    rotation_trick,
    straight_through,
)


def codebook(
    dim: int,
    codebook_size: int,
    estimator: Estimator,
    *,
    decay: float = 0.8,
    eps: float = 1e-5,
    use_cosine_sim: bool = False,
    threshold_ema_dead_code: float = 0,
    commitment_weight: float = 1.0,
    learnable_codebook: bool | None = None,
    ema_update: bool | None = None,
    freeze_codebook: bool = False,
) -> Quantizer:
    """Returns the codebook inside a VectorQuantize, without projections."""
    options: dict[str, Any] = {"estimator": estimator, "rngs": nnx.Rngs(0)}
    quantizer: Quantizer
    averages = ema_update is not False
    if threshold_ema_dead_code and not averages:
        raise ValueError(
            f"threshold_ema_dead_code is {threshold_ema_dead_code} and ema_update False; codes "
            "that do not learn by averages are not replaced here"
        )
    if learnable_codebook:
        if averages or use_cosine_sim:
            raise ValueError(
                "learnable_codebook is True; then ema_update and use_cosine_sim must be False"
            )
        quantizer = VectorQuantizer(
            dim, codebook_size, commitment_weight, codebook_cost=commitment_weight, **options
        )
    else:
        kind = LaplaceEMACosineVectorQuantizer if use_cosine_sim else LaplaceEMAVectorQuantizer
        quantizer = kind(
            dim,
            codebook_size,
            commitment_weight,
            decay=decay,
            epsilon=eps,
            revival_tokens=float(threshold_ema_dead_code),
            usage_decay=decay,
            **options,
        )
    if freeze_codebook or not (averages or learnable_codebook):
        quantizer.freeze()
    return quantizer


def vector_quantize(
    *,
    dim: int,
    codebook_size: int,
    codebook_dim: int | None = None,
    rotation_trick: bool | None = None,
    **options: Any,
) -> Quantizer:
    """Returns the equal of a VectorQuantize; further options are those of `codebook`."""
    inner = codebook_dim or dim
    quantizer = codebook(inner, codebook_size, _estimator(rotation_trick, dim), **options)
    return quantizer if inner == dim else _projected(quantizer, dim)


def residual_vq(
    *,
    dim: int,
    codebook_size: int | Sequence[int],
    num_quantizers: int | None = None,
    codebook_dim: int | None = None,
    shared_codebook: bool = False,
    quantize_dropout: bool = False,
    quantize_dropout_cutoff_index: int = 0,
    quantize_dropout_multiple_of: int = 1,
    rotation_trick: bool | None = None,
    **options: Any,
) -> Quantizer:
    """Returns the equal of a ResidualVQ; further options are those of `codebook`."""
    sizes = codebook_size
    if isinstance(sizes, int):
        if num_quantizers is None:
            raise ValueError("num_quantizers is not given; with one codebook_size it must be")
        sizes = (sizes,) * num_quantizers
    if num_quantizers not in (None, len(sizes)):
        raise ValueError(
            f"num_quantizers is {num_quantizers} and codebook_size has {len(sizes)} entries"
        )
    inner = codebook_dim or dim
    stages = [codebook(inner, size, straight_through, **options) for size in sizes]
    if shared_codebook:
        if stages[0].has_updates:
            raise ValueError(
                "shared_codebook is True; its averages decay once per stage there and once per "
                "step here: with ema_update=False the codes come over, to stay as they are"
            )
        stages = stages[:1]
    dropout: dict[str, Any] = {}
    if quantize_dropout and len(sizes) > 1:
        dropout = {
            "quantize_dropout": True,
            "least_depth": quantize_dropout_cutoff_index + 1,
            "depth_multiple": quantize_dropout_multiple_of,
        }
    quantizer = ResidualVQ(
        stages,
        num_quantizers=len(sizes) if shared_codebook else None,
        estimator=_estimator(rotation_trick, inner),
        **dropout,
    )
    return quantizer if inner == dim else _projected(quantizer, dim)


def grouped_residual_vq(
    *, dim: int, groups: int = 1, codebook_dim: int | None = None, **options: Any
) -> Quantizer:
    """Returns the equal of a GroupedResidualVQ; further options are those of `residual_vq`."""
    if dim % groups or codebook_dim not in (None, dim // groups):
        raise ValueError(
            f"dim is {dim}, groups are {groups} and codebook_dim is {codebook_dim}; groups must "
            "divide dim, and codebook_dim must be their quotient, for there are no projections "
            "within groups here"
        )
    residuals = [residual_vq(dim=dim // groups, **options) for _ in range(groups)]
    return GroupedResidualVQ(cast(list[ResidualVQ], residuals))


def fsq(
    *,
    levels: Sequence[int],
    dim: int | None = None,
    num_codebooks: int = 1,
    keep_num_codebooks_dim: bool | None = None,
    preserve_symmetry: bool = False,
    bound_hard_clamp: bool = False,
) -> Quantizer:
    """Returns the equal of an FSQ."""
    if bound_hard_clamp and not preserve_symmetry:
        raise ValueError("bound_hard_clamp is True; it has an equal only with preserve_symmetry")

    def make() -> Quantizer:
        if preserve_symmetry:
            return SymmetricFSQ(levels, **({"bound": clamp} if bound_hard_clamp else {}))
        return FSQ(levels)

    quantizer = _side_by_side(make, num_codebooks, keep_num_codebooks_dim)
    return quantizer if dim in (None, quantizer.embedding_dim) else _projected(quantizer, dim)


def lfq(
    *,
    dim: int | None = None,
    codebook_size: int | None = None,
    entropy_loss_weight: float = 0.1,
    commitment_loss_weight: float = 0.0,
    diversity_gamma: float = 1.0,
    num_codebooks: int = 1,
    keep_num_codebooks_dim: bool | None = None,
    has_projections: bool | None = None,
    spherical: bool = False,
) -> Quantizer:
    """Returns the equal of an LFQ."""
    bits = dim if codebook_size is None else round(math.log2(codebook_size))
    if bits is None or (codebook_size is not None and 2**bits != codebook_size):
        raise ValueError(
            f"codebook_size is {codebook_size} and dim is {dim}; codebook_size must be a power of "
            "2, or dim alone be given"
        )

    def make() -> Quantizer:
        return (BSQ if spherical else LFQ)(
            bits,
            commitment_loss_weight,
            entropy_cost=entropy_loss_weight,
            diversity=diversity_gamma,
            temperature=0.01,
            bits_together=None,
            bit_order="big",
        )

    quantizer = _side_by_side(make, num_codebooks, keep_num_codebooks_dim)
    outer = quantizer.embedding_dim if dim is None else dim
    if has_projections is None:
        has_projections = outer != quantizer.embedding_dim
    return _projected(quantizer, outer) if has_projections else quantizer


def sim_vq(
    *,
    dim: int,
    codebook_size: int,
    rotation_trick: bool = True,
    input_to_quantize_commit_loss_weight: float = 0.25,
    commitment_weight: float = 1.0,
    frozen_codebook_dim: int | None = None,
) -> Quantizer:
    """Returns the equal of a SimVQ."""
    if frozen_codebook_dim not in (None, dim):
        raise ValueError(f"frozen_codebook_dim is {frozen_codebook_dim}; it must be dim, {dim}")
    return SimVQ(
        dim,
        codebook_size,
        commitment_weight * input_to_quantize_commit_loss_weight,
        codebook_cost=commitment_weight,
        estimator=_estimator(rotation_trick, dim),
        rngs=nnx.Rngs(0),
    )


def random_projection_quantizer(
    *, dim: int, codebook_size: int, codebook_dim: int, norm: bool = True
) -> Quantizer:
    """Returns the equal of a RandomProjectionQuantizer."""
    return RandomProjectionQuantizer(
        dim, codebook_size, codebook_dim, normalize=norm, rngs=nnx.Rngs(0)
    )


def _estimator(rotates: bool | None, dim: int) -> Estimator:
    return rotation_trick if (dim > 1 if rotates is None else rotates) else straight_through


def _projected(quantizer: Quantizer, dim: int) -> Quantizer:
    return ProjectedQuantizer(quantizer, dim, rngs=nnx.Rngs(0))


def _side_by_side(make: Callable[[], Quantizer], count: int, has_axis: bool | None) -> Quantizer:
    """Returns several quantizers for parts of the vector, or one without an axis for codebooks."""
    if count == 1 and not has_axis:
        return make()
    return ProductQuantizer([make() for _ in range(count)])
