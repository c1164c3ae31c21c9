"""The settings of training and priors that are not components."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import DTypeLike

from vqvae_jax.checks import (
    check_above_zero,
    check_at_least_zero,
    check_choice,
    check_flag,
    check_integer,
    check_items,
    check_path,
    check_share,
)
from vqvae_jax.metrics import Metric
from vqvae_jax.training.writers import LogWriter

PARTS = ("encoder", "quantizer", "decoder", "likelihood")
_WITH_WEIGHT_DECAY = ("adamw", "lion", "muon")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The protocol.

    Args:
        batch_size: images per step, at least 1; the last batch of an epoch may be smaller.
        optimizer: name of the optimizer: adam, adamw, lion, sgd (momentum 0.9) or muon (with Adam
            for parameters that are not matrices).
        learning_rate: peak step size, above 0.
        schedule: how the step size changes: constant, or cosine or linear, from learning_rate to 0
            at the end of num_epochs, which a resumed run may then not change.
        warmup_steps: steps over which the step size first rises from 0 to learning_rate.
        weight_decay: fraction of a weight, times the step size, that a step subtracts from it, for
            adamw, lion and muon; not from biases, scales and codes. At least 0.
        clip_norm: global norm to which the gradient is clipped, above 0; None: no clipping.
        accumulate: how many parts a batch is computed in, one after the other, to use less memory;
            the step is that of the whole batch. At least 1.
        average_decay: decay of the moving average of the weights, which evaluations use and
            load_model returns, below 1; 0: the weights themselves.
        precision: type that the networks compute in: float32 or bfloat16. Parameters, quantizers,
            losses and the optimizer's state are float32.
        num_epochs: passes over the training images, at least 1.
        max_steps: step at which to stop even if epochs are left; None for all epochs.
        seed: seed of the initial values and of the order of the images, from 0 to 2^32 - 1.
        devices: how many devices share a batch (GPUs, TPU cores, or CPU cores); None for all. The
            largest number of them that divides the batch is used.
        workers: processes that read examples ahead, where that is more than a copy, such as for
            image files; 0: threads of the run's own process do.
        log_every: steps between two lines of training metrics, at least 1 (there is one at every
            evaluation too).
        checkpoint_every: steps between two checkpoints, at least 1 (there is one at every
            evaluation too).
        evaluate_every: epochs between two evaluations of the held-out examples, at least 1.
        accept_changes: whether a resumed run may change learning_rate, schedule, warmup_steps,
            weight_decay, clip_norm and num_epochs; its log then records them.
        patience: number of evaluations in a row without a better one after which the run stops;
            None: never.

    Raises:
        ValueError: an argument out of its range.
    """

    batch_size: int = 128
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    schedule: str = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    average_decay: float = 0.0
    precision: str = "float32"
    num_epochs: int = 30
    max_steps: int | None = None
    seed: int = 0
    devices: int | None = None
    workers: int = 0
    log_every: int = 100
    checkpoint_every: int = 500
    evaluate_every: int = 1
    accept_changes: bool = False
    patience: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("batch_size", 1, 2**31 - 1),
            ("warmup_steps", 0, 10**9),
            ("accumulate", 1, 2**20),
            ("num_epochs", 1, 10**9),
            ("seed", 0, 2**32 - 1),
            ("workers", 0, 1000),
            ("log_every", 1, 10**18),
            ("checkpoint_every", 1, 10**18),
            ("evaluate_every", 1, 10**9),
        ):
            check_integer(name, getattr(self, name), low, high)
        for name in ("max_steps", "devices", "patience"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1, 10**18)
        check_above_zero("learning_rate", self.learning_rate)
        if self.clip_norm is not None:
            check_above_zero("clip_norm", self.clip_norm)
        check_at_least_zero("weight_decay", self.weight_decay)
        check_share("average_decay", self.average_decay)
        check_choice("optimizer", self.optimizer, ("adam", "adamw", "lion", "sgd", "muon"))
        check_choice("schedule", self.schedule, ("constant", "cosine", "linear"))
        check_choice("precision", self.precision, ("float32", "bfloat16"))
        check_flag("accept_changes", self.accept_changes)
        if self.weight_decay and self.optimizer not in _WITH_WEIGHT_DECAY:
            raise ValueError(
                f"weight_decay is {self.weight_decay}; with the optimizer "
                f"{self.optimizer} it must be 0.0 ({', '.join(_WITH_WEIGHT_DECAY)} take it)"
            )

    @property
    def dtype(self) -> DTypeLike | None:
        """The type that the networks compute in; None: that of their parameters."""
        return None if self.precision == "float32" else jnp.dtype(self.precision)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """The evaluations of a tokenizer.

    Args:
        metrics: metrics of held-out examples, beside those that there always are: PSNR and SSIM of
            images, SISDR and MelDistance of audio.

    Raises:
        ValueError: they are none.
    """

    metrics: Sequence[Metric] = ()

    def __post_init__(self) -> None:
        check_items("metrics", self.metrics, Metric)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogConfig:
    """The log of a run.

    Args:
        writers: what it is written to, beside metrics.jsonl: TensorBoard, Wandb.

    Raises:
        ValueError: they are none.
    """

    writers: Sequence[LogWriter]

    def __post_init__(self) -> None:
        check_items("writers", self.writers, LogWriter)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartConfig:
    """Where a tokenizer's weights come from, and which of them stay as they are.

    Args:
        init_from: what `from_pretrained` takes, such as the folder of a run or of an exported
            model, whose weights the run starts from; None: random ones.
        init_parts: the parts that start from it, separated by commas.
        frozen: the parts that do not learn, separated by commas.

    Raises:
        ValueError: an argument out of its range.
    """

    init_from: str | None = None
    init_parts: str = ",".join(PARTS)
    frozen: str = ""

    def __post_init__(self) -> None:
        if self.init_from is not None:
            check_path("init_from", self.init_from)
        if set(parts_of("frozen", self.frozen)) >= {"encoder", "quantizer", "decoder"}:
            raise ValueError(f"frozen is {self.frozen}; it must leave a part that learns")
        parts_of("init_parts", self.init_parts)


def parts_of(name: str, given: str) -> list[str]:
    """Returns the parts of a tokenizer that a setting names.

    Raises:
        ValueError: they are not parts of a tokenizer, separated by commas.
    """
    parts = [part.strip() for part in given.split(",")] if given else []
    if not set(parts) <= {*PARTS}:
        raise ValueError(f"{name} is {given!r}; it must be of {', '.join(PARTS)}, with commas")
    return parts


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """A prior over the codes of a VQ-VAE, beside the network.

    Args:
        vqvae: the folder of the VQ-VAE's run. If it holds none, one is trained there first, as the
            sections model and vqvae_training describe; an unfinished one resumes.
        conditional: whether the prior is conditioned on the images' labels.
        label_dropout: fraction of the labels that training drops, for guidance, below 1.

    Raises:
        ValueError: an argument out of its range.
    """

    vqvae: str
    conditional: bool = False
    label_dropout: float = 0.0

    def __post_init__(self) -> None:
        check_path("vqvae", self.vqvae)
        check_flag("conditional", self.conditional)
        check_share("label_dropout", self.label_dropout)
        if self.label_dropout and not self.conditional:
            raise ValueError(
                f"label_dropout is {self.label_dropout}; if conditional is False it must be 0.0"
            )
