"""A small tokenizer of signals, for the tests of what is done with one."""

from flax import nnx

from vqvae_jax import (
    AbsoluteError,
    AudioTokenizer,
    ResidualVQ,
    SEANetDecoder,
    SEANetEncoder,
    VectorQuantizer,
)


def small_audio_tokenizer():
    """Two codebooks of 5 codes for every 6 samples, 800 samples per second."""
    rngs = nnx.Rngs(0)
    options = {"width": 4, "strides": (2, 3), "num_lstm_layers": 0}
    return AudioTokenizer(
        SEANetEncoder(1, 8, **options, rngs=rngs),
        ResidualVQ([VectorQuantizer(8, 5, rngs=rngs) for _ in range(2)]),
        SEANetDecoder(1, 8, **options, rngs=rngs),
        AbsoluteError(1, data_variance=1.0),
        sample_rate=800,
    )
