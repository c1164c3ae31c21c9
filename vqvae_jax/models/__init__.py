"""Tokenizers: the networks that the quantizers sit in."""

from vqvae_jax.models.audio import AudioTokenizer, SegmentCodes, SegmentedTokenizer, StreamState
from vqvae_jax.models.autoencoder import Decoder, Encoder
from vqvae_jax.models.dac import DACDecoder, DACEncoder
from vqvae_jax.models.mimi import MimiDecoder, MimiEncoder
from vqvae_jax.models.resnet import ResNetDecoder, ResNetEncoder
from vqvae_jax.models.seanet import SEANetDecoder, SEANetEncoder
from vqvae_jax.models.snac import SNAC, MultiRateCodes, SNACDecoder, SNACEncoder
from vqvae_jax.models.tokenizer import Tokenizer, TokenizerOutput
from vqvae_jax.models.vqgan import VQGANDecoder, VQGANEncoder
from vqvae_jax.models.vqvae import VQVAE

__all__ = [
    "SNAC",
    "VQVAE",
    "AudioTokenizer",
    "DACDecoder",
    "DACEncoder",
    "Decoder",
    "Encoder",
    "MimiDecoder",
    "MimiEncoder",
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
]
