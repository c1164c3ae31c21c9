"""IBQ, of SEED-Voken: taming-transformers' networks with index backpropagation."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from vqvae_jax.likelihoods import SquaredError
from vqvae_jax.models import Tokenizer
from vqvae_jax.pretrained.averages import averaged
from vqvae_jax.pretrained.family import Family
from vqvae_jax.pretrained.open_magvit2 import TRAINING_SETTINGS
from vqvae_jax.pretrained.settings import read
from vqvae_jax.pretrained.taming_vqgan import name, networks
from vqvae_jax.quantizers import IBQ

# The weight of the entropy loss in the configs of the released models, beside the network's own.
_ENTROPY_COST = 0.05


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> Tokenizer:
    given = read(
        config,
        ("embed_dim", "n_embed", "ddconfig"),
        {"beta": 0.25, "use_entropy_loss": True, "entropy_temperature": 0.01},
        only={
            "l2_normalize": False,
            "sample_minimization_weight": 1.0,
            "batch_maximization_weight": 1.0,
        },
        ignored=TRAINING_SETTINGS,
    )
    encoder, decoder = networks(config["ddconfig"], given.embed_dim, rngs)
    quantizer = IBQ(
        given.embed_dim,
        given.n_embed,
        codebook_cost=given.beta,
        entropy_cost=_ENTROPY_COST if given.use_entropy_loss else 0.0,
        temperature=given.entropy_temperature,
        rngs=rngs,
    )
    likelihood = SquaredError(decoder.out_dim, data_variance=1.0)
    return Tokenizer(encoder, quantizer, decoder, likelihood, value_range=(-1.0, 1.0))


FAMILY = Family(_build, name, averaged, pointwise=2)
