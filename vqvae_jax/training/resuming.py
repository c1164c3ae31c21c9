"""Checks whether a run may resume what its folder holds."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vqvae_jax.errors import ConfigError
from vqvae_jax.training.config import Config

_CHANGEABLE = (
    "num_epochs",
    "max_steps",
    "devices",
    "workers",
    "log_every",
    "checkpoint_every",
    "evaluate_every",
    "accept_changes",
    "patience",
)
# What a resumed run may change, with no effect on what it has computed so far.
_CHANGEABLE_PATHS = {
    *(f"data.{name}" for name in ("archives", "data_dir", "allow_sample", "path", "cache")),
    *("data.test_path", "data.max_bad_files", "prior.vqvae"),
    *(f"training.{name}" for name in _CHANGEABLE),
    *(f"vqvae_training.{name}" for name in _CHANGEABLE),
}
# Sections that decide only what is measured and where it is logged.
_OF_LOGS = ("evaluation", "log")
_OF_THE_OPTIMIZER = (
    "learning_rate",
    "schedule",
    "warmup_steps",
    "weight_decay",
    "clip_norm",
    "num_epochs",
)


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


def optimizer_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the optimizer and schedule settings that a resumed run changes, by name.

    Args:
        before: the section `training` of the run so far.
        now: the section of the resumed run; nothing changes unless `accept_changes`.
    """
    if not now["accept_changes"]:
        return {}
    return {name: now[name] for name in _OF_THE_OPTIMIZER if before[name] != now[name]}


def changed_setting(old: Config, new: Config) -> str | None:
    """Names a changed setting among those that affect what a run has computed so far, or None.

    Args:
        old: the run's config.
        new: a config of the same kind.
    """
    return changed_in(old.to_dict(), new.to_dict())


def changed_in(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Does the same for sections by name, of which there may be `training` alone."""
    accepted = {
        f"training.{name}" for name in optimizer_changes(before["training"], now["training"])
    }
    changeable = _CHANGEABLE_PATHS | accepted
    if now["training"]["schedule"] != "constant":
        changeable -= {"training.num_epochs"} - accepted
    old, new = dict(_leaves(before)), dict(_leaves(now))
    for path in {**new, **old}:
        values = [repr(some[path]) if path in some else "not given" for some in (old, new)]
        section, _, name = path.partition(".")
        if values[0] != values[1] and section not in _OF_LOGS and path not in changeable:
            hint = ""
            if section == "training" and name in _OF_THE_OPTIMIZER:
                hint = " (training.accept_changes=True takes it)"
            return f"{path} was {values[0]} and is {values[1]}{hint}"
    return None


def config_of(folder: Path, run: dict[str, Any]) -> Config:
    """Returns the config of a run of `train.py`, from its description.

    Raises:
        ConfigError: it is a run of `vqvae_jax.train`, which has none of a model.
    """
    if is_from_python(run):
        raise ConfigError(f"{folder} holds a run of vqvae_jax.train; use another folder")
    return Config.from_dict(run["config"])


def is_from_python(run: Mapping[str, Any]) -> bool:
    """Returns whether a description is that of a run of `vqvae_jax.train`."""
    return [*run["config"]] == ["training"]


def other_vqvae(folder: str | Path, workdir: str | Path) -> str:
    """Returns the message for a VQ-VAE that is not the one of a prior."""
    return (
        f"{folder} holds another VQ-VAE, or the same one trained further, than the one whose "
        f"codes the prior of {workdir} has learned"
    )


def _leaves(settings: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the path and value of every setting."""
    items: Any = None
    if isinstance(settings, Mapping):
        items = settings.items()
    elif isinstance(settings, list | tuple):
        items = enumerate(settings)
    if items is None or not settings:
        yield path, () if items is not None else settings
        return
    for name, value in items:
        yield from _leaves(value, f"{path}.{name}" if path else str(name))
