"""The full description of a run, with conversion to JSON and flags and back."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vqvae_jax.errors import ConfigError
from vqvae_jax.extras import extra
from vqvae_jax.training.sections import (
    DataConfig,
    ModelConfig,
    PriorConfig,
    TrainingConfig,
    VQVAETrainingConfig,
)
from vqvae_jax.training.settings import Rule, did_you_mean

if TYPE_CHECKING:
    import ml_collections


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The configuration of a run: of a VQ-VAE, or of a prior over the codes of one.

    Attributes:
        data: the images.
        model: the VQ-VAE.
        training: the protocol of this run.
        prior: the prior that the run trains; None: it trains the VQ-VAE.
        vqvae_training: the VQ-VAE's protocol, for a prior.

    Raises:
        ConfigError: a setting is out of its range, or only one of prior and vqvae_training is
            given.
    """

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    prior: PriorConfig | None = None
    vqvae_training: VQVAETrainingConfig | None = None

    def __post_init__(self) -> None:
        if (self.prior is None) != (self.vqvae_training is None):
            raise ConfigError("prior and vqvae_training must both be given, or neither")

    @property
    def kind(self) -> str:
        """The model that the run trains: "VQ-VAE" or "prior"."""
        return "VQ-VAE" if self.prior is None else "prior"

    @classmethod
    def of_prior(cls, vqvae: "Config", prior: PriorConfig, training: TrainingConfig) -> "Config":
        """Returns the config of a prior over the codes of another config's VQ-VAE."""
        protocol = VQVAETrainingConfig(**dataclasses.asdict(vqvae.training))
        return cls(
            data=vqvae.data,
            model=vqvae.model,
            training=training,
            prior=prior,
            vqvae_training=protocol,
        )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Returns the settings as nested dictionaries of JSON values."""
        sections = dataclasses.asdict(self)
        return {name: settings for name, settings in sections.items() if settings is not None}

    def to_config_dict(self) -> "ml_collections.ConfigDict":
        """Returns a ConfigDict, for flags such as --config.training.learning_rate=3e-4."""
        with extra("train"):
            from ml_collections import config_dict

        settings: dict[str, dict[str, Any]] = {section: {} for section in self.to_dict()}
        for path, rule in rules().items():
            section, name = path.split(".")
            if section in settings:
                value = getattr(getattr(self, section), name)
                given = config_dict.placeholder(rule.type) if value is None else value
                settings[section][name] = given
        return config_dict.ConfigDict(settings)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Mapping[str, Any]]) -> "Config":
        """Inverts `to_dict`; also accepts what a configs/*.py file returns, as a dictionary.

        Raises:
            ConfigError: a setting is unknown, missing or out of its range.
        """
        for section, values in settings.items():
            if section not in SECTIONS:
                raise _unknown(section, difflib.get_close_matches(section, SECTIONS))
            if not isinstance(values, Mapping):
                raise ConfigError(f"{section!r} is {values!r}; it must be a group of settings")
            for name in values:
                rule_of(f"{section}.{name}")
        given = {name: settings.get(name, {}) for name in SECTIONS if name in {*settings, *_ALWAYS}}
        for section, values in given.items():
            for field in dataclasses.fields(SECTIONS[section]):
                if field.default is dataclasses.MISSING and field.name not in values:
                    allowed = field.metadata["rule"].allowed
                    raise ConfigError(f"{section}.{field.name} is missing; it must be {allowed}")
        return cls(**{name: SECTIONS[name](**values) for name, values in given.items()})


SECTIONS: dict[str, Any] = {
    kind.section: kind
    for kind in (DataConfig, ModelConfig, TrainingConfig, PriorConfig, VQVAETrainingConfig)
}
_ALWAYS = ("data", "model", "training")


def rules() -> dict[str, Rule]:
    """Returns the rule of every setting, by its path, such as "training.seed"."""
    return {
        f"{section}.{field.name}": field.metadata["rule"]
        for section, kind in SECTIONS.items()
        for field in dataclasses.fields(kind)
    }


def rule_of(path: str) -> Rule:
    """Returns the rule of the setting at `path`.

    Raises:
        ConfigError: there is no such setting.
    """
    known = rules()
    if path not in known:
        names = {given: given.rpartition(".")[2] for given in known}
        near = difflib.get_close_matches(path.lower().rpartition(".")[2], set(names.values()))
        paths = [given for given, name in names.items() if name in near]
        raise _unknown(path, difflib.get_close_matches(path.lower(), paths, cutoff=0))
    return known[path]


def _unknown(path: str, near: Sequence[str]) -> ConfigError:
    """Returns the error for an unknown setting or section; near: known ones similar to it."""
    section = path.partition(".")[0]
    if section in SECTIONS:
        names = [field.name for field in dataclasses.fields(SECTIONS[section])]
        known = f"the settings of {section} are {', '.join(names)}"
    else:
        known = f"the sections are {', '.join(SECTIONS)}"
    shown = path if path.isprintable() else repr(path)
    return ConfigError(f"{shown} is unknown; {did_you_mean(near) or known}")


def training_config(settings: Mapping[str, Any]) -> TrainingConfig:
    """Returns the protocol that settings of the section `training`, by name, describe.

    Raises:
        ConfigError: a setting is unknown or out of its range.
    """
    for name in settings:
        rule_of(f"training.{name}")
    return TrainingConfig(**settings)


def optimizer_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the optimizer and schedule settings that a resumed run changes, by name.

    Args:
        before: the section `training` of the run so far.
        now: the section of the resumed run; nothing changes unless `accept_changes`.
    """
    if not now["accept_changes"]:
        return {}
    return {name: now[name] for name in _OF_THE_OPTIMIZER if before[name] != now[name]}


_OF_THE_OPTIMIZER = (
    "learning_rate",
    "schedule",
    "warmup_steps",
    "weight_decay",
    "clip_norm",
    "num_epochs",
)


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
    decays = now["training"]["schedule"] != "constant"
    for path, rule in rules().items():
        section, name = path.split(".")
        fixed = not rule.changeable or (path == "training.num_epochs" and decays)
        fixed = fixed and path not in accepted
        if section in now and before[section][name] != now[section][name] and fixed:
            hint = ""
            if section == "training" and name in _OF_THE_OPTIMIZER:
                hint = " (training.accept_changes=True takes it)"
            return f"{path} was {before[section][name]!r} and is {now[section][name]!r}{hint}"
    return None
