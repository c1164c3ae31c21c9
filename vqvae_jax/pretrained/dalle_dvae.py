"""The dVAE of OpenAI's DALL-E: its encoder and its decoder in one state dict.

The two files that were released are pickles of whole modules, whose state dicts have no prefix;
here the names begin with encoder. and decoder.
"""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from vqvae_jax.likelihoods import SquaredError
from vqvae_jax.models import DalleDecoder, DalleEncoder, DalleTokenizer, Tokenizer
from vqvae_jax.pretrained.family import Family
from vqvae_jax.pretrained.settings import read
from vqvae_jax.quantizers import CategoricalQuantizer

_LEAVES = {"kernel": "w", "bias": "b"}
_IGNORED = ("device", "requires_grad", "use_mixed_precision")


def _name(path: str, leaf: str, tokenizer: Tokenizer) -> str:
    network, *rest = path.split(".")
    match rest:
        case ["first"]:
            inside = "input"
        case ["last"]:
            inside = "output.conv"
        case ["groups", group, block, "shortcut"]:
            inside = f"group_{int(group) + 1}.block_{int(block) + 1}.id_path"
        case ["groups", group, block, "convs", layer]:
            inside = f"group_{int(group) + 1}.block_{int(block) + 1}.res_path.conv_{int(layer) + 1}"
    return f"{network}.blocks.{inside}.{_LEAVES[leaf]}"


def _build(config: Mapping[str, Any], rngs: nnx.Rngs) -> Tokenizer:
    parts = read(config, ("encoder", "decoder"))
    common = {"n_hid": 256, "n_blk_per_group": 2, "vocab_size": 8192}
    below = read(
        parts.encoder, (), common | {"input_channels": 3}, ignored=_IGNORED, path="config.encoder"
    )
    above = read(
        parts.decoder,
        (),
        common | {"n_init": 128, "output_channels": 3},
        ignored=_IGNORED,
        path="config.decoder",
    )
    if below.vocab_size != above.vocab_size:
        raise ValueError(
            f"config.encoder.vocab_size is {below.vocab_size} and config.decoder.vocab_size "
            f"{above.vocab_size}; they must be the same"
        )
    encoder = DalleEncoder(
        below.input_channels,
        below.vocab_size,
        width=below.n_hid,
        num_blocks=below.n_blk_per_group,
        rngs=rngs,
    )
    decoder = DalleDecoder(
        above.output_channels,
        above.vocab_size,
        first_width=above.n_init,
        width=above.n_hid,
        num_blocks=above.n_blk_per_group,
        rngs=rngs,
    )
    return DalleTokenizer(
        encoder,
        CategoricalQuantizer(below.vocab_size),
        decoder,
        SquaredError(decoder.out_dim, data_variance=1.0),
        value_range=(0.0, 1.0),
    )


FAMILY = Family(_build, _name)
