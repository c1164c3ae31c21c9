"""The full description of a run, from nested settings and back."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from vqvae_jax.checks import did_you_mean
from vqvae_jax.components import (
    Settings,
    build,
    build_component,
    completed,
    completed_for,
    kind_of,
    unknown,
)
from vqvae_jax.data import DataConfig
from vqvae_jax.errors import ConfigError
from vqvae_jax.likelihoods import Likelihood
from vqvae_jax.models import Tokenizer
from vqvae_jax.priors import Prior
from vqvae_jax.signatures import settings_of
from vqvae_jax.training.overrides import with_kind, with_setting
from vqvae_jax.training.settings import (
    PARTS,
    EvaluationConfig,
    LogConfig,
    PriorConfig,
    StartConfig,
    TrainingConfig,
)

# Arguments of components that are not set, but filled in from the data or the other components.
FILLED: Mapping[str, tuple[str, ...]] = {
    "model": ("dtype",),
    "model.encoder": ("in_dim", "latent_dim"),
    "model.decoder": ("out_dim", "latent_dim"),
    "model.likelihood": ("out_dim", "data_variance", "data_range", "sample_rate"),
    "prior": ("num_embeddings", "max_shape", "num_codebooks", "num_classes"),
}

# The parts of a model that a config need not name.
_DEFAULT_PARTS: Mapping[str, Settings] = {
    "encoder": {"kind": "Encoder"},
    "decoder": {"kind": "Decoder"},
    "likelihood": {"kind": "SquaredError"},
}

# The sections that a config need not have.
DEFAULT_SECTIONS: Mapping[str, Settings] = {
    "evaluation": {"metrics": ()},
    "log": {"writers": ({"kind": "TensorBoard"},)},
}

# The kind of the data in configs that name none.
_DATA_KIND = "NamedDataset"

# Where settings are that once were elsewhere.
_OF_THE_QUANTIZER = (
    "embedding_dim",
    "num_embeddings",
    "commitment_cost",
    "estimator",
    "revival_threshold",
    "kmeans_init",
    "levels",
    "temperature",
    "entropy_cost",
)
_MOVED = {f"model.{name}": f"model.quantizer.{name}" for name in _OF_THE_QUANTIZER} | {
    "model.num_quantizers": "the length of model.quantizer.quantizers",
    "model.codebook_dim": "model.quantizer.quantizer.embedding_dim",
    "model.head": "model.likelihood.kind",
    "model.head_dim": "model.likelihood.in_dim",
    "model.num_mixtures": "model.likelihood.num_mixtures",
}

SECTIONS: Mapping[str, Any] = {
    "data": DataConfig,
    "model": Tokenizer,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
    "log": LogConfig,
    "prior": PriorConfig,
    "vqvae_training": TrainingConfig,
}

_KIND = inspect.Parameter("kind", inspect.Parameter.KEYWORD_ONLY, annotation=str)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The configuration of a run: of a tokenizer, or of a prior over the codes of one.

    Attributes:
        data: says which data.
        data_kind: the name of its class, as in the config.
        model: the tokenizer's parts, each a component's completed settings; its value_range; and
            the settings of `StartConfig`.
        training: the protocol of this run.
        evaluation: its evaluations, the completed settings of `EvaluationConfig`.
        log: what its log is written to, the completed settings of `LogConfig`.
        prior: how the run uses a prior; None: it trains the tokenizer.
        network: the prior itself, likewise a component; None without a prior.
        vqvae_training: the tokenizer's protocol, for a prior.
    """

    data: DataConfig
    data_kind: str = _DATA_KIND
    model: Settings
    training: TrainingConfig
    evaluation: Settings
    log: Settings
    prior: PriorConfig | None = None
    network: Settings | None = None
    vqvae_training: TrainingConfig | None = None

    @property
    def kind(self) -> str:
        """The model that the run trains: "VQ-VAE" or "prior"."""
        return "VQ-VAE" if self.prior is None else "prior"

    @property
    def monitor(self) -> str:
        """The held-out metric whose lowest value is best."""
        if self.prior is not None:
            return "nll"
        return kind_of(self.model["likelihood"], "model.likelihood", Likelihood).monitor

    def to_dict(self) -> dict[str, Settings]:
        """Returns the settings as nested dictionaries of JSON values."""
        settings = dataclasses.asdict(self)
        network = settings.pop("network")
        settings["data"] = {"kind": settings.pop("data_kind"), **settings["data"]}
        if network is not None:
            settings["prior"] |= network
        return {name: given for name, given in settings.items() if given is not None}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "Config":
        """Inverts `to_dict`; also accepts what a configs/*.py file returns, as a dictionary.

        Raises:
            ConfigError: a setting is unknown, missing or out of its range; the constructors of
                components check theirs when they are built.
        """
        for section, given in settings.items():
            if section not in SECTIONS:
                raise _unknown_section(section)
            if not isinstance(given, Mapping):
                raise ConfigError(f"{section} is {given!r}; it must be a group of settings")
        settings = {**DEFAULT_SECTIONS, **settings}
        if ("prior" in settings) != ("vqvae_training" in settings):
            raise ConfigError("prior and vqvae_training must both be given, or neither")
        data = completed({"kind": _DATA_KIND, **settings.get("data", {})}, "data", DataConfig)
        made_data = build_component(data, "data")
        made: Settings = {
            "data": made_data,
            "data_kind": data["kind"],
            "model": _model(settings.get("model", {}), made_data.value_range),
            "training": _section("training", settings.get("training", {})),
            "evaluation": completed_for(EvaluationConfig, settings["evaluation"], "evaluation"),
            "log": completed_for(LogConfig, settings["log"], "log"),
        }
        if "prior" in settings:
            given = settings["prior"]
            _check_names("prior", given)
            own = settings_of(PriorConfig)
            ours = {name: value for name, value in given.items() if name in own}
            others = {name: value for name, value in given.items() if name not in own}
            made["network"] = completed(others, "prior", Prior, FILLED["prior"])
            made["prior"] = _section("prior", ours)
            made["vqvae_training"] = _section("vqvae_training", settings["vqvae_training"])
        return cls(**made)


def training_config(settings: Mapping[str, Any]) -> TrainingConfig:
    """Returns the protocol that settings of the section `training`, by name, describe.

    Raises:
        ConfigError: a setting is unknown or out of its range.
    """
    return _section("training", settings)


def overridden(settings: Mapping[str, Any], path: str, text: str) -> dict[str, Any]:
    """Returns the settings of a config with one of them replaced.

    Args:
        settings: nested settings, as `Config.from_dict` takes them.
        path: the setting, such as "model.quantizer.num_embeddings".
        text: its new value, as on the command line.

    Raises:
        ConfigError: there is no such setting.
    """
    section, *names = path.split(".")
    if section not in SECTIONS:
        raise _unknown_section(path)
    if section in DEFAULT_SECTIONS:
        settings = {section: DEFAULT_SECTIONS[section], **settings}
    if section not in settings:
        raise ConfigError(f"this config has no section {section}")
    _check_moved(path)
    given = {**settings[section]}
    if not names:
        raise ConfigError(f"{section} is a group of settings; it cannot be {text!r}")
    if section == "model":
        given = {**_DEFAULT_PARTS, **given}
    if section == "data" and names == ["kind"]:
        new = with_kind(given, text, section, DataConfig)
    elif section == "prior" and names == ["kind"]:
        own = {name: given[name] for name in settings_of(PriorConfig) if name in given}
        new = own | with_kind(given, text, section, Prior)
    else:
        new = with_setting(given, section_settings(section, given), names, text, section)
    return {**settings, section: new}


def section_settings(section: str, given: Mapping[str, Any]) -> dict[str, inspect.Parameter]:
    """Returns what may be set in a section, by name.

    Args:
        section: its name.
        given: its settings; only the kind of the data and of a prior matters.
    """
    if section == "data":
        kind = kind_of({"kind": _DATA_KIND, **given}, section, DataConfig)
        return {"kind": _KIND, **settings_of(kind)}
    parameters = settings_of(SECTIONS[section], FILLED.get(section, ()))
    if section == "prior":
        network = settings_of(kind_of(given, section, Prior), FILLED[section])
        return {"kind": _KIND, **parameters, **network}
    if section == "model":
        return {**parameters, **settings_of(StartConfig)}
    return parameters


def _section(section: str, given: Mapping[str, Any]) -> Any:
    return _built(section, SECTIONS[section], given)


def _built(section: str, kind: Any, given: Mapping[str, Any]) -> Any:
    return build(kind, completed_for(kind, given, section), section)


def _model(given: Mapping[str, Any], value_range: tuple[float, float]) -> Settings:
    _check_names("model", given)
    takes = settings_of(Tokenizer, FILLED["model"])
    settings = {**_DEFAULT_PARTS, **given}
    if "quantizer" not in settings:
        raise ConfigError("model.quantizer is missing; it must be a component, with a kind")
    start = {name: settings[name] for name in settings_of(StartConfig) if name in settings}
    return {
        **{
            part: completed(
                settings[part],
                f"model.{part}",
                takes[part].annotation,
                FILLED.get(f"model.{part}", ()),
            )
            for part in PARTS
        },
        "value_range": _range(settings.get("value_range", value_range)),
        **dataclasses.asdict(_built("model", StartConfig, start)),
    }


def _range(given: Any) -> tuple[float, float]:
    is_pair = isinstance(given, list | tuple) and len(given) == 2
    if not is_pair or not all(isinstance(number, int | float) for number in given):
        raise ConfigError(f"model.value_range is {given!r}; it must be two numbers, (low, high)")
    return float(given[0]), float(given[1])


def _check_names(section: str, given: Mapping[str, Any]) -> None:
    known = section_settings(section, given)
    for name in given:
        _check_moved(f"{section}.{name}")
        if name not in known:
            raise unknown(f"{section}.{name}", [f"{section}.{one}" for one in known])


def _check_moved(path: str) -> None:
    if path in _MOVED:
        raise ConfigError(f"{path} is now {_MOVED[path]}")


def _unknown_section(path: str) -> ConfigError:
    shown = path if path.isprintable() else repr(path)
    near = did_you_mean(path.partition(".")[0].lower(), SECTIONS)
    return ConfigError(f"{shown} is unknown; the sections are {', '.join(SECTIONS)}{near}")
