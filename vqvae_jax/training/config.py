"""The one description of a run: every setting, its default and its range."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ml_collections
from ml_collections import config_dict

from vqvae_jax.errors import ConfigError
from vqvae_jax.training.networks import HEADS, PRIORS
from vqvae_jax.training.registry import ESTIMATORS, RECIPES
from vqvae_jax.training.settings import (
    Rule,
    Section,
    choice,
    flag,
    folder,
    integer,
    integers,
    number,
    setting,
)


def _is_share(value: float) -> bool:
    return 0 <= value < 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """Where the pixels come from.

    Attributes:
        name: the data set: mnist, fashion_mnist, kmnist, or a name of your own for archives of your
            own.
        archives: a folder with its four IDX archives; None to look in the usual places.
        data_dir: TFDS's folder for prepared data; None for TFDS_DATA_DIR or ~/tensorflow_datasets.
        allow_sample: whether 5,000 embedded images may stand in for MNIST where it cannot be had.
    """

    section: ClassVar[str] = "data"

    name: str = setting(
        Rule(
            str,
            "lower-case letters, digits and underscores, starting with a letter",
            lambda value: (
                isinstance(value, str) and bool(re.fullmatch("[a-z][a-z0-9_]{0,99}", value))
            ),
        )
    )
    archives: str | None = setting(folder(), None)
    data_dir: str | None = setting(folder(), None)
    allow_sample: bool = setting(flag(changeable=True), True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(Section):
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
        head: the distribution of pixels, by its name in `training.registry`; none: the decoder
            gives the image, and the loss is the squared error.
        head_dim: channels of the decoder's features, for a head; and of the autoregressive one.
        num_mixtures: logistic distributions in a mixture, for the head logistic_mixture.
    """

    section: ClassVar[str] = "model"

    quantizer: str = setting(choice(RECIPES), "vq")
    embedding_dim: int = setting(integer(1, 2**16))
    num_embeddings: int = setting(integer(1, 2**24))
    commitment_cost: float = setting(
        number("a finite number of at least 0", lambda value: value >= 0), 0.25
    )
    estimator: str = setting(choice(ESTIMATORS), "straight_through")
    revival_threshold: float = setting(number("a number of at least 0 and below 1", _is_share), 0.0)
    kmeans_init: bool = setting(flag(), False)
    levels: Sequence[int] = setting(integers(2, (8, 4, 4)), ())
    num_quantizers: int = setting(integer(1, 64), 1)
    codebook_dim: int = setting(integer(1, 2**16), 8)
    temperature: float = setting(number("a finite number above 0", lambda value: value > 0), 1.0)
    entropy_cost: float = setting(
        number("a finite number of at least 0", lambda value: value >= 0), 0.1
    )
    head: str = setting(choice(["none", *HEADS]), "none")
    head_dim: int = setting(integer(1, 2**16), 32)
    num_mixtures: int = setting(integer(1, 2**16), 10)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_embeddings * self.embedding_dim > 2**30:
            raise ConfigError(
                f"model.num_embeddings times model.embedding_dim is "
                f"{self.num_embeddings * self.embedding_dim}; it must be at most {2**30}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig(Section):
    """The protocol.

    Attributes:
        batch_size: images a step; the last batch of an epoch may be smaller.
        learning_rate: Adam's step size.
        schedule: of the step size: constant, or cosine, from learning_rate to 0 at the end of
            num_epochs, which a resumed run may then not change.
        num_epochs: passes over the training images.
        max_steps: where to stop although epochs are left; None to go through all.
        seed: of the initial values and of the order of the images.
        devices: how many devices share a batch (GPUs, TPU cores, or CPU cores); None for all. Of
            them the largest number that divides the batch works on it.
        log_every: steps between two lines of training metrics (there is one at every epoch's end
            too).
        checkpoint_every: steps between two checkpoints (there is one at every epoch's end too).
        patience: after how many evaluations in a row without a better one the run stops; None: it
            does not.
    """

    section: ClassVar[str] = "training"

    batch_size: int = setting(integer(1, 2**31 - 1))
    learning_rate: float = setting(number("a finite number above 0", lambda value: value > 0))
    schedule: str = setting(choice(["constant", "cosine"]), "constant")
    num_epochs: int = setting(integer(1, 10**9, changeable=True))
    max_steps: int | None = setting(integer(1, 10**18, optional=True, changeable=True), None)
    seed: int = setting(integer(0, 2**32 - 1))
    devices: int | None = setting(integer(1, 2**16, optional=True, changeable=True), None)
    log_every: int = setting(integer(1, 10**18, changeable=True), 100)
    checkpoint_every: int = setting(integer(1, 10**18, changeable=True), 500)
    patience: int | None = setting(integer(1, 10**9, optional=True, changeable=True), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VQVAETrainingConfig(TrainingConfig):
    """The protocol of the VQ-VAE that a prior is for, where there is no run of one yet."""

    section: ClassVar[str] = "vqvae_training"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorConfig(Section):
    """A prior over the codes of a VQ-VAE.

    Attributes:
        vqvae: the folder of the VQ-VAE's run. Where it holds none, one is trained there first, as
            the sections model and vqvae_training say; one that is not finished goes on.
        kind: its name in `training.registry`.
        channels: C, numbers in a vector of features.
        dilations: of the gated layers, for pixelcnn.
        num_layers: blocks, for transformer.
        num_heads: heads of the attention, for transformer.
        dropout: share of the features that training leaves out, for transformer.
        conditional: whether the prior knows the images' labels.
        label_dropout: share of the labels that training leaves out, for guidance.
    """

    section: ClassVar[str] = "prior"

    vqvae: str = setting(folder(optional=False))
    kind: str = setting(choice(PRIORS))
    channels: int = setting(integer(1, 2**16), 128)
    dilations: Sequence[int] = setting(integers(1, (1, 2, 1)), (1, 2, 1))
    num_layers: int = setting(integer(1, 2**10), 6)
    num_heads: int = setting(integer(1, 2**10), 4)
    dropout: float = setting(number("a number of at least 0 and below 1", _is_share), 0.0)
    conditional: bool = setting(flag(), False)
    label_dropout: float = setting(number("a number of at least 0 and below 1", _is_share), 0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_dropout and not self.conditional:
            raise ConfigError(
                f"prior.label_dropout is {self.label_dropout}; where prior.conditional is False it "
                "must be 0.0"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run: of a VQ-VAE, or of a prior over the codes of one.

    Attributes:
        data: the images.
        model: the VQ-VAE.
        training: the protocol of this run.
        prior: what the run learns; None: it learns the VQ-VAE.
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

    @classmethod
    def of_prior(cls, vqvae: "Config", prior: PriorConfig, training: TrainingConfig) -> "Config":
        """The run of a prior over the codes of what another config describes."""
        protocol = VQVAETrainingConfig(**dataclasses.asdict(vqvae.training))
        return cls(
            data=vqvae.data,
            model=vqvae.model,
            training=training,
            prior=prior,
            vqvae_training=protocol,
        )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The settings as nested dictionaries of JSON values."""
        sections = dataclasses.asdict(self)
        return {name: settings for name, settings in sections.items() if settings is not None}

    def to_config_dict(self) -> ml_collections.ConfigDict:
        """The settings as a ConfigDict, for flags such as --config.training.learning_rate=3e-4."""
        settings: dict[str, dict[str, Any]] = {section: {} for section in self.to_dict()}
        for path, rule in rules().items():
            section, name = path.split(".")
            if section in settings:
                value = getattr(getattr(self, section), name)
                given = config_dict.placeholder(rule.type) if value is None else value
                settings[section][name] = given
        return ml_collections.ConfigDict(settings)

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
        given = {
            name: settings.get(name, {}) for name in _SECTIONS if name in {*settings, *_ALWAYS}
        }
        for section, values in given.items():
            for field in dataclasses.fields(_SECTIONS[section]):
                if field.default is dataclasses.MISSING and field.name not in values:
                    allowed = field.metadata["rule"].allowed
                    raise ConfigError(f"{section}.{field.name} is missing; it must be {allowed}")
        return cls(**{name: _SECTIONS[name](**values) for name, values in given.items()})


_SECTIONS: dict[str, Any] = {
    kind.section: kind
    for kind in (DataConfig, ModelConfig, TrainingConfig, PriorConfig, VQVAETrainingConfig)
}
_ALWAYS = ("data", "model", "training")


def rules() -> dict[str, Rule]:
    """The rule of every setting, by its path, such as "training.seed"."""
    return {
        f"{section}.{field.name}": field.metadata["rule"]
        for section, kind in _SECTIONS.items()
        for field in dataclasses.fields(kind)
    }


def rule_of(path: str) -> Rule:
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
    if before.keys() != now.keys():
        return f"its sections were {', '.join(before)} and are {', '.join(now)}"
    for path, rule in rules().items():
        section, name = path.split(".")
        fixed = not rule.changeable or (
            path == "training.num_epochs" and new.training.schedule == "cosine"
        )
        if section in now and before[section][name] != now[section][name] and fixed:
            return f"{path} was {before[section][name]!r} and is {now[section][name]!r}"
    return None
