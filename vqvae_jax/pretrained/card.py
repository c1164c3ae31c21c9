"""README.md, the card of a model: what it is, its settings and figures, and how to use it."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
from flax import nnx

from vqvae_jax.models import Tokenizer
from vqvae_jax.models.parts import AXES
from vqvae_jax.priors import Prior
from vqvae_jax.words import counted

_HEADER = """\
---
library_name: vqvae_jax
tags:
- vqvae_jax
- jax
- vector-quantization
---
"""


def card_of(model: nnx.Module, config: Mapping[str, Any], name: str) -> str:
    """Returns the card of a model, in Markdown.

    Args:
        model: the model.
        config: from `config_of`.
        name: the name of its folder.
    """
    parts = [_HEADER, f"# {name}\n", _summary(model)]
    if origin := config.get("origin"):
        parts.append(f"Converted from released weights of the family {origin['family']}.\n")
    parts += ["## Use\n", f"```python\n{_snippet(model, name)}```\n", "## Settings\n"]
    parts.append(_table(_leaves(config["model"])))
    if "preprocessing" in config:
        parts += ["## Data\n", _table(_leaves(config["preprocessing"]))]
    if run := config.get("run"):
        figures = {name: value for name, value in run.items() if name == "metrics"}
        rest = {name: value for name, value in run.items() if name not in figures}
        parts += ["## Held-out figures\n", _table(_leaves(figures))] if figures else []
        parts += ["## Training\n", _table(_leaves(rest))] if rest else []
    return "\n".join(parts)


def _summary(model: nnx.Module) -> str:
    """Returns what a model is, in a sentence or two."""
    size = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model)))
    kind = type(model).__name__
    if isinstance(model, Tokenizer):
        axes, quantizer = AXES[model.spatial_rank], model.quantizer
        codes = (
            "one code" if quantizer.num_codebooks is None else f"{quantizer.num_codebooks} codes"
        )
        low, high = model.value_range
        return (
            f"A tokenizer of vqvae_jax. It maps data [B, {', '.join(axes)}, "
            f"{model.likelihood.out_dim}] with values in [{low:g}, {high:g}] to {codes}, "
            f"{quantizer.bits:.4g} bits, for each {' x '.join(map(str, model.downsampling))} "
            f"positions, and back. It holds {counted(size, 'number')}.\n"
        )
    if isinstance(model, Prior):
        return (
            f"A prior of vqvae_jax, a {kind}, over {counted(model.num_embeddings, 'code')} of a "
            f"tokenizer. It holds {counted(size, 'number')}.\n"
        )
    return f"A {kind} of vqvae_jax.\n"


def _snippet(model: nnx.Module, name: str) -> str:
    """Returns Python that uses a model from its folder."""
    if isinstance(model, Tokenizer):
        shape = (1, *model.downsampling, model.likelihood.out_dim)
        return (
            "import jax.numpy as jnp\n"
            "from vqvae_jax import from_pretrained\n\n"
            f'tokenizer = from_pretrained("{name}")\n'
            f"x = jnp.zeros({shape})  # values in {list(model.value_range)}\n"
            "codes = tokenizer.encode(x)\n"
            "codes.shape, codes.dtype\n"
        )
    return f'from vqvae_jax import from_pretrained\n\nmodel = from_pretrained("{name}")\n'


def _table(rows: Iterator[tuple[str, Any]]) -> str:
    """Returns a table of names and values."""
    lines = [f"| {name} | {_cell(value)} |\n" for name, value in rows]
    return "".join(["| | |\n", "|---|---|\n", *lines])


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _leaves(settings: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the path and value of every setting."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from _leaves(value, f"{path}.{name}" if path else name)
    elif isinstance(settings, list | tuple) and any(isinstance(one, Mapping) for one in settings):
        for place, value in enumerate(settings):
            yield from _leaves(value, f"{path}.{place}")
    else:
        yield path, list(settings) if isinstance(settings, tuple) else settings
