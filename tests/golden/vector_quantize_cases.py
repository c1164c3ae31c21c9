"""The modules of vector-quantize-pytorch that golden values are of, and the batches they take."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Case:
    """One module.

    Attributes:
        kind: the name of its class.
        config: the arguments of its constructor.
        dim: the size of a vector.
        learning_rate: of plain SGD on its parameters by its loss; 0 for none. (Moving averages
            learn in any case.)
    """

    name: str
    kind: str
    config: dict[str, Any]
    dim: int
    learning_rate: float = 0.0

    @property
    def learns_averages(self) -> bool:
        """Whether the module's averages have an effect."""
        averaging = self.kind in ("VectorQuantize", "ResidualVQ", "GroupedResidualVQ")
        return averaging and self.config.get("ema_update", True)

    def batch(self, step: int, vectors: int) -> np.ndarray:
        """Vectors [2, n, D] of a step: normal, from a stream that is frozen."""
        random = np.random.RandomState(step)
        return random.randn(2, vectors, self.dim).astype(np.float32)


def cases(dim: int, size: int) -> list[Case]:
    """Every class, with codebooks of one size; dim and the size are powers of 2."""
    half, codes = dim // 2, {"dim": dim, "codebook_size": size}
    learnable = {"learnable_codebook": True, "ema_update": False}
    bits = size.bit_length() - 1
    listed = [
        ("averages", "VectorQuantize", codes),
        (
            "averages, projected",
            "VectorQuantize",
            {**codes, "codebook_dim": half, "decay": 0.9, "eps": 1e-3, "rotation_trick": False},
        ),
        ("cosine", "VectorQuantize", {**codes, "use_cosine_sim": True}),
        (
            "cosine, projected",
            "VectorQuantize",
            {**codes, "codebook_dim": half, "use_cosine_sim": True, "commitment_weight": 0.25},
        ),
        ("learnable", "VectorQuantize", {**codes, **learnable}, 10.0),
        ("frozen", "VectorQuantize", {**codes, "freeze_codebook": True}),
        ("stages", "ResidualVQ", {**codes, "num_quantizers": 4}),
        (
            "stages, projected",
            "ResidualVQ",
            {"dim": dim, "codebook_size": (size, half), "codebook_dim": half},
        ),
        (
            "stages, learnable, shared",
            "ResidualVQ",
            {**codes, "num_quantizers": 3, "shared_codebook": True, **learnable},
            10.0,
        ),
        (
            "stages, fixed, shared",
            "ResidualVQ",
            {**codes, "num_quantizers": 3, "shared_codebook": True, "ema_update": False},
        ),
        ("groups", "GroupedResidualVQ", {**codes, "groups": 2, "num_quantizers": 3}),
        ("levels", "FSQ", {"levels": (8, 5, 5, 5)}),
        ("levels, projected", "FSQ", {"levels": (8, 6, 5), "dim": dim, "num_codebooks": 2}),
        ("levels, symmetric", "FSQ", {"levels": (2, 4, 5), "preserve_symmetry": True}),
        ("bits", "LFQ", {"codebook_size": size}),
        ("bits, projected", "LFQ", {**codes, "num_codebooks": 2}),
        ("bits, on a sphere", "LFQ", {"codebook_size": size, "spherical": True}),
        ("one matrix", "SimVQ", codes, 10.0),
        ("labels", "RandomProjectionQuantizer", {**codes, "codebook_dim": half}),
    ]
    dims = {"levels": 4, "levels, symmetric": 3, "bits": bits, "bits, on a sphere": bits}
    return [
        Case(name, kind, config, dims.get(name, dim), *rate) for name, kind, config, *rate in listed
    ]


# As the golden values are.
SMALL, STEPS, VECTORS = cases(8, 16), 3, 8
