"""Open-MAGVIT2, the image tokenizers of SEED-Voken without a codebook."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from vqvae_jax.checks import check_above_zero, check_at_least_zero
from vqvae_jax.likelihoods import SquaredError
from vqvae_jax.models import MAGVIT2Decoder, MAGVIT2Encoder, Tokenizer
from vqvae_jax.pretrained.averages import averaged
from vqvae_jax.pretrained.family import Family, highest_first, renamed, torch_leaf
from vqvae_jax.pretrained.settings import check_integers, read
from vqvae_jax.quantizers import LFQ

# The entropy loss is exact up to this many bits, the most that a release has: it takes 2^9 numbers
# per vector, and 2^18 per batch.
_MOST_EXACT_BITS = 18

# Settings of training and of image logs.
TRAINING_SETTINGS = (
    "lossconfig",
    "ckpt_path",
    "ignore_keys",
    "image_key",
    "colorize_nlabels",
    "monitor",
    "learning_rate",
    "resume_lr",
    "warmup_epochs",
    "scheduler_type",
    "min_learning_rate",
    "use_ema",
    "stage",
    "lr_drop_epoch",
    "lr_drop_rate",
    "factorized_bits",
)

_RULES = (
    (r"\.first$", ".conv_in"),
    (r"\.last$", ".conv_out"),
    (r"^(encoder|decoder)\.norm$", r"\1.norm_out"),
    (r"\.middle\.blocks", ".mid_block"),
    (r"^encoder\.levels", "encoder.down"),
    (r"^decoder\.levels", "decoder.up"),
    (r"^encoder(.*)\.resample$", r"encoder\1.downsample"),
    (r"^decoder(.*)\.resample\.conv$", r"decoder\1.upsample.conv1"),
    (r"\.blocks\.", ".block."),
    (r"\.shortcut$", ".nin_shortcut"),
)


def _name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    """See `Family.name`."""
    return f"{renamed(highest_first(path, tokenizer), _RULES)}.{torch_leaf(leaf)}"


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> Tokenizer:
    given = read(
        config,
        ("embed_dim", "n_embed", "ddconfig"),
        {"sample_minimization_weight": 1.0, "batch_maximization_weight": 1.0},
        only={"token_factorization": False},
        ignored=TRAINING_SETTINGS,
    )
    net = read(
        given.ddconfig,
        ("ch", "num_res_blocks", "z_channels"),
        {"in_channels": 3, "out_ch": 3, "ch_mult": (1, 2, 2, 4)},
        only={"double_z": False},
        ignored=("resolution",),
        path="config.ddconfig",
    )
    options: dict[str, Any] = {
        "channels": [net.ch * by for by in check_integers("config.ddconfig.ch_mult", net.ch_mult)],
        "num_blocks": net.num_res_blocks,
    }
    quantizer = _quantizer(given)
    _check_equal("config.n_embed", given.n_embed, "2^embed_dim", quantizer.num_embeddings)
    _check_equal("config.ddconfig.z_channels", net.z_channels, "embed_dim", quantizer.embedding_dim)
    return Tokenizer(
        MAGVIT2Encoder(net.in_channels, net.z_channels, first_dim=net.ch, **options, rngs=rngs),
        quantizer,
        MAGVIT2Decoder(net.out_ch, net.z_channels, **options, rngs=rngs),
        SquaredError(net.out_ch, data_variance=1.0),
        value_range=(-1.0, 1.0),
    )


def _quantizer(given: Any) -> LFQ:
    sample = check_above_zero("config.sample_minimization_weight", given.sample_minimization_weight)
    batch = check_at_least_zero("config.batch_maximization_weight", given.batch_maximization_weight)
    return LFQ(
        given.embed_dim,
        commitment_cost=0.25,
        entropy_cost=0.1 * sample,
        diversity=batch / sample,
        temperature=0.01,
        bits_together=_MOST_EXACT_BITS,
    )


def _check_equal(name: str, value: Any, source: str, expected: int) -> None:
    if value != expected:
        raise ValueError(f"{name} is {value!r}; it must be {source}, {expected}")


FAMILY = Family(_build, _name, averaged)
