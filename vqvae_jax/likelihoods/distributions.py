"""Distributions over the 256 values of a pixel, as pure functions of their parameters.

All are proper: the probabilities of the values 0 to 255 add up to 1. A pixel of several channels
has the parameters of each channel on the axis before the last, and its channels are independent
given these. Log-probabilities are in nats, computed in float32 or wider.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, UInt8

from vqvae_jax.checks import check_integer

NUM_VALUES = 256

# Limits of log(s) of a logistic distribution. exp(-15) is far narrower than the bin of a value.
# With exp(2) the two tails have 0.47 each; wider ones add nothing, and no gradient leads back: on
# pixels that are 0 or 255, training got stuck there.
_MIN_LOG_SCALE, _MAX_LOG_SCALE = -15.0, 2.0


@dataclasses.dataclass(frozen=True)
class PixelDistribution:
    """A family of distributions over the values of a pixel, whose channels are independent.

    Attributes:
        num_parameters: P, how many numbers select a member of the family, for a channel.
        log_prob: (parameters [..., P], x [...]) -> [...], the log-probability of integers x.
        log_probs: parameters [..., P] -> [..., 256], those of all values.
        sequential: whether a channel's distribution depends on the earlier channels.
    """

    num_parameters: int
    log_prob: Callable[[Array, Array], Array]
    log_probs: Callable[[Array], Array]

    sequential = False

    def size(self, channels: int) -> int:
        """Returns C P, the number of a pixel's parameters."""
        return channels * self.num_parameters

    def of_pixel(
        self, parameters: Float[Array, "*shape cp"], x: Integer[Array, "*shape c"]
    ) -> Float[Array, "*shape c"]:
        """Returns the log-probability of each channel: [..., C], in nats."""
        return self.log_prob(self._of_channels(parameters), x)

    def of_channel(
        self, parameters: Float[Array, "*shape cp"], x: Integer[Array, "*shape c"], channel: int
    ) -> Float[Array, "*shape 256"]:
        """Returns the log-probabilities of all values of a channel; x is not looked at."""
        del x
        return self.log_probs(self._of_channels(parameters)[..., channel, :])

    def of_channels(self, parameters: Float[Array, "*shape cp"]) -> Float[Array, "*shape c 256"]:
        """Returns the log-probabilities of all values of all channels."""
        return self.log_probs(self._of_channels(parameters))

    def _of_channels(self, parameters: Float[Array, "*shape cp"]) -> Float[Array, "*shape c p"]:
        *shape, total = parameters.shape
        return parameters.reshape(*shape, total // self.num_parameters, self.num_parameters)


def categorical_log_prob(
    logits: Float[Array, "*shape 256"], x: Integer[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Returns log softmax(logits)[x].

    Args:
        logits: [..., 256], finite.
        x: integers [...] in [0, 255].

    Returns:
        [...], in nats.
    """
    logits = _wide(logits)
    # Compares with all values instead of indexing, so that the gradient is not a scatter.
    chosen = _values(logits.ndim) == x.astype(jnp.int32)[..., None]
    return jnp.sum(jnp.where(chosen, logits, 0), axis=-1) - jax.nn.logsumexp(logits, axis=-1)


def categorical_log_probs(logits: Float[Array, "*shape 256"]) -> Float[Array, "*shape 256"]:
    """Returns log softmax(logits): the log-probabilities of all values, in nats.

    Args:
        logits: [..., 256], finite.
    """
    return jax.nn.log_softmax(_wide(logits), axis=-1)


def logistic_mixture_log_prob(
    parameters: Float[Array, "*shape p"], x: Integer[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """The discretized mixture of M logistic distributions (Salimans et al. 2017, equations 1 to 3).

        p(x) = sum_m pi_m (sigma((x + 0.5 - mu_m) / s_m) - sigma((x - 0.5 - mu_m) / s_m))

    of "PixelCNN++" (arXiv:1701.05517), where +-0.5 is half of the distance between two values; -0.5
    becomes minus infinity at x = 0, and 0.5 infinity at x = 255, so the edges take the tails.

    Args:
        parameters: [..., 3 M]: the logits of pi, then the means mu, then log(s), M of each. Means
            and scales are on values scaled to [-1, 1], x / 127.5 - 1. log(s) is clipped to
            [-15, 2].
        x: integers [...] in [0, 255].

    Returns:
        [...], in nats; finite, as its gradients are, for all parameters below 1e30.
    """
    return _logistic_mixture(_wide(parameters), x.astype(jnp.int32))


def logistic_mixture_log_probs(parameters: Float[Array, "*shape p"]) -> Float[Array, "*shape 256"]:
    """Returns `logistic_mixture_log_prob` for all values.

    Args:
        parameters: [..., 3 M], as there.
    """
    return _logistic_mixture(_wide(parameters)[..., None, :], _values(parameters.ndim))


def _logistic_mixture(
    parameters: Float[Array, "*shape p"], x: Integer[Array, "*others"]
) -> Float[Array, "*both"]:
    """Returns the log-probabilities of x, which has the parameters' axes without the last."""
    logits, means, log_scales = jnp.split(parameters, 3, axis=-1)
    scales_inverse = jnp.exp(-jnp.clip(log_scales, _MIN_LOG_SCALE, _MAX_LOG_SCALE))
    # The bin of x ends at `below` and `above`: (2 x - 255 -+ 1) / 255 on the scale of [-1, 1].
    x = x[..., None]
    below = ((2 * x - 256) / 255 - means) * scales_inverse
    above = ((2 * x - 254) / 255 - means) * scales_inverse
    # sigma(above) - sigma(below) = sigma(above) sigma(-below) (1 - exp(below - above)): no factor
    # is a difference of two almost equal numbers. At the edges only the tail's factor is left.
    inner = (x > 0) & (x < NUM_VALUES - 1)
    log_bins = (
        jnp.where(x < NUM_VALUES - 1, _log_sigmoid(above), 0)
        + jnp.where(x > 0, _log_sigmoid(-below), 0)
        + jnp.where(inner, jnp.log(-jnp.expm1(-2 / 255 * scales_inverse)), 0)
    )
    return jax.nn.logsumexp(jax.nn.log_softmax(logits, axis=-1) + log_bins, axis=-1)


def _log_sigmoid(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes `jax.nn.log_sigmoid` to an absolute 1e-7, at a fraction of its cost on CPUs."""
    return jnp.minimum(z, 0) - jnp.log(1 + jnp.exp(-jnp.abs(z)))


CATEGORICAL = PixelDistribution(NUM_VALUES, categorical_log_prob, categorical_log_probs)


def logistic_mixture(num_mixtures: int) -> PixelDistribution:
    """Returns the family of discretized mixtures of `num_mixtures` logistic distributions.

    Raises:
        ValueError: num_mixtures is not an integer of at least 1.
    """
    num_mixtures = check_integer("num_mixtures", num_mixtures)
    return PixelDistribution(
        3 * num_mixtures, logistic_mixture_log_prob, logistic_mixture_log_probs
    )


def sample_values(log_probs: Float[Array, "*shape 256"], key: jax.Array) -> UInt8[Array, "*shape"]:
    """Draws a value from each table of log-probabilities [..., 256]: uint8 [...]."""
    return jax.random.categorical(key, log_probs, axis=-1).astype(jnp.uint8)


def mean_value(log_probs: Float[Array, "*shape 256"]) -> Float[Array, "*shape"]:
    """Returns the mean of each table of log-probabilities [..., 256]: [...], in [0, 255]."""
    return jnp.sum(jnp.exp(log_probs) * _values(log_probs.ndim).astype(log_probs.dtype), axis=-1)


def _values(ndim: int) -> Integer[Array, "*ones 256"]:
    """Returns 0 to 255, on the last of `ndim` axes."""
    return jnp.arange(NUM_VALUES).reshape((1,) * (ndim - 1) + (NUM_VALUES,))


def _wide(parameters: Float[Array, "*shape p"]) -> Float[Array, "*shape p"]:
    return parameters.astype(np.promote_types(parameters.dtype, np.float32))
