"""Folders with one model: config.json, model.safetensors and README.md, the model's card."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import nnx

from vqvae_jax.errors import CheckpointError
from vqvae_jax.files import check_parent, write_atomically
from vqvae_jax.models import Tokenizer
from vqvae_jax.pretrained.card import card_of
from vqvae_jax.pretrained.config_file import build_abstract, config_of, read_config
from vqvae_jax.pretrained.variables import variables_file, with_variables

CONFIG, VARIABLES, CARD = "config.json", "model.safetensors", "README.md"
TOKENIZER = "tokenizer"  # the folder of the one whose codes a prior was trained on

_SHIPPED = Path(__file__).parent
_ON_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def from_pretrained(folder_or_name: str | os.PathLike[str], *, revision: str | None = None) -> Any:
    """Loads a model from a folder, by name from this package, or from the Hugging Face Hub.

    Args:
        folder_or_name: a folder that `save_pretrained` wrote, or that of a run; if there is none,
            the name of a model that this package ships, "mnist", or of one on the Hub, such as
            "user/name".
        revision: a branch, tag or commit of the Hub's; None: main.

    Returns:
        The `Tokenizer`, prior or other component, with its weights.

    Raises:
        CheckpointError: there is no such model; or its files are damaged, do not fit each other, or
            need a class of a module that is not imported.
        MissingError: the extra `hub` is missing.
    """
    folder, name = Path(folder_or_name), str(folder_or_name)
    if folder.exists():
        if revision is not None:
            raise ValueError(f"revision is {revision!r}; {folder} is a folder, which has none")
        if (folder / "checkpoints").is_dir():
            from vqvae_jax.training.saved import load_run  # it loads such folders too

            return load_run(folder, nnx.Module).model
    elif name.isidentifier() and (_SHIPPED / name / CONFIG).is_file():
        folder = _SHIPPED / name
    elif _ON_HUB.fullmatch(name) and ".." not in name:
        from vqvae_jax.pretrained.hub import download

        folder = download(name, revision)
    else:
        raise CheckpointError(
            f"{name} does not exist; it must be a folder, the name of a model that vqvae_jax "
            "ships, or of one on the Hugging Face Hub, such as user/name"
        )
    return read_folder(folder)[0]


def read_folder(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Returns the model of a folder that `save_pretrained` wrote, and its config.

    Raises:
        CheckpointError: as `from_pretrained`.
    """
    config = read_config(folder / CONFIG)
    model = build_abstract(config, folder / CONFIG)
    return with_variables(model, folder / VARIABLES), config


def is_saved_model(folder: Path) -> bool:
    """Returns whether a folder is one that `save_pretrained` wrote."""
    return (folder / CONFIG).is_file() and not (folder / "checkpoints").exists()


def save_pretrained(
    model: nnx.Module,
    folder: str | os.PathLike[str],
    *,
    run: Mapping[str, Any] | None = None,
    tokenizer: Tokenizer | None = None,
) -> None:
    """Writes a model to a folder, whole or not at all; `from_pretrained` reads it.

    The weights, in model.safetensors, are every variable by its path, such as
    encoder.convs.0.kernel, in its own type. config.json has the components' settings; README.md
    says what the model is and how to use it.

    Args:
        model: a tokenizer, a prior or another component, whose parts keep each argument of their
            constructors as an attribute of the same name.
        folder: missing, empty, or an earlier model's, which is replaced; its parent exists.
        run: JSON values about the run that trained the model; None: there was none.
        tokenizer: of a prior, the tokenizer of its codes, which is written to a folder within.

    Raises:
        ValueError: the folder holds something else.
        ConfigError: a part does not keep its arguments.
        OSError: it cannot be written; an earlier model is still there.
    """
    target = Path(folder).absolute()
    check_parent(target)
    if target.exists():
        _check_replaceable(target)
    files = files_of(model, target.name, run=run, tokenizer=tokenizer)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".draft", dir=target.parent))
    try:
        whole = draft / target.name
        for name, content in files.items():
            (whole / name).parent.mkdir(exist_ok=True)
            write_atomically(whole / name, content)
        _replace(target, whole, aside=draft / "earlier")
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def files_of(
    model: nnx.Module,
    name: str,
    *,
    run: Mapping[str, Any] | None = None,
    tokenizer: Tokenizer | None = None,
) -> dict[str, bytes]:
    """Returns the content of a model's files, by their paths in its folder.

    Args:
        model: as for `save_pretrained`.
        name: what `from_pretrained` will be given.
        run: as for `save_pretrained`.
        tokenizer: likewise.

    Raises:
        ConfigError: as there.
    """
    config = config_of(model, run)
    files = {
        CONFIG: json.dumps(config, indent=2, allow_nan=False).encode() + b"\n",
        VARIABLES: variables_file(model),
        CARD: card_of(model, config, name).encode(),
    }
    if tokenizer is not None:
        within = files_of(tokenizer, f"{name}/{TOKENIZER}")
        files |= {f"{TOKENIZER}/{path}": content for path, content in within.items()}
    return files


def _replace(target: Path, new: Path, aside: Path) -> None:
    """Moves a folder to a place, and what was there aside."""
    if target.exists():
        target.replace(aside)
    try:
        new.replace(target)
    except OSError:
        if aside.exists():
            aside.replace(target)
        raise


def _check_replaceable(folder: Path) -> None:
    """Raises ValueError if a folder holds anything that `save_pretrained` does not write."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if CONFIG not in names or not names <= {CONFIG, VARIABLES, CARD, TOKENIZER}:
        raise ValueError(
            f"{folder} holds something else; it must be missing, empty, or an earlier model's"
        )
