"""Padding of 1-D convolutions: the values beyond the ends of a signal."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge"}


@dataclasses.dataclass(frozen=True)
class Padding:
    """How far a signal is extended at each end, and by what.

    Attributes:
        left: positions added at the start, at least 0.
        right: positions added at the end, at least 0.
        mode: what is added: zeros, reflect (the signal mirrored at its first and its last value),
            or replicate (these values).
        fill: whether so much more is added at the end that the last window is full; else the
            positions that no window reaches are dropped.
    """

    left: int = 0
    right: int = 0
    mode: str = "zeros"
    fill: bool = False

    def __post_init__(self):
        if self.mode not in _MODES:
            raise ValueError(f"mode is {self.mode!r}; it must be one of {', '.join(_MODES)}")

    def __call__(
        self, x: Float[Array, "b t c"], reach: int, stride: int
    ) -> Float[Array, "b t_out c"]:
        """Extends a signal [B, T, C] for windows that reach over so many positions."""
        right = self.right
        if self.fill:
            right += -(x.shape[1] + self.left + right - reach) % stride
        return extended(x, self.left, right, self.mode)


def causal(reach: int, stride: int = 1, mode: str = "zeros") -> Padding:
    """Returns the padding with which output n depends on the inputs before s (n + 1) alone.

    Args:
        reach: positions that a window reaches over, (k - 1) d + 1.
        stride: s. Of T positions there become ceil(T / s).
        mode: see `Padding`.

    Raises:
        ValueError: the windows leave positions out.
    """
    return Padding(_overlap(reach, stride), 0, mode, fill=True)


def centered(reach: int, stride: int = 1, mode: str = "zeros") -> Padding:
    """Returns the padding with as much at the start as at the end, or one more at the start.

    Args, Raises: as for `causal`.
    """
    total = _overlap(reach, stride)
    return Padding(total - total // 2, total // 2, mode, fill=True)


def _overlap(reach: int, stride: int) -> int:
    if reach < stride:
        raise ValueError(f"a window reaches over {reach}; it must be at least the stride, {stride}")
    return reach - stride


def extended(
    x: Float[Array, "b t c"], left: int, right: int, mode: str = "zeros"
) -> Float[Array, "b t_out c"]:
    """Extends signals [B, T, C] at both ends; see `Padding`.

    What is too short to be mirrored is lengthened by zeros first, and cut off again afterwards.
    """
    if left == right == 0:
        return x
    lacking = max(left, right) - x.shape[1] + 1 if mode == "reflect" else 0
    if lacking > 0:
        longer = jnp.pad(x, ((0, 0), (0, lacking), (0, 0)))
        return extended(longer, left, right, mode)[:, : left + x.shape[1] + right]
    return jnp.pad(x, ((0, 0), (left, right), (0, 0)), _MODES[mode])
