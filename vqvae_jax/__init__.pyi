"""The public names: for type checkers, and for __init__.py, which loads each on first use."""

from vqvae_jax.interop import load_torch_state_dict as load_torch_state_dict
from vqvae_jax.interop import to_torch_state_dict as to_torch_state_dict
from vqvae_jax.likelihoods import AutoregressiveHead as AutoregressiveHead
from vqvae_jax.likelihoods import CategoricalHead as CategoricalHead
from vqvae_jax.likelihoods import LogisticMixtureHead as LogisticMixtureHead
from vqvae_jax.likelihoods import PixelHead as PixelHead
from vqvae_jax.models import VQVAE as VQVAE
from vqvae_jax.models import Decoder as Decoder
from vqvae_jax.models import Encoder as Encoder
from vqvae_jax.models import VQVAEOutput as VQVAEOutput
from vqvae_jax.moments import reset_moments as reset_moments
from vqvae_jax.priors import GatedPixelCNN as GatedPixelCNN
from vqvae_jax.priors import Prior as Prior
from vqvae_jax.priors import TransformerPrior as TransformerPrior
from vqvae_jax.priors import drop_labels as drop_labels
from vqvae_jax.priors import nll as nll
from vqvae_jax.priors import sample_codes as sample_codes
from vqvae_jax.quantizers import BSQ as BSQ
from vqvae_jax.quantizers import FSQ as FSQ
from vqvae_jax.quantizers import LFQ as LFQ
from vqvae_jax.quantizers import CosineVectorQuantizer as CosineVectorQuantizer
from vqvae_jax.quantizers import EMACosineVectorQuantizer as EMACosineVectorQuantizer
from vqvae_jax.quantizers import EMASampledVectorQuantizer as EMASampledVectorQuantizer
from vqvae_jax.quantizers import EMAVectorQuantizer as EMAVectorQuantizer
from vqvae_jax.quantizers import EntropyVectorQuantizer as EntropyVectorQuantizer
from vqvae_jax.quantizers import GroupedResidualVQ as GroupedResidualVQ
from vqvae_jax.quantizers import GumbelQuantizer as GumbelQuantizer
from vqvae_jax.quantizers import OrthogonalVectorQuantizer as OrthogonalVectorQuantizer
from vqvae_jax.quantizers import ProductQuantizer as ProductQuantizer
from vqvae_jax.quantizers import ProjectedQuantizer as ProjectedQuantizer
from vqvae_jax.quantizers import Quantized as Quantized
from vqvae_jax.quantizers import Quantizer as Quantizer
from vqvae_jax.quantizers import QuantizerState as QuantizerState
from vqvae_jax.quantizers import RandomProjectionQuantizer as RandomProjectionQuantizer
from vqvae_jax.quantizers import ResidualVQ as ResidualVQ
from vqvae_jax.quantizers import SampledVectorQuantizer as SampledVectorQuantizer
from vqvae_jax.quantizers import SimVQ as SimVQ
from vqvae_jax.quantizers import SymmetricFSQ as SymmetricFSQ
from vqvae_jax.quantizers import VectorQuantizer as VectorQuantizer
from vqvae_jax.quantizers import clamp as clamp
from vqvae_jax.quantizers import diveq as diveq
from vqvae_jax.quantizers import nsvq as nsvq
from vqvae_jax.quantizers import rotation_trick as rotation_trick
from vqvae_jax.quantizers import straight_through as straight_through

__version__: str
