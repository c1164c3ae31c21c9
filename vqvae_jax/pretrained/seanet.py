"""The names of SEANet's arrays in released models."""

import re
from typing import Any

from vqvae_jax.checks import check_choice
from vqvae_jax.layers import ConvTranspose1d
from vqvae_jax.models import Tokenizer
from vqvae_jax.models.seanet import Normalized
from vqvae_jax.pretrained.family import torch_leaf
from vqvae_jax.pretrained.settings import check_integers

# PyTorch's names of paddings, and ours.
PAD_MODES = {"constant": "zeros", "reflect": "reflect", "replicate": "replicate"}
_LSTM = re.compile(r"(.*)\.body\.layers\.(\d+)\.(inputs|hidden)")

# Settings of transformers that make no difference to a tokenizer.
HUB = (
    "architectures",
    "dtype",
    "model_type",
    "torch_dtype",
    "transformers_version",
    "initializer_range",
    "use_cache",
)


def name(path: str, leaf: str, tokenizer: Tokenizer, *, nested: bool) -> str:
    """Returns the name of an array of a `SEANetEncoder` or `SEANetDecoder`.

    Args:
        path: as for `Family.name`.
        leaf: likewise.
        tokenizer: likewise.
        nested: whether convolutions are inside two more modules, as in the original, or inside one,
            as in transformers.
    """
    memory = _LSTM.fullmatch(path)
    if memory:
        layer, index, kind = memory.groups()
        return f"{layer}.lstm.{torch_leaf(leaf)}_{'ih' if kind == 'inputs' else 'hh'}_l{index}"
    owner, _, part = path.rpartition(".")
    conv = module_at(tokenizer, owner)
    if isinstance(conv, Normalized):
        conv = conv.conv
    else:
        owner, part, conv = path, "conv", module_at(tokenizer, path)
    owner = owner.replace(".body.layers.", ".block.")
    outer = "convtr" if isinstance(conv, ConvTranspose1d) else "conv"
    if not nested:
        return f"{owner}.{part}.{torch_leaf(leaf)}"
    return f"{owner}.{outer}.{outer if part == 'conv' else part}.{torch_leaf(leaf)}"


def settings(given: Any) -> dict[str, Any]:
    """Returns the arguments of `SEANetEncoder` and `SEANetDecoder` for a config of transformers."""
    return {
        "latent_dim": given.hidden_size,
        "width": given.num_filters,
        "strides": check_integers("config.upsampling_ratios", given.upsampling_ratios)[::-1],
        "num_residual": given.num_residual_layers,
        "kernel_size": given.kernel_size,
        "last_kernel_size": given.last_kernel_size,
        "residual_kernel_size": given.residual_kernel_size,
        "dilation_base": given.dilation_growth_rate,
        "compress": given.compress,
        "conv_shortcut": given.use_conv_shortcut,
        "causal": given.use_causal_conv,
        "pad_mode": PAD_MODES[check_choice("config.pad_mode", given.pad_mode, PAD_MODES)],
        "num_lstm_layers": getattr(given, "num_lstm_layers", 0),
    }


def module_at(tokenizer: Tokenizer, path: str) -> Any:
    """Returns the module at a path such as encoder.layers.0."""
    module: Any = tokenizer
    for step in path.split("."):
        module = module[int(step)] if step.isdigit() else getattr(module, step)
    return module
