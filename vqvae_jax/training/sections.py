"""The groups of settings that describe a run: every setting, its default and its range."""

import dataclasses
import re
from collections.abc import Sequence
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import DTypeLike

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

_WITH_WEIGHT_DECAY = ("adamw", "lion", "muon")


def _is_share(value: float) -> bool:
    return 0 <= value < 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """Where the pixels come from.

    Attributes:
        name: the data set: mnist, fashion_mnist, kmnist, or a name of your own for archives of your
            own; mnist_sample for the embedded images.
        archives: a folder with its four IDX files; None to look in the usual places.
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
        quantizer: name of the quantizer. Of the settings after num_embeddings, those that it does
            not take keep their defaults.
        embedding_dim: D, numbers in a latent vector.
        num_embeddings: K, codes in each codebook.
        commitment_cost: beta, the weight of the commitment loss.
        estimator: estimator of the gradient. With nsvq and diveq, vq has neither codebook nor
            commitment loss.
        revival_threshold: share of its fair share below which a code is replaced; 0: never.
        kmeans_init: whether the codes begin as k-means centers of the first batch.
        levels: number of levels of each dimension, for fsq.
        num_quantizers: number of quantizers in a row, for residual and grouped_residual.
        codebook_dim: numbers in a code after the projection, for the projected ones.
        temperature: temperature of the distribution over codes, for sampled, entropy, gumbel, lfq
            and bsq.
        entropy_cost: weight of the entropy loss, for entropy, lfq and bsq.
        head: name of the distribution of pixels; none: the decoder gives the image, and the
            loss is the squared error.
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
        batch_size: images per step; the last batch of an epoch may be smaller.
        optimizer: name of the optimizer: adam, adamw, lion, sgd (momentum 0.9) or muon (Adam for
            what is no matrix).
        learning_rate: step size, at its highest.
        schedule: how the step size changes: constant, or cosine or linear, from learning_rate to 0
            at the end of num_epochs, which a resumed run may then not change.
        warmup_steps: steps over which the step size rises from 0 to learning_rate first.
        weight_decay: share of a weight, times the step size, that a step takes away from it, for
            adamw, lion and muon; not from biases, scales and codes.
        clip_norm: norm to which the gradient of all parameters together is clipped; None: it is
            not.
        accumulate: parts that a batch is computed in, one after the other, so that it takes less
            memory; the step is that of the whole batch.
        average_decay: decay of the moving average of the weights, which evaluations take and
            load_model returns; 0: the weights themselves.
        precision: type that the networks compute in: float32 or bfloat16. Parameters, quantizers,
            losses and the optimizer's state are float32.
        num_epochs: passes over the training images.
        max_steps: where to stop although epochs are left; None to go through all.
        seed: seed of the initial values and of the order of the images.
        devices: how many devices share a batch (GPUs, TPU cores, or CPU cores); None for all. Of
            them the largest number that divides the batch works on it.
        log_every: steps between two lines of training metrics (there is one at every epoch's end
            too).
        checkpoint_every: steps between two checkpoints (there is one at every epoch's end too).
        accept_changes: whether a resumed run takes other values of learning_rate, schedule,
            warmup_steps, weight_decay, clip_norm and num_epochs than it has had so far; its log
            then records them.
        patience: after how many epochs in a row without a better evaluation the run stops; None:
            it does not.
    """

    section: ClassVar[str] = "training"

    batch_size: int = setting(integer(1, 2**31 - 1), 128)
    learning_rate: float = setting(number("a finite number above 0", lambda value: value > 0), 1e-3)
    optimizer: str = setting(choice(["adam", "adamw", "lion", "sgd", "muon"]), "adam")
    schedule: str = setting(choice(["constant", "cosine", "linear"]), "constant")
    warmup_steps: int = setting(integer(0, 10**9), 0)
    weight_decay: float = setting(
        number("a finite number of at least 0", lambda value: value >= 0), 0.0
    )
    clip_norm: float | None = setting(
        number("a finite number above 0", lambda value: value > 0, optional=True), None
    )
    accumulate: int = setting(integer(1, 2**20), 1)
    average_decay: float = setting(number("a number of at least 0 and below 1", _is_share), 0.0)
    precision: str = setting(choice(["float32", "bfloat16"]), "float32")
    num_epochs: int = setting(integer(1, 10**9, changeable=True), 30)
    max_steps: int | None = setting(integer(1, 10**18, optional=True, changeable=True), None)
    seed: int = setting(integer(0, 2**32 - 1), 0)
    devices: int | None = setting(integer(1, 2**16, optional=True, changeable=True), None)
    log_every: int = setting(integer(1, 10**18, changeable=True), 100)
    checkpoint_every: int = setting(integer(1, 10**18, changeable=True), 500)
    accept_changes: bool = setting(flag(changeable=True), False)
    patience: int | None = setting(integer(1, 10**9, optional=True, changeable=True), None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight_decay and self.optimizer not in _WITH_WEIGHT_DECAY:
            raise ConfigError(
                f"{self.section}.weight_decay is {self.weight_decay}; with the optimizer "
                f"{self.optimizer} it must be 0.0 ({', '.join(_WITH_WEIGHT_DECAY)} take it)"
            )

    @property
    def dtype(self) -> DTypeLike | None:
        """The type that the networks compute in; None: their parameters'."""
        return None if self.precision == "float32" else jnp.dtype(self.precision)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VQVAETrainingConfig(TrainingConfig):
    """The protocol of the VQ-VAE that a prior is for, where there is no run of one yet."""

    section: ClassVar[str] = "vqvae_training"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorConfig(Section):
    """A prior over the codes of a VQ-VAE.

    Attributes:
        vqvae: the folder of the VQ-VAE's run. Where it holds none, one is trained there first, as
            the sections model and vqvae_training say; one that is not finished resumes.
        kind: name of the network.
        channels: C, numbers in a vector of features.
        dilations: dilations of the gated layers, for pixelcnn.
        num_layers: number of blocks, for transformer.
        num_heads: number of heads of the attention, for transformer.
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
