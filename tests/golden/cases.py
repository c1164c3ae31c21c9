"""The models that the golden values are of, and their weights and batches: the same for both sides.

Everything is drawn from `RandomState`, whose stream is frozen, so that only the results are stored.
"""

import dataclasses

import numpy as np

ADAM_STEPS = 20


@dataclasses.dataclass(frozen=True)
class Case:
    """One model and the shape of its batches."""

    name: str
    shape: tuple[int, int, int, int]
    embedding_dim: int
    num_embeddings: int
    data_variance: float = 0.0949304
    commitment_cost: float = 0.25

    @property
    def arguments(self) -> tuple[int, int, int, float, float]:
        """Returns the arguments of both constructors, in their order."""
        return (
            self.shape[3],
            self.embedding_dim,
            self.num_embeddings,
            self.data_variance,
            self.commitment_cost,
        )


CASES = [
    Case("mnist", (4, 28, 28, 1), 16, 128),
    Case("color_32x32_k512_d64", (2, 32, 32, 3), 64, 512),
    Case("odd_20x12", (3, 20, 12, 1), 16, 128, commitment_cost=0.6),
]


def state_dict(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights U(+-3 / sqrt(fan_in)), and codes U(+-1): so that many codes are used."""
    random = np.random.RandomState(0)
    weights = {}
    for name, shape in sorted(shapes.items()):
        bound = 1.0 if "embeddings" in name else 3 * np.prod(shape[1:]) ** -0.5
        weights[name] = (bound * (2 * random.rand(*shape) - 1)).astype(np.float32)
        if name.endswith("bias"):
            weights[name] *= 0.1 / bound
    return weights


def batch(case: Case, step: int) -> np.ndarray:
    """Images [B, H, W, C] in [-0.5, 0.5]: random blobs, the same in every channel up to a shift."""
    random = np.random.RandomState(1000 + step)
    _, height, width, channels = case.shape
    rows, columns = np.mgrid[0:height, 0:width]
    images = np.zeros(case.shape)
    for image in images:
        for _ in range(6):
            row, column, size = random.rand(3) * [height, width, 4]
            blob = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (1 + size) ** 2)
            for channel in range(channels):
                image[..., channel] += np.roll(blob, channel, axis=1)
    return (np.clip(images, 0, 1) - 0.5).astype(np.float32)
