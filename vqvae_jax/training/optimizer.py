"""The optimizer that the settings of a run describe, made of optax's parts."""

from typing import Any

import jax
import optax

from vqvae_jax.training.schedule import Schedule
from vqvae_jax.training.settings import TrainingConfig

_MOMENTUM = 0.9

# Each optimizer's transformation of the gradient, before weight decay and step size.
_DIRECTIONS = {
    "adam": optax.scale_by_adam,
    "adamw": optax.scale_by_adam,
    "lion": optax.scale_by_lion,
    "sgd": lambda: optax.trace(_MOMENTUM),
}


def optimization(settings: TrainingConfig, num_examples: int) -> dict[str, Any]:
    """Returns the arguments of a `ModelTask` that say how it learns.

    Args:
        settings: the protocol.
        num_examples: how many an epoch visits.
    """
    steps_per_epoch = Schedule(settings, num_examples).steps_per_epoch
    return {
        "optimizer": build_optimizer(settings, steps_per_epoch),
        "accumulate": settings.accumulate,
        "average_decay": settings.average_decay,
    }


def build_optimizer(settings: TrainingConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Chains clipping, the optimizer, weight decay and the step size's schedule, in this order.

    Args:
        settings: the protocol.
        steps_per_epoch: steps that an epoch takes.
    """
    rate = schedule_of(settings, steps_per_epoch)
    clip = optax.identity()
    if settings.clip_norm is not None:
        clip = optax.clip_by_global_norm(settings.clip_norm)
    if settings.optimizer == "muon":
        muon = optax.contrib.muon(
            rate,
            weight_decay=settings.weight_decay,
            weight_decay_mask=decayed,
            muon_weight_dimension_numbers=_orthogonalized,
        )
        return optax.chain(clip, muon)
    decay = optax.identity()
    if settings.weight_decay > 0:
        decay = optax.add_decayed_weights(settings.weight_decay, decayed)
    direction = _DIRECTIONS[settings.optimizer]()
    return optax.chain(clip, direction, decay, optax.scale_by_learning_rate(rate))


def schedule_of(settings: TrainingConfig, steps_per_epoch: int) -> optax.Schedule:
    """Returns the step size per step: warm-up from 0, then constant or down to 0 at the end.

    Args:
        settings: the protocol.
        steps_per_epoch: steps that an epoch takes.
    """
    peak, warmup = settings.learning_rate, settings.warmup_steps
    left = max(1, settings.num_epochs * steps_per_epoch - warmup)
    schedules = {
        "constant": optax.constant_schedule(peak),
        "cosine": optax.cosine_decay_schedule(peak, left),
        "linear": optax.linear_schedule(peak, 0.0, left),
    }
    after = schedules[settings.schedule]
    if warmup == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def decayed(params: Any) -> Any:
    """Marks the parameters that weight decay shrinks: matrices and kernels of layers.

    Biases, scales and a quantizer's codes are not decayed.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.ndim > 1 and "quantizer" not in jax.tree_util.keystr(path), params
    )


def _orthogonalized(params: Any) -> Any:
    """Returns how Muon treats parameters: those of `decayed` as matrices; None: by Adam."""

    def dimensions(is_matrix: bool, leaf: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        if not is_matrix:
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), (leaf.ndim - 1,))

    return jax.tree.map(dimensions, decayed(params), params)
