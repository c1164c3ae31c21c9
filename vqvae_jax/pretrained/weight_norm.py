"""Weight normalization, which released audio models keep apart: w = g v / |v|."""

from collections.abc import Mapping

import numpy as np

# The names that g and v have in place of "weight", in PyTorch's older and its newer form.
OLD = ("weight_g", "weight_v")
NEW = ("parametrizations.weight.original0", "parametrizations.weight.original1")


def folded(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a state dict with w in place of each g and v, in whichever form.

    The norm is over all axes but the first.

    Raises:
        ValueError: a g has no v or the wrong shape, or a v has no g.
    """
    plain = dict(state)
    for name in state:
        for own, other in (*(form for form in (OLD, NEW)), *(form[::-1] for form in (OLD, NEW))):
            if name.endswith("." + own) and name.removesuffix(own) + other not in state:
                raise ValueError(f"the state dict has no {name.removesuffix(own) + other}")
        for length, direction in (OLD, NEW):
            if name.endswith("." + length):
                layer = name.removesuffix(length)
                g, v = plain.pop(name), plain.pop(layer + direction)
                expected = (*v.shape[:1], *(1,) * (v.ndim - 1))
                if g.shape != expected:
                    raise ValueError(f"{name} has shape {g.shape}; it must be {expected}")
                plain[layer + "weight"] = (g * (v / _lengths(v))).astype(v.dtype)
    return plain


def unfolded(state: Mapping[str, np.ndarray], form: tuple[str, str] = NEW) -> dict[str, np.ndarray]:
    """Returns a state dict with g = |w| and v = w in place of each w with three axes."""
    parted = {}
    for name, array in state.items():
        if name.endswith(".weight") and array.ndim == 3:
            layer = name.removesuffix("weight")
            parted[layer + form[0]] = _lengths(array).astype(array.dtype)
            parted[layer + form[1]] = array
        else:
            parted[name] = array
    return parted


def _lengths(v: np.ndarray) -> np.ndarray:
    squares = np.sum(np.square(v, dtype=np.float64), axis=tuple(range(1, v.ndim)), keepdims=True)
    return np.maximum(np.sqrt(squares), np.finfo(np.float64).tiny)
