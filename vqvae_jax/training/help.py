"""The text of `train.py --help`: flags, sections and components."""

import collections.abc
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

from vqvae_jax.components import kind_of, known_kinds
from vqvae_jax.data import DataConfig, NamedDataset
from vqvae_jax.likelihoods import Likelihood
from vqvae_jax.models import Decoder, Encoder, Tokenizer
from vqvae_jax.priors import Prior
from vqvae_jax.quantizers import Quantizer
from vqvae_jax.signatures import class_in, meanings, settings_of, types_of
from vqvae_jax.training.config import DEFAULT_SECTIONS, FILLED, SECTIONS
from vqvae_jax.training.config_files import shipped_configs
from vqvae_jax.training.flags import USAGE
from vqvae_jax.training.settings import StartConfig

_FLAGS = """\
usage: python train.py {usage}
   or: python -m vqvae_jax train {usage}
   or: python train.py --help COMPONENT

  --config: a Python file with get_config(), or the name of a shipped config; its settings
      override the defaults below, and --config.SECTION.SETTING=VALUE overrides both
  --workdir: the run's folder; default: runs/NAME for a config NAME.py; an existing run
      resumes
  --coordinator_address=HOST:PORT (of process 0) --num_processes=N --process_id=I: each of
      several processes that train together has all three

configs that ship:
"""

# The class of the components in each place of a config, here the encoders and decoders that ship.
_PLACES = {
    "model.encoder": Encoder,
    "model.decoder": Decoder,
    "model.quantizer": Quantizer,
    "model.likelihood": Likelihood,
    "prior": Prior,
}

_COMPONENTS = """\

model: its parts encoder, quantizer, decoder and likelihood, each a component
  --config.model.PART.kind: the name of a class, or an import path such as my_module:MyClass
  --config.model.PART.SETTING: an argument of its constructor
      Settings of a component among the arguments go by its name, or by its number in a list:
      --config.model.quantizer.quantizers.0.num_embeddings
  --help COMPONENT lists the settings of any of these:
"""
_OF_MODEL = ("value_range", "init_from", "init_parts", "frozen")


def help_text() -> str:
    """Returns the usage, and every setting of the sections with its default and meaning."""
    lines = [_FLAGS.format(usage=USAGE) + _wrapped(", ".join(shipped_configs()))]
    for section, kind in SECTIONS.items():
        if section == "model":
            lines.append(_COMPONENTS + _kinds())
            for holder in (Tokenizer, StartConfig):
                takes = {n: p for n, p in settings_of(holder).items() if n in _OF_MODEL}
                lines += _described(holder, takes, "--config.model.")
            continue
        if section == "data":
            kinds = ", ".join(known_kinds(DataConfig))
            lines += ["", f"data: {_summary(kind)}", "  --config.data.kind: default: NamedDataset"]
            lines += [_wrapped(f"one of {kinds}; --help KIND lists the settings of the others")]
            kind = NamedDataset
        else:
            lines += ["", f"{section}: {_summary(kind)}"]
        if section == "vqvae_training":
            lines.append("  of the VQ-VAE whose codes a prior learns; the settings of training")
            continue
        if section == "prior":
            lines.append("  --config.prior.kind: the network; its settings go beside these")
        parameters = settings_of(kind)
        for name, default in DEFAULT_SECTIONS.get(section, {}).items():
            parameters[name] = parameters[name].replace(default=default)
        lines += _described(kind, parameters, f"--config.{section}.")
    return "\n".join(lines)


def component_help(name: str) -> str:
    """Returns the settings of a component, with their defaults and meanings.

    Raises:
        ConfigError: there is no such component.
    """
    kind = kind_of({"kind": name}, "COMPONENT")
    filled = {
        name
        for place, of in _PLACES.items()
        if inspect.isclass(kind) and issubclass(kind, of)
        for name in FILLED.get(place, ())
    }
    parameters = settings_of(kind, filled)
    return "\n".join([f"{name}: {_summary(kind)}", *_described(kind, parameters, "")])


def _kinds() -> str:
    names = {place.rpartition(".")[2]: known_kinds(of) for place, of in _PLACES.items()}
    return "\n".join(_wrapped(f"{part}s: {', '.join(kinds)}") for part, kinds in names.items())


def _described(kind: Any, parameters: Mapping[str, inspect.Parameter], prefix: str) -> list[str]:
    lines, documented = [], meanings(kind)
    for name, parameter in parameters.items():
        lines.append(f"  {prefix}{name}: {_type(parameter.annotation)}; {_default(parameter)}")
        if name in documented:
            lines.append(_wrapped(documented[name]))
    return lines or [_wrapped("no settings")]


def _default(parameter: inspect.Parameter) -> str:
    default = parameter.default
    if default is parameter.empty:
        return "must be set"
    is_plain = default is None or isinstance(default, bool | int | float | str | tuple)
    return f"default: {default if is_plain else getattr(default, '__name__', 'see its docstring')}"


def _type(annotation: Any) -> str:
    """Returns the types that a setting may have, in words."""
    words = []
    for kind in types_of(annotation):
        if kind is collections.abc.Callable:
            words.append("a function")
        elif kind is collections.abc.Sequence:
            words.append(f"several {class_in(annotation).__name__}")
        else:
            words.append("None" if kind is type(None) else kind.__name__)
    return " or ".join(sorted(words))


def _summary(kind: Any) -> str:
    return inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]


def _wrapped(text: str) -> str:
    indent = 6 * " "
    return textwrap.fill(text, 96, initial_indent=indent, subsequent_indent=indent)
