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
        name: the data set: mnist, fashion_mnist, kmnist, or any name for your own archives;
            mnist_sample for the embedded images.
        archives: a folder with its four IDX files; None to look in the usual places.
        data_dir: TFDS's folder for prepared data; None for TFDS_DATA_DIR or ~/tensorflow_datasets.
        allow_sample: whether 5,000 embedded images may stand in for MNIST if it cannot be obtained.
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
        quantizer: name of the quantizer. Settings after num_embeddings that it does not take must
            keep their defaults.
        embedding_dim: D, the size of a latent vector.
        num_embeddings: K, codes in each codebook.
        commitment_cost: beta, the weight of the commitment loss.
        estimator: estimator of the gradient. With nsvq and diveq, vq has neither codebook nor
            commitment loss.
        revival_threshold: fraction of its fair share below which a code is replaced; 0: never.
        kmeans_init: whether the codes begin as k-means centers of the first batch.
        levels: number of levels of each dimension, for fsq.
        num_quantizers: number of quantizers in a row, for residual and grouped_residual.
        codebook_dim: size of a code after the projection, for the projected quantizers.
        temperature: temperature of the distribution over codes, for sampled, entropy, gumbel, lfq
            and bsq.
        entropy_cost: weight of the entropy loss, for entropy, lfq and bsq.
        head: name of the distribution of pixels; none: the decoder's output is the image, and the
            loss is the squared error.
        head_dim: channels of the decoder's features, for a head, and of the autoregressive head's
            layers.
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
        optimizer: name of the optimizer: adam, adamw, lion, sgd (momentum 0.9) or muon (with Adam
            for parameters that are not matrices).
        learning_rate: peak step size.
        schedule: how the step size changes: constant, or cosine or linear, from learning_rate to 0
            at the end of num_epochs, which a resumed run may then not change.
        warmup_steps: steps over which the step size first rises from 0 to learning_rate.
        weight_decay: fraction of a weight, times the step size, that a step subtracts from it, for
            adamw, lion and muon; not from biases, scales and codes.
        clip_norm: global norm to which the gradient is clipped; None: no clipping.
        accumulate: how many parts a batch is computed in, one after the other, to use less memory;
            the step is that of the whole batch.
        average_decay: decay of the moving average of the weights, which evaluations use and
            load_model returns; 0: the weights themselves.
        precision: type that the networks compute in: float32 or bfloat16. Parameters, quantizers,
            losses and the optimizer's state are float32.
        num_epochs: passes over the training images.
        max_steps: step at which to stop even if epochs are left; None for all epochs.
        seed: seed of the initial values and of the order of the images.
        devices: how many devices share a batch (GPUs, TPU cores, or CPU cores); None for all. The
            largest number of them that divides the batch is used.
        log_every: steps between two lines of training metrics (there is one at every epoch's end
            too).
        checkpoint_every: steps between two checkpoints (there is one at every epoch's end too).
        accept_changes: whether a resumed run may change learning_rate, schedule, warmup_steps,
            weight_decay, clip_norm and num_epochs; its log then records them.
        patience: number of epochs in a row without a better evaluation after which the run stops;
            None: never.
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
        """The type that the networks compute in; None: that of their parameters."""
        return None if self.precision == "float32" else jnp.dtype(self.precision)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VQVAETrainingConfig(TrainingConfig):
    """The protocol of a prior's VQ-VAE, if there is no run of one yet."""

    section: ClassVar[str] = "vqvae_training"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorConfig(Section):
    """A prior over the codes of a VQ-VAE.

    Attributes:
        vqvae: the folder of the VQ-VAE's run. If it holds none, one is trained there first, as the
            sections model and vqvae_training describe; an unfinished one resumes.
        kind: name of the network.
        channels: C, the size of a feature vector.
        dilations: dilations of the gated layers, for pixelcnn.
        num_layers: number of blocks, for transformer.
        num_heads: number of heads of the attention, for transformer.
        dropout: dropout rate in training, for transformer.
        conditional: whether the prior is conditioned on the images' labels.
        label_dropout: fraction of the labels that training drops, for guidance.
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
                f"prior.label_dropout is {self.label_dropout}; if prior.conditional is False it "
                "must be 0.0"
            )
