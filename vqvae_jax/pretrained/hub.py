"""Models on the Hugging Face Hub, through huggingface_hub, of the extra `hub`."""

import os
from pathlib import Path
from typing import Any

from flax import nnx

from vqvae_jax.errors import CheckpointError
from vqvae_jax.extras import extra
from vqvae_jax.models import Tokenizer
from vqvae_jax.pretrained.folder import CONFIG, VARIABLES, save_pretrained


def download(name: str, revision: str | None) -> Path:
    """Returns a folder with the two files of a model on the Hub, downloaded if they are not there.

    Args:
        name: such as "user/name".
        revision: a branch, tag or commit; None: main.

    Raises:
        CheckpointError: there is no such model, or it cannot be downloaded.
        MissingError: the extra `hub` is missing.
    """
    with extra("hub"):
        from huggingface_hub import hf_hub_download

    try:
        folder = Path(hf_hub_download(name, CONFIG, revision=revision)).parent
        # The folder is named by its commit: both files are of the same one.
        hf_hub_download(name, VARIABLES, revision=folder.name)
    except Exception as error:  # of the network, of the Hub, of the disk
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{name} is no folder, and cannot be had from the Hugging Face Hub: {reason}"
        ) from error
    return folder


def push_to_hub(
    model: nnx.Module, name: str, *, tokenizer: Tokenizer | None = None, **options: Any
) -> str:
    """Uploads a model to the Hugging Face Hub, as `save_pretrained` writes it.

    Args:
        model: as there.
        name: such as "user/name"; it is created if it does not exist.
        tokenizer: as there.
        **options: private, branch, token, commit_message and others, as
            `huggingface_hub.ModelHubMixin.push_to_hub` takes them.

    Returns:
        The address of the commit.

    Raises:
        MissingError: the extra `hub` is missing.
        ConfigError: as `save_pretrained`.
    """
    with extra("hub"):
        from huggingface_hub import ModelHubMixin

    class Saved(ModelHubMixin):
        def _save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
            save_pretrained(model, save_directory, tokenizer=tokenizer)

    return Saved().push_to_hub(name, **options)
