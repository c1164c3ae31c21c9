"""Vector quantizers. Every one takes float [..., D] and returns a `Quantized`."""

from vqvae_jax.leaves import Leaf
from vqvae_jax.quantizers.base import Quantizer, QuantizerState
from vqvae_jax.quantizers.binary import BSQ, LFQ
from vqvae_jax.quantizers.categorical import CategoricalQuantizer
from vqvae_jax.quantizers.core import Quantized, code_counts, perplexity
from vqvae_jax.quantizers.directional import DirectionalVectorQuantizer
from vqvae_jax.quantizers.ema import (
    EMACosineVectorQuantizer,
    EMASampledVectorQuantizer,
    EMAVectorQuantizer,
)
from vqvae_jax.quantizers.estimators import (
    Estimator,
    diveq,
    nsvq,
    rotation_trick,
    straight_through,
)
from vqvae_jax.quantizers.fsq import FSQ, SymmetricFSQ, clamp
from vqvae_jax.quantizers.gumbel import GumbelQuantizer
from vqvae_jax.quantizers.ibq import IBQ
from vqvae_jax.quantizers.laplace import (
    LaplaceEMACosineVectorQuantizer,
    LaplaceEMAVectorQuantizer,
)
from vqvae_jax.quantizers.parallel import ParallelQuantizer
from vqvae_jax.quantizers.pooled import PooledQuantizer
from vqvae_jax.quantizers.product import GroupedResidualVQ, ProductQuantizer
from vqvae_jax.quantizers.projected import ProjectedQuantizer
from vqvae_jax.quantizers.random_projection import RandomProjectionQuantizer
from vqvae_jax.quantizers.regularized import (
    EntropyCosineVectorQuantizer,
    EntropyVectorQuantizer,
    OrthogonalVectorQuantizer,
)
from vqvae_jax.quantizers.residual import ResidualVQ
from vqvae_jax.quantizers.search import nearest_code
from vqvae_jax.quantizers.simvq import SimVQ
from vqvae_jax.quantizers.vector import (
    CosineVectorQuantizer,
    SampledVectorQuantizer,
    VectorQuantizer,
)
from vqvae_jax.tables import lookup

__all__ = [
    "BSQ",
    "FSQ",
    "IBQ",
    "LFQ",
    "CategoricalQuantizer",
    "CosineVectorQuantizer",
    "DirectionalVectorQuantizer",
    "EMACosineVectorQuantizer",
    "EMASampledVectorQuantizer",
    "EMAVectorQuantizer",
    "EntropyCosineVectorQuantizer",
    "EntropyVectorQuantizer",
    "Estimator",
    "GroupedResidualVQ",
    "GumbelQuantizer",
    "LaplaceEMACosineVectorQuantizer",
    "LaplaceEMAVectorQuantizer",
    "Leaf",
    "OrthogonalVectorQuantizer",
    "ParallelQuantizer",
    "PooledQuantizer",
    "ProductQuantizer",
    "ProjectedQuantizer",
    "Quantized",
    "Quantizer",
    "QuantizerState",
    "RandomProjectionQuantizer",
    "ResidualVQ",
    "SampledVectorQuantizer",
    "SimVQ",
    "SymmetricFSQ",
    "VectorQuantizer",
    "clamp",
    "code_counts",
    "diveq",
    "lookup",
    "nearest_code",
    "nsvq",
    "perplexity",
    "rotation_trick",
    "straight_through",
]
