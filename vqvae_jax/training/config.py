"""The one description of a run: every setting, its default and its range."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ml_collections
from ml_collections import config_dict

from vqvae_jax.errors import ConfigError
from vqvae_jax.training.registry import ESTIMATORS, RECIPES


@dataclasses.dataclass(frozen=True)
class _Rule:
    """What a setting may be, in words and as a check; and whether a resumed run may change it."""

    type: type
    allowed: str
    check: Callable[[Any], bool]
    changeable: bool = False


def _setting(rule: _Rule, default: Any = dataclasses.MISSING) -> Any:
    return dataclasses.field(default=default, metadata={"rule": rule})


def _integer(low: int, high: int, *, optional: bool = False, changeable: bool = False) -> _Rule:
    def check(value: Any) -> bool:
        if value is None:
            return optional
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return _Rule(
        int, f"an integer from {low} to {high}{', or not given' * optional}", check, changeable
    )


def _number(allowed: str, check: Callable[[float], bool]) -> _Rule:
    def in_range(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and abs(value) < math.inf and check(value)

    return _Rule(float, allowed, in_range)


def _flag(*, changeable: bool = False) -> _Rule:
    return _Rule(bool, "True or False", lambda value: isinstance(value, bool), changeable)


def _choice(names: Iterable[str]) -> _Rule:
    names = tuple(names)
    return _Rule(str, f"one of {', '.join(names)}", lambda value: value in names)


def _levels() -> _Rule:
    def check(value: Any) -> bool:
        return isinstance(value, tuple) and all(
            isinstance(level, int) and not isinstance(level, bool) and level >= 2 for level in value
        )

    return _Rule(tuple, "integers of at least 2, such as (8, 4, 4)", check)


def _folder() -> _Rule:
    def check(value: Any) -> bool:
        return value is None or (isinstance(value, str) and value != "" and "\0" not in value)

    return _Rule(str, "the path of a folder, or not given", check, changeable=True)


class _Section:
    """Checks every field against its rule."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            rule, value = field.metadata["rule"], getattr(self, field.name)
            if not rule.check(value):
                section = type(self).__name__.removesuffix("Config").lower()
                raise ConfigError(f"{section}.{field.name} is {value!r}; it must be {rule.allowed}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(_Section):
    """Where the pixels come from.

    Attributes:
        name: the data set: mnist, fashion_mnist, kmnist, or a name of your own for archives of your
            own.
        archives: a folder with its four IDX archives; None to look in the usual places.
        data_dir: TFDS's folder for prepared data; None for TFDS_DATA_DIR or ~/tensorflow_datasets.
        allow_sample: whether 5,000 embedded images may stand in for MNIST where it cannot be had.
    """

    name: str = _setting(
        _Rule(
            str,
            "lower-case letters, digits and underscores, starting with a letter",
            lambda value: (
                isinstance(value, str) and bool(re.fullmatch("[a-z][a-z0-9_]{0,99}", value))
            ),
        )
    )
    archives: str | None = _setting(_folder(), None)
    data_dir: str | None = _setting(_folder(), None)
    allow_sample: bool = _setting(_flag(changeable=True), True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(_Section):
    """The VQ-VAE.

    Attributes:
        quantizer: its name in `training.registry`. The settings after num_embeddings keep their
            defaults with quantizers that do not take them.
        embedding_dim: D, numbers in a latent vector.
        num_embeddings: K, codes in each codebook.
        commitment_cost: beta, the weight of the commitment loss.
        estimator: of the gradient. With nsvq and diveq, vq has neither codebook nor commitment
            loss.
        revival_threshold: share of its fair share below which a code is replaced; 0: never.
        kmeans_init: whether the codes begin as k-means centres of the first batch.
        levels: of each number, for fsq.
        num_quantizers: how many in a row, for residual and grouped_residual.
        codebook_dim: numbers in a code after the projection, for the projected ones.
        temperature: for sampled, entropy, gumbel, lfq and bsq.
        entropy_cost: weight of the entropy loss, for entropy, lfq and bsq.
    """

    quantizer: str = _setting(_choice(RECIPES), "vq")
    embedding_dim: int = _setting(_integer(1, 2**16))
    num_embeddings: int = _setting(_integer(1, 2**24))
    commitment_cost: float = _setting(
        _number("a finite number of at least 0", lambda value: value >= 0), 0.25
    )
    estimator: str = _setting(_choice(ESTIMATORS), "straight_through")
    revival_threshold: float = _setting(
        _number("a number of at least 0 and below 1", lambda value: 0 <= value < 1), 0.0
    )
    kmeans_init: bool = _setting(_flag(), False)
    levels: Sequence[int] = _setting(_levels(), ())
    num_quantizers: int = _setting(_integer(1, 64), 1)
    codebook_dim: int = _setting(_integer(1, 2**16), 8)
    temperature: float = _setting(_number("a finite number above 0", lambda value: value > 0), 1.0)
    entropy_cost: float = _setting(
        _number("a finite number of at least 0", lambda value: value >= 0), 0.1
    )

    def __post_init__(self) -> None:
        if isinstance(self.levels, list):  # as JSON has it
            object.__setattr__(self, "levels", tuple(self.levels))
        super().__post_init__()
        if self.num_embeddings * self.embedding_dim > 2**30:
            raise ConfigError(
                f"model.num_embeddings times model.embedding_dim is "
                f"{self.num_embeddings * self.embedding_dim}; it must be at most {2**30}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig(_Section):
    """The protocol.

    Attributes:
        batch_size: images a step; the last batch of an epoch may be smaller.
        learning_rate: Adam's step size.
        num_epochs: passes over the training images.
        max_steps: where to stop although epochs are left; None to go through all.
        seed: of the initial values and of the order of the images.
        devices: how many devices share a batch (GPUs, TPU cores, or CPU cores); None for all. Of
            them the largest number that divides the batch works on it.
        log_every: steps between two lines of training metrics (there is one at every epoch's end
            too).
        checkpoint_every: steps between two checkpoints (there is one at every epoch's end too).
    """

    batch_size: int = _setting(_integer(1, 2**31 - 1))
    learning_rate: float = _setting(_number("a finite number above 0", lambda value: value > 0))
    num_epochs: int = _setting(_integer(1, 10**9, changeable=True))
    max_steps: int | None = _setting(_integer(1, 10**18, optional=True, changeable=True), None)
    seed: int = _setting(_integer(0, 2**32 - 1))
    devices: int | None = _setting(_integer(1, 2**16, optional=True, changeable=True), None)
    log_every: int = _setting(_integer(1, 10**18, changeable=True), 100)
    checkpoint_every: int = _setting(_integer(1, 10**18, changeable=True), 500)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run.

    Raises:
        ConfigError: a setting is out of its range.
    """

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The settings as nested dictionaries of JSON values."""
        return dataclasses.asdict(self)

    def to_config_dict(self) -> ml_collections.ConfigDict:
        """The settings as a ConfigDict, for flags such as --config.training.learning_rate=3e-4."""
        settings = ml_collections.ConfigDict({section: {} for section in _SECTIONS})
        for path, rule in rules().items():
            section, name = path.split(".")
            value = getattr(getattr(self, section), name)
            settings[section][name] = config_dict.placeholder(rule.type) if value is None else value
        return settings

    @classmethod
    def from_dict(cls, settings: Mapping[str, Mapping[str, Any]]) -> "Config":
        """The inverse of `to_dict`; also takes what a configs/*.py file returns, as a dictionary.

        Raises:
            ConfigError: a setting is unknown, missing or out of its range.
        """
        for section, values in settings.items():
            if not isinstance(values, Mapping):
                raise ConfigError(f"{section} is {values!r}; it must be a group of settings")
            for name in values:
                rule_of(f"{section}.{name}")
        for section, kind in _SECTIONS.items():
            for field in dataclasses.fields(kind):
                if field.default is dataclasses.MISSING and field.name not in settings.get(
                    section, {}
                ):
                    allowed = field.metadata["rule"].allowed
                    raise ConfigError(f"{section}.{field.name} is missing; it must be {allowed}")
        return cls(**{name: kind(**settings.get(name, {})) for name, kind in _SECTIONS.items()})


_SECTIONS: dict[str, Any] = {section.name: section.type for section in dataclasses.fields(Config)}


def rules() -> dict[str, _Rule]:
    """The rule of every setting, by its path, such as "training.seed"."""
    return {
        f"{section}.{field.name}": field.metadata["rule"]
        for section, kind in _SECTIONS.items()
        for field in dataclasses.fields(kind)
    }


def rule_of(path: str) -> _Rule:
    """The rule of the setting at `path`.

    Raises:
        ConfigError: there is no such setting.
    """
    known = rules()
    if path not in known:
        raise ConfigError(f"{path} is unknown; the settings are {', '.join(known)}")
    return known[path]


def changed_setting(old: Config, new: Config) -> str | None:
    """Which setting differs, of those that decide what a run has computed so far; None if none."""
    before, now = old.to_dict(), new.to_dict()
    for path, rule in rules().items():
        section, name = path.split(".")
        if before[section][name] != now[section][name] and not rule.changeable:
            return f"{path} was {before[section][name]!r} and is {now[section][name]!r}"
    return None
