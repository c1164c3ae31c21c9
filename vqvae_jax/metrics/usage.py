"""How often each code of a codebook of any size is used, in a few numbers."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Int


@dataclasses.dataclass(frozen=True)
class Usage:
    """How often each of K values, such as the codes of a codebook, occurs in an evaluation.

    Attributes:
        size: K, at least 1.
        used: how many of them occur.
        covered: the occurrences of the most frequent value, of the 4, 16, 64, ... most frequent,
            and of all together; see `ranks`.
        counts: the occurrences of each of the most frequent values, most frequent first.
    """

    size: int
    used: int
    covered: tuple[int, ...]
    counts: dict[int, int]

    @classmethod
    def of(cls, counts: Int[np.ndarray, " k"], most: int) -> "Usage":
        """Returns the usage of values that occur so often; of the `most` frequent by themselves."""
        order = np.argsort(-counts, kind="stable")
        used = int(np.count_nonzero(counts))
        ends = np.array(ranks(len(counts))) - 1
        frequent = order[: min(most, used)]
        return cls(
            size=len(counts),
            used=used,
            covered=tuple(np.cumsum(counts[order], dtype=np.int64)[ends].tolist()),
            counts=dict(zip(frequent.tolist(), counts[frequent].tolist(), strict=True)),
        )

    @classmethod
    def from_json(cls, given: Any) -> "Usage":
        """Inverts `to_json`.

        Raises:
            ValueError, TypeError, KeyError, OverflowError: it is not from there.
        """
        size, used = int(given["size"]), int(given["used"])
        covered = tuple(int(number) for number in given["covered"])
        if size < 1 or len(covered) != len(ranks(size)):
            raise ValueError(f"size is {size} and covered has {len(covered)} numbers")
        return cls(size, used, covered, {int(value): int(n) for value, n in given["counts"]})

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values."""
        return dataclasses.asdict(self) | {"counts": [*self.counts.items()]}

    @property
    def tokens(self) -> int:
        """How often all values occur together."""
        return self.covered[-1]

    def share(self, value: int) -> float:
        """Returns a value's part of all occurrences; 0 if it is not among `counts`."""
        return self.counts.get(value, 0) / max(1, self.tokens)


def ranks(size: int) -> list[int]:
    """Returns 1, 4, 16, 64, ... as long as they are below `size`, and `size`."""
    found = [1]
    while found[-1] < size:
        found.append(min(4 * found[-1], size))
    return found
