"""config.json: which components a model is made of, and what else who uses it needs to know."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import nnx

import vqvae_jax
from vqvae_jax.component_settings import settings_from
from vqvae_jax.components import build_component, completed
from vqvae_jax.errors import CheckpointError
from vqvae_jax.models import Tokenizer
from vqvae_jax.models.origin import Origin

FORMAT = 1

_LARGEST = 2**24  # bytes


def config_of(model: nnx.Module, run: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the config of a model.

    Args:
        model: the model.
        run: JSON values that describe the run that trained it; None: there was none.

    Raises:
        ConfigError: the model does not keep the arguments that it was built with.
    """
    config: dict[str, Any] = {
        "format": FORMAT,
        "vqvae_jax": vqvae_jax.__version__,
        "model": settings_from(model),
    }
    if isinstance(model, Tokenizer):
        config["preprocessing"] = {
            "value_range": model.value_range,
            "channels": model.likelihood.out_dim,
            "spatial_rank": model.spatial_rank,
            "downsampling": model.downsampling,
        }
    if run is not None:
        config["run"] = run
    origin = getattr(model, "origin", None)
    if origin is not None:
        config["origin"] = {"family": origin.family, "config": origin.config}
    return config


def read_config(file: Path) -> dict[str, Any]:
    """Returns a config, of which the model's settings are still to be checked.

    Raises:
        CheckpointError: it is missing, not a config, or of another format.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise CheckpointError(f"{file} is larger than {_LARGEST} bytes")
        config = json.loads(file.read_bytes())
    except CheckpointError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{file} cannot be read: {reason}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise CheckpointError(f"{file} describes no model of vqvae_jax")
    if config.get("format") != FORMAT:
        raise CheckpointError(
            f"{file} has format {config.get('format')!r}; this version of vqvae_jax reads format "
            f"{FORMAT}"
        )
    if not isinstance(config.get("run", {}), dict):
        raise CheckpointError(f"{file} has a run that is no group of settings")
    return config


def build_abstract(config: Mapping[str, Any], file: Path) -> Any:
    """Returns the model of a config, with shapes and types in place of its variables.

    Only classes of vqvae_jax are built, and those of modules that are imported already: who reads
    a file runs no code that the file brings or chooses.

    Args:
        config: from `read_config`.
        file: where it is from, for messages.

    Raises:
        CheckpointError: it does not describe a model, or one of a module that is not imported.
    """
    _check_imported(config["model"], f"{file}: model")

    def build() -> nnx.Module:
        settings = completed(config["model"], "model", nnx.Module)
        return build_component(settings, "model", rngs=nnx.Rngs(0))

    try:
        model: Any = nnx.eval_shape(build)
        if "origin" in config:
            model.origin = Origin(str(config["origin"]["family"]), str(config["origin"]["config"]))
    except Exception as error:  # constructors may raise anything
        reason = str(error).partition("\n")[0] or repr(error)
        raise CheckpointError(f"{file} describes no model: {reason}") from error
    return model


def _check_imported(settings: Any, path: str) -> None:
    """Checks that all import paths in settings are of imported modules, not of Python's own."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            _check_imported(value, f"{path}.{name}")
    elif isinstance(settings, list):
        for place, value in enumerate(settings):
            _check_imported(value, f"{path}.{place}")
    elif isinstance(settings, str) and ":" in settings:
        module = settings.partition(":")[0]
        if module.partition(".")[0] in sys.stdlib_module_names:
            raise CheckpointError(f"{path} is {settings!r}; a model has no parts of {module}")
        if module not in sys.modules:
            raise CheckpointError(
                f"{path} is {settings!r}; import {module} first, if you trust the code in it"
            )
