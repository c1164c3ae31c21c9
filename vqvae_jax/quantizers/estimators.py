"""Gradient estimators: the decoder's input, and how its gradient gets past the argmin.

Each is a function estimator(z, codes, key) of vectors [..., D], passed to a quantizer. Without a
key (evaluation) the value is bit-exactly the code. Estimators without random numbers are listed in
`DETERMINISTIC`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vqvae_jax.checks import check_at_least_zero
from vqvae_jax.quantizers.core import norm, unit

sg = jax.lax.stop_gradient


# estimator(z, codes, key or None) of vectors [..., D].
Estimator = Callable[[Array, Array, jax.Array | None], Array]


def straight_through(
    z: Float[Array, "*shape d"], codes: Float[Array, "*shape d"], key: jax.Array | None = None
) -> Float[Array, "*shape d"]:
    """The straight-through estimator (Bengio et al. 2013, arXiv:1308.3432): sg(e) + (z - sg(z)).

    Its value is bit-exactly the code; its gradient reaches z unchanged, and the code not at all.
    (The same gradient as z + sg(e - z), whose value rounds.)

    Args:
        z: the encoder's output [..., D].
        codes: the chosen codes [..., D].
        key: not used.

    Returns:
        [..., D].
    """
    return sg(codes) + (z - sg(z))


def rotation_trick(
    z: Float[Array, "*shape d"], codes: Float[Array, "*shape d"], key: jax.Array | None = None
) -> Float[Array, "*shape d"]:
    """The rotation trick (Fifty et al. 2024, arXiv:2410.06424, section 4).

        sg(|q| / |z|) [z - 2 w (w.z) + 2 v (u.z)],    u = z/|z|, v = q/|q|, w = (u + v)/|u + v|

    with u, v and w under sg.

    The value is bit-exactly the code q; the Jacobian is the rotation that takes z to q, times |q| /
    |z|, so that the angle between gradient and code at the decoder is the angle between gradient
    and z at the encoder. Nothing reaches the code. At z = 0, where there is no direction, the
    Jacobian is the identity; at u = -v, where the rotation's plane is arbitrary, it is the
    reflection that takes u to v.

    Args:
        z: the encoder's output [..., D].
        codes: the chosen codes [..., D].
        key: not used.

    Returns:
        [..., D].
    """
    z_norm, code_norm = norm(sg(z)), norm(sg(codes))
    u, v = unit(sg(z)), unit(sg(codes))
    # For opposite directions, only rounding is left of the sum, which has no direction.
    w = jnp.where(norm(u + v) > 1e-3, unit(u + v), 0)
    scale = jnp.where(z_norm > 0, code_norm / jnp.where(z_norm > 0, z_norm, 1), 1)

    def along(a: Array) -> Array:
        return jnp.sum(a * z, axis=-1, keepdims=True)

    turned = scale * (z - 2 * w * along(w) + 2 * v * along(u))
    carrier = jnp.where(z_norm > 0, turned, z)
    return sg(codes) + (carrier - sg(carrier))


def nsvq(
    z: Float[Array, "*shape d"], codes: Float[Array, "*shape d"], key: jax.Array | None = None
) -> Float[Array, "*shape d"]:
    """Noise substitution (Vali and Baeckstroem 2022, "NSVQ", IEEE Access 10, equation 4).

        z + |e - z| n / |n|,    n ~ N(0, I)

    In training the error keeps its length and gets a random direction; z and the code are moved by
    the gradient of that expression. Meant for codebook_cost = commitment_cost = 0.

    Args:
        z: the encoder's output [..., D].
        codes: the chosen codes [..., D].
        key: draws n. None: the straight-through estimator.

    Returns:
        [..., D].
    """
    if key is None:
        return straight_through(z, codes)
    direction = unit(jax.random.normal(key, z.shape, z.dtype))
    return z + norm(codes - z) * direction


def diveq(
    z: Float[Array, "*shape d"],
    codes: Float[Array, "*shape d"],
    key: jax.Array | None = None,
    *,
    sigma: float = 1e-3,
) -> Float[Array, "*shape d"]:
    """DiVeQ (Vali et al. 2025, arXiv:2509.26469).

        z + |e - z| sg((n + e - z) / |n + e - z|),    n ~ N(0, sigma^2 I)

    In training the error keeps its length, and its direction up to small noise; z and the code are
    moved by the gradient of that expression. Meant for codebook_cost = commitment_cost = 0.

    Args:
        z: the encoder's output [..., D].
        codes: the chosen codes [..., D].
        key: draws n. None: n = 0, and the value is bit-exactly the code.
        sigma: standard deviation of the noise, at least 0, set with functools.partial. Keep it
            small compared to the error: otherwise the values give the decoder information in
            training that the codes lack at evaluation.

    Returns:
        [..., D].

    Raises:
        ValueError: sigma is out of its range.
    """
    check_at_least_zero("sigma", sigma)
    error = sg(codes - z)
    if key is None:
        value = z + norm(codes - z) * unit(error)
        return sg(codes) + (value - sg(value))
    noise = sigma * jax.random.normal(key, z.shape, z.dtype)
    return z + norm(codes - z) * unit(noise + error)


DETERMINISTIC: tuple[Estimator, ...] = (straight_through, rotation_trick)
