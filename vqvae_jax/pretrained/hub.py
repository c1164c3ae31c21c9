"""Models on the Hugging Face Hub, through huggingface_hub, of the extra `hub`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import nnx

from vqvae_jax.errors import CheckpointError
from vqvae_jax.extras import extra
from vqvae_jax.models import Tokenizer
from vqvae_jax.pretrained.folder import CONFIG, VARIABLES, files_of


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
    model: nnx.Module,
    name: str,
    *,
    run: Mapping[str, Any] | None = None,
    tokenizer: Tokenizer | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload a model of vqvae_jax",
) -> str:
    """Uploads a model to the Hugging Face Hub: the files that `save_pretrained` writes.

    Args:
        model: as there.
        name: such as "user/name"; it is created if it does not exist.
        run: as there.
        tokenizer: as there.
        private: whether a new one is private; None: what the account's default says.
        revision: a branch that exists; None: main.
        commit_message: what the Hub says of the upload.

    Returns:
        The address of the commit.

    Raises:
        MissingError: the extra `hub` is missing.
        ConfigError: as `save_pretrained`.
    """
    with extra("hub"):
        from huggingface_hub import CommitOperationAdd, HfApi

    files = files_of(model, name, run=run, tokenizer=tokenizer)
    api = HfApi()
    api.create_repo(name, private=private, exist_ok=True)
    return api.create_commit(
        name,
        [CommitOperationAdd(path, content) for path, content in files.items()],
        commit_message=commit_message,
        revision=revision,
    ).commit_url
