"""The training loss of priors: the likelihood of code maps, with labels dropped at times."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Key

from vqvae_jax.checks import is_finite
from vqvae_jax.means import mean
from vqvae_jax.precision import wide
from vqvae_jax.priors.base import Labels, Prior
from vqvae_jax.tables import as_int32


def nll(
    prior: Prior,
    codes: Integer[Array, " b *codes"] | Integer[np.ndarray, " b *codes"],
    labels: Labels | None = None,
    *,
    keys: Key[Array, " b"] | None = None,
) -> Float[Array, ""]:
    """Returns the mean negative log-likelihood of code maps, in nats per code.

        nll = -mean(log p(code | the earlier codes of its map, label)),    0 without maps

    Args:
        prior: the distribution.
        codes: [B, *spatial] or [B, *spatial, n], integers in [0, K). The result is NaN if one is
            not.
        labels: integers [B] in [0, num_classes), -1 for no class; None: all -1.
        keys: a key per map, for training; None: evaluation.

    Raises:
        ValueError: codes or labels have the wrong shape or type.
    """
    codes = as_int32("codes", codes)
    log_p = jax.nn.log_softmax(wide(prior(codes, labels, keys=keys)))
    inside = jnp.where(codes < 0, prior.num_embeddings, codes)
    return -mean(jnp.take_along_axis(log_p, inside[..., None], axis=-1, mode="fill"))


def drop_labels(labels: Labels, rate: float, key: jax.Array) -> Int[Array, " b"]:
    """Replaces each label with probability `rate` by -1, no class.

    Trained with some labels dropped, a prior knows the distributions with and without a class,
    which classifier-free guidance needs (Ho & Salimans 2022, arXiv:2207.12598, algorithm 1).

    Args:
        labels: integers [B].
        rate: in [0, 1]; 0.1 is usual.
        key: draws which labels are dropped.

    Raises:
        ValueError: the labels are not integers, or the rate is out of its range.
    """
    if not (is_finite(rate) and 0 <= rate <= 1):
        raise ValueError(f"rate is {rate}; it must be in [0, 1]")
    integers = as_int32("labels", labels)
    return jnp.where(jax.random.bernoulli(key, rate, integers.shape), -1, integers)
