"""Vector quantizers for JAX, and the VQ-VAE they belong to."""

from importlib import metadata

from vqvae_jax.interop import load_torch_state_dict, to_torch_state_dict
from vqvae_jax.likelihoods import (
    AutoregressiveHead,
    CategoricalHead,
    Likelihood,
    LogisticMixtureHead,
    PixelHead,
    SquaredError,
)
from vqvae_jax.models import VQVAE, Decoder, Encoder, Tokenizer, TokenizerOutput
from vqvae_jax.moments import reset_moments
from vqvae_jax.priors import (
    GatedPixelCNN,
    Prior,
    TransformerPrior,
    drop_labels,
    nll,
    sample_codes,
)
from vqvae_jax.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    CosineVectorQuantizer,
    EMACosineVectorQuantizer,
    EMASampledVectorQuantizer,
    EMAVectorQuantizer,
    EntropyVectorQuantizer,
    GroupedResidualVQ,
    GumbelQuantizer,
    OrthogonalVectorQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantized,
    Quantizer,
    QuantizerState,
    RandomProjectionQuantizer,
    ResidualVQ,
    SampledVectorQuantizer,
    SimVQ,
    SymmetricFSQ,
    VectorQuantizer,
    clamp,
    diveq,
    nsvq,
    rotation_trick,
    straight_through,
)

try:
    __version__ = metadata.version("vqvae_jax")
except metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

__all__ = [
    "BSQ",
    "FSQ",
    "LFQ",
    "VQVAE",
    "AutoregressiveHead",
    "CategoricalHead",
    "CosineVectorQuantizer",
    "Decoder",
    "EMACosineVectorQuantizer",
    "EMASampledVectorQuantizer",
    "EMAVectorQuantizer",
    "Encoder",
    "EntropyVectorQuantizer",
    "GatedPixelCNN",
    "GroupedResidualVQ",
    "GumbelQuantizer",
    "Likelihood",
    "LogisticMixtureHead",
    "OrthogonalVectorQuantizer",
    "PixelHead",
    "Prior",
    "ProductQuantizer",
    "ProjectedQuantizer",
    "Quantized",
    "Quantizer",
    "QuantizerState",
    "RandomProjectionQuantizer",
    "ResidualVQ",
    "SampledVectorQuantizer",
    "SimVQ",
    "SquaredError",
    "SymmetricFSQ",
    "Tokenizer",
    "TokenizerOutput",
    "TransformerPrior",
    "VectorQuantizer",
    "clamp",
    "diveq",
    "drop_labels",
    "load_torch_state_dict",
    "nll",
    "nsvq",
    "reset_moments",
    "rotation_trick",
    "sample_codes",
    "straight_through",
    "to_torch_state_dict",
]
