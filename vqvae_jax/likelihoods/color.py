"""Pixels whose channels depend on each other: the logistic mixture of PixelCNN++."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from vqvae_jax.checks import check_integer
from vqvae_jax.likelihoods.distributions import (
    NUM_VALUES,
    logistic_mixture_log_prob,
    logistic_mixture_log_probs,
)


@dataclasses.dataclass(frozen=True)
class ColorMixture:
    """Discretized mixtures of logistic distributions over all channels of a pixel.

    As in PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517, equation 3), where a component's mean
    of a channel depends on the pixel's earlier channels:

        mu_c(x) = mu_c + sum over earlier channels d of a_cd x_d

    with x scaled to [-1, 1] and a in [-1, 1]. So p(x_c | x_<c) is again a mixture of logistic
    distributions, in which a component's weight is proportional to its probability given x_<c.

    Its parameters for a pixel of C channels, [..., P]: M logits; then for each channel M means, M
    log-scales, and for each earlier channel M numbers whose tanh is a.

    Args:
        num_mixtures: M, components of a mixture, at least 1.

    Raises:
        ValueError: num_mixtures is out of its range.
    """

    num_mixtures: int = 10

    sequential = True

    def __post_init__(self) -> None:
        check_integer("num_mixtures", self.num_mixtures)

    def size(self, channels: int) -> int:
        """Returns P, the number of a pixel's parameters."""
        return self.num_mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)

    def of_pixel(
        self, parameters: Float[Array, "*shape p"], x: Integer[Array, "*shape c"]
    ) -> Float[Array, "*shape c"]:
        """Returns log p of each channel given the earlier ones: [..., C], in nats."""
        of_channels = self._of_channels(parameters, x)
        return jnp.stack(
            [logistic_mixture_log_prob(own, x[..., c]) for c, own in enumerate(of_channels)], -1
        )

    def of_channel(
        self, parameters: Float[Array, "*shape p"], x: Integer[Array, "*shape c"], channel: int
    ) -> Float[Array, "*shape 256"]:
        """Returns the log-probabilities of all values of a channel, given x's earlier ones."""
        return logistic_mixture_log_probs(self._of_channels(parameters, x[..., : channel + 1])[-1])

    def _of_channels(
        self, parameters: Float[Array, "*shape p"], x: Integer[Array, "*shape c"]
    ) -> list[Float[Array, "*shape p_of_one"]]:
        """Returns the parameters of each channel's mixture, for `logistic_mixture_log_prob`."""
        count = self.num_mixtures
        wide = parameters.astype(np.promote_types(parameters.dtype, np.float32))
        parts = iter(jnp.split(wide, wide.shape[-1] // count, axis=-1))
        scaled = (2 * x.astype(wide.dtype) - (NUM_VALUES - 1)) / (NUM_VALUES - 1)
        logits, found = next(parts), []
        for channel in range(x.shape[-1]):
            mean, log_scale = next(parts), next(parts)
            for earlier in range(channel):
                mean = mean + jnp.tanh(next(parts)) * scaled[..., earlier, None]
            found.append(jnp.concatenate([logits, mean, log_scale], axis=-1))
            # Each component by itself, as a mixture of one.
            alone = jnp.stack([jnp.zeros_like(mean), mean, log_scale], axis=-1)
            values = jnp.broadcast_to(x[..., channel, None], mean.shape)
            logits = jax.nn.log_softmax(logits) + logistic_mixture_log_prob(alone, values)
        return found
