"""Checks whether a run may resume what its folder holds."""

from pathlib import Path
from typing import Any

from vqvae_jax.errors import ConfigError
from vqvae_jax.training.config import Config, changed_setting


def check_resumes(workdir: Path, saved: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuses to resume a run of another kind, with other settings or other data.

    Args:
        workdir: the run's folder.
        saved: the run's description in its checkpoint.
        given: its description now; may lack a prior's codes, if they do not exist yet.

    Raises:
        ConfigError: they differ.
    """
    before, now = (config_of(workdir, run) for run in (saved, given))
    if before.kind != now.kind:
        raise ConfigError(
            f"{workdir} holds the run of a {before.kind}, not of a {now.kind}; "
            "use another --workdir"
        )
    changed = changed_setting(before, now)
    if changed is None and saved["data"]["digest"] != given["data"]["digest"]:
        sources = saved["data"]["source"], given["data"]["source"]
        changed = "its data came from {}, now from {}".format(*sources)
    if changed is not None:
        raise ConfigError(
            f"{workdir} holds a run with other settings: {changed}; "
            "use the old setting or another --workdir"
        )
    if "codes" in given and saved["codes"]["digest"] != given["codes"]["digest"]:
        raise ConfigError(
            f"{other_vqvae(given['codes']['source'], workdir)}; use another --workdir"
        )


def config_of(folder: Path, run: dict[str, Any]) -> Config:
    """Returns the config of a run of `train.py`, from its description.

    Raises:
        ConfigError: it is a run of `vqvae_jax.train`, which has none of a model.
    """
    if is_from_python(run):
        raise ConfigError(f"{folder} holds a run of vqvae_jax.train; use another folder")
    return Config.from_dict(run["config"])


def is_from_python(run: dict[str, Any]) -> bool:
    """Returns whether a description is that of a run of `vqvae_jax.train`."""
    return [*run["config"]] == ["training"]


def other_vqvae(folder: str | Path, workdir: str | Path) -> str:
    """Returns the message for a VQ-VAE that is not the one of a prior."""
    return (
        f"{folder} holds another VQ-VAE, or the same one trained further, than the one whose "
        f"codes the prior of {workdir} has learned"
    )
