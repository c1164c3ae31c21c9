"""Tokenizers: the networks that the quantizers sit in."""

from vqvae_jax.models.audio import AudioTokenizer, SegmentCodes, SegmentedTokenizer, StreamState
from vqvae_jax.models.autoencoder import Decoder, Encoder
from vqvae_jax.models.dac import DACDecoder, DACEncoder
from vqvae_jax.models.dalle import DalleDecoder, DalleEncoder, DalleTokenizer
from vqvae_jax.models.emu3 import Emu3Decoder, Emu3Encoder, Emu3Tokenizer
from vqvae_jax.models.lyra import LyraDecoder, LyraEncoder
from vqvae_jax.models.lyra_int8 import Int8LyraDecoder, Int8LyraEncoder
from vqvae_jax.models.magvit2 import MAGVIT2Decoder, MAGVIT2Encoder
from vqvae_jax.models.maskgit import MaskGITDecoder, MaskGITEncoder
from vqvae_jax.models.mimi import MimiDecoder, MimiEncoder
from vqvae_jax.models.movq import MoVQDecoder
from vqvae_jax.models.resnet import ResNetDecoder, ResNetEncoder
from vqvae_jax.models.seanet import SEANetDecoder, SEANetEncoder
from vqvae_jax.models.snac import SNAC, MultiRateCodes, SNACDecoder, SNACEncoder
from vqvae_jax.models.tokenizer import Tokenizer, TokenizerOutput, has_images
from vqvae_jax.models.vqgan import VQGANDecoder, VQGANEncoder
from vqvae_jax.models.vqvae import VQVAE

__all__ = [
    "SNAC",
    "VQVAE",
    "AudioTokenizer",
    "DACDecoder",
    "DACEncoder",
    "DalleDecoder",
    "DalleEncoder",
    "DalleTokenizer",
    "Decoder",
    "Emu3Decoder",
    "Emu3Encoder",
    "Emu3Tokenizer",
    "Encoder",
    "Int8LyraDecoder",
    "Int8LyraEncoder",
    "LyraDecoder",
    "LyraEncoder",
    "MAGVIT2Decoder",
    "MAGVIT2Encoder",
    "MaskGITDecoder",
    "MaskGITEncoder",
    "MimiDecoder",
    "MimiEncoder",
    "MoVQDecoder",
    "MultiRateCodes",
    "ResNetDecoder",
    "ResNetEncoder",
    "SEANetDecoder",
    "SEANetEncoder",
    "SNACDecoder",
    "SNACEncoder",
    "SegmentCodes",
    "SegmentedTokenizer",
    "StreamState",
    "Tokenizer",
    "TokenizerOutput",
    "VQGANDecoder",
    "VQGANEncoder",
    "has_images",
]
