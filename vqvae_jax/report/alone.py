"""Codes decoded by themselves, to show what each stands for."""

from collections.abc import Callable, Sequence

import numpy as np

_MOST_ROWS = 9  # of a map of one code: what lies further away hardly changes its middle


def alone(
    decode: Callable[[np.ndarray], np.ndarray],
    codes: Sequence[int] | np.ndarray,
    shape: tuple[int, int],
    codebooks: int,
) -> np.ndarray:
    """Returns the patch in the middle of what a map full of one code gives, for each code.

    Args:
        decode: maps codes int32 [B, h, w, n] to images [B, H, W, C].
        codes: codes of the first codebook [M]; the other codebooks add nothing.
        shape: h and w of the maps that the decoder knows.
        codebooks: n, at least 1.

    Returns:
        [M, H / h, W / w, C].
    """
    rows, columns = (min(size, _MOST_ROWS) for size in shape)
    maps = np.full((len(codes), rows, columns, codebooks), -1, np.int32)
    maps[..., 0] = np.asarray(codes)[:, None, None]
    images = decode(maps)
    height, width = images.shape[1] // rows, images.shape[2] // columns
    top, left = rows // 2 * height, columns // 2 * width
    return images[:, top : top + height, left : left + width]
